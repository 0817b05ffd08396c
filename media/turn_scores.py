"""Has the sound of the caller's turn scored by the turn model, if there is one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from calls.services import StreamClaim
from inference.interfaces import TurnModel
from inference.resampling import resample
from inference.types import EngineError, EngineFull, Pcm
from media.background import BackgroundTasks
from media.messages import RATE_HZ
from media.turns import commands as cmd
from media.turns import events as ev

logger = logging.getLogger(__name__)


class TurnScores:
    """
    Asks the turn model for one score at a time, and emits it as ``TurnScored``.

    What goes wrong is logged once a call and answered by nothing: endpointing then decides without a score.
    """

    def __init__(
        self,
        claim: StreamClaim,
        model: TurnModel | None,
        *,
        sound: Callable[[int, int], Pcm],
        position: Callable[[], int],
        tasks: BackgroundTasks,
        emit: Callable[[ev.Event], None],
    ) -> None:
        self._claim = claim
        self._model = model
        self._sound = sound
        """Returns the caller's sound between two positions, as much of it as is kept."""
        self._position = position
        """Tells up to where there is sound."""
        self._tasks = tasks
        self._emit = emit
        self._scoring: asyncio.Task[None] | None = None
        self._failed = False
        """A failure of this call was logged."""

    def score(self, command: cmd.ScoreTurn) -> None:
        """Score the sound up to now. A score that was asked for before is not wanted any more."""
        if self._model is None:
            return
        if self._scoring is not None:
            self._scoring.cancel()
        end = self._position()
        begin = max(command.begin, end - int(self._model.longest * RATE_HZ))
        self._scoring = self._tasks.start(self._score(command, self._model, self._sound(begin, end)))

    async def _score(self, command: cmd.ScoreTurn, model: TurnModel, pcm: Pcm) -> None:
        try:
            sound = pcm if model.rate_hz == RATE_HZ else resample(pcm, RATE_HZ, model.rate_hz)
            probability = await model.score(sound)
            if not 0 <= probability <= 1:
                raise EngineError(f"it gave {probability}, which is no probability")
        except EngineFull as error:
            logger.debug("Call %s: no score: %s", self._claim.call_id, error)
        except Exception as error:
            self._report(error)
        else:
            self._emit(ev.TurnScored(command.utterance, command.score, probability))

    def _report(self, error: Exception) -> None:
        if not self._failed:
            self._failed = True
            what = "%s" if isinstance(error, EngineError) else "unexpectedly: %r"
            logger.warning(
                f"Call %s: the turn model failed, and words alone decide: {what}", self._claim.call_id, error
            )
