"""
Whatever the schema allows and whatever it forbids, thrown at the API: no 5xx, nothing undocumented, nothing malformed
accepted. More by hand: ``FUZZ_EXAMPLES=500 pytest tests/calls/api/test_fuzz.py``.
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
HOOK = 1_000_000  # beyond what a sequence comes to

config = schemathesis.Config.from_dict(
    {
        "seed": 1,
        "generation": {"max-examples": EXAMPLES, "deterministic": True, "database": "none"},
        "checks": {
            # What is understood and refused: a number that does not exist, an agent that nobody knows.
            "positive_data_acceptance": {"expected-statuses": ["2xx", "401", "403", "404", "409", "410", "422"]},
        },
    }
)
schema = schemathesis.openapi.from_wsgi("/api/schema/", get_wsgi_application(), config=config)


KNOWN = {
    "call_id": (r"[0-9a-fA-F-]{36}", list(CALLS.values())),
    "webhook_id": (r"[0-9]{1,18}", [HOOK]),
    "name": (r".*", ["front-desk"]),
    "number": (r".*", ["+12025550199"]),
}


@schema.hook
def map_path_parameters(context, path_parameters):
    """Let every other one that is well-formed be something that exists."""
    for name, value in (path_parameters or {}).items():
        form, known = KNOWN.get(name, ("", []))
        place = sum(map(ord, str(value)))
        if known and place % 2 and re.fullmatch(form, str(value), re.DOTALL):
            path_parameters[name] = known[place % len(known)]
    return path_parameters


@pytest.fixture
def _something_there(make_call, settings):
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
def _no_limit_for_wrong_keys(monkeypatch):
    monkeypatch.setattr("calls.api.auth.INVALID_KEY_RATE", "1000000/second")


@pytest.fixture
def _one_transaction():
    """Else the end of the first request closes the connection that all of them share, as in production it should."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@schema.parametrize()
@settings(
    suppress_health_check=list(HealthCheck), derandomize=True, database=None, deadline=None, max_examples=EXAMPLES
)
@pytest.mark.usefixtures("_something_there", "_no_limit_for_wrong_keys", "_one_transaction")
def test_the_api_keeps_its_word(case, key):
    case.call_and_validate(headers={"Authorization": f"Bearer {key[1]}"})
