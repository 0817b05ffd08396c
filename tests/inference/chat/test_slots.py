"""Who may use a model server that serves only so many at once."""

import asyncio
from contextlib import AsyncExitStack
from functools import partial

import pytest

from inference.chat.servers import Rank
from inference.chat.slots import Place, Places, expire
from inference.types import EngineFull


class Desk:
    """Takes places in tasks and notes who got one, in order."""

    def __init__(self, limit: int) -> None:
        self.places = Places(limit)
        self.got: list[str] = []
        self.held: dict[str, Place] = {}
        self.leave: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def ask(self, name: str, rank: Rank, *, gives_way: bool = False, patience: float = 5.0) -> None:
        self.leave[name] = asyncio.Event()
        self.tasks[name] = asyncio.ensure_future(self._use(name, rank, gives_way, patience))
        await settle()

    async def _use(self, name: str, rank: Rank, gives_way: bool, patience: float) -> None:
        async with self.places.take(rank, patience=patience) as place:
            self.got.append(name)
            self.held[name] = place
            if gives_way:
                place.give_way = self.leave[name].set
            await self.leave[name].wait()

    async def go(self, name: str) -> None:
        self.leave[name].set()
        await settle()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture
async def desk():
    desk = Desk(1)
    yield desk
    for task in desk.tasks.values():
        task.cancel()
    await asyncio.gather(*desk.tasks.values(), return_exceptions=True)
    async with asyncio.timeout(30), desk.places.take(Rank.WARM, patience=1):
        """Whatever happened, no place is lost for good."""


async def test_the_best_rank_comes_first_and_among_equals_the_first(desk):
    await desk.ask("now", Rank.REAL)
    for name, rank in (("warm", Rank.WARM), ("guess", Rank.SPECULATIVE), ("real", Rank.REAL), ("real too", Rank.REAL)):
        await desk.ask(name, rank)
    for name in ("now", "real", "real too", "guess"):
        await desk.go(name)
    assert desk.got == ["now", "real", "real too", "guess", "warm"]


async def test_a_real_request_takes_the_place_of_the_least_that_gives_way(desk):
    desk.places = Places(2)
    await desk.ask("guess", Rank.SPECULATIVE, gives_way=True)
    await desk.ask("warm", Rank.WARM, gives_way=True)
    await desk.ask("real", Rank.REAL)
    assert desk.got == ["guess", "warm", "real"]
    assert desk.held["warm"].lost
    assert not desk.held["guess"].lost
    await desk.ask("second", Rank.REAL)
    assert desk.held["guess"].lost
    assert desk.got[-1] == "second"


async def test_nothing_takes_the_place_of_a_real_request_or_of_one_that_has_words(desk):
    await desk.ask("talking", Rank.SPECULATIVE)
    await desk.ask("real", Rank.REAL)
    assert desk.got == ["talking"]
    await desk.go("talking")
    await desk.ask("another", Rank.REAL)
    await desk.ask("guess", Rank.SPECULATIVE)
    assert desk.got == ["talking", "real"]
    assert not any(place.lost for place in desk.held.values())


async def test_two_real_requests_do_not_chase_away_the_same_one(desk):
    desk.places = Places(2)
    await desk.ask("guess", Rank.SPECULATIVE, gives_way=True)
    await desk.ask("other guess", Rank.SPECULATIVE, gives_way=True)
    await desk.ask("real", Rank.REAL)
    await desk.ask("real too", Rank.REAL)
    assert desk.got[2:] == ["real", "real too"]


async def test_whoever_gets_no_place_in_time_is_told_that_it_is_full(desk):
    await desk.ask("now", Rank.REAL)
    with pytest.raises(EngineFull, match="all 1 places"):
        async with desk.places.take(Rank.WARM, patience=0):
            pytest.fail("there is no place")
    await desk.go("now")


async def test_one_who_leaves_the_queue_takes_no_place_along(desk):
    await desk.ask("now", Rank.REAL)
    await desk.ask("gone", Rank.REAL)
    await desk.ask("next", Rank.REAL)
    desk.tasks["gone"].cancel()
    await desk.go("now")
    assert desk.got == ["now", "next"]


async def test_a_place_given_to_one_who_leaves_in_that_moment_goes_on(desk):
    await desk.ask("now", Rank.REAL)
    await desk.ask("gone", Rank.REAL)
    await desk.ask("next", Rank.REAL)
    desk.leave["now"].set()
    await asyncio.sleep(0)  # released; whoever is next has it, and has not run yet
    desk.tasks["gone"].cancel()
    await settle()
    assert desk.got == ["now", "next"]


async def test_one_whose_time_is_up_in_that_moment_gives_way_by_itself():
    places = Places(1)

    async def guess() -> None:
        async with places.take(Rank.SPECULATIVE, patience=1) as place, asyncio.timeout(0) as time:
            place.give_way = partial(expire, time)
            await asyncio.Event().wait()

    async def real() -> str:
        async with places.take(Rank.REAL, patience=1):
            return "served"

    guessing = asyncio.ensure_future(guess())
    await asyncio.sleep(0)
    asked = asyncio.ensure_future(real())  # it asks after the time has run out, and before the other has noticed
    with pytest.raises(TimeoutError):
        await guessing
    assert await asked == "served"


async def test_without_a_limit_there_is_always_a_place():
    places = Places(0)
    async with AsyncExitStack() as stack:
        for _ in range(100):
            await stack.enter_async_context(places.take(Rank.WARM, patience=0))
