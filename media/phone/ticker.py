"""One timer for every 20 ms schedule of a process."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from weakref import WeakKeyDictionary

from media.phone.frames import FRAME_SECONDS


class Ticker:
    """
    One timer for every stream of a loop.

    Real calls do not tick in unison, so members are spread over ``phases`` of the 20 ms; a phase with no members
    costs nothing. A late tick is made up for at once: the schedule is absolute.
    """

    _of_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, Ticker] = WeakKeyDictionary()

    def __init__(self, *, phases: int = 4) -> None:
        self._members: list[list[Callable[[float], None]]] = [[] for _ in range(phases)]
        self._step = FRAME_SECONDS / phases
        self._origin = time.monotonic()
        self._index = 0
        self._timer: asyncio.TimerHandle | None = None
        self.lateness: deque[float] = deque(maxlen=200_000)
        """Seconds by which the last member of each tick was served late. Above 0.02 at p99, trust no figure."""

    @classmethod
    def shared(cls) -> Ticker:
        """The ticker of the running loop."""
        return cls._of_loop.setdefault(asyncio.get_running_loop(), cls())

    def join(self, tick: Callable[[float], None]) -> None:
        """Call ``tick(due)`` every 20 ms, ``due`` being the instant at which it should have run."""
        min(self._members, key=len).append(tick)
        if self._timer is None:
            self._index = int((time.monotonic() - self._origin) / self._step)
            self._arm()

    def leave(self, tick: Callable[[float], None]) -> None:
        """Idempotent; may be called from within the tick."""
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
