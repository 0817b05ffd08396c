"""Sends what the agent says to the caller's telephone, and notices when it is heard."""

from __future__ import annotations

from collections.abc import Callable

from media.turns.clock import RATE_HZ
from media.turns.commands import ClearPlayout, Command, Noted, Played, SendAudio, SendMark
from media.turns.playout import FinalMark, Heard, Playout
from media.turns.timing import Timing


class Sender:
    """
    Carries out what ``Playout`` says is due.

    Commands go to ``emit``.
    """

    def __init__(self, playout: Playout, emit: Callable[[Command], None]) -> None:
        self._playout = playout
        self._emit = emit
        self._first_marks: dict[str, tuple[Timing, float]] = {}
        """
        The mark behind the first audio of a turn, the timing that learns from its echo when that began to be heard, and
        the seconds of that audio.
        """

    def send_due(self, timing: Timing, now: float) -> None:
        """Send the audio that is due; ``timing`` is that of the agent's turn."""
        underruns = self._playout.underruns
        sendings = self._playout.due(now)
        if self._playout.underruns > underruns:
            self._emit(Noted("underrun", now))
        for sending in sendings:
            if sending.lead_mark is not None:
                self._emit(SendMark(sending.lead_mark))
            self._emit(SendAudio(sending.audio, sending.goes_on))
            if sending.mark is not None:
                self._emit(SendMark(sending.mark))
            if timing.sent is None:
                timing.sent = now
                if sending.mark is not None:
                    self._first_marks[sending.mark] = timing, len(sending.audio) / RATE_HZ

    def emit_played(self, now: float) -> None:
        """Emit what the caller has heard since the last time."""
        self._emit_heard(self._playout.take_heard(now))

    def hold(self, now: float, *, audible: bool = True) -> None:
        """Stop the sound, so that it can go on from there. Unless ``audible``, nothing of it is left to be heard."""
        heard = self._playout.hold(now)
        # The marks come back when the sound is cleared, and prove nothing.
        self._first_marks.clear()
        if audible:
            self._emit(ClearPlayout())
        self._emit_heard(heard)

    def _emit_heard(self, heard: list[Heard]) -> None:
        for run in heard:
            self._emit(Played(run.audio, run.at))

    def send_final_mark(self, now: float, *, patience: float) -> FinalMark:
        """Send a mark behind everything sent so far; it is awaited for ``patience`` seconds."""
        mark = FinalMark(self._playout.last_mark(), now + patience)
        self._emit(SendMark(mark.name))
        return mark

    def mark_reached(self, name: str, now: float) -> None:
        """The telephone has played everything before this mark, or has dropped it."""
        if self._playout.mark_reached(name, now):
            timing, seconds = self._first_marks.pop(name, (None, 0.0))
            if timing is not None and timing.sent is not None:
                timing.heard = max(timing.sent, now - seconds)
