"""Statistics: every database gives the same figures."""

from datetime import timedelta
from itertools import count

import pytest
from django.utils import timezone

from calls.api import stats
from calls.api.fields import parse_timestamp
from calls.models import Agent, DialPause, Lease, Turn
from tests.calls.api.conftest import START

pytestmark = pytest.mark.django_db
_ids = count()


def add_turn(call, latency=None, **stages):
    Turn.objects.create(
        call=call, number=1, speaker="agent", started_at=START, response_latency=latency, stages=stages,
        fact_id=f"stat-{next(_ids)}",
    )  # fmt: skip


def get_stats(api, **query):
    response = api.get("/api/stats/", {"from": "2030-01-31T00:00:00Z", "to": "2030-02-01T00:00:00Z", **query})
    assert response.status_code == 200, response.content
    return response.json()


def test_calls_are_counted_by_status_with_answer_rate_and_duration(api, make_call):
    for duration in (10.0, 20.0, 60.0):
        make_call(answered_at=START, duration=duration)
    make_call(status="busy")
    make_call(status="in-progress", answered_at=START)
    make_call(status="queued", sid=None)
    make_call(status="failed", created_at=START - timedelta(days=9))
    total = get_stats(api)["total"]
    assert total["calls"] == 6
    assert total["by_status"] == {
        "queued": 1, "initiated": 0, "ringing": 0, "in-progress": 1, "completed": 3, "busy": 1, "no-answer": 0,
        "failed": 0, "canceled": 0,
    }  # fmt: skip
    assert total["answer_rate"] == pytest.approx(4 / 5)
    assert total["average_duration"] == pytest.approx(30)


def test_calls_from_a_number_to_itself_are_left_out(api, make_call):
    add_turn(make_call(from_number="+15005550006", to_number="+15005550006"), 9.0)
    add_turn(make_call(from_number="", to_number=""), 0.5)
    total = get_stats(api)["total"]
    assert total["calls"] == 1
    assert total["latency"]["response_latency"]["count"] == 1


