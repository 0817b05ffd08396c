"""The rules against dialling a call now."""

from datetime import UTC, datetime, timedelta

import pytest

from calls.models import Agent, Call, CallEvent, DialAttempt, DoNotCall
from calls.services import CallsError, claiming, dialling, obstacles, pauses, reconciling
from calls.services.admission import receive_call
from tests.calls.services.dialler import ANNA, BERT, CARL, NOON, dial_due, place, reload, report
from tests.calls.twilio_double import ACCOUNT_SID
from tests.rows import each_row

pytestmark = pytest.mark.django_db


def test_a_number_on_the_do_not_call_list_is_refused_when_placed_claimed_and_dialled(agent, clock, carrier):
    DoNotCall.objects.create(number=BERT)
    with pytest.raises(CallsError, match="do-not-call"):
        place(BERT)
    waiting, claimed = place(ANNA), place(CARL)
    DoNotCall.objects.create(number=ANNA)
    [attempt_id] = claiming.claim_due().attempts
    DoNotCall.objects.create(number=CARL)
    assert not dialling.dial(attempt_id, carrier=carrier)
    assert carrier.requests == []
    for call in (waiting, claimed):
        assert (reload(call).status, reload(call).end_reason) == ("canceled", "do-not-call")


def test_a_scheduled_call_waits_for_its_time(agent, clock, carrier):
    call = place(scheduled_for=NOON + timedelta(hours=2))
    assert dial_due(carrier) == []
    clock.shift(timedelta(hours=2))
    [attempt] = dial_due(carrier)
    assert attempt.call == call


def test_outside_calling_hours_a_call_waits_until_every_zone_of_its_number_allows_it(agent, clock, carrier):
    clock.move_to(datetime(2026, 11, 20, 4, 0, tzinfo=UTC))  # 23:00 in Washington
    call = place()
    assert dial_due(carrier) == []
    opens = datetime(2026, 11, 20, 13, 0, tzinfo=UTC)  # 08:00
    assert reload(call).due_at == opens
    assert CallEvent.objects.get(call=call).data == {"why": "calling-hours", "until": opens.isoformat()}
    clock.move_to(opens)
    assert len(dial_due(carrier)) == 1


@pytest.mark.parametrize("code", ["448", "850", "364", "270", "930", "812", "931"])
def test_a_number_whose_area_code_or_overlay_lies_in_two_zones_waits_for_both(agent, clock, carrier, code):
    clock.move_to(datetime(2027, 1, 14, 13, 5, tzinfo=UTC))  # 08:05 in New York, 07:05 in Chicago
    call = place(f"+1{code}2010123")
    assert dial_due(carrier) == []
    assert reload(call).due_at == datetime(2027, 1, 14, 14, 0, tzinfo=UTC)


def test_the_calls_own_time_zone_replaces_those_of_its_number(agent, clock, carrier):
    call = place(timezone="Asia/Tokyo")
    assert dial_due(carrier) == []
    assert reload(call).due_at == datetime(2026, 11, 20, 23, 0, tzinfo=UTC)


def test_calling_hours_that_end_after_the_claim_are_kept(agent, clock, carrier):
    clock.move_to(datetime(2026, 11, 21, 1, 59, 58, tzinfo=UTC))  # two seconds to nine in the evening
    call = place()
    [attempt_id] = claiming.claim_due().attempts
    clock.shift(5)
    assert not dialling.dial(attempt_id, carrier=carrier)
    assert carrier.requests == []
    call = reload(call)
    assert (call.status, call.due_at) == ("queued", datetime(2026, 11, 21, 13, 0, tzinfo=UTC))


def test_a_call_to_a_country_without_calling_hours_ends(agent, clock, carrier, settings):
    settings.CALLING_HOURS = {"*": "08:00-21:00", "US": ""}
    call = place()
    assert dial_due(carrier) == []
    assert (reload(call).status, reload(call).end_reason) == ("failed", "no-calling-hours")


