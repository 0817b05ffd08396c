"""The queue from which the gateway plays the application's audio to the person on the phone."""

from __future__ import annotations

from collections import deque

from media.phone.frames import FRAME_BYTES, SILENT_FRAME

MAX_QUEUED_BYTES = 4_800_000
"""Ten minutes of audio. Twilio discards what exceeds its buffer and warns with 31931."""


class PlayoutQueue:
    """
    Audio that waits to be played, with marks between; one frame leaves it every 20 ms.

    After an empty queue, ``prebuffer_frames`` frames pass before it plays again. Positions are bytes since the start.
    """

    def __init__(self, *, prebuffer_frames: int = 0) -> None:
        self.played_bytes = 0
        """The bytes that the person has heard to the end; the frame being played now is not among them."""
        self._prebuffer_frames = prebuffer_frames
        self._frames_to_hold = prebuffer_frames  # how many frames pass before playing starts
        self._audio = bytearray()
        self._marks: deque[tuple[int, str]] = deque()  # the position that each waits for, and its name
        self._taken_bytes = 0  # what has left the queue, the frame being played included

    @property
    def queued_bytes(self) -> int:
        return len(self._audio)

    def add(self, payload: bytes) -> bool:
        """Queue audio of any length. Return False if the queue was full and the audio was discarded."""
        if len(self._audio) + len(payload) > MAX_QUEUED_BYTES:
            return False
        self._audio += payload
        return True

    def mark(self, name: str) -> bool:
        """Queue a mark. Return False if everything before it was played already, so that it is due now."""
        position = self._taken_bytes + len(self._audio)
        if position <= self.played_bytes:
            return False
        self._marks.append((position, name))
        return True

    def clear(self) -> list[str]:
        """Drop all audio except the frame being played. Return the marks that waited, in order."""
        self._audio.clear()
        self._frames_to_hold = self._prebuffer_frames
        names = [name for _, name in self._marks]
        self._marks.clear()
        return names

    def next_frame(self) -> tuple[bytes | None, list[str]]:
        """Return the frame to play now (None if there is none) and the marks that the frame before it has passed."""
        self.played_bytes = self._taken_bytes
        passed = []
        while self._marks and self._marks[0][0] <= self.played_bytes:
            passed.append(self._marks.popleft()[1])
        if not self._audio:
            self._frames_to_hold = self._prebuffer_frames
            return None, passed
        if self._frames_to_hold:
            self._frames_to_hold -= 1
            return None, passed
        frame = bytes(self._audio[:FRAME_BYTES])
        del self._audio[:FRAME_BYTES]
        self._taken_bytes += len(frame)
        return frame.ljust(FRAME_BYTES, SILENT_FRAME[:1]), passed
