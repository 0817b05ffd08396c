"""The record of what was said on the call, as it was heard."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from media.turns.commands import AS_BEFORE, Command, Line, Spoken, TurnEnded
from media.turns.keypad import KeyInput


class History:
    """
    The lines that the language model may know of, and the record of the turns.

    Commands go to ``emit``.
    """

    def __init__(self, emit: Callable[[Command], None], lines: Sequence[Line] = ()) -> None:
        self._emit = emit
        self.lines: tuple[Line, ...] = tuple(lines)
        """All that was said and heard so far; each reply is given this. Starts with that of the call's earlier
        streams."""
        self._put_aside: list[str] = []
        self._turns = 0
        """The number of turns that have gone on record."""

    def record(self, turn: TurnEnded) -> None:
        """Put a turn on record, with the next number."""
        self._turns += 1
        self._emit(replace(turn, number=self._turns))

    def add_agent(self, text: str, *, unsaid: str = "") -> None:
        """The caller has heard the agent say this, but not ``unsaid``, the rest of it."""
        self.lines = (*self.lines, Line("agent", text, unsaid))

    def add_caller(self, text: str, spoken: Spoken = AS_BEFORE) -> None:
        """The caller has said this."""
        self.lines = self.with_caller(text, spoken)

    def add_keys(self, pressed: KeyInput) -> None:
        """The caller has pressed these keys: a turn of its own, which goes on record."""
        text, at = pressed.text, pressed.pressed_at
        self.record(TurnEnded(0, "caller", text, text, started=at, ended=at))
        self.add_caller(text)

    def with_caller(self, text: str, spoken: Spoken = AS_BEFORE) -> tuple[Line, ...]:
        """The lines as they would be if the caller had said this. What they say in two goes becomes one line."""
        if self.caller_spoke_last:
            last = self.lines[-1]
            if spoken == AS_BEFORE:
                spoken = last.spoken
            return (*self.lines[:-1], Line("caller", f"{last.text} {text}", spoken=spoken))
        return (*self.lines, Line("caller", text, spoken=spoken))

    @property
    def caller_spoke_last(self) -> bool:
        return bool(self.lines) and self.lines[-1].speaker == "caller"

    @property
    def agent_said_last(self) -> str:
        """Return what the agent said, if nothing was said after it."""
        return self.lines[-1].text if self.lines and self.lines[-1].speaker == "agent" else ""

    @property
    def agent_line_last(self) -> str:
        """Return what the agent said last, whatever was said after it."""
        return next((line.text for line in reversed(self.lines) if line.speaker == "agent"), "")

    @property
    def caller_said_last(self) -> str:
        """Return what the caller said last, whatever the agent said after it."""
        return next((line.text for line in reversed(self.lines) if line.speaker == "caller"), "")

    # -- words put aside ------------------------------------------------------------------------------

    def put_aside(self, text: str) -> None:
        """The caller said this while the agent was speaking, and did not interrupt: it is answered afterwards."""
        self._put_aside.append(text)

    @property
    def answer_owed(self) -> bool:
        """Words were put aside and are not answered yet."""
        return bool(self._put_aside)

    def take_up_aside(self) -> None:
        """The agent's turn is over: the words put aside in it come after it."""
        if self._put_aside:
            self.add_caller(" ".join(self._put_aside))
            self._put_aside.clear()
