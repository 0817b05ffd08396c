"""One timer for every 20 ms schedule of a process."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from weakref import WeakKeyDictionary

from media.phone.frames import FRAME_SECONDS

MAX_LATENESS_SAMPLES = 200_000
"""A quarter of an hour of ticks in all four phases: longer than any load test measures."""


class Ticker:
    """
    Calls its members every 20 ms. All streams of an event loop share one.

    Real calls do not tick in unison, so members are spread over ``phases`` of the 20 ms; a phase without members costs
    nothing. The schedule is absolute: after a late tick, the next one comes at its usual time.
    """

    _of_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, Ticker] = WeakKeyDictionary()

    def __init__(self, *, phases: int = 4) -> None:
        self.lateness: deque[float] = deque(maxlen=MAX_LATENESS_SAMPLES)
        """Seconds by which the last member of each tick was called late. If p99 is above 0.02, trust no figure."""
        self._members: list[list[Callable[[float], None]]] = [[] for _ in range(phases)]  # by phase
        self._step = FRAME_SECONDS / phases
        self._origin = time.monotonic()
        self._index = 0  # of the step that comes next, since the origin
        self._timer: asyncio.TimerHandle | None = None  # None while there are no members

    @classmethod
    def shared(cls) -> Ticker:
        """Return the ticker of the running loop."""
        return cls._of_loop.setdefault(asyncio.get_running_loop(), cls())

    def join(self, tick: Callable[[float], None]) -> None:
        """Call ``tick(due)`` every 20 ms from now on, ``due`` being the instant at which it should have run."""
        min(self._members, key=len).append(tick)
        if self._timer is None:
            self._index = int((time.monotonic() - self._origin) / self._step)
            self._arm()

    def leave(self, tick: Callable[[float], None]) -> None:
        """Call this member no more. Idempotent; a tick may do it to itself."""
        for members in self._members:
            if tick in members:
                members.remove(tick)

    def _arm(self) -> None:
        if not any(self._members):
            self._timer = None
            return
        self._index += 1
        while not self._members[self._index % len(self._members)]:
            self._index += 1
        delay = self._origin + self._index * self._step - time.monotonic()
        self._timer = asyncio.get_running_loop().call_later(max(0.0, delay), self._fire)

    def _fire(self) -> None:
        due = self._origin + self._index * self._step
        for tick in tuple(self._members[self._index % len(self._members)]):
            tick(due)
        self.lateness.append(time.monotonic() - due)
        self._arm()
