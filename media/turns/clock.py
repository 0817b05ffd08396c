"""The time at which a position of the caller's stream was spoken."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

RATE_HZ = 8000
"""Samples per second of telephone audio. One sample of mu-law is one byte."""
CREEP = 200e-6
"""
Seconds by which the offset of the two clocks may grow in a second. They drift apart by tens of parts per million at
most, so 200 ppm follows any drift and forgets one frame that came very early within seconds, while a stall of a minute
moves the map by no more than 12 ms.
"""
LATE = 0.03
"""Seconds. Jitter does not delay all frames of two seconds by so much; a stall does, and a sender that falls behind."""
LATE_AGAIN = 0.01
"""Seconds, in place of ``LATE``, for ``REMEMBERED`` seconds after a sender has fallen behind: it will again."""
REMEMBERED = 60.0
FALLEN_BEHIND = 2.0
"""Seconds for which every frame must be late before the sender, and not the network, is taken to be the reason."""
FALLEN_BEHIND_SOON = 0.2
"""
Seconds, in place of ``FALLEN_BEHIND``, after a pause, where the frames that a network has held up would come at once,
and where a sender has fallen behind before.
"""
PAUSE = 0.3
"""Seconds without a frame that are a pause."""
CATCHING_UP = 0.2
"""A network that was held up delivers faster than this much above real time. The delay then shrinks as quickly."""
MAX_LAGS = 1000
"""A call of hours may have so many; the oldest are forgotten."""


def samples(seconds: float) -> int:
    """The number of samples in this time."""
    return round(seconds * RATE_HZ)


@dataclass(frozen=True, slots=True)
class _Late:
    """Consecutive late frames, from the first of them."""

    since: float
    """The arrival of the first one; session clock."""
    offset: float
    """The offset that the first one shows."""
    least: float
    """The least offset that any of them shows."""
    wait: float
    """Seconds after which the sender is taken to have fallen behind."""


@dataclass(frozen=True, slots=True)
class _Lag:
    """A time for which the map was wrong."""

    start: float
    end: float
    seconds: float
    """The map gave times that were too early by up to so much."""
    offset: float
    """The offset of the map that was wrong."""


class StreamClock:
    """
    Maps positions (samples into the caller's stream) to the session clock, and back.

    A frame cannot arrive before it was spoken, so the frame with the least delay tells when that was. Jitter and stalls
    therefore do not count as time.

    A sender that sends less than a second of sound in a second, or nothing while nobody speaks, falls behind: then all
    frames seem late, and no more so the next moment. The map follows, and ``lag_between`` tells which times were wrong.
    """

    def __init__(self) -> None:
        self._offset: float | None = None
        """The session clock at position 0, by the frame with the least delay. None until a frame has arrived."""
        self.seen = 0.0
        """The time at which the last frame arrived; session clock."""
        self.delay = 0.0
        """Seconds by which the last frame, and everything that came with it, arrived later than the fastest frame."""
        self._right_at = 0.0
        """The last time at which a frame came as early as the map says; session clock."""
        self._late: _Late | None = None
        """The run of late frames, if the last frame was late."""
        self._fell_behind = -REMEMBERED
        """The last time at which the map was moved to late frames; session clock."""
        self._lags: deque[_Lag] = deque(maxlen=MAX_LAGS)
        """The times for which the map was wrong by more than jitter, in order."""

    def observe(self, position: int, now: float) -> None:
        """A frame ending at ``position`` arrived at ``now``."""
        offset = now - position / RATE_HZ
        if self._offset is None:
            self._offset = offset
        else:
            self._offset = min(offset, self._offset + max(0.0, now - self.seen) * CREEP)
        self.delay = offset - self._offset
        if self.delay <= LATE_AGAIN:
            self._right_at, self._late = now, None
        elif self.delay > LATE or self._has_fallen_behind(now):
            self._follow(offset, now)
        else:
            self._late = None
        self.seen = now

    def time_of(self, position: int) -> float:
        """Return the time at which the sample at ``position`` was, or will be, spoken; session clock."""
        return (self._offset or 0.0) + position / RATE_HZ

    def position_at(self, now: float) -> int:
        """
        The position that is being spoken at ``now``; never negative, and 0 until a frame has come.

        A time for which the map was wrong has the position that it had then.
        """
        if self._offset is None:
            return 0
        offset = self._offset
        if self._lags and now < self._lags[-1].end:
            offset = next(lag.offset for lag in self._lags if now < lag.end)
        return max(0, round((now - offset) * RATE_HZ))

    def lag_between(self, start: float, end: float) -> float:
        """
        Seconds by which times were too early that the map gave between these two; session clock.

        What was measured from such a time is too long. 0 means that the times were right, as far as is known by now.
        """
        return max((lag.seconds for lag in self._lags if lag.start < end and lag.end > start), default=0.0)

    def _has_fallen_behind(self, now: float) -> bool:
        return now < self._fell_behind + REMEMBERED

    def _follow(self, offset: float, now: float) -> None:
        """Move the map to late frames if they are no backlog of a network."""
        late, paused = self._late, now - self.seen > PAUSE
        if late is None or paused or late.offset - offset > CATCHING_UP * max(now - late.since, PAUSE):
            soon = paused or self._has_fallen_behind(now)
            self._late = _Late(now, offset, offset, FALLEN_BEHIND_SOON if soon else FALLEN_BEHIND)
            return
        self._late = late = _Late(late.since, late.offset, min(late.least, offset), late.wait)
        if now - late.since < late.wait or self._offset is None:
            return
        again = self._has_fallen_behind(now)
        if late.least > self._offset + LATE or not again:
            self._lags.append(_Lag(self._right_at, now, late.least - self._offset, self._offset))
        # The last frame of a sender that falls behind all the time is the one with the least delay.
        self._offset = offset if again else late.least
        self._right_at, self._fell_behind, self._late = now, now, None
        self.delay = offset - self._offset
