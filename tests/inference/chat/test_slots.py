"""Which request may use a model server that serves only a limited number at once."""

import asyncio
from contextlib import AsyncExitStack
from functools import partial

import pytest

from inference.chat.servers import Rank
from inference.chat.slots import Slot, Slots, expire
from inference.types import EngineFull


class Requests:
    """Requests that hold slots in tasks, and the order in which they got them."""

    def __init__(self, limit: int) -> None:
        self.slots = Slots(limit)
        self.got: list[str] = []
        self.held: dict[str, Slot] = {}
        self.leave: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def ask(self, name: str, rank: Rank, *, gives_way: bool = False, patience: float = 5.0) -> None:
        self.leave[name] = asyncio.Event()
        self.tasks[name] = asyncio.ensure_future(self._use(name, rank, gives_way, patience))
        await settle()

    async def _use(self, name: str, rank: Rank, gives_way: bool, patience: float) -> None:
        async with self.slots.take(rank, patience=patience) as slot:
            self.got.append(name)
            self.held[name] = slot
            if gives_way:
                slot.give_way = self.leave[name].set
            await self.leave[name].wait()

    async def go(self, name: str) -> None:
        self.leave[name].set()
        await settle()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture
async def requests():
    requests = Requests(1)
    yield requests
    for task in requests.tasks.values():
        task.cancel()
    await asyncio.gather(*requests.tasks.values(), return_exceptions=True)
    async with asyncio.timeout(30), requests.slots.take(Rank.WARM, patience=1):
        """Whatever has happened, the slot is free again."""


async def test_the_best_rank_comes_first_and_among_equals_the_first(requests):
    await requests.ask("now", Rank.REAL)
    for name, rank in (("warm", Rank.WARM), ("guess", Rank.SPECULATIVE), ("real", Rank.REAL), ("real too", Rank.REAL)):
        await requests.ask(name, rank)
    for name in ("now", "real", "real too", "guess"):
        await requests.go(name)
    assert requests.got == ["now", "real", "real too", "guess", "warm"]


async def test_a_real_request_takes_the_slot_of_the_lowest_rank_that_gives_way(requests):
    requests.slots = Slots(2)
    await requests.ask("guess", Rank.SPECULATIVE, gives_way=True)
    await requests.ask("warm", Rank.WARM, gives_way=True)
    await requests.ask("real", Rank.REAL)
    assert requests.got == ["guess", "warm", "real"]
    assert requests.held["warm"].lost
    assert not requests.held["guess"].lost
    await requests.ask("second", Rank.REAL)
    assert requests.held["guess"].lost
    assert requests.got[-1] == "second"


async def test_nothing_takes_the_slot_of_a_real_request_or_of_one_that_has_words(requests):
    await requests.ask("talking", Rank.SPECULATIVE)
    await requests.ask("real", Rank.REAL)
    assert requests.got == ["talking"]
    await requests.go("talking")
    await requests.ask("another", Rank.REAL)
    await requests.ask("guess", Rank.SPECULATIVE)
    assert requests.got == ["talking", "real"]
    assert not any(slot.lost for slot in requests.held.values())


async def test_two_real_requests_do_not_end_the_same_one(requests):
    requests.slots = Slots(2)
    await requests.ask("guess", Rank.SPECULATIVE, gives_way=True)
    await requests.ask("other guess", Rank.SPECULATIVE, gives_way=True)
    await requests.ask("real", Rank.REAL)
    await requests.ask("real too", Rank.REAL)
    assert requests.got[2:] == ["real", "real too"]


async def test_a_request_that_gets_no_slot_in_time_is_refused_as_full(requests):
    await requests.ask("now", Rank.REAL)
    with pytest.raises(EngineFull, match="all 1 slots"):
        async with requests.slots.take(Rank.WARM, patience=0):
            pytest.fail("no slot is free")
    await requests.go("now")


async def test_a_request_cancelled_while_it_waits_takes_no_slot(requests):
    await requests.ask("now", Rank.REAL)
    await requests.ask("gone", Rank.REAL)
    await requests.ask("next", Rank.REAL)
    requests.tasks["gone"].cancel()
    await requests.go("now")
    assert requests.got == ["now", "next"]


async def test_a_slot_granted_to_a_request_cancelled_in_that_moment_goes_to_the_next(requests):
    await requests.ask("now", Rank.REAL)
    await requests.ask("gone", Rank.REAL)
    await requests.ask("next", Rank.REAL)
    requests.leave["now"].set()
    await asyncio.sleep(0)  # released: the next request has been granted it, but has not run yet
    requests.tasks["gone"].cancel()
    await settle()
    assert requests.got == ["now", "next"]


async def test_a_request_that_times_out_in_that_moment_gives_way_by_itself():
    slots = Slots(1)

    async def guess() -> None:
        async with slots.take(Rank.SPECULATIVE, patience=1) as slot, asyncio.timeout(0) as time:
            slot.give_way = partial(expire, time)
            await asyncio.Event().wait()

    async def real() -> str:
        async with slots.take(Rank.REAL, patience=1):
            return "served"

    guessing = asyncio.ensure_future(guess())
    await asyncio.sleep(0)
    asked = asyncio.ensure_future(real())  # asks after the timeout has run out, before the first request has noticed
    with pytest.raises(TimeoutError):
        await guessing
    assert await asked == "served"


async def test_without_a_limit_a_slot_is_always_free():
    slots = Slots(0)
    async with AsyncExitStack() as stack:
        for _ in range(100):
            await stack.enter_async_context(slots.take(Rank.WARM, patience=0))
