"""The model of what so many calls need: it is monotone, keeps its units, and reproduces what was measured."""

import json
import math
import re
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from clientcaller.capacity import (
    PLANNED_SHARE,
    Inputs,
    Part,
    calls_until_slots_are_busy,
    flows,
    parts,
    slot_ms,
    web_cpu_ms,
)
from media.messages import RATE_HZ

DOCS = Path(__file__).parent.parent / "docs"
CALLS = [1, 10, 60, 100, 128, 1000, 10_000, 100_000]
EVERYTHING = Inputs(outbound=0.5)


def part(name: str, inputs: Inputs = EVERYTHING, *, remote: bool = True) -> Part:
    return next(each for each in parts(inputs, remote=remote) if each.name.startswith(name))


def amount(name: str, inputs: Inputs, calls: int) -> float:
    return next(flow.amount for flow in flows(inputs, calls, remote=True) if flow.name.startswith(name))


@pytest.mark.parametrize("remote", [False, True], ids=["engines here", "workers"])
def test_more_calls_never_need_less(remote):
    for each in parts(EVERYTHING, remote=remote):
        units = [each.units(calls) for calls in CALLS]
        assert units == sorted(units)
        assert units[0] == 1 + each.spare
    for series in zip(*(flows(EVERYTHING, calls, remote=remote) for calls in CALLS), strict=True):
        amounts = [flow.amount for flow in series]
        assert amounts == sorted(amounts, reverse=series[0].name.startswith("a disk"))


def test_a_slower_machine_carries_less_of_everything_that_takes_processor_time():
    slower = replace(EVERYTHING, machine=2.0)
    for before, after in zip(parts(EVERYTHING, remote=True), parts(slower, remote=True), strict=True):
        for one, other in zip(before.limits, after.limits, strict=True):
            assert other.calls <= one.calls
    # Twice the time for each call, and for what is fixed: less than half remains for calls.
    assert part("web", slower).first.calls < part("web").first.calls / 2
    assert part("processes of engine workers", slower).first.calls == pytest.approx(
        part("processes of engine workers").first.calls / 2
    )


# What docs/measurements.md has: calls, processor ms of the web process for each call and second, the machine.
MEASURED_WEB = [(10, 12.2, 1.0), (60, 7.0, 1.0), (10, 39.2, 2.8), (30, 23.4, 2.8), (40, 21.7, 2.8), (60, 16.4, 2.3)]


@pytest.mark.parametrize(("calls", "measured", "machine"), MEASURED_WEB)
def test_the_measured_processor_time_of_a_web_process_is_reproduced_within_a_fifth(calls, measured, machine):
    modelled = web_cpu_ms(Inputs(machine=machine), calls, remote=False)
    assert modelled == pytest.approx(measured, rel=0.2)


def test_the_measured_shares_of_a_core_with_128_calls_behind_redis_are_reproduced_within_a_tenth():
    """Measured: 48 % for the client, of which 20 % without Redis, 33 % for the worker, 8 % for Redis."""
    inputs = Inputs()
    assert 128 * inputs.client_call_ms / 1000 == pytest.approx(0.48 - 0.20, rel=0.1)
    assert 128 * inputs.worker_call_ms / 1000 == pytest.approx(0.33, rel=0.1)
    assert 128 * inputs.redis_call_ms / 1000 == pytest.approx(0.08, rel=0.1)


def test_a_web_process_is_planned_with_no_more_than_its_share_of_a_core():
    for machine in (0.5, 1.0, 2.0):
        inputs = Inputs(machine=machine)
        calls = part("web", inputs, remote=False).first.calls
        assert calls * web_cpu_ms(inputs, calls, remote=False) / 1000 == pytest.approx(PLANNED_SHARE)
    # 60 calls on a core had answers as fast as ten; 60 calls on the slow machine took seconds.
    assert part("web", Inputs(), remote=False).first.calls >= 60
    assert part("web", Inputs(machine=2.3), remote=False).first.calls < 60


