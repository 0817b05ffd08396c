"""
Rooms: fixed numbers of threads in which views run, with a queue in front of each.

Without a limit, each request that is being answered has a thread and a database connection of its own. A few hundred
readers at once then take all connections of the database, and the callbacks of live calls get none.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import TypeVar

from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.db import close_old_connections

from clientcaller import metrics

Answer = TypeVar("Answer")


class NoRoom(Exception):
    """The queue is full, or the request has waited too long in it."""


class Room:
    """
    A number of threads for one kind of requests. Each thread runs one request at a time and has one connection.

    Requests wait for a thread in the order of their arrival, in turns between clients. If ``most_waiting`` of them
    wait, the client of which most are waiting loses its last one. One that has waited ``patience`` seconds is refused.
    """

    def __init__(self, name: str, *, threads: int, most_waiting: int, patience: float) -> None:
        self._idle = [ThreadPoolExecutor(1, thread_name_prefix=f"http-{name}-{number}") for number in range(threads)]
        self._most_waiting = most_waiting
        self._patience = patience
        self._queues: dict[str, deque[asyncio.Future[ThreadPoolExecutor]]] = {}
        """The requests that wait, by client; the client whose turn is next comes first. None is empty."""
        self._wait = metrics.ROOM_WAIT.labels(name)
        self._refused = metrics.ROOM_REFUSED.labels(name)
        metrics.ROOM_WAITING.labels(name).set_function(lambda: sum(map(len, list(self._queues.values()))))

    async def run(self, respond: Callable[[], Awaitable[Answer]], *, client: str) -> Answer:
        """
        Call ``respond`` with one of the room's threads for the synchronous code in it. Raises ``NoRoom``.

        The thread is given back when the code has ended. A thread cannot be stopped, so it counts also after the
        client has left, and the cancellation waits for it: the code may still read the body of the request.
        """
        came_at = perf_counter()
        try:
            thread = await self._take(client)
        except NoRoom:
            self._refused.inc()
            raise
        finally:
            self._wait.observe(perf_counter() - came_at)
        work = asyncio.ensure_future(_run_in(thread, respond))
        work.add_done_callback(lambda _: self._give_back(thread))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            await asyncio.wait([work])
            if not work.cancelled():
                work.exception()  # nobody is left who could read it
            raise

    async def _take(self, client: str) -> ThreadPoolExecutor:
        if self._idle:
            return self._idle.pop()
        if sum(map(len, self._queues.values())) >= self._most_waiting:
            self._make_place(client)
        turn: asyncio.Future[ThreadPoolExecutor] = asyncio.get_running_loop().create_future()
        self._queues.setdefault(client, deque()).append(turn)
        try:
            async with asyncio.timeout(self._patience):
                return await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._give_back(turn.result())  # it came at the moment at which the request gave up
            self._leave(client, turn)
            if isinstance(error, TimeoutError):
                raise NoRoom from None
            raise

    def _make_place(self, client: str) -> None:
        """Refuse the last request of the client that has most; raises ``NoRoom`` if it is this client."""
        crowd = max(self._queues, key=lambda other: len(self._queues[other]), default=client)
        if len(self._queues.get(crowd, ())) <= len(self._queues.get(client, ())) + 1:
            raise NoRoom
        last = self._queues[crowd][-1]
        self._leave(crowd, last)
        if not last.done():
            last.set_exception(NoRoom())

    def _give_back(self, thread: ThreadPoolExecutor) -> None:
        while self._queues:
            client = next(iter(self._queues))
            queue = self._queues.pop(client)
            turn = queue.popleft()
            if queue:
                self._queues[client] = queue  # behind the other clients
            if not turn.done():
                turn.set_result(thread)
                return
        self._idle.append(thread)

    def _leave(self, client: str, turn: asyncio.Future[ThreadPoolExecutor]) -> None:
        queue = self._queues.get(client, deque())
        if turn in queue:
            queue.remove(turn)
            if not queue:
                del self._queues[client]


async def _run_in(thread: ThreadPoolExecutor, respond: Callable[[], Awaitable[Answer]]) -> Answer:
    async with ThreadSensitiveContext(executor=thread):
        try:
            return await respond()
        finally:
            # Before the answer is sent, which takes as long as its client likes.
            await sync_to_async(close_old_connections)()
