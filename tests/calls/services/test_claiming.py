"""Claiming calls, by several dispatchers at once."""

from datetime import UTC, datetime

import pytest

from calls.models import CallEvent, DialAttempt
from calls.services import claiming
from calls.services.placing import place_calls
from tests.calls.services.dialler import call_request, place

pytestmark = pytest.mark.django_db


def test_dispatchers_that_claim_at_the_same_time_keep_the_limit_together(agent, clock, carrier, settings, monkeypatch):
    settings.OUTBOUND_MAX_CALLS = 2
    for number in range(6):
        place(f"+1202555011{number}")
    real = claiming.KnownNumbers

    def another_goes_first(*arguments):
        monkeypatch.setattr(claiming, "KnownNumbers", real)
        known = real(*arguments)
        assert len(claiming.claim_due().attempts) == 2
        return known

    monkeypatch.setattr(claiming, "KnownNumbers", another_goes_first)
    assert claiming.claim_due().attempts == []
    assert DialAttempt.objects.count() == 2


def test_postponing_many_calls_takes_as_many_queries_as_postponing_few(
    agent, clock, carrier, django_assert_max_num_queries
):
    clock.move_to(datetime(2026, 11, 20, 4, 0, tzinfo=UTC))
    place_calls([call_request(f"+1202555{number:04d}") for number in range(100, 200)])
    with django_assert_max_num_queries(13):
        assert claiming.claim_due().put_off == 100
    assert CallEvent.objects.filter(kind="put-off").count() == 100
