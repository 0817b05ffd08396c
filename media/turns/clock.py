"""The time at which a position of the caller's stream was spoken."""

from __future__ import annotations

RATE_HZ = 8000
"""Samples per second of telephone audio. One sample of mu-law is one byte."""
CREEP = 200e-6
"""
Seconds by which the offset of the two clocks may grow in a second. They drift apart by tens of parts per million at
most, so 200 ppm follows any drift and forgets one frame that came very early within seconds, while a stall of a minute
moves the map by no more than 12 ms.
"""


def samples(seconds: float) -> int:
    """The number of samples in this time."""
    return round(seconds * RATE_HZ)


class StreamClock:
    """
    Maps positions (samples into the caller's stream) to the session clock, and back.

    A frame cannot arrive before it was spoken, so the frame with the least delay tells when that was. Jitter and stalls
    therefore do not count as time.
    """

    def __init__(self) -> None:
        self._offset: float | None = None
        """The session clock at position 0, by the frame with the least delay. None until a frame has arrived."""
        self.seen = 0.0
        """The time at which the last frame arrived; session clock."""
        self.delay = 0.0
        """Seconds by which the last frame, and everything that came with it, arrived later than the fastest frame."""

    def observe(self, position: int, now: float) -> None:
        """A frame ending at ``position`` arrived at ``now``."""
        offset = now - position / RATE_HZ
        if self._offset is None:
            self._offset = offset
        else:
            self._offset = min(offset, self._offset + max(0.0, now - self.seen) * CREEP)
        self.seen = now
        self.delay = now - self.time_of(position)

    def time_of(self, position: int) -> float:
        """Return the time at which the sample at ``position`` was, or will be, spoken; session clock."""
        return (self._offset or 0.0) + position / RATE_HZ

    def position_at(self, now: float) -> int:
        """The position that is being spoken at ``now``; never negative, and 0 until a frame has come."""
        return 0 if self._offset is None else max(0, round((now - self._offset) * RATE_HZ))
