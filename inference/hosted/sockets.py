"""
Warm WebSockets to a hosted service.

A handshake takes 0.1 to 0.3 s, which a caller would hear. So a pool keeps a few sockets connected that nobody uses, and
connects another as soon as one is taken. All its tasks begin in ``start`` and end in ``close``: an utterance that is
given up leaves none behind. Nothing that a user of a socket calls ever waits.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextlib import suppress
from itertools import count

import aiohttp

from inference.hosted.lease import Carrier, Lease, tell
from inference.hosted.plan import Listener, Plan
from inference.hosted.socket import Socket
from inference.types import EngineError, EngineFull

logger = logging.getLogger(__name__)

TICK = 0.1
"""Seconds between two looks at the sockets: a stall is noticed so much later than its limit says."""
SPARE = 30.0
"""Seconds for which a socket is kept that is idle and of which there are more than ``Plan.warm``."""


class SocketPool:
    """All sockets to one address. Its methods are called on the loop on which it was started."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.lost = 0
        """Sockets that were lost while somebody used them."""
        self._session: aiohttp.ClientSession | None = None
        """Between ``start`` and ``close``."""
        self._sockets: list[Socket] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._waiting: deque[Lease] = deque()
        """Leases that wait for a socket to connect."""
        self._timer: asyncio.TimerHandle | None = None
        self._refused: EngineError | None = None
        """Why the last attempt to connect failed; None since one succeeded."""
        self._full_until = 0.0
        self._keys = count()

    @property
    def unavailable(self) -> str:
        """Why no new call should rely on the service now; "" if it may."""
        error = self._refused
        if error is None or self._session is None:
            return ""
        if isinstance(error, EngineFull) and asyncio.get_running_loop().time() >= self._full_until:
            return ""
        return str(error)

    async def start(self) -> None:
        """
        Connect the first socket, and the other warm ones in the background. Idempotent.

        Raises a permanent ``EngineError`` if the service refuses, such as for its key. A service that cannot be reached
        is only logged, because it may come back.
        """
        if self._session is not None:
            return
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None))
        self._sockets = [Socket(self, self._session) for _ in range(self.plan.limit)]
        for socket in self._sockets:
            self._tasks += [asyncio.create_task(socket.run()), asyncio.create_task(socket.write())]
        self._timer = asyncio.get_running_loop().call_later(TICK, self._tick)
        first = self._sockets[0]
        first.connect()
        await first.tried.wait()
        self.keep_warm()
        if self._refused is not None:
            if self._refused.permanent:
                error = self._refused
                await self.close()
                raise error
            logger.warning("%s is not available yet, trying on: %s", self.plan.provider, self._refused)

    async def close(self) -> None:
        """Close all sockets; whoever uses one loses it. Idempotent."""
        session, self._session = self._session, None
        if session is None:
            return
        if self._timer is not None:
            self._timer.cancel()
        error = EngineError(f"the connection to {self.plan.provider} was closed")
        leases = [*self._waiting, *(lease for socket in self._sockets for lease in socket.leases.values())]
        self._waiting.clear()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks, self._sockets = [], []
        await session.close()
        for lease in leases:
            tell(lease.lose, error)

    def take(self, listener: Listener, *, key: str = "") -> Lease:
        """
        Use a socket. ``key`` is what its messages carry where several listeners share one; by default a new one.

        Raises ``EngineFull`` if all sockets are in use, and the service's last refusal if that was permanent.
        """
        if self._session is None:
            raise EngineError(f"the engine of {self.plan.provider} is not started")
        lease = Lease(self._release, listener, key or f"c{next(self._keys)}")
        usable = [socket for socket in self._sockets if socket.has_room]
        if usable:
            # Spread the listeners, so that a lost socket costs few of them.
            min(usable, key=lambda socket: len(socket.leases)).add(lease)
        else:
            self._refuse_if_useless()
            self._waiting.append(lease)
        self.keep_warm()
        return lease

    def _refuse_if_useless(self) -> None:
        loop, plan = asyncio.get_running_loop(), self.plan
        if self._refused is not None:
            if self._refused.permanent:
                raise self._refused
            if isinstance(self._refused, EngineFull) and loop.time() < self._full_until:
                raise EngineFull(str(self._refused), retry_after=self._full_until - loop.time())
        room = sum(plan.shares for socket in self._sockets if not socket.is_connected)
        if len(self._waiting) >= room:
            raise EngineFull(f"all {plan.limit} connections to {plan.provider} are in use")

    def keep_warm(self) -> None:
        """Connect as many sockets as are wanted: for those who wait, and ``warm`` for those who come."""
        if self._session is None:
            return
        plan = self.plan
        idle = sum(socket.is_connected and not socket.leases and not socket.spent for socket in self._sockets)
        connecting = [socket for socket in self._sockets if socket.is_connecting]
        wanted = -(-len(self._waiting) // plan.shares) + plan.warm - idle - len(connecting)
        parked = [socket for socket in self._sockets if not socket.is_connected and not socket.is_connecting]
        for socket in parked[: max(0, wanted)]:
            socket.connect()
        if self._waiting:
            for socket in connecting:
                socket.hurry()

    # -- called by the sockets ----------------------------------------------------------------------------

    def opened(self, socket: Socket) -> None:
        self._refused = None
        while self._waiting and socket.has_room:
            lease = self._waiting.popleft()
            if lease.open:
                socket.add(lease)
        self.keep_warm()

    def failed_to_open(self, error: EngineError) -> None:
        """Nobody waits for a service that refuses."""
        now = asyncio.get_running_loop().time()
        if isinstance(error, EngineFull):
            self._full_until = now + error.retry_after
        self._refused = error
        waiting, self._waiting = self._waiting, deque()
        for lease in waiting:
            tell(lease.lose, error)

    def _release(self, lease: Lease, socket: Carrier | None, reuse: bool) -> None:
        if not isinstance(socket, Socket):
            with suppress(ValueError):
                self._waiting.remove(lease)
            return
        socket.leases.pop(lease.key, None)
        socket.used_at = asyncio.get_running_loop().time()
        if not reuse:
            socket.spent = True
        if socket.spent and not socket.leases:
            socket.leave()
        self.keep_warm()

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._timer = loop.call_later(TICK, self._tick)
        for socket in self._sockets:
            if socket.is_connected:
                socket.look(now)
        idle = [socket for socket in self._sockets if socket.is_connected and not socket.leases]
        for socket in idle[self.plan.warm :]:
            if now - socket.used_at > SPARE:
                socket.leave()
        self.keep_warm()
