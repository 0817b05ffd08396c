"""What the journal records of a call is counted, under labels of which there are few."""

from __future__ import annotations

import asyncio
import time
from uuid import UUID

import pytest

from calls.services import facts
from inference.types import EngineFull, EngineTimeout, NoWorker
from media import metrics
from media.journal import Journal
from media.spool import FactSpool
from media.turns import commands as cmd
from media.turns.clock import StreamClock
from tests.media.claims import stream_claim
from tests.media.test_journal import FactList
from tests.metric_values import counting, our_metrics, value


@pytest.fixture
async def journal() -> Journal:
    clock = StreamClock()
    clock.observe(0, asyncio.get_running_loop().time())
    return Journal(stream_claim(call_id=UUID(int=1)), FactList(), clock=clock)


def agent_turn(**more) -> cmd.TurnEnded:
    now = asyncio.get_running_loop().time()
    return cmd.TurnEnded(2, "agent", "Good morning.", "Good", now + 1, now + 2, **more)


async def test_a_turn_counts_once_in_each_histogram_of_its_stages(journal):
    name = "clientcaller_response_latency_seconds"
    below, at = counting(f"{name}_bucket", le="0.5"), counting(f"{name}_bucket", le="0.6")
    token = counting("clientcaller_stage_seconds_count", stage="first_token")
    clause = counting("clientcaller_stage_seconds_count", stage="first_clause")
    stopped = counting("clientcaller_barge_in_stop_seconds_count")
    turns = counting("clientcaller_turns_total", speaker="agent")
    interrupted = counting("clientcaller_turns_interrupted_total")
    stages = {"response_latency": 0.51, "first_token": 0.2, "first_clause": None, "barge_in_stop": 0.3, "unknown": 1.0}
    journal.turn_ended(agent_turn(interrupted=True, stages=stages))
    assert (below(), at(), token(), clause(), stopped(), turns(), interrupted()) == (0, 1, 1, 0, 1, 1, 1)


async def test_half_a_second_is_a_bound_of_every_latency():
    histograms = {metric.name: metric for metric in our_metrics() if metric.type == "histogram"}
    for name in ("response_latency", "heard_latency", "stage", "barge_in_stop"):
        bounds = {sample.labels.get("le") for sample in histograms[f"clientcaller_{name}_seconds"].samples}
        assert {"0.2", "0.3", "0.4", "0.5", "0.6", "0.8", "1.0", "1.5"} <= bounds


async def test_a_latency_that_a_lagging_sender_falsifies_is_not_counted(journal):
    counted = counting("clientcaller_response_latency_seconds_count")
    clock = journal._clock
    clock.lag_between = lambda since, until: 0.7
    journal.turn_ended(agent_turn(stages={"response_latency": 0.4}))
    assert counted() == 0


async def test_notes_of_a_known_kind_are_counted_and_others_make_no_series(journal):
    underruns = counting("clientcaller_conversation_events_total", event="underrun")
    series = sum(len(metric.samples) for metric in our_metrics())
    journal.noted(cmd.Noted("underrun", 1.0))
    journal.noted(cmd.Noted("said +15557654321", 1.0))
    metrics.count_stream_end("a reason of a later version")
    assert underruns() == 1
    assert value("clientcaller_streams_ended_total", reason="other") >= 1
    assert sum(len(metric.samples) for metric in our_metrics()) == series


async def test_speculation_counts_what_was_used_and_what_was_not(journal):
    hits, waste = (counting("clientcaller_speculations_total", use=use) for use in ("hit", "waste"))
    journal.turn_ended(cmd.TurnEnded(1, "caller", "Yes.", "Yes.", 1.0, 2.0, speculation_hit=True, speculations=3))
    assert (hits(), waste()) == (1, 2)


def test_every_error_of_an_engine_has_a_label():
    from inference.metrics import error_label

    labels = [error_label(error) for error in (EngineFull("x"), EngineTimeout("x"), NoWorker("x"))]
    assert labels == ["full", "timeout", "no-worker"]


class Away(Exception):
    """The database is away."""


async def test_the_spool_tells_what_waits_and_for_how_long(tmp_path):
    is_away = True

    def record(fact: facts.Fact) -> None:
        if is_away:
            raise Away

    spool = FactSpool(record, folder=tmp_path, transient=(Away,), first_retry=0.01)
    recorded = counting("clientcaller_facts_total", outcome="recorded")
    assert (spool.waiting, spool.bytes_on_disk, spool.stalled) == (0, 0, 0.0)
    began = time.monotonic()
    spool.record(facts.EventNoted(call_id=UUID(int=1), kind="key", at="2026-01-01T00:00:00Z"))
    async with asyncio.timeout(60):
        while not spool.bytes_on_disk:  # noqa: ASYNC110 (there is no event for it)
            await asyncio.sleep(0.01)
    assert 0.0 < spool.stalled <= time.monotonic() - began + 0.01
    is_away = False
    assert await spool.drain(60)
    assert (spool.waiting, spool.bytes_on_disk, spool.stalled) == (0, 0, 0.0)
    assert recorded() == 1
    await spool.close()
