"""Closing the calls that were left open."""

from datetime import timedelta

import pytest
from django.utils import timezone

from calls import services
from calls.models import Agent, Call, Lease
from calls.status import Status
from tests.calls.services.arrivals import receive


@pytest.mark.django_db
def test_abandoned_calls_are_closed():
    old = timezone.now() - timedelta(hours=1)
    for sid in ("CA1", "CA2", "CA3"):
        receive(sid=sid)
    Call.objects.filter(sid__in=["CA1", "CA2"]).update(created_at=old)
    Call.objects.create(
        sid="CA4", status=Status.QUEUED, direction="outbound", agent=Agent.objects.get(), created_at=old
    )
    Lease.objects.exclude(call__sid="CA2").update(expires_at=old)
    assert services.clean_up() == 1
    assert dict(Call.objects.values_list("sid", "status")) == {
        "CA1": "completed",
        "CA2": "ringing",  # its lease is renewed: it lives
        "CA3": "ringing",  # it is young
        "CA4": "queued",  # it waits to be dialled
    }
    assert Call.objects.get(sid="CA1").end_reason == "stream-lost"
