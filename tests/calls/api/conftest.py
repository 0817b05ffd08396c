"""Fixtures of the tests of the REST API: keys, clients that use them, and calls."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.cache import cache
from rest_framework.test import APIClient

from calls.models import Agent, ApiKey, Call, CallEvent, DialAttempt, Turn
from calls.services.keys import make_key

START = datetime(2030, 1, 31, 9, 30, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _dialling_settings(settings: Any) -> None:
    settings.DIAL_COUNTRIES = ("US",)
    settings.TWILIO_PHONE_NUMBER = "+15005550006"
    cache.clear()


@pytest.fixture
def key(db: None) -> tuple[ApiKey, str]:
    """A key with every scope, and its secret."""
    return make_key(name="tests", scopes=ApiKey.Scope.values)


@pytest.fixture
def api(key: tuple[ApiKey, str]) -> APIClient:
    """A client with every scope."""
    return client_of(key[1])


@pytest.fixture
def api_with(db: None) -> Callable[..., APIClient]:
    """Make clients with the given scopes only."""
    return lambda *scopes: client_of(make_key(name=f"only {' '.join(scopes)}", scopes=scopes)[1])


def client_of(secret: str) -> APIClient:
    client = APIClient(raise_request_exception=False)
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
    return client


@pytest.fixture
def agent(db: None) -> Agent:
    return Agent.objects.get(name="front-desk")


@pytest.fixture
def make_call(agent: Agent) -> Callable[..., Call]:
    """Make calls, each a minute later than the one before."""
    made = 0

    def make(**fields: Any) -> Call:
        nonlocal made
        made += 1
        defaults = {
            "sid": f"CA{made:032x}",
            "direction": Call.Direction.OUTBOUND,
            "status": "completed",
            "from_number": "+15005550006",
            "to_number": f"+1202555{made:04}",
            "agent": agent,
            "created_at": START + timedelta(minutes=made),
        }
        return Call.objects.create(**defaults | fields)

    return make


@pytest.fixture
def talked(make_call: Callable[..., Call]) -> Call:
    """A call that was dialled twice, was answered, had three turns, and ended."""
    call = make_call(
        attempts_made=2, streams=1, answered_at=START, ended_at=START + timedelta(seconds=20), duration=20.0,
        end_reason="caller-hung-up", record=False,
    )  # fmt: skip
    for number, status in ((1, "busy"), (2, "completed")):
        DialAttempt.objects.create(
            call=call, number=number, status=status, sid=f"CA{number:031x}f", to_number=call.to_number,
            from_number=call.from_number, created_at=START - timedelta(minutes=3 - number), ended_at=call.ended_at,
        )  # fmt: skip
    lines = ("agent", "Hello.", "Hello."), ("caller", "When?", "When?"), ("agent", "We open at nine.", "We open")
    for number, (speaker, said, heard) in enumerate(lines, 1):
        Turn.objects.create(
            call=call, number=number, speaker=speaker, said=said, heard=heard,
            started_at=START + timedelta(seconds=number), ended_at=START + timedelta(seconds=number + 0.9),
            fact_id=f"turn-{call.pk}-{number}",
            stages={"endpointing": 0.2, "first_speech": None} if speaker == "agent" else {},
            response_latency=0.3 if number == 3 else None,
        )  # fmt: skip
    for number, kind in enumerate(("dialled", "stream-started", "stream-ended")):
        CallEvent.objects.create(
            call=call,
            kind=kind,
            at=START + timedelta(seconds=number),
            data={"n": number},
            fact_id=f"{call.pk}-{number}",
        )
    return call
