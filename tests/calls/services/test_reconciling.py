"""Asking the carrier about attempts of which nothing was heard."""

from datetime import UTC, datetime, timedelta

import pytest

from calls.errors import FailureKind
from calls.models import Call, DialAttempt, Lease
from calls.services import claim_stream, claiming, dialling, reconciling, stopping
from calls.services.reports import record_status
from tests.calls.fake_carrier import refusal
from tests.calls.services.dialler import ANNA, BERT, NOON, answer, dial_due, place, reload, report

pytestmark = pytest.mark.django_db


def test_a_request_with_an_unknown_outcome_is_looked_for_and_not_repeated(agent, clock, carrier):
    call = place()
    carrier.faults = [refusal(FailureKind.UNKNOWN)]
    [attempt] = dial_due(carrier)
    assert (reload(call).status, attempt.sid) == ("queued", None)
    carrier.change(next(iter(carrier.calls)), status="in-progress")
    reconciling.reconcile(carrier=carrier)
    assert reload(attempt).sid is None  # the request may still be under way
    clock.shift(reconciling.UNANSWERED_REQUEST)
    assert dial_due(carrier) == []
    assert reconciling.reconcile(carrier=carrier).settled == 1
    assert (reload(call).status, reload(attempt).sid) == ("in-progress", next(iter(carrier.calls)))
    assert len(carrier.requests) == 1


def test_a_request_is_repeated_only_when_it_certainly_never_arrived(agent, clock, carrier):
    call = place()
    carrier.faults = [refusal(FailureKind.UNKNOWN)]
    dial_due(carrier)
    carrier.calls.clear()
    for _ in range(5):
        clock.shift(60)
        reconciling.reconcile(carrier=carrier)
        assert dial_due(carrier) == []
    clock.shift(1)
    assert reconciling.reconcile(carrier=carrier).lost == 1
    [attempt] = dial_due(carrier)
    assert (attempt.number, reload(call).attempts_made) == (2, 2)
    # No phone rang, so the attempt does not count against the agent's policy.
    for status in ("busy", "busy", "busy"):
        report(attempt, status)
        if reload(call).due_at:
            clock.move_to(reload(call).due_at)
            [attempt] = dial_due(carrier)
    assert reload(call).attempts_made == 4


def test_an_older_call_between_the_same_numbers_is_not_taken_for_the_lost_one(agent, clock, carrier):
    carrier.add(ANNA, "+15005550006", created_at=NOON - timedelta(minutes=5), status="completed")
    place()
    carrier.faults = [refusal(FailureKind.UNKNOWN)]
    [attempt] = dial_due(carrier)
    sids = list(carrier.calls)
    clock.shift(reconciling.UNANSWERED_REQUEST)
    reconciling.reconcile(carrier=carrier)
    assert reload(attempt).sid == sids[1]


def test_an_attempt_claimed_by_a_dead_process_is_dialled_by_another(agent, clock, carrier):
    place()
    [attempt_id] = claiming.claim_due().attempts
    assert reconciling.reconcile(carrier=carrier).to_dial == []
    clock.shift(reconciling.ABANDONED_CLAIM + 1)
    assert reconciling.reconcile(carrier=carrier).to_dial == [attempt_id]
    assert dialling.dial(attempt_id, carrier=carrier)
    assert not dialling.dial(attempt_id, carrier=carrier)
    assert len(carrier.requests) == 1


def test_the_carrier_is_asked_about_a_silent_call_which_then_ends(agent, clock, carrier):
    call = place()
    [attempt] = dial_due(carrier)
    answer(attempt)
    carrier.change(attempt.sid, status="completed", ended_at=NOON + timedelta(seconds=42), duration=42.0)
    clock.shift(30)
    reconciling.reconcile(carrier=carrier)
    assert reload(call).status == "in-progress"
    clock.shift(180)
    reconciling.reconcile(carrier=carrier)
    assert (reload(call).status, reload(call).duration) == ("completed", 42.0)


def test_a_carrier_that_does_not_answer_changes_nothing(agent, clock, carrier):
    call = place()
    dial_due(carrier)
    clock.shift(600)
    carrier.faults = [refusal(FailureKind.UNKNOWN)]
    reconciling.reconcile(carrier=carrier)
    assert reload(call).status == "queued"


