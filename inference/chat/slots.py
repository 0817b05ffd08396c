"""Decides which request may use a model server that serves only a limited number at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from heapq import heappop, heappush
from itertools import count
from time import perf_counter

from inference import metrics
from inference.chat.servers import Rank
from inference.types import EngineFull


class Slot:
    """Held for one request."""

    def __init__(self, rank: Rank) -> None:
        self.rank = rank
        self.give_way: Callable[[], object] | None = None
        """Ends the request in favour of one with a better rank. The request sets it while it may be ended, and clears
        it with its first words: by then it may have become the turn that the caller hears."""
        self.lost = False
        """``give_way`` was called."""


class Slots:
    """At most ``limit`` requests at once (0: any number). The best rank comes first, among equals the earliest."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held: set[Slot] = set()
        self._waiting: list[tuple[Rank, int, asyncio.Future[Slot]]] = []
        """A heap: rank, order of arrival, and the future that gets the slot."""
        self._order = count()

    @property
    def waiting(self) -> int:
        """Requests that wait for a slot."""
        return sum(not granted.done() for *_, granted in list(self._waiting))

    @asynccontextmanager
    async def take(self, rank: Rank, *, patience: float) -> AsyncIterator[Slot]:
        """Hold a slot while the block runs. Raise ``EngineFull`` if none is free within ``patience`` seconds."""
        asked_at = perf_counter()
        slot = await self._acquire(rank, patience) if self._limit else Slot(rank)
        metrics.ENGINE_QUEUE_WAIT.labels("llm").observe(perf_counter() - asked_at)
        try:
            yield slot
        finally:
            self._release(slot)

    async def _acquire(self, rank: Rank, patience: float) -> Slot:
        if len(self._held) < self._limit:
            return self._grant(rank)
        if (loser := self._find_loser(rank)) is not None:
            loser.lost = True
            assert loser.give_way is not None
            loser.give_way()
        granted: asyncio.Future[Slot] = asyncio.get_running_loop().create_future()
        heappush(self._waiting, (rank, next(self._order), granted))
        try:
            async with asyncio.timeout(patience):
                return await granted
        except TimeoutError as error:
            self._withdraw(granted)
            raise EngineFull(f"all {self._limit} slots at the model server were taken for {patience:.1f} s") from error
        except BaseException:
            self._withdraw(granted)
            raise

    def _find_loser(self, rank: Rank) -> Slot | None:
        """The slot of the worst rank whose request can be ended for one of this rank."""
        candidates = [slot for slot in self._held if slot.rank > rank and slot.give_way is not None and not slot.lost]
        return max(candidates, key=lambda slot: slot.rank, default=None)

    def _grant(self, rank: Rank) -> Slot:
        slot = Slot(rank)
        self._held.add(slot)
        return slot

    def _withdraw(self, granted: asyncio.Future[Slot]) -> None:
        """The request no longer waits. If it was granted a slot in the same moment, the next request gets that."""
        if granted.done() and not granted.cancelled():
            self._release(granted.result())
        granted.cancel()

    def _release(self, slot: Slot) -> None:
        if slot not in self._held:
            return
        self._held.remove(slot)
        while self._waiting:
            rank, _, granted = heappop(self._waiting)
            if not granted.done():
                granted.set_result(self._grant(rank))
                return


def expire(timeout: asyncio.Timeout) -> None:
    """Let the timeout expire now, unless it has already. For ``Slot.give_way``."""
    if not timeout.expired():
        timeout.reschedule(asyncio.get_running_loop().time())
