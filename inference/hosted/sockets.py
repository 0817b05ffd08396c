"""
Warm WebSockets to a hosted service.

A handshake takes 0.1 to 0.3 s, which a caller would hear. So a pool keeps a few sockets connected that nobody uses, and
connects another as soon as one is taken. All its tasks begin in ``start`` and end in ``close``: an utterance that is
given up leaves none behind. Nothing that a user of a socket calls ever waits.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from contextlib import suppress
from itertools import count

import aiohttp

from inference.hosted.lease import Carrier, Lease, tell
from inference.hosted.plan import Listener, Plan
from inference.hosted.socket import Socket, refuse_redirects
from inference.types import EngineError, EngineFull, QuotaExhausted

logger = logging.getLogger(__name__)

TICK = 0.1
"""Seconds between two looks at the sockets: a stall is noticed so much later than its limit says."""
SPARE = 30.0
"""Seconds for which a socket is kept that is idle and of which there are more than ``Plan.warm``."""
RECENT = 60.0
"""Seconds for which one socket is kept connected to an address that somebody has asked for beside ``Plan.url``."""


class SocketPool:
    """
    All sockets to one service. Its methods are called on the loop on which it was started.

    The warm sockets are connected to ``Plan.url``. Whoever needs another address, such as one with another language in
    its query, names it to ``take``: it is connected then, and one socket stays connected to it for a while.
    """

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
        self._refused: dict[str, EngineError] = {}
        """Why the last attempt to connect to an address failed, until one succeeds."""
        self._asked: dict[str, float] = {}
        """When somebody last asked for an address other than ``Plan.url``."""
        self._full_until = 0.0
        self._ticked_at = 0.0
        self._keys = count()

    @property
    def error(self) -> EngineError | None:
        """Why the last attempt to connect to ``Plan.url`` failed; None since one succeeded."""
        return self._refused.get(self.plan.url)

    async def start(self) -> None:
        """
        Connect the first socket, and the other warm ones in the background. Idempotent.

        Raises a permanent ``EngineError`` if the service refuses, such as for its key. A service that cannot be reached
        is only logged, because it may come back.
        """
        if self._session is not None:
            return
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=None), middlewares=(refuse_redirects,)
        )
        self._sockets = [Socket(self, self._session) for _ in range(self.plan.limit)]
        for socket in self._sockets:
            self._tasks += [asyncio.create_task(socket.run()), asyncio.create_task(socket.write())]
        self._ticked_at = asyncio.get_running_loop().time()
        self._timer = asyncio.get_running_loop().call_later(TICK, self._tick)
        first = self._sockets[0]
        first.connect(self.plan.url)
        await first.tried.wait()
        self.keep_warm()
        if (error := self._refused.get(self.plan.url)) is not None:
            if error.permanent:
                await self.close()
                raise error
            logger.warning("%s is not available yet, trying on: %s", self.plan.provider, error)

    async def close(self) -> None:
        """Close all sockets; whoever uses one loses it. Idempotent."""
        session, self._session = self._session, None
        if session is None:
            return
        if self._timer is not None:
            self._timer.cancel()
        for socket in self._sockets:
            socket.tried.set()  # ``start`` may wait for it
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

    def take(self, listener: Listener, *, key: str = "", url: str = "") -> Lease:
        """
        Use a socket. ``key`` is what its messages carry where several listeners share one; by default a new one.
        ``url`` is the address that it must be connected to, by default ``Plan.url``.

        Raises ``EngineFull`` if all sockets are in use, and the last refusal of that address if it was permanent.
        """
        if self._session is None:
            raise EngineError(f"the engine of {self.plan.provider} is not started")
        url = url or self.plan.url
        lease = Lease(self._release, listener, key or f"c{next(self._keys)}", url=url)
        usable = [socket for socket in self._sockets if socket.has_room and socket.url == url]
        if usable:
            # Spread the listeners, so that a lost socket costs few of them.
            min(usable, key=lambda socket: len(socket.leases)).add(lease)
        else:
            self._refuse_if_useless(url)
            self._waiting.append(lease)
        if url != self.plan.url:
            self._asked[url] = asyncio.get_running_loop().time()
        self.keep_warm()
        return lease

    def _refuse_if_useless(self, url: str) -> None:
        loop, plan = asyncio.get_running_loop(), self.plan
        if (error := self._refused.get(url)) is not None and error.permanent:
            raise error.with_traceback(None)  # it is kept, and would keep the frames of everybody who was refused
        for error in self._refused.values():
            if isinstance(error, EngineFull) and loop.time() < self._full_until:
                raise EngineFull(str(error), retry_after=self._full_until - loop.time())
        # A socket that nobody uses can be connected to another address.
        room = sum(plan.shares for socket in self._sockets if not socket.leases)
        if len(self._waiting) >= room:
            raise EngineFull(f"all {plan.limit} connections to {plan.provider} are in use")

    def keep_warm(self) -> None:
        """Connect as many sockets as are wanted: for those who wait, and ``warm`` for those who come."""
        if self._session is None:
            return
        waiting = Counter(lease.url for lease in self._waiting)
        for url in waiting:
            self._connect_waiting(url, waiting)
        for url in dict.fromkeys((self.plan.url, *self._asked)):
            self._connect_warm(url, waiting[url])

    def _connect_waiting(self, url: str, waiting: Counter[str]) -> None:
        """Connect sockets to an address for those who wait, also those that wait to try another one again."""
        connecting = self._connecting(url)
        missing = self._sockets_for(waiting[url]) - len(self._trying(url))
        for socket in [each for each in connecting if each.is_resting][: max(0, missing)]:
            socket.hurry()
            missing -= 1
        free = [each for each in self._sockets if each.is_parked]
        free += [each for each in self._sockets if each.is_resting and each.url not in waiting]
        for socket in free[: max(0, missing)]:
            socket.connect(url)
        if not connecting and not free:
            self._make_room(url)

    def _connect_warm(self, url: str, waiting: int) -> None:
        """Have as many sockets at an address as are wanted there. One too many makes no further attempt."""
        connecting = self._connecting(url)
        wanted = self._sockets_for(waiting) + self._warm(url) - len(self._idle(url)) - len(connecting)
        for socket in [each for each in self._sockets if each.is_parked][: max(0, wanted)]:
            socket.connect(url)
        for socket in [each for each in connecting if each.is_resting][: max(0, -wanted)]:
            socket.park()

    def _sockets_for(self, leases: int) -> int:
        return -(-leases // self.plan.shares)

    def _connecting(self, url: str) -> list[Socket]:
        return [socket for socket in self._sockets if socket.is_connecting and socket.url == url]

    def _trying(self, url: str) -> list[Socket]:
        """The sockets that may be connected any moment, without those that wait before they try again."""
        return [socket for socket in self._connecting(url) if not socket.is_resting]

    def _make_room(self, url: str) -> None:
        """Leave the idle socket of another address that was not used for longest. It is connected to this one then."""
        others = [each for each in self._sockets if each.url != url and each.is_connected and not each.leases]
        if others and not any(socket.is_closing for socket in self._sockets):
            min(others, key=lambda socket: socket.used_at).leave()

    def _warm(self, url: str) -> int:
        """How many sockets without a user are wanted at this address."""
        if url == self.plan.url:
            return self.plan.warm
        return int(self.plan.warm > 0 and url in self._asked and not self._is_refused(url))

    def _is_refused(self, url: str) -> bool:
        return (error := self._refused.get(url)) is not None and error.permanent

    def _idle(self, url: str) -> list[Socket]:
        return [each for each in self._sockets if each.url == url and each.has_room and not each.leases]

    # -- called by the sockets ----------------------------------------------------------------------------

    def opened(self, socket: Socket) -> None:
        self._refused.pop(socket.url, None)
        self._lend(socket)
        self.keep_warm()

    def failed_to_open(self, socket: Socket, error: EngineError) -> None:
        """
        Nobody waits for a service that refuses. A failure that may pass costs only as many of those who wait as the
        other sockets that are being connected cannot serve.
        """
        now = asyncio.get_running_loop().time()
        if isinstance(error, EngineFull):
            self._full_until = now + error.retry_after
        if socket.url == self.plan.url or socket.url in self._asked:  # else nothing would ever forget it
            self._refused[socket.url] = error
        waiting = [lease for lease in self._waiting if lease.url == socket.url]
        served = 0
        if not error.permanent and not isinstance(error, QuotaExhausted):
            served = self.plan.shares * len([each for each in self._trying(socket.url) if each is not socket])
        # Those who have waited longest lose it. If they wait again, they are behind the others, and the next failure
        # takes somebody else.
        lost = waiting[: max(0, len(waiting) - served)]
        for lease in lost:
            self._waiting.remove(lease)
        for lease in lost:
            tell(lease.lose, error)

    def is_wanted(self, url: str) -> bool:
        """Whether an attempt to connect to this address should be repeated."""
        if url == self.plan.url or any(lease.url == url for lease in self._waiting):
            return True
        return url in self._asked and not self._is_refused(url)

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
        self._lend(socket)
        self.keep_warm()

    def _lend(self, socket: Socket) -> None:
        """Give the socket to those who wait for one."""
        for lease in [lease for lease in self._waiting if lease.url == socket.url]:
            if socket.has_room:
                self._waiting.remove(lease)
                socket.add(lease)

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._timer = loop.call_later(TICK, self._tick)
        late, self._ticked_at = now - self._ticked_at - TICK, now
        if late > TICK:
            # Answers may have come while this process was busy: that time does not count against the service.
            for socket in self._sockets:
                socket.postpone(late)
        for url in [url for url, asked in self._asked.items() if now - asked > RECENT]:
            del self._asked[url]
            self._refused.pop(url, None)
        for socket in self._sockets:
            if socket.is_connected:
                socket.look(now)
        for url in {socket.url for socket in self._sockets if socket.is_connected}:
            for socket in self._idle(url)[self._warm(url) :]:
                if now - socket.used_at > SPARE:
                    socket.leave()
        self.keep_warm()
