"""
Random requests that the schema allows or forbids: no 5xx, no undocumented answer, and no malformed request is accepted.

For more requests than usual: ``FUZZ_EXAMPLES=500 pytest tests/calls/api/test_fuzz.py``.
"""

import os
import re
from datetime import timedelta

import pytest
import schemathesis
from django.core.files.base import ContentFile
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections
from django.utils import timezone
from hypothesis import HealthCheck, settings

from calls.models import Call, DoNotCall, Lease, WebhookEndpoint

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "15"))
CALLS = {
    "waiting": "00000000-0000-4000-8000-000000000001",
    "live": "00000000-0000-4000-8000-000000000002",
    "over": "00000000-0000-4000-8000-000000000003",
}
HOOK = 1_000_000  # beyond the ids that the database gives out

config = schemathesis.Config.from_dict(
    {
        "seed": 1,
        "generation": {"max-examples": EXAMPLES, "deterministic": True, "database": "none"},
        "checks": {
            # A well-formed request may still be refused: the number is not assigned, or the agent is unknown.
            "positive_data_acceptance": {"expected-statuses": ["2xx", "401", "403", "404", "409", "410", "422"]},
        },
    }
)
schema = schemathesis.openapi.from_wsgi("/api/schema/", get_wsgi_application(), config=config)


KNOWN = {
    "call_id": (r"[0-9a-fA-F-]{36}", list(CALLS.values())),
    "webhook_id": (r"[0-9]{1,18}", [HOOK]),
    "name": (r".*", ["front-desk"]),
    "number": (r".*[+＋].*", ["+12025550199"]),
}
"""The pattern of each path parameter, and values of it that exist."""


@schema.hook
def map_path_parameters(context, path_parameters):
    """Replace about every second well-formed parameter by one that exists."""
    for name, value in (path_parameters or {}).items():
        pattern, known = KNOWN.get(name, ("", []))
        chance = sum(map(ord, str(value)))
        if known and chance % 2 and re.fullmatch(pattern, str(value), re.DOTALL):
            path_parameters[name] = known[chance % len(known)]
    return path_parameters


@pytest.fixture
def _existing_rows(make_call, settings):
    settings.ALLOWED_HOSTS = ["localhost"]
    settings.API_RATE = "1000000/second"
    now = timezone.now()
    make_call(pk=CALLS["waiting"], status="queued", sid=None, due_at=now + timedelta(days=1))
    live = make_call(pk=CALLS["live"], status="in-progress", streams=1)
    Lease.objects.create(call=live, slot=1, stream=1, expires_at=now + timedelta(days=1))
    Call.objects.get(pk=make_call(pk=CALLS["over"]).pk).recording.save("over.wav", ContentFile(b"RIFF"))
    DoNotCall.objects.create(number="+12025550199")
    WebhookEndpoint.objects.create(pk=HOOK, url="https://example.com", secret="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")


@pytest.fixture
def _no_limit_for_invalid_keys(monkeypatch):
    monkeypatch.setattr("calls.api.auth.INVALID_KEY_RATE", "1000000/second")


@pytest.fixture
def _one_transaction():
    """Keep the end of a request from closing the connection, as it does in production: all requests share one here."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@schema.parametrize()
@settings(
    suppress_health_check=list(HealthCheck), derandomize=True, database=None, deadline=None, max_examples=EXAMPLES
)
@pytest.mark.usefixtures("_existing_rows", "_no_limit_for_invalid_keys", "_one_transaction")
def test_the_api_answers_as_its_schema_says(case, key):
    case.call_and_validate(headers={"Authorization": f"Bearer {key[1]}"})
