"""The pace of dialling, and its pauses."""

from datetime import timedelta

import pytest

from calls.errors import FailureKind
from calls.models import Call, DialAttempt, DialPace, DialPause, Lease
from calls.services import claiming, dialling, pacing, pauses, reconciling
from tests.calls.fake_carrier import refusal
from tests.calls.services.dialler import BERT, CARL, NOON, dial_due, place, report

pytestmark = pytest.mark.django_db


def test_calls_are_started_no_faster_than_the_calls_per_second(agent, clock, carrier, settings):
    settings.CALLS_PER_SECOND = 2.0
    for number in range(5):
        place(f"+1202555011{number}")
    made = []
    for _ in range(3):
        made.append(len(dial_due(carrier)))
        clock.shift(1)
    assert made == [2, 2, 1]


def test_outbound_calls_are_limited_by_the_slots_and_by_their_own_limit(agent, clock, carrier, settings):
    settings.OUTBOUND_MAX_CALLS = 3
    for number in range(6):
        place(f"+1202555011{number}")
    attempts = dial_due(carrier)
    assert len(attempts) == 3
    assert Lease.objects.count() == 3
    report(attempts[0], "busy")
    assert len(dial_due(carrier)) == 1
    settings.OUTBOUND_MAX_CALLS = 9
    assert len(dial_due(carrier)) == 2  # the slots of all live calls are the limit


def test_too_many_requests_pause_dialling_and_do_not_count_as_attempts(agent, clock, carrier):
    place()
    place(BERT)
    carrier.faults = [refusal(FailureKind.LATER, 20429, retry_after=7.0)]
    for attempt_id in claiming.claim_due().attempts:
        dialling.dial(attempt_id, carrier=carrier)
    # A call that was claimed before the pause is held back as well.
    assert len(carrier.requests) == 1
    assert {call.due_at for call in Call.objects.all()} == {NOON + timedelta(seconds=7)}
    assert dial_due(carrier) == []
    clock.shift(8)
    assert len(dial_due(carrier)) == 2
    assert not DialPause.objects.exists()


def test_requests_that_fail_together_count_as_one_failure(agent, clock, carrier):
    for number in range(4):
        place(f"+1202555011{number}")
    attempts = [DialAttempt.objects.get(pk=pk) for pk in claiming.claim_due().attempts]
    for attempt in attempts:
        dialling._note_refusal(attempt, refusal(FailureKind.LATER, 20429), NOON)
    pause = DialPause.objects.get()
    assert pause.failures == 1
    assert pause.until <= NOON + timedelta(seconds=1)


def test_a_success_that_was_requested_before_a_pause_does_not_end_it(agent, clock, carrier):
    place()
    [attempt_id] = claiming.claim_due().attempts
    carrier.on_create = lambda made: pauses.slow_down("stop", NOON, at_least=60.0)
    dialling.dial(attempt_id, carrier=carrier)
    assert DialPause.objects.get().until == NOON + timedelta(seconds=60)


def test_the_carriers_limit_of_live_calls_is_learned_and_slowly_raised_again(agent, clock, carrier):
    for number in range(5):
        place(f"+1202555011{number}")
    carrier.faults = [None, None, refusal(FailureKind.CAPACITY, 10004), refusal(FailureKind.CAPACITY, 10004)]
    ids = claiming.claim_due().attempts
    for attempt_id in ids[:4]:
        dialling.dial(attempt_id, carrier=carrier)
    assert DialPace.objects.get().limit < 5
    assert DialPause.objects.get().until > NOON
    assert dial_due(carrier) == []
    clock.shift(11)
    assert len(DialAttempt.objects.filter(ended_at=None)) == 3
    assert dial_due(carrier) == []  # two are out and one is being dialled, which is the limit
    clock.shift(400)
    assert len(dial_due(carrier)) == 2


def test_a_refused_account_pauses_dialling(agent, clock, carrier, caplog):
    place()
    place(BERT)
    carrier.faults = [refusal(FailureKind.ACCOUNT, 20003)]
    [first, _second] = claiming.claim_due().attempts
    dialling.dial(first, carrier=carrier)
    assert "refuses the account" in caplog.text
    assert claiming.claim_due().attempts == []
    clock.shift(pauses.ACCOUNT_WAIT + 1)
    assert len(dial_due(carrier)) == 1


def test_a_clock_that_steps_back_does_not_stop_dialling(agent, clock, carrier):
    place()
    pauses.slow_down("busy", NOON + timedelta(hours=3), at_least=60.0)
    DialPace.objects.update(limit=3, limit_at=NOON + timedelta(hours=3), next_at=NOON + timedelta(hours=3))
    Lease.objects.create(call=place(CARL), slot=0, expires_at=NOON + timedelta(hours=3))
    Call.objects.filter(to_number=CARL).delete()
    [attempt] = dial_due(carrier)
    DialAttempt.objects.filter(pk=attempt.pk).update(requested_at=None, created_at=NOON + timedelta(hours=3))
    assert reconciling.reconcile(carrier=carrier).to_dial == [attempt.pk]


def test_nothing_is_dialled_while_engines_hold_the_calls_and_all_of_it_afterwards(agent, clock, carrier):
    place()
    place(BERT)
    (claimed,) = claiming.claim_due(wanted=1).attempts
    pauses.hold_dialling(process="web:1", why="no credit is left", seconds=120)
    assert not dialling.dial(claimed, carrier=carrier)  # it was claimed before
    assert dial_due(carrier) == []
    [state] = pacing.get_dialler_state().stopped
    assert (state.pause.cause, state.pause.reason, state.ends_at) == (
        "engines", "no credit is left", NOON + timedelta(seconds=120),
    )  # fmt: skip
    clock.shift(120)
    assert len(dial_due(carrier)) >= 1
