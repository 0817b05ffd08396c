"""Webhooks: their endpoints, and which events are written for which endpoint."""

import base64
from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from calls.models import Agent, Call, WebhookDelivery, WebhookEndpoint
from calls.services import CallsError
from calls.services.privacy import apply_retention
from calls.services.webhooks import (
    EVENTS,
    announce,
    announce_each,
    make_endpoint,
    renew_secret,
    secrets_of,
)
from calls.status import Status

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def clock():
    with time_machine.travel(NOON, tick=False) as traveller:
        yield traveller


@pytest.fixture
def call(db) -> Call:
    return Call.objects.create(
        direction="outbound",
        from_number="+15005550006",
        to_number="+12025550101",
        agent=Agent.objects.get(name="front-desk"),
        metadata={"order": "Müller-7"},
    )


def create_endpoint(host="example.com", **fields) -> WebhookEndpoint:
    endpoint = make_endpoint(url=f"https://{host}/hooks")
    for name, value in fields.items():
        setattr(endpoint, name, value)
    endpoint.save()
    return endpoint


# --- Announcing events --------------------------------------------------------------------------------------


def test_an_event_is_written_for_every_endpoint_that_receives_it(call):
    everything, endings = create_endpoint(), create_endpoint(events=["call.completed"])
    create_endpoint(active=False)
    announce(call, "call.ringing", at=NOON)
    announce(call, "call.completed", at=NOON, data={"seconds": 5})
    waiting = WebhookDelivery.objects.order_by("endpoint", "event").values_list("endpoint", "event", "status")
    assert list(waiting) == [
        (everything.pk, "call.completed", "waiting"),
        (everything.pk, "call.ringing", "waiting"),
        (endings.pk, "call.completed", "waiting"),
    ]
    payload = WebhookDelivery.objects.get(endpoint=endings).payload
    assert (payload["type"], payload["timestamp"]) == ("call.completed", "2026-11-20T12:00:00+00:00")
    assert payload["data"] == {
        "call": str(call.pk),
        "sid": None,
        "direction": "outbound",
        "status": "queued",
        "end_reason": "",
        "from": "+15005550006",
        "to": "+12025550101",
        "attempts_made": 0,
        "metadata": {"order": "Müller-7"},
        "seconds": 5,
    }


def test_many_calls_are_announced_in_as_many_queries_as_one(call, django_assert_num_queries):
    create_endpoint()
    with django_assert_num_queries(2):
        announce_each([call] * 50, "call.queued", at=NOON)
    assert WebhookDelivery.objects.count() == 50


def test_without_an_endpoint_nothing_is_written(call):
    announce(call, "call.ringing", at=NOON)
    assert not WebhookDelivery.objects.exists()


def test_the_workers_are_woken_once_the_event_is_committed(call, django_capture_on_commit_callbacks):
    create_endpoint()
    with django_capture_on_commit_callbacks() as callbacks:
        announce(call, "call.ringing", at=NOON)
    assert len(callbacks) == 1


# --- Endpoints ---------------------------------------------------------------------------------------------


def test_each_endpoint_gets_its_own_secret():
    secrets = {make_endpoint(url="https://example.com/").secret for _ in range(3)}
    assert len(secrets) == 3
    assert all(len(base64.b64decode(secret.removeprefix("whsec_"))) == 32 for secret in secrets)


def test_a_replaced_secret_is_kept_for_a_day_and_then_deleted(clock):
    endpoint = make_endpoint(url="https://example.com/")
    first, second = endpoint.secret, renew_secret(endpoint.pk)
    clock.shift(timedelta(hours=1))
    third = renew_secret(endpoint.pk)
    endpoint.refresh_from_db()
    tomorrow = NOON + timedelta(hours=25)
    assert (endpoint.secret, endpoint.old_secret_until) == (third, tomorrow)
    assert secrets_of(endpoint, now=tomorrow - timedelta(seconds=1)) == [third, second, first]
    assert secrets_of(endpoint, now=tomorrow) == [third]
    assert len({first, second, third}) == 3
    apply_retention(now=tomorrow - timedelta(seconds=1))
    endpoint.refresh_from_db()
    assert endpoint.old_secret == f"{second} {first}"
    apply_retention(now=tomorrow)
    endpoint.refresh_from_db()
    assert (endpoint.secret, endpoint.old_secret, endpoint.old_secret_until) == (third, "", None)


def test_of_many_renewals_the_last_old_secrets_sign(clock):
    endpoint = make_endpoint(url="https://example.com/")
    made = [endpoint.secret, *(renew_secret(endpoint.pk) for _ in range(10))]
    endpoint.refresh_from_db()
    assert secrets_of(endpoint, now=NOON) == made[:-5:-1]
    clock.shift(timedelta(days=2))
    last = renew_secret(endpoint.pk)
    endpoint.refresh_from_db()
    assert secrets_of(endpoint, now=NOON + timedelta(days=2)) == [last, made[-1]]


def test_an_endpoints_events_are_stored_in_order_and_once():
    assert make_endpoint(url="https://example.com/", events=["call.failed", "call.queued", "call.failed"]).events == [
        "call.queued",
        "call.failed",
    ]


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"url": "example.com"}, "url"),
        ({"url": "ftp://example.com/"}, "url"),
        ({"url": "http://example.com/"}, "url"),
        ({"url": "https://example.com/" + "x" * 500}, "url"),
        ({"url": "javascript:alert(1)"}, "url"),
        ({"events": ["call.completed", "call.exploded"]}, "events"),
    ],
)
def test_an_invalid_endpoint_is_refused_with_its_field(wrong, field, settings):
    settings.DEBUG = False
    with pytest.raises(CallsError) as raised:
        make_endpoint(**{"url": "https://example.com/", **wrong})
    assert raised.value.field == field


def test_only_in_development_are_events_sent_without_tls(settings):
    settings.DEBUG = True
    assert make_endpoint(url="http://127.0.0.1:9000/").url == "http://127.0.0.1:9000/"


def test_every_status_of_a_call_has_an_event():
    announced = {f"call.{'answered' if status is Status.IN_PROGRESS else status}" for status in Status}
    assert announced <= set(EVENTS)
