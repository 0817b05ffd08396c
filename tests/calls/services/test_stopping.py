"""Canceling and hanging up."""

from datetime import timedelta

import pytest

from calls.models import Call, Lease
from calls.services import CallsError, claim_stream, claiming, dialling, stopping, take_orders
from tests.calls.services.dialler import NOON, answer, dial_due, place, reload

pytestmark = pytest.mark.django_db


def test_a_waiting_call_is_canceled_at_once(agent, clock, carrier):
    call = place(scheduled_for=NOON + timedelta(days=1))
    assert stopping.cancel_call(call_id=call.pk, carrier=carrier).status == "canceled"
    assert stopping.cancel_call(call_id=call.pk, carrier=carrier).status == "canceled"
    clock.shift(timedelta(days=2))
    assert dial_due(carrier) == []


def test_a_claimed_call_is_canceled_before_its_request(agent, clock, carrier):
    call = place()
    [attempt_id] = claiming.claim_due().attempts
    assert stopping.cancel_call(call_id=call.pk, carrier=carrier).status == "canceled"
    assert not dialling.dial(attempt_id, carrier=carrier)
    assert carrier.requests == []


def test_a_ringing_call_is_canceled_at_the_carrier_even_without_a_callback(agent, clock, carrier):
    call = place()
    [attempt] = dial_due(carrier)
    assert stopping.cancel_call(call_id=call.pk, carrier=carrier).status == "canceled"
    assert carrier.calls[attempt.sid].status == "canceled"
    assert not Lease.objects.exists()


def test_a_call_canceled_during_its_request_ends_as_soon_as_its_sid_is_known(agent, clock, carrier):
    call = place()
    [attempt_id] = claiming.claim_due().attempts
    carrier.on_create = lambda made: stopping.cancel_call(call_id=call.pk, carrier=carrier)
    dialling.dial(attempt_id, carrier=carrier)
    assert reload(call).status == "canceled"
    assert [one.status for one in carrier.calls.values()] == ["canceled"]


def test_a_canceled_call_that_is_answered_after_all_is_hung_up(agent, clock, carrier):
    call = place()
    [attempt] = dial_due(carrier)
    Call.objects.filter(pk=call.pk).update(canceled_at=NOON)
    assert answer(attempt).verdict == "over"


def test_an_answered_call_cannot_be_canceled_but_its_agent_can_hang_up(agent, clock, carrier):
    call = place()
    [attempt] = dial_due(carrier)
    claim_stream(token=answer(attempt).token, process="web-1")
    with pytest.raises(CallsError, match="Hang it up"):
        stopping.cancel_call(call_id=call.pk, carrier=carrier)
    stopping.hang_up(call_id=call.pk, carrier=carrier)
    assert [(one.kind, one.data) for one in take_orders(process="web-1")] == [("hang-up", {"reason": "operator"})]
    assert take_orders(process="web-1") == []
    assert reload(call).status == "in-progress"


def test_an_answered_call_without_a_stream_is_hung_up_at_the_carrier(agent, clock, carrier):
    call = place()
    [attempt] = dial_due(carrier)
    answer(attempt)
    carrier.change(attempt.sid, status="in-progress")
    stopping.hang_up(call_id=call.pk, carrier=carrier)
    assert carrier.calls[attempt.sid].status == "completed"


def test_a_call_answered_during_its_cancellation_ends_as_the_carrier_reports(agent, clock, carrier):
    call = place()
    [attempt] = dial_due(carrier)
    carrier.change(attempt.sid, status="in-progress")
    stopping.cancel_call(call_id=call.pk, carrier=carrier)
    assert reload(call).status == "completed"
