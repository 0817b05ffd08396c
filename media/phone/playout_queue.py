"""The queue from which the gateway plays the application's audio to the person on the phone."""

from __future__ import annotations

from collections import deque

from media.phone.frames import FRAME_BYTES

MAX_QUEUED_BYTES = 4_800_000  # ten minutes


class PlayoutQueue:
    """
    What waits to be played: audio with marks between, and a head that moves one frame at a time.

    ``prebuffer_frames`` is how long it waits after an empty queue. Positions are bytes since the start.
    """

    def __init__(self, *, prebuffer_frames: int = 0) -> None:
        self._prebuffer_frames = prebuffer_frames
        self._hold = prebuffer_frames
        self._audio = bytearray()
        self._marks: deque[tuple[int, str]] = deque()
        self._taken = 0
        self.played_bytes = 0
        """What the person has heard to the end."""

    @property
    def queued_bytes(self) -> int:
        return len(self._audio)

    def add(self, payload: bytes) -> bool:
        """Queue audio of any length; False if the ten minutes are full and it was thrown away."""
        if len(self._audio) + len(payload) > MAX_QUEUED_BYTES:
            return False
        self._audio += payload
        return True

    def mark(self, name: str) -> bool:
        """Queue a mark; False if everything before it has been played already and it is due now."""
        position = self._taken + len(self._audio)
        if position <= self.played_bytes:
            return False
        self._marks.append((position, name))
        return True

    def clear(self) -> list[str]:
        """Drop all audio but the frame being played; returns the marks that waited, in order."""
        self._audio.clear()
        self._hold = self._prebuffer_frames
        names = [name for _, name in self._marks]
        self._marks.clear()
        return names

    def frame(self) -> tuple[bytes | None, list[str]]:
        """The frame to play now, None if there is none, and the marks that the frame before it passed."""
        self.played_bytes = self._taken
        passed = []
        while self._marks and self._marks[0][0] <= self.played_bytes:
            passed.append(self._marks.popleft()[1])
        if not self._audio:
            self._hold = self._prebuffer_frames
            return None, passed
        if self._hold:
            self._hold -= 1
            return None, passed
        frame = bytes(self._audio[:FRAME_BYTES])
        del self._audio[:FRAME_BYTES]
        self._taken += len(frame)
        return frame.ljust(FRAME_BYTES, b"\xff"), passed