def test_slots_are_busy_for_the_planned_share_of_the_time_at_their_limit():
    inputs = Inputs()
    calls = calls_until_slots_are_busy(inputs)
    assert calls / inputs.call_seconds * slot_ms(inputs, calls) / 1000 == pytest.approx(PLANNED_SHARE)
    assert calls_until_slots_are_busy(replace(inputs, slot_call_ms=0.0, slot_fixed_ms=0.0)) == math.inf
    assert calls_until_slots_are_busy(replace(inputs, call_seconds=360.0)) > calls


def test_a_recording_has_16_bits_of_two_channels():
    assert Inputs().recording_bytes == RATE_HZ * 2 * 2
    assert amount("recordings", replace(EVERYTHING, recorded=1.0), 1000) == pytest.approx(1000 * 32_000 * 3600 / 1e9)
    assert amount("a disk", EVERYTHING, 1000) * amount("recordings", EVERYTHING, 1000) == pytest.approx(100)


def test_pgbouncer_removes_the_limit_of_connections():
    assert "its connections" in {limit.what for limit in part("PostgreSQL").limits}
    pooled = part("PostgreSQL", replace(EVERYTHING, pooled=True))
    assert {limit.what for limit in pooled.limits} == {"its cores"}


def test_the_web_processes_of_the_limit_have_room_in_max_connections():
    inputs = Inputs()
    limit = next(limit for limit in part("PostgreSQL", inputs).limits if limit.what == "its connections")
    webs = part("web", inputs).units(int(limit.calls))
    assert webs * inputs.web_connections + 2 * inputs.worker_connections <= inputs.postgres_connections


def test_every_metric_and_alert_that_it_names_is_documented():
    watching, alerts = ((DOCS / name).read_text(encoding="utf-8") for name in ("watching.md", "alerts.md"))
    limits = [limit for each in parts(EVERYTHING, remote=True) for limit in each.limits]
    metrics = {name for limit in limits for name in re.findall(r"clientcaller_\w+", limit.shown_by)}
    assert metrics
    assert {name for name in metrics if f"`{name}`" not in watching} == set()
    named = {limit.alert for limit in limits} - {""}
    assert {name for name in named if f"### {name}\n" not in alerts} == set()
    assert {limit.basis for limit in limits} <= {"measured", "setting", "provider", "estimate"}


def capacity(*arguments: str) -> str:
    output = StringIO()
    call_command("capacity", *arguments, stdout=output)
    return output.getvalue()


def test_the_command_says_what_saturates_first():
    text = capacity("--calls", "10", "10000")
    assert "10,000" in text
    assert "EventLoopLate" in text
    assert "times too small" in text


def test_the_page_has_the_tables_of_the_model():
    page = (DOCS / "growing.md").read_text(encoding="utf-8")
    rows = [row for row in capacity("--markdown", "--set", "outbound=0.5").splitlines() if row]
    assert len(rows) > 15
    missing = [row for row in rows if row not in page]
    assert missing == [], "run `manage.py capacity --markdown --set outbound=0.5`"


def test_a_measurement_of_your_own_replaces_that_of_the_model():
    usual, mine = (json.loads(capacity("--json", *more)) for more in ((), ("--set", "machine=3")))
    assert mine["inputs"]["machine"] == 3
    assert mine["parts"][0]["units"]["1000"] > usual["parts"][0]["units"]["1000"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--set", "speed=2"), "There is no input 'speed'"),
        (("--set", "machine=fast"), "is not a number"),
        (("--set", "machine=0"), "machine must be more than 0"),
        (("--set", "outbound=-1"), "must be 0 or more"),
        (("--calls", "0"), "from 1 on"),
    ],
)
def test_an_impossible_question_is_refused(arguments, message):
    with pytest.raises(CommandError, match=message):
        capacity(*arguments)
