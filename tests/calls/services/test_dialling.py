"""The one request of each attempt, and its refusals."""

import pytest

from calls.errors import FailureKind
from calls.models import Lease
from tests.calls.fake_carrier import refusal
from tests.calls.services.dialler import ANNA, dial_due, place, reload

pytestmark = pytest.mark.django_db


def test_a_call_is_dialled_once_with_the_id_of_its_attempt_in_every_address(agent, clock, carrier):
    call = place()
    [attempt] = dial_due(carrier)
    assert dial_due(carrier) == []
    [request] = carrier.requests
    assert request["to_number"] == ANNA
    assert request["from_number"] == "+15005550006"
    assert all(str(attempt.pk) in request[url] for url in ("voice_url", "status_url", "amd_url"))
    assert request["ring_timeout"] == 25
    call = reload(call)
    assert (call.sid, call.status, call.due_at, call.attempts_made) == (attempt.sid, "queued", None, 1)


def test_a_refused_number_ends_the_call_with_its_reason(agent, clock, carrier):
    call = place()
    carrier.faults = [refusal(FailureKind.NUMBER, 21211)]
    [attempt] = dial_due(carrier)
    assert (reload(call).status, reload(call).end_reason) == ("failed", "number-refused")
    assert (attempt.error_code, attempt.status) == ("21211", "failed")
    assert not Lease.objects.exists()
