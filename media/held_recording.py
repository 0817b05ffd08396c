"""
A recording of which nothing is written before it is known what must be muted in it.

The sound waits in memory and never touches the disk unmuted, so that a process that dies leaves none there either: its
recording ends where the last judged words ended.
"""

from __future__ import annotations

from collections import deque
from pathlib import Path

from media.audio import SILENCE
from media.held_facts import HeldFacts
from media.messages import RATE_HZ
from media.recorder import Recording
from media.redaction.redactor import Redactor

MOST_HELD = 300 * RATE_HZ
"""Samples that wait at most: 5 MB a call. What is older is written with the caller muted, because nobody knows what
they said; no turn is heard out for longer."""
_FOREVER = 1 << 62
_CALLER, _AGENT = 0, 1


class HeldRecording:
    """
    Has a recording's interface, and passes on what was released.

    ``mute`` says what must not be heard, ``release`` up to where nothing more will be muted. ``finish`` releases all.
    """

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._waiting: deque[tuple[int, int, bytes]] = deque()
        """Pieces in the order in which they came: the side, the position, the mu-law."""
        self._muted: list[tuple[int, int, int]] = []
        """The side, the begin and the end of what must not be heard."""
        self._released = 0
        """The position up to which everything may be written."""

    def caller(self, position: int, mulaw: bytes) -> None:
        """Record what the caller said, once it is released."""
        self._waiting.append((_CALLER, position, mulaw))
        if position - self._released > MOST_HELD:
            self.mute(_CALLER, self._released, position - MOST_HELD // 2)
            self.release(position - MOST_HELD // 2)

    def agent(self, position: int, mulaw: bytes) -> None:
        """Record what the caller heard of the agent, once it is released."""
        self._waiting.append((_AGENT, position, mulaw))

    def mute(self, side: int, begin: int, end: int) -> None:
        """Write silence in place of this side's sound, as far as it is not written yet."""
        self._muted.append((side, begin, end))

    def release(self, position: int) -> None:
        """Nothing before this position will be muted any more: write it."""
        if position <= self._released:
            return
        self._released = position
        # The agent's sound comes later than the caller's of the same position, so this keeps them close together.
        while self._waiting and (piece := self._waiting[0])[1] + len(piece[2]) <= position:
            self._waiting.popleft()
            self._write(*piece)
        self._muted = [muted for muted in self._muted if muted[2] > position - MOST_HELD]

    async def finish(self) -> Path | None:
        """Write what is left. Returns the finished file, or None if there is none."""
        self.release(_FOREVER)
        return await self._recording.finish()

    def _write(self, side: int, position: int, mulaw: bytes) -> None:
        for muted, begin, end in self._muted:
            first, last = max(begin - position, 0), min(end - position, len(mulaw))
            if muted == side and first < last:
                mulaw = mulaw[:first] + SILENCE * (last - first) + mulaw[last:]
        (self._recording.caller if side == _CALLER else self._recording.agent)(position, mulaw)


def redactor_for(language: str, recording: object, held: HeldFacts | None = None) -> Redactor:
    """
    The redactor of a stream.

    What it mutes is muted in ``recording``, if that is held. What it holds back is kept in ``held``.
    """
    keep = held.keep if held is not None else lambda fact: None
    if isinstance(recording, HeldRecording):
        return Redactor(language=language, mute=recording.mute, release=recording.release, keep=keep)
    return Redactor(language=language, mute=lambda side, begin, end: None, release=lambda position: None, keep=keep)