def test_a_hang_up_that_no_process_takes_is_carried_out_at_the_carrier(agent, clock, carrier):
    call = place()
    [attempt] = dial_due(carrier)
    claim_stream(token=answer(attempt).token, process="web-1")
    carrier.change(attempt.sid, status="in-progress")
    stopping.hang_up(call_id=call.pk, carrier=carrier)
    clock.shift(reconciling.ORDER_IGNORED + 1)
    reconciling.reconcile(carrier=carrier)
    assert carrier.calls[attempt.sid].status == "completed"


@pytest.mark.parametrize("status", ["ringing", "in-progress"])
def test_a_callback_that_comes_during_the_search_outweighs_an_empty_result(agent, clock, carrier, status):
    call = place()
    carrier.faults = [refusal(FailureKind.UNKNOWN)]
    [attempt] = dial_due(carrier)
    [made] = carrier.calls.values()
    clock.shift(reconciling.NEVER_ARRIVED + 1)

    def find_calls(**_):
        record_status(sid=made.sid, status=status, attempt_id=str(attempt.pk))
        return []

    carrier.find_calls = find_calls
    assert reconciling.reconcile(carrier=carrier).lost == 0
    assert reload(call).status == status
    assert reload(attempt).sid == made.sid


def test_a_failed_question_about_one_attempt_does_not_stop_the_others(agent, clock, carrier):
    place()
    place(BERT)
    carrier.faults = [refusal(FailureKind.UNKNOWN)]
    dial_due(carrier)
    attempt = DialAttempt.objects.exclude(sid=None).get()

    def find_calls(**_):
        raise refusal(FailureKind.UNKNOWN)

    carrier.find_calls = find_calls
    carrier.change(attempt.sid, status="completed")
    clock.shift(200)
    reconciling.reconcile(carrier=carrier)
    assert reload(attempt.call).status == "completed"


def test_a_call_that_is_in_the_database_already_is_not_taken_for_the_lost_one(agent, clock, carrier):
    place()
    carrier.faults = [refusal(FailureKind.UNKNOWN)]
    [attempt] = dial_due(carrier)
    [made] = carrier.calls.values()
    by_hand = carrier.add(ANNA, "+15005550006")
    Call.objects.create(sid=by_hand.sid, direction="outbound", to_number=ANNA, agent=agent)
    clock.shift(reconciling.UNANSWERED_REQUEST)
    reconciling.reconcile(carrier=carrier)
    assert reload(attempt).sid == made.sid


def test_a_conversation_ends_as_completed_whatever_the_carrier_calls_its_end(agent, clock, carrier):
    call = place()
    [attempt] = dial_due(carrier)
    answer(attempt)
    carrier.change(attempt.sid, status="no-answer")
    clock.shift(200)
    reconciling.reconcile(carrier=carrier)
    assert reload(call).status == "completed"


def test_a_hang_up_that_fails_at_the_carrier_is_repeated(agent, clock, carrier):
    call = place()
    [attempt] = dial_due(carrier)
    claim_stream(token=answer(attempt).token, process="web-1")
    carrier.change(attempt.sid, status="in-progress")
    stopping.hang_up(call_id=call.pk, carrier=carrier)
    clock.shift(reconciling.ORDER_IGNORED + 1)
    carrier.faults = [refusal(FailureKind.UNKNOWN)]
    reconciling.reconcile(carrier=carrier)
    assert carrier.calls[attempt.sid].status == "in-progress"
    reconciling.reconcile(carrier=carrier)
    assert carrier.calls[attempt.sid].status == "completed"


def test_a_call_still_queued_at_the_carrier_when_calling_hours_end_is_taken_back(agent, clock, carrier):
    clock.move_to(datetime(2026, 11, 21, 1, 59, tzinfo=UTC))  # a minute to nine in the evening
    call = place()
    [attempt] = dial_due(carrier)
    clock.shift(90)
    reconciling.reconcile(carrier=carrier)
    assert carrier.calls[attempt.sid].status == "canceled"
    assert (reload(call).status, reload(call).due_at) == ("queued", datetime(2026, 11, 21, 13, 0, tzinfo=UTC))


def test_a_call_that_waits_long_at_the_carrier_keeps_its_slot(agent, clock, carrier):
    place()
    [attempt] = dial_due(carrier)
    for _ in range(20):
        clock.shift(15)
        reconciling.reconcile(carrier=carrier)
    assert Lease.objects.get(call=attempt.call).expires_at > datetime.now(UTC)
