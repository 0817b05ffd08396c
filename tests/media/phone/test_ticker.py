"""The timer that all calls of an event loop share."""

import asyncio
from collections.abc import Callable
from itertools import pairwise

import pytest

from media.phone.ticker import Ticker


async def test_a_ticker_calls_its_members_in_phases_and_records_its_lateness():
    ticker = Ticker.shared()
    assert Ticker.shared() is ticker
    ticks: dict[int, list[float]] = {number: [] for number in range(6)}
    done = asyncio.Event()

    def member(number: int) -> Callable[[float], None]:
        def tick(due: float) -> None:
            ticks[number].append(due)
            if len(ticks[number]) == 5:
                ticker.leave(tick)
            if all(len(dues) == 5 for dues in ticks.values()):
                done.set()

        return tick

    for number in ticks:
        ticker.join(member(number))
    async with asyncio.timeout(60):
        await done.wait()
    for dues in ticks.values():
        assert [later - earlier for earlier, later in pairwise(dues)] == pytest.approx([0.02] * 4)
    assert len({round(dues[0] % 0.02, 3) for dues in ticks.values()}) == 4
    assert len(ticker.lateness) >= 20
    assert min(ticker.lateness) >= 0
