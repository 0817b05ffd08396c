"""One map between the caller's stream and the session's clock."""

from __future__ import annotations

RATE_HZ = 8000


# The two clocks drift apart by tens of parts per million at most; letting the offset creep by 200 ppm follows any
# drift and forgets a lucky early frame within seconds, while a stall of a minute moves the map by 12 ms only.
CREEP = 200e-6


def samples(seconds: float) -> int:
    return round(seconds * RATE_HZ)


class StreamClock:
    """
    Ties positions (samples) to ``now`` by the least delayed frame seen, so that jitter and stalls do not count as time.

    A frame that ends at ``position`` cannot arrive before it was spoken; the fastest one tells when that was.
    """

    def __init__(self) -> None:
        self._offset: float | None = None
        self.seen = 0.0
        """When the last frame came."""
        self.delay = 0.0
        """How much later than the fastest the last frame came, and with it all that travels the same way."""

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
        """When the sample at ``position`` was (or will be) spoken, on the session's clock."""
        return (self._offset or 0.0) + position / RATE_HZ

    def position_at(self, now: float) -> int:
        """The position that is being spoken at ``now``; never negative, and 0 until a frame has come."""
        return 0 if self._offset is None else max(0, round((now - self._offset) * RATE_HZ))
