"""From what the conversation reports to the facts of its call, with the time of the wall clock."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from time import time

from calls.services import StreamClaim, facts
from inference.usage import Usage
from media import metrics
from media.held_facts import HeldFacts
from media.redaction.redactor import Redactor
from media.spool import FactSpool
from media.turns import commands as cmd
from media.turns.clock import StreamClock

logger = logging.getLogger(__name__)

CLOCK_LAG = "clock_lag"
"""The key in the stages of a turn that tells by how many seconds what was measured from the caller's sound is wrong."""
FROM_THE_CALLER = ("response_latency", "heard_latency", "endpointing", "barge_in_stop")
"""The stages that are measured from a position of the caller's stream."""


class Journal:
    """
    Records the facts of one stream.

    ``clock`` maps times to positions in the caller's stream. With a ``redactor``, numbers that must not be stored are
    taken out, and ``close`` records what it has held back. Made on the loop whose clock the conversation runs on.
    """

    def __init__(
        self,
        claim: StreamClaim,
        recorder: FactSpool,
        *,
        clock: StreamClock,
        redactor: Redactor | None = None,
        held: HeldFacts | None = None,
    ) -> None:
        self._call_id = claim.call_id
        self._recorder = recorder
        self._redactor = redactor
        """Takes the numbers out that must not be stored; None if all are stored."""
        self._held = held
        """Has what the redactor holds back, in case the process dies."""
        self._next_turn = claim.next_turn
        """The number of the stream's first turn in the whole call."""
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        # The wall clock is read once: if it is set during the call, the times of the call's facts still agree.
        self._epoch = time() - self._loop.time()
        """The wall-clock time at which the loop's clock was zero."""
        self._lag_is_known = False
        """A lag of the caller's stream has been logged."""

    def stream_started(self, stream_sid: str) -> None:
        self._record(facts.StreamStarted(call_id=self._call_id, stream_sid=stream_sid, at=self._now()))

    def turn_ended(self, turn: cmd.TurnEnded) -> None:
        stages = dict(turn.stages)
        if turn.wait is not None:
            stages["wait"] = turn.wait
        # The caller stopped at most the response latency before the turn began.
        lag = self._clock.lag_between(turn.started - stages.get("response_latency", 0.0), turn.ended)
        if lag:
            self._mark(stages, lag)
        fact = facts.TurnEnded(
            call_id=self._call_id,
            number=self._next_turn + turn.number - 1,
            speaker=turn.speaker,
            said=turn.said,
            heard=turn.heard,
            interrupted=turn.interrupted,
            fallback=turn.fallback,
            started_at=self._wall_time(turn.started),
            ended_at=self._wall_time(turn.ended),
            start_position=self._clock.position_at(turn.started),
            end_position=self._clock.position_at(turn.ended),
            stages=stages,
            speculation_hits=int(turn.speculation_hit),
            speculation_waste=turn.speculations - turn.speculation_hit,
        )
        metrics.count_turn(fact)
        self._record(fact)

    def _mark(self, stages: dict[str, float], lag: float) -> None:
        """Replace what cannot be true, because the sender's sound fell behind, by the seconds of that."""
        for name in FROM_THE_CALLER:
            stages.pop(name, None)
        stages[CLOCK_LAG] = round(lag, 4)
        if not self._lag_is_known:
            self._lag_is_known = True
            logger.warning(
                "Call %s: the caller's sound falls behind real time, by %.2f s; latencies meanwhile are not stored",
                self._call_id,
                lag,
            )

    def noted(self, note: cmd.Noted) -> None:
        metrics.count_event(note)
        at = self._wall_time(note.at)
        fact = facts.EventNoted(call_id=self._call_id, kind=note.kind, at=at, data=dict(note.data))
        self._record(fact, self._clock.position_at(note.at))

    def language_changed(self, change: cmd.ChangeLanguage) -> None:
        fact = facts.LanguageChanged(call_id=self._call_id, language=change.language, at=self._now())
        self._record(fact)

    def opted_out(self, opt_out: cmd.OptOut) -> None:
        fact = facts.OptedOut(call_id=self._call_id, how=opt_out.how, words=opt_out.words, at=self._now())
        self._record(fact)

    def transfer_requested(self, transfer: cmd.Transfer) -> None:
        fact = facts.TransferRequested(call_id=self._call_id, target=transfer.target, at=self._now())
        self._record(fact)

    def used(self, usage: Usage) -> None:
        """Record what the stream used at engines that bill."""
        self._record(facts.UsageCounted(call_id=self._call_id, usage=usage, at=self._now()))

    def close(self) -> None:
        """The stream is over: record what was held back."""
        if self._redactor is not None:
            self._record_redacted(self._redactor.finish)

    def _record(self, fact: facts.Fact, position: int = 0) -> None:
        if self._redactor is None:
            self._recorder.record(fact)
        else:
            self._record_redacted(partial(self._redactor.take, fact, position))

    def _record_redacted(self, redact: Callable[[], list[facts.Fact]]) -> None:
        try:
            clean = redact()
        except Exception as error:
            # The call goes on without a record of these words. A traceback might quote them.
            logger.error(
                "Call %s: some words are not stored, redaction failed: %s", self._call_id, type(error).__name__
            )
            if self._redactor is not None:
                self._redactor.mute_rest()
            return
        for fact in clean:
            self._recorder.record(fact)
        if clean and self._held is not None:
            self._held.drop([fact.fact_id for fact in clean])

    def _now(self) -> datetime:
        return self._wall_time(self._loop.time())

    def _wall_time(self, now: float) -> datetime:
        return datetime.fromtimestamp(self._epoch + now, UTC)
