"""Calls leave nothing behind in the web process (in full size, with its memory: the benchmark soak)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from media.phone.caller import HangUp, Say, Step, WaitForAgent
from media.phone.clips import Clip
from tests.benchmarks.load import OBSERVED, make_clips, serving
from tests.benchmarks.soak import Soak, course, growth, hold, left, settle

CALLS = 4


def short(clip: Clip, number: int) -> Iterator[Step]:
    """One question; every second caller hangs up in the greeting."""
    yield WaitForAgent("start")
    if number % 2:
        yield WaitForAgent()
        yield Say(clip)
        yield WaitForAgent("start")
    yield HangUp()


async def test_calls_leave_nothing_behind(tmp_path):
    clip = (await make_clips())["question"]
    with serving("uvicorn", tmp_path, calls=CALLS, cores="0-63", application=OBSERVED) as server:
        soak = await hold(server, clip, calls=CALLS, seconds=4.0, script=short)
        # Nothing of a call may be there when none is on the line. Threads and files belong to pools, which have filled.
        nothing = {"files in the spool": 0, "leases": 0, "open tokens": 0, "open calls": 0}
        counts = await asyncio.to_thread(settle, server, tmp_path, nothing)
        assert soak.ended > CALLS
        assert soak.unanswered == 0
        assert not left(nothing, counts)
        await hold(server, clip, calls=CALLS, seconds=1.0, script=short)
        assert not left(counts, await asyncio.to_thread(settle, server, tmp_path, counts))


def test_what_is_left_is_what_there_is_more_of_than_chance_explains():
    before = {"tasks": 5, "threads": 8, "leases": 0}
    assert left(before, {"tasks": 4, "threads": 10, "leases": 0}) == {}
    assert left(before, {"tasks": 6, "threads": 11, "leases": 1}) == {"tasks": 1, "threads": 3, "leases": 1}


def test_growth_is_that_of_the_last_half_of_the_time():
    soak = Soak(0.0, ended=200, memory=[(0.0, 0, 100.0), (10.0, 100, 180.0), (15.0, 150, 180.5), (20.0, 200, 181.0)])
    assert growth(soak.memory) == pytest.approx(1.0)
    assert course(soak)[:3] == [(0, 100.0), (100, 180.0), (100, 180.0)]
