"""The moves of an attempt, and of its call with it."""

from datetime import UTC, datetime

import pytest

from calls.errors import FailureKind
from calls.models import CallEvent, DialAttempt, Lease
from calls.services import claiming, dialling, reconciling
from calls.services.reports import record_status
from tests.calls.fake_carrier import refusal
from tests.calls.services.dialler import answer, dial_due, place, reload, report

pytestmark = pytest.mark.django_db


def test_a_call_takes_the_status_of_its_attempt(agent, clock, carrier):
    call = place()
    [attempt] = dial_due(carrier)
    for number, status in enumerate(["initiated", "ringing"]):
        report(attempt, status, str(number))
        assert reload(call).status == status
    assert answer(attempt).verdict == "connect"
    assert reload(call).status == "in-progress"
    clock.shift(30)
    report(attempt, "completed", "3")
    call, attempt = reload(call), reload(attempt)
    assert (call.status, call.duration, attempt.status) == ("completed", 30.0, "completed")
    assert not Lease.objects.exists()


def test_busy_and_no_answer_are_retried_by_the_agents_policy_until_the_call_ends(agent, clock, carrier):
    call = place()
    for number, (status, wait) in enumerate([("busy", 600), ("no-answer", 7200)], start=1):
        [attempt] = dial_due(carrier)
        report(attempt, status, SipResponseCode="486")
        call = reload(call)
        assert (call.status, call.attempts_made, call.sid) == ("queued", number, None)
        assert wait <= (call.due_at - datetime.now(UTC)).total_seconds() <= 1.1 * wait
        clock.move_to(call.due_at)
    [attempt] = dial_due(carrier)
    report(attempt, "busy")
    call = reload(call)
    assert (call.status, call.end_reason, call.due_at) == ("busy", "busy", None)
    assert [one.status for one in call.attempts.all()] == ["busy", "no-answer", "busy"]


def test_a_number_that_does_not_exist_is_not_retried(agent, clock, carrier):
    call = place()
    [attempt] = dial_due(carrier)
    report(attempt, "failed", SipResponseCode="404")
    assert (reload(call).status, reload(call).end_reason) == ("failed", "failed")


def test_a_report_about_an_earlier_attempt_changes_nothing(agent, clock, carrier):
    call = place()
    [first] = dial_due(carrier)
    report(first, "busy")
    clock.move_to(reload(call).due_at)
    [second] = dial_due(carrier)
    report(first, "completed", "9")
    report(first, "ringing", "8")
    assert reload(call).status == "queued"
    assert reload(first).status == "busy"
    assert answer(first).verdict == "over"
    assert answer(second).verdict == "connect"


@pytest.mark.parametrize("order", [("ringing", "in-progress", "completed"), ("completed", "ringing", "in-progress")])
def test_callbacks_in_any_order_and_repeated_lead_to_the_same_result(agent, clock, carrier, order):
    call = place()
    [attempt] = dial_due(carrier)
    for status in (*order, *order):
        report(attempt, status, {"ringing": "1", "in-progress": "2", "completed": "3"}[status])
    assert reload(call).status == "completed"
    assert CallEvent.objects.filter(call=call, kind__startswith="status-").count() == 3


def test_callbacks_that_come_before_the_carriers_answer_find_their_attempt(agent, clock, carrier):
    call = place()
    [attempt_id] = claiming.claim_due().attempts

    def at_once(made):
        attempt = DialAttempt.objects.get(pk=attempt_id)
        attempt.sid = made.sid
        report(attempt, "ringing")
        assert answer(attempt).verdict == "connect"

    carrier.on_create = at_once
    dialling.dial(attempt_id, carrier=carrier)
    call = reload(call)
    assert (call.status, call.sid) == ("in-progress", next(iter(carrier.calls)))


def test_a_callback_with_the_sid_of_another_call_changes_nothing(agent, clock, carrier):
    call = place()
    [attempt] = dial_due(carrier)
    assert record_status(sid="CAother", status="completed", attempt_id=str(attempt.pk)) is None
    assert reload(call).status == "queued"
    assert record_status(sid="CAother", status="completed", attempt_id="garbage") is None


def test_an_attempt_that_was_given_up_and_is_answered_after_all_is_reopened(agent, clock, carrier):
    call = place()
    carrier.faults = [refusal(FailureKind.UNKNOWN)]
    [attempt] = dial_due(carrier)
    [made] = carrier.calls.values()
    carrier.calls.clear()
    clock.shift(reconciling.NEVER_ARRIVED + 1)
    assert reconciling.reconcile(carrier=carrier).lost == 1
    attempt.sid = made.sid
    assert answer(attempt).verdict == "connect"
    assert (reload(call).status, reload(call).due_at, reload(attempt).status) == ("in-progress", None, "in-progress")
    assert dial_due(carrier) == []


def test_an_attempt_that_was_given_up_is_hung_up_once_the_next_one_has_begun(agent, clock, carrier):
    place()
    carrier.faults = [refusal(FailureKind.UNKNOWN)]
    [attempt] = dial_due(carrier)
    [made] = carrier.calls.values()
    carrier.calls.clear()
    clock.shift(reconciling.NEVER_ARRIVED + 1)
    reconciling.reconcile(carrier=carrier)
    [second] = dial_due(carrier)
    attempt.sid = made.sid
    assert answer(attempt).verdict == "over"
    assert answer(second).verdict == "connect"
