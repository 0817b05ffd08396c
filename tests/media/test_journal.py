"""What the conversation reports becomes facts of its call, on the wall clock."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from calls.services import facts
from media.journal import Journal
from media.turns import commands as cmd
from media.turns.clock import StreamClock
from tests.media.claims import stream_claim

CALL = UUID(int=1)


class FactList:
    def __init__(self) -> None:
        self.facts: list[facts.Fact] = []

    def record(self, fact: facts.Fact) -> None:
        self.facts.append(fact)


@pytest.fixture
def recorded() -> FactList:
    return FactList()


@pytest.fixture
async def journal(recorded: FactList) -> Journal:
    clock = StreamClock()
    clock.observe(0, asyncio.get_running_loop().time())
    return Journal(stream_claim(call_id=CALL, next_turn=5), recorded, clock=clock)


async def test_a_turn_has_its_number_in_the_whole_call_and_its_place_in_the_stream(journal, recorded):
    now = asyncio.get_running_loop().time()
    journal.turn_ended(cmd.TurnEnded(2, "agent", "Good morning.", "Good", now + 1, now + 2, interrupted=True))
    (turn,) = recorded.facts
    assert (turn.call_id, turn.number, turn.speaker) == (CALL, 6, "agent")
    assert (turn.said, turn.heard, turn.interrupted) == ("Good morning.", "Good", True)
    assert turn.ended_at - turn.started_at == timedelta(seconds=1)
    assert turn.end_position - turn.start_position == 8000


async def test_a_turn_of_the_caller_says_how_long_endpointing_waited_and_what_speculation_was_worth(journal, recorded):
    journal.turn_ended(cmd.TurnEnded(1, "caller", "Hi.", "Hi.", 0, 1, wait=0.25, speculations=3, speculation_hit=True))
    (turn,) = recorded.facts
    assert turn.stages == {"wait": 0.25}
    assert (turn.speculation_hits, turn.speculation_waste) == (1, 2)


async def test_latencies_are_not_stored_while_the_caller_s_sound_falls_behind(journal, recorded, caplog):
    stages = {"response_latency": 11.4, "heard_latency": 11.5, "endpointing": 11.1, "barge_in_stop": 12.0, "send": 0.1}
    clock, now = StreamClock(), 100.0
    clock.observe(160, now)
    for frame in range(2, 52):  # after a pause of 10 s
        clock.observe(frame * 160, now + 10.0 + frame * 0.02)
    journal = Journal(stream_claim(call_id=CALL, next_turn=1), recorded, clock=clock)
    journal.turn_ended(cmd.TurnEnded(1, "agent", "Yes.", "Yes.", now + 11.5, now + 12.0, stages=stages))
    journal.turn_ended(cmd.TurnEnded(2, "agent", "Yes.", "Yes.", now + 10.2, now + 12.0, stages={"send": 0.1}))
    journal.turn_ended(cmd.TurnEnded(3, "agent", "Yes.", "Yes.", now + 13.0, now + 14.0, stages={"endpointing": 0.1}))
    assert [fact.stages for fact in recorded.facts] == [
        {"send": 0.1, "clock_lag": pytest.approx(10.0, abs=0.05)},
        {"send": 0.1, "clock_lag": pytest.approx(10.0, abs=0.05)},
        {"endpointing": 0.1},
    ]
    assert len(caplog.records) == 1


async def test_facts_are_dated_by_the_wall_clock(journal, recorded):
    before = datetime.now(UTC)
    journal.stream_started("MZ1")
    journal.opted_out(cmd.OptOut("asked", "Stop calling me."))
    journal.transfer_requested(cmd.Transfer("sales"))
    journal.noted(cmd.Noted("key", asyncio.get_running_loop().time(), {"digit": "5"}))
    assert [type(fact) for fact in recorded.facts] == [
        facts.StreamStarted,
        facts.OptedOut,
        facts.TransferRequested,
        facts.EventNoted,
    ]
    # The two clocks are read one after the other, and the wall clock has the coarser tick.
    assert all(abs(fact.at - before) < timedelta(seconds=60) for fact in recorded.facts)