def test_percentiles_of_the_response_latency_and_of_each_stage(api, make_call):
    for n in range(101):
        call = make_call(created_at=START)
        add_turn(call, n / 100, endpointing=0.2, first_token=n / 1000 if n % 2 else None)
        Turn.objects.create(
            call=call, number=2, speaker="caller", started_at=START, response_latency=9.0, fact_id=f"c{n}"
        )
    latency = get_stats(api)["total"]["latency"]
    assert latency["response_latency"] == pytest.approx(
        {"count": 101, "p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
    )
    assert latency["endpointing"] == pytest.approx({"count": 101, "p50": 0.2, "p90": 0.2, "p95": 0.2, "p99": 0.2})
    assert latency["first_token"] == pytest.approx(
        {"count": 50, "p50": 0.05, "p90": 0.0892, "p95": 0.0941, "p99": 0.09802}
    )
    assert set(latency) == {"response_latency", "endpointing", "first_token"}


def test_the_database_and_python_compute_the_same_percentiles(make_call, monkeypatch):
    for n in range(50):
        call = make_call(created_at=START + timedelta(minutes=17 * n))
        add_turn(call, (n * 37 % 50) / 50, release=(n * 13 % 50) / 50, send=None)
    calls = call.__class__.objects.all()
    in_database = stats.report_calls(calls, period="hour")
    monkeypatch.setattr(stats.connection, "vendor", "sqlite")
    in_python = stats.report_calls(calls, period="hour")
    assert len(in_database["periods"]) == 15
    for one, other in zip(in_database["periods"], in_python["periods"], strict=True):
        assert one["start"] == other["start"]
        for name in ("response_latency", "release"):
            assert one["latency"][name] == pytest.approx(other["latency"][name])


def test_figures_by_hour_and_by_day(api, make_call):
    add_turn(make_call(created_at=START, status="busy"), 0.3)
    add_turn(make_call(created_at=START + timedelta(hours=2)), 0.5)
    hours = get_stats(api)["periods"]
    assert [(one["start"], one["calls"]) for one in hours] == [("2030-01-31T09:00:00Z", 1), ("2030-01-31T11:00:00Z", 1)]
    assert [one["latency"]["response_latency"]["p50"] for one in hours] == [0.3, 0.5]
    days = get_stats(api, period="day")["periods"]
    assert [(one["start"], one["calls"]) for one in days] == [("2030-01-31T00:00:00Z", 2)]


def test_figures_of_one_agent_and_of_one_direction(api, make_call):
    sales = Agent.objects.create(name="sales")
    make_call(agent=sales)
    make_call(direction="inbound")
    make_call()
    assert get_stats(api)["total"]["calls"] == 3
    assert get_stats(api, agent="sales")["total"]["calls"] == 1
    assert get_stats(api, direction="inbound")["total"]["calls"] == 1


def test_figures_without_calls(api):
    body = get_stats(api)
    assert (body["total"]["calls"], body["total"]["answer_rate"], body["periods"]) == (0, None, [])


def test_the_figures_of_the_present_moment(api, make_call, settings):
    settings.MAX_LIVE_CALLS = 3
    now = timezone.now()
    Lease.objects.create(call=make_call(status="in-progress"), slot=1, expires_at=now + timedelta(seconds=30))
    make_call(status="queued", sid=None, due_at=now - timedelta(seconds=1))
    make_call(status="queued", sid=None, due_at=now + timedelta(days=1))
    soon = now + timedelta(minutes=5)
    busy = DialPause.objects.create(scope="everything", cause="carrier", until=soon, reason="too many requests")
    country = DialPause.objects.create(
        scope="country", subject="DE", cause="country", code="21215", reason="Geo Permission …", try_at=soon
    )
    make_call(status="queued", sid=None, due_at=now - timedelta(seconds=1), held_by=country)
    DialPause.objects.create(scope="everything", cause="engines", subject="web:1", until=now, reason="over")
    current = api.get("/api/stats/").json()["current"]
    listed = current.pop("pauses")
    assert parse_timestamp(current.pop("dialling_paused_until")) == soon
    assert current == {
        "live_calls": 1, "free_slots": 2, "waiting_calls": 3, "due_calls": 1, "held_calls": 1,
        "dialling_paused_because": "too many requests",
    }  # fmt: skip
    assert [(entry["scope"], entry["held_calls"]) for entry in listed] == [("everything", 0), ("country", 1)]
    times = [{name: entry.pop(name) for name in ("since", "until", "try_at")} for entry in listed]
    assert [parse_timestamp(entry["since"]) for entry in times] == [busy.since, country.since]
    assert [(entry["until"] is None, entry["try_at"] is None) for entry in times] == [(False, True), (True, False)]
    assert listed[1] == {
        "id": country.pk, "scope": "country", "subject": "DE", "cause": "country", "code": "21215",
        "reason": "Geo Permission …", "held_calls": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("period=week", 400),
        ("agent=nobody", 422),
        ("direction=up", 400),
        ("from=yesterday", 400),
        ("form=2030-01-01T00:00:00Z", 400),
        ("from=2030-01-02T00:00:00Z&to=2030-01-01T00:00:00Z", 422),
        ("from=2029-01-01T00:00:00Z&to=2030-01-01T00:00:00Z", 422),
        ("from=2020-01-01T00:00:00Z&to=2030-01-01T00:00:00Z&period=day", 422),
    ],
)
def test_an_invalid_query_is_refused(api, query, status):
    response = api.get(f"/api/stats/?{query}")
    assert response.status_code == status
    assert response["Content-Type"] == "application/problem+json"


def test_the_figures_take_a_few_queries(api, make_call, django_assert_max_num_queries):
    for n in range(20):
        add_turn(make_call(created_at=START + timedelta(hours=n)), 0.3)
    with django_assert_max_num_queries(10):
        get_stats(api)