def test_the_attempts_per_number_and_day_are_limited_over_all_calls(agent, clock, carrier, settings):
    settings.ATTEMPTS_PER_NUMBER_AND_DAY = 2
    for _ in range(3):
        place()
    for _ in range(3):
        for attempt in dial_due(carrier):
            report(attempt, "completed")
        clock.shift(60)
    assert len(carrier.requests) == 2
    waiting = Call.objects.get(attempts_made=0)
    assert waiting.due_at == NOON + timedelta(days=1)
    clock.move_to(waiting.due_at)
    assert len(dial_due(carrier)) == 1


def test_a_number_is_in_one_call_at_a_time(agent, clock, carrier):
    place()
    place()
    [attempt] = dial_due(carrier)
    clock.shift(20)
    assert dial_due(carrier) == []
    report(attempt, "completed")
    clock.shift(20)
    assert len(dial_due(carrier)) == 1


def test_a_number_that_is_calling_us_is_not_dialled(agent, clock, carrier):
    receive_call(sid="CA1", from_number=ANNA, to_number="+15005550006", account_sid=ACCOUNT_SID, params={})
    call = place()
    assert dial_due(carrier) == []
    assert reload(call).due_at == NOON + timedelta(seconds=obstacles.NUMBER_BUSY)


ARGENTINE, ARGENTINE_MOBILE = "+541145678901", "+5491145678901"
"""One telephone: many networks leave out the 9."""


def test_the_attempts_per_day_count_those_to_the_other_form_of_the_number(agent, clock, carrier, settings):
    settings.DIAL_COUNTRIES, settings.ATTEMPTS_PER_NUMBER_AND_DAY = ("*",), 1
    place(ARGENTINE)
    [attempt] = dial_due(carrier)
    report(attempt, "completed")
    clock.shift(60)
    other = place(ARGENTINE_MOBILE)
    assert dial_due(carrier) == []
    assert reload(other).due_at == NOON + timedelta(days=1)


def test_a_person_is_in_one_call_at_a_time_whichever_form_of_the_number_is_dialled(agent, clock, carrier, settings):
    settings.DIAL_COUNTRIES = ("*",)
    place(ARGENTINE)
    place(ARGENTINE_MOBILE)
    [attempt] = dial_due(carrier)
    clock.shift(20)
    assert dial_due(carrier) == []
    report(attempt, "completed")
    clock.shift(20)
    assert len(dial_due(carrier)) == 1


def test_of_two_processes_that_dial_two_forms_of_one_number_one_gives_way(agent, clock, carrier, settings):
    settings.DIAL_COUNTRIES = ("*",)
    first, second = place(ARGENTINE), place(ARGENTINE_MOBILE)
    ids = []
    for call in (first, second):  # each process has looked before the other claimed
        paused = pauses.read_pauses(NOON)
        ids.append(claiming._claim(call, NOON, 5, trial_of=paused.everything))
    assert [dialling.dial(attempt_id, carrier=carrier) for attempt_id in ids] == [True, False]
    assert len(carrier.requests) == 1
    waiting = reload(second)
    assert (waiting.status, waiting.due_at) == ("queued", NOON + timedelta(seconds=obstacles.NUMBER_BUSY))


@each_row(
    ("caller", "dialled"),
    [
        (ARGENTINE, ARGENTINE_MOBILE),
        (f"sip:{ANNA}@trunk.example", ANNA),
        (f"sips:{ANNA};npdi@trunk.example", ANNA),
        (f"whatsapp:{ARGENTINE}", ARGENTINE_MOBILE),
    ],
)
def test_a_number_that_is_calling_us_in_another_form_is_not_dialled(agent, clock, carrier, settings, caller, dialled):
    settings.DIAL_COUNTRIES = ("*",)
    Call.objects.all().delete()
    receive_call(sid="CA1", from_number=caller, to_number="+15005550006", account_sid=ACCOUNT_SID, params={})
    call = place(dialled)
    assert dial_due(carrier) == []
    assert reload(call).due_at == NOON + timedelta(seconds=obstacles.NUMBER_BUSY)


