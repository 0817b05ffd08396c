"""Who may use a model server that serves only so many requests at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from heapq import heappop, heappush
from itertools import count

from inference.chat.servers import Rank
from inference.types import EngineFull


class Place:
    """
    Held for one request. ``give_way``, while it is set, ends that request for one of a better rank.

    A request clears it once its first words are out: whoever hears them may have taken the turn meanwhile.
    """

    def __init__(self, rank: Rank) -> None:
        self.rank = rank
        self.give_way: Callable[[], object] | None = None
        self.lost = False


class Places:
    """At most ``limit`` at once (0: any number), the best rank first, and among equals whoever came first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held: set[Place] = set()
        self._waiting: list[tuple[Rank, int, asyncio.Future[Place]]] = []
        self._order = count()

    @asynccontextmanager
    async def take(self, rank: Rank, *, patience: float) -> AsyncIterator[Place]:
        """A place for as long as the block runs; ``EngineFull`` if none is free within ``patience`` seconds."""
        place = await self._place(rank, patience) if self._limit else Place(rank)
        try:
            yield place
        finally:
            self._release(place)

    async def _place(self, rank: Rank, patience: float) -> Place:
        if len(self._held) < self._limit:
            return self._grant(rank)
        if (loser := self._loser(rank)) is not None:
            loser.lost = True
            assert loser.give_way is not None
            loser.give_way()
        granted: asyncio.Future[Place] = asyncio.get_running_loop().create_future()
        heappush(self._waiting, (rank, next(self._order), granted))
        try:
            async with asyncio.timeout(patience):
                return await granted
        except TimeoutError as error:
            self._refuse(granted)
            raise EngineFull(f"all {self._limit} places at the model server were taken for {patience:g} s") from error
        except BaseException:
            self._refuse(granted)
            raise

    def _loser(self, rank: Rank) -> Place | None:
        may = [place for place in self._held if place.rank > rank and place.give_way is not None and not place.lost]
        return max(may, key=lambda place: place.rank, default=None)

    def _grant(self, rank: Rank) -> Place:
        place = Place(rank)
        self._held.add(place)
        return place

    def _refuse(self, granted: asyncio.Future[Place]) -> None:
        """Whoever waited has gone; a place that it was given in that moment goes to the next."""
        if granted.done() and not granted.cancelled():
            self._release(granted.result())
        granted.cancel()

    def _release(self, place: Place) -> None:
        if place not in self._held:
            return
        self._held.remove(place)
        while self._waiting:
            rank, _, granted = heappop(self._waiting)
            if not granted.done():
                granted.set_result(self._grant(rank))
                return


def expire(timeout: asyncio.Timeout) -> None:
    """A way to give way: the time is up now."""
    if not timeout.expired():  # it may be up in this very moment
        timeout.reschedule(asyncio.get_running_loop().time())
