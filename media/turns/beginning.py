"""Begins to speak on a call, and hears the person who was called before it does."""

from __future__ import annotations

from collections.abc import Callable

from media.turns.answered import Answering
from media.turns.caller import Caller
from media.turns.history import History
from media.turns.opening import Opening
from media.turns.opting_out import OptingOut, OptOutMove
from media.turns.timing import Timing
from media.turns.turn_records import TurnRecords
from media.turns.utterance import Utterance


class Beginning:
    """
    Says what ``Opening`` has to be said first.

    ``say`` lets the agent say fixed words, protected from interruption or not, and ``answer`` lets it answer the lines
    of the history.
    """

    def __init__(
        self,
        *,
        answering: Answering,
        caller: Caller,
        history: History,
        opening: Opening,
        opting_out: OptingOut,
        records: TurnRecords,
        say: Callable[[str, bool], None],
        answer: Callable[[Timing], None],
    ) -> None:
        self._answering = answering
        self._caller = caller
        self._history = history
        self._opening = opening
        self._opting_out = opting_out
        self._records = records
        self._say = say
        self._answer = answer

    def begin(self) -> None:
        """Say what comes first: the disclosure, or else the greeting, if there is one."""
        words, protected = self._opening.begin()
        if question := self._opening.take_question():
            self._history.put_aside(question)
        if words:
            self._say(words, protected)

    def hear_callee(self, utterance: Utterance, now: float, *, wait: float | None) -> None:
        """The person who was called has spoken before the agent. ``wait`` is given if endpointing ended their turn."""
        text, lines = utterance.text, self._history.with_caller(utterance.text)
        if self._answering.introduced:
            self._answering.talked(text, now)
        self._records.record_caller(utterance, now, wait=wait)
        self._caller.close()
        if self._opting_out.judge(lines) is OptOutMove.OBEY:
            self._history.add_caller(text)
            self._answer(utterance.timing)
            return
        if self._opening.is_answered(text):
            self._history.add_caller(text)
        else:
            self._opening.keep_question(text)
        self.begin()