def test_a_caller_without_a_number_keeps_nobody_from_being_dialled(agent, clock, carrier):
    for number, caller in enumerate(("anonymous", "client:anna", "sip:anna@example.com", "12345")):
        receive_call(
            sid=f"CA{number}", from_number=caller, to_number="+15005550006", account_sid=ACCOUNT_SID, params={}
        )
    place()
    assert len(dial_due(carrier)) == 1


def test_a_call_whose_cancellation_was_interrupted_is_not_dialled(agent, clock, carrier):
    call = place()
    Call.objects.filter(pk=call.pk).update(canceled_at=NOON)
    assert dial_due(carrier) == []
    assert (reload(call).status, reload(call).end_reason) == ("canceled", "canceled")


def test_calls_of_an_inactive_agent_wait_until_it_is_active_again(agent, clock, carrier):
    call = place()
    Agent.objects.update(active=False)
    assert dial_due(carrier) == []
    Agent.objects.update(active=True)
    clock.move_to(reload(call).due_at)
    assert len(dial_due(carrier)) == 1


def test_unknown_calling_hours_end_only_the_call_that_has_them(agent, clock, carrier):
    broken, fine = place(timezone="Europe/Berlin"), place(BERT)
    Call.objects.filter(pk=broken.pk).update(timezone="Europe/Atlantis")
    [attempt] = dial_due(carrier)
    assert attempt.call == fine
    assert (reload(broken).status, reload(broken).end_reason) == ("failed", "unknown-hours")


@pytest.mark.parametrize("name", ["localtime", "Factory", "posixrules", "EST5EDT"])
def test_a_time_zone_of_no_place_counts_as_none(agent, clock, carrier, name):
    call, without = place(), place(BERT)
    Call.objects.filter(pk=call.pk).update(timezone=name)
    for now in (NOON, NOON - timedelta(hours=12)):
        assert obstacles.outside_hours(reload(call), now) == obstacles.outside_hours(without, now)
    assert obstacles.outside_hours(reload(call), NOON - timedelta(hours=12)).why == "calling-hours"


@pytest.mark.parametrize(
    ("listed", "dialled"), [("+5491145678901", "+541145678901"), ("+551181234567", "+5511981234567")]
)
def test_a_number_that_was_listed_in_another_form_is_not_dialled(agent, clock, carrier, settings, listed, dialled):
    settings.DIAL_COUNTRIES = ("*",)
    early, late = place(dialled), place(BERT)
    ids = claiming.claim_due().attempts
    Call.objects.filter(pk=late.pk).update(to_number=dialled)
    DoNotCall.objects.create(number=listed)
    known = obstacles.KnownNumbers([early], NOON)
    assert obstacles.find_obstacle(early, known, NOON).why == "do-not-call"
    assert obstacles.find_late_obstacle(DialAttempt.objects.get(call=late, pk__in=ids), NOON).why == "do-not-call"


def test_calling_hours_that_become_unknown_after_the_claim_end_only_the_call_that_has_them(agent, clock, carrier):
    broken, fine = place(timezone="America/New_York"), place(BERT, timezone="America/New_York")
    ids = claiming.claim_due().attempts
    queued = DialAttempt.objects.get(call=fine)
    dialling.dial(queued.pk, carrier=carrier)
    Call.objects.update(timezone="Europe/Atlantis")
    for attempt_id in ids:
        dialling.dial(attempt_id, carrier=carrier)
    assert (reload(broken).status, reload(broken).end_reason) == ("failed", "unknown-hours")
    clock.shift(200)
    carrier.change(reload(queued).sid, status="completed")
    reconciling.reconcile(carrier=carrier)
    assert reload(fine).status == "completed"
