"""What all processes share is seen as it is in the database, and shown only where somebody looks."""

from __future__ import annotations

import logging
from datetime import timedelta
from math import isnan

import pytest
from django.db import OperationalError
from django.utils import timezone
from prometheus_client import REGISTRY

from calls import metrics
from calls.models import Call, DialPause, Heartbeat, Lease, WebhookDelivery, WebhookEndpoint
from calls.services import fleet, heartbeats

pytestmark = pytest.mark.django_db
NOW = timezone.now()


def shown(name: str, **labels: str) -> float | None:
    return metrics.FLEET.get_sample_value(f"clientcaller_{name}", labels)


def call(agent, **fields) -> Call:
    fields |= {"from_number": "+15005550006", "to_number": "+12025550123"}
    return Call.objects.create(agent=agent, direction="outbound", status="queued", **fields)


def test_slots_and_calls_to_dial_are_counted_by_what_they_wait_for(agent, settings):
    settings.MAX_LIVE_CALLS = 5
    pause = DialPause.objects.create(scope="caller-id", subject="+15005550006", cause="caller-id", try_at=NOW)
    call(agent, due_at=NOW - timedelta(seconds=90))
    call(agent, due_at=NOW - timedelta(seconds=30))
    call(agent, due_at=NOW + timedelta(hours=1))
    call(agent, due_at=NOW - timedelta(hours=1), held_by=pause)
    for slot, seconds in ((0, 10), (1, -10)):  # the second one has expired
        Lease.objects.create(call=call(agent), slot=slot, stream=1, expires_at=NOW + timedelta(seconds=seconds))
    seen = fleet.look(NOW)
    assert (seen.slots_used, seen.slots_free) == (1, 4)
    assert seen.dial_queue == {"due": 2, "held": 1, "later": 1}
    assert seen.dial_late == pytest.approx(90.0)
    assert seen.paused["caller-id"] == 1
    assert seen.paused["account"] == 0


def test_webhooks_that_wait_are_counted_and_those_of_endpoints_that_are_off_are_not(agent):
    of = call(agent)
    on, off = (WebhookEndpoint.objects.create(url="https://a.example/", active=active) for active in (True, False))
    for endpoint, attempts, late in ((on, 0, 40), (on, 2, -300), (off, 0, 900)):
        WebhookDelivery.objects.create(
            endpoint=endpoint, call=of, event="call.completed", payload={}, attempts=attempts,
            due_at=NOW - timedelta(seconds=late),
        )  # fmt: skip
    seen = fleet.look(NOW)
    assert seen.webhook_queue == {"new": 1, "repeated": 1}
    assert seen.webhook_late == pytest.approx(40.0)


def test_the_last_sign_of_life_of_beat_and_workers_is_shown():
    assert fleet.look().heartbeats == {"beat": 0.0, "worker": 0.0}
    heartbeats.note_heartbeat(Heartbeat.Kind.BEAT)
    Heartbeat.objects.update(at=NOW)
    fleet.FleetWatch().look_once()
    assert shown("heartbeat_timestamp_seconds", role="beat") == pytest.approx(NOW.timestamp(), abs=0.001)


def test_while_the_database_is_away_nothing_is_shown(monkeypatch, caplog):
    fleet.FleetWatch().look_once()
    assert shown("slots", state="used") == 0.0

    def look() -> fleet.Fleet:
        raise OperationalError("the server closed the connection")

    monkeypatch.setattr(fleet, "look", look)
    with caplog.at_level(logging.INFO):
        fleet.FleetWatch().look_once()
    assert all(isnan(gauge._value.get()) for gauge in metrics.OF_THE_FLEET)
    assert caplog.records == []  # the tasks of the worker log it


def test_only_a_process_that_looks_shows_these_metrics(monkeypatch):
    assert REGISTRY.get_sample_value("clientcaller_slots", {"state": "used"}) is None
    seen = []
    watch = fleet.FleetWatch()

    def look_once() -> None:
        seen.append(REGISTRY.get_sample_value("clientcaller_slots", {"state": "used"}))
        watch.stop()

    monkeypatch.setattr(watch, "look_once", look_once)
    thread = watch.start()
    thread.join(60)
    assert len(seen) == 1
    assert seen[0] is not None
    assert REGISTRY.get_sample_value("clientcaller_slots", {"state": "used"}) is None


def test_every_cause_of_a_pause_has_a_series():
    assert sorted(metrics.PAUSE_CAUSES) == sorted(DialPause.Cause.values)
