"""Calls that are placed, claimed, dialled once, retried, stopped and found again."""

from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from calls.carrier import Kind
from calls.models import Agent, Call, CallEvent, CallOrder, DialAttempt, DialPace, DoNotCall, Lease
from calls.services import (
    CallsError,
    claim_stream,
    dialling,
    placing,
    receive_call,
    reconciling,
    record_status,
    record_verdict,
    take_orders,
)
from calls.services.placing import InvalidCalls, KeyReused, NewCall, place_call, place_calls
from tests.calls.fake_carrier import FakeCarrier, refusal
from tests.calls.twilio_double import ACCOUNT_SID

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 11, 20, 17, 0, tzinfo=UTC)  # noon in New York, a Friday
ANNA, BERT, CARL = "+12025550101", "+12025550102", "+12025550103"


@pytest.fixture(autouse=True)
def _rules(settings):
    settings.CALLING_HOURS = {"*": "08:00-21:00"}
    settings.DIAL_COUNTRIES = ("US",)
    settings.CALLS_PER_SECOND = 100.0
    settings.MAX_LIVE_CALLS = settings.OUTBOUND_MAX_CALLS = 5
    settings.TWILIO_PHONE_NUMBER = "+15005550006"


@pytest.fixture
def clock():
    with time_machine.travel(NOON, tick=False) as traveller:
        yield traveller


@pytest.fixture
def carrier():
    return FakeCarrier()


@pytest.fixture
def agent(db):
    agent = Agent.objects.get(name="front-desk")
    agent.max_attempts, agent.retry_busy_after, agent.retry_no_answer_after = 3, 600, 7200
    agent.save()
    return agent


def new(to=ANNA, **fields) -> NewCall:
    return NewCall(to=to, agent="front-desk", **fields)


def placed(to=ANNA, **fields) -> Call:
    return place_call(new(to, **fields))[0]


def dial_all(carrier) -> list[DialAttempt]:
    """What a dispatcher and its workers do in one go."""
    ids = dialling.claim_due().attempts
    for attempt_id in ids:
        dialling.dial(attempt_id, carrier=carrier)
    return list(DialAttempt.objects.filter(pk__in=ids).order_by("created_at"))


def reports(attempt, status, sequence="0", **params):
    return record_status(
        sid=attempt.sid, status=status, sequence=sequence, attempt_id=str(attempt.pk), duration="", params=params
    )


def fresh(row):
    return type(row).objects.get(pk=row.pk)


def answered(attempt):
    return receive_call(
        sid=attempt.sid,
        from_number=attempt.from_number,
        to_number=attempt.to_number,
        account_sid=ACCOUNT_SID,
        params={"Direction": "outbound-api"},
        attempt_id=str(attempt.pk),
    )


# --- Accepting ---------------------------------------------------------------------------------------------


def test_a_call_is_dialled_once_with_the_id_of_its_attempt_in_every_address(agent, clock, carrier):
    call = placed()
    [attempt] = dial_all(carrier)
    assert dial_all(carrier) == []
    [request] = carrier.requests
    assert request["to_number"] == ANNA
    assert request["from_number"] == "+15005550006"
    assert all(str(attempt.pk) in request[url] for url in ("voice_url", "status_url", "amd_url"))
    assert request["ring_timeout"] == 25
    call = fresh(call)
    assert (call.sid, call.status, call.due_at, call.attempts_made) == (attempt.sid, "queued", None, 1)


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"to": "12"}, "invalid-number", "to"),
        ({"to": "+1911"}, "emergency-number", "to"),
        ({"to": "+19005551234"}, "premium-number", "to"),
        ({"to": "+493012345678"}, "country-not-allowed", "to"),
        ({"agent": "nobody"}, "unknown-agent", "agent"),
        ({"machine_detection": "perhaps"}, "invalid", "machine_detection"),
        ({"machine_detection": "message"}, "no-voicemail-message", "machine_detection"),
        ({"max_duration": 5}, "invalid", "max_duration"),
        ({"timezone": "Mars/Olympus"}, "unknown-timezone", "timezone"),
        ({"from_number": "me"}, "invalid-number", "from"),
        ({"scheduled_for": NOON + timedelta(days=400)}, "invalid", "scheduled_for"),
        ({"scheduled_for": NOON - timedelta(days=365)}, "in-the-past", "scheduled_for"),
    ],
)
def test_what_is_wrong_with_a_request_is_told_by_name_and_nothing_is_written(agent, clock, fields, code, field):
    with pytest.raises(CallsError) as error:
        place_call(NewCall(**{"to": ANNA, "agent": "front-desk", **fields}))
    assert (error.value.code, error.value.field) == (code, field)
    assert not Call.objects.exists()


def test_variables_that_the_agent_needs_must_be_given(agent, clock):
    Agent.objects.update(greeting="Hello {{ name }}, about {{ topic }}.")
    with pytest.raises(CallsError, match="topic"):
        placed(variables={"name": "Anna"})
    assert placed(variables={"name": "Anna", "topic": "your order"}).pk


def test_the_agent_speaks_with_the_variables_of_the_call(agent, clock, carrier):
    Agent.objects.update(greeting="Hello {{ name }}.", disclosure="We record.", prompt="You call {{name}}.")
    placed(variables={"name": "Anna"}, max_duration=77, record=False)
    [attempt] = dial_all(carrier)
    claim = claim_stream(token=answered(attempt).token, process="web-1")
    assert (claim.agent.greeting, claim.agent.prompt) == ("Hello Anna.", "You call Anna.")
    assert (claim.agent.max_duration, claim.agent.record, claim.direction) == (77.0, False, "outbound")
    assert claim.agent.lasting == ("We record.",)  # what names nobody may be kept as sound


def test_the_same_idempotency_key_is_the_same_call(agent, clock):
    first, is_new = place_call(new(), idempotency_key="k")
    again, is_new_again = place_call(new(), idempotency_key="k")
    assert (is_new, is_new_again) == (True, False)
    assert again == first
    with pytest.raises(KeyReused):
        place_call(new(BERT), idempotency_key="k")
    assert Call.objects.count() == 1


def test_a_batch_is_placed_as_a_whole_or_not_at_all(agent, clock):
    with pytest.raises(InvalidCalls) as error:
        place_calls([new(), new("+1911"), new(BERT), NewCall(to=CARL, agent="nobody")])
    assert {place: wrong.code for place, wrong in error.value.errors.items()} == {
        1: "emergency-number",
        3: "unknown-agent",
    }
    assert not Call.objects.exists()
    calls, is_new = place_calls([new(), new(BERT)], idempotency_key="list")
    assert is_new
    assert place_calls([new(), new(BERT)], idempotency_key="list") == (calls, False)
    with pytest.raises(KeyReused):
        place_calls([new(), new(CARL)], idempotency_key="list")
    with pytest.raises(KeyReused):
        place_calls([new(), new(BERT), new(CARL)], idempotency_key="list")


def test_a_number_on_the_do_not_call_list_is_refused_when_placed_and_when_dialled(agent, clock, carrier):
    DoNotCall.objects.create(number=BERT)
    with pytest.raises(CallsError, match="do-not-call"):
        placed(BERT)
    waiting, claimed = placed(ANNA), placed(CARL)
    DoNotCall.objects.create(number=ANNA)
    [attempt_id] = dialling.claim_due().attempts
    DoNotCall.objects.create(number=CARL)
    assert not dialling.dial(attempt_id, carrier=carrier)
    assert carrier.requests == []
    for call in (waiting, claimed):
        assert (fresh(call).status, fresh(call).end_reason) == ("canceled", "do-not-call")


# --- When --------------------------------------------------------------------------------------------------


def test_a_scheduled_call_waits_for_its_time(agent, clock, carrier):
    call = placed(scheduled_for=NOON + timedelta(hours=2))
    assert dial_all(carrier) == []
    clock.shift(timedelta(hours=2))
    [attempt] = dial_all(carrier)
    assert attempt.call == call


def test_outside_calling_hours_a_call_waits_until_every_zone_of_the_number_allows_it(agent, clock, carrier):
    clock.move_to(datetime(2026, 11, 20, 4, 0, tzinfo=UTC))  # 23:00 in Washington
    call = placed()
    assert dial_all(carrier) == []
    opens = datetime(2026, 11, 20, 13, 0, tzinfo=UTC)  # 08:00
    assert fresh(call).due_at == opens
    assert CallEvent.objects.get(call=call).data == {"why": "calling-hours", "until": opens.isoformat()}
    clock.move_to(opens)
    assert len(dial_all(carrier)) == 1


def test_the_time_zone_of_the_person_counts_more_than_that_of_the_number(agent, clock, carrier):
    call = placed(timezone="Asia/Tokyo")
    assert dial_all(carrier) == []
    assert fresh(call).due_at == datetime(2026, 11, 20, 23, 0, tzinfo=UTC)


def test_hours_that_end_between_claim_and_dialling_hold(agent, clock, carrier):
    clock.move_to(datetime(2026, 11, 21, 1, 59, 58, tzinfo=UTC))  # two seconds to nine in the evening
    call = placed()
    [attempt_id] = dialling.claim_due().attempts
    clock.shift(5)
    assert not dialling.dial(attempt_id, carrier=carrier)
    assert carrier.requests == []
    call = fresh(call)
    assert (call.status, call.due_at) == ("queued", datetime(2026, 11, 21, 13, 0, tzinfo=UTC))


def test_a_country_where_nobody_may_ever_be_called_ends_the_call(agent, clock, carrier, settings):
    settings.CALLING_HOURS = {"*": "08:00-21:00", "US": ""}
    call = placed()
    assert dial_all(carrier) == []
    assert (fresh(call).status, fresh(call).end_reason) == ("failed", "no-calling-hours")


def test_a_number_is_tried_only_so_often_in_a_day_whoever_asks(agent, clock, carrier, settings):
    settings.ATTEMPTS_PER_NUMBER_AND_DAY = 2
    for _ in range(3):
        placed()
    for _ in range(3):
        for attempt in dial_all(carrier):
            reports(attempt, "completed")
        clock.shift(60)
    assert len(carrier.requests) == 2
    waiting = Call.objects.get(attempts_made=0)
    assert waiting.due_at == NOON + timedelta(days=1)
    clock.move_to(waiting.due_at)
    assert len(dial_all(carrier)) == 1


def test_one_live_call_per_number(agent, clock, carrier):
    placed()
    placed()
    [attempt] = dial_all(carrier)
    clock.shift(20)
    assert dial_all(carrier) == []
    reports(attempt, "completed")
    clock.shift(20)
    assert len(dial_all(carrier)) == 1


def test_somebody_who_is_calling_us_is_not_called(agent, clock, carrier):
    receive_call(sid="CA1", from_number=ANNA, to_number="+15005550006", account_sid=ACCOUNT_SID, params={})
    call = placed()
    assert dial_all(carrier) == []
    assert fresh(call).due_at == NOON + timedelta(seconds=dialling.NUMBER_BUSY)


def test_no_faster_than_the_carrier_dials(agent, clock, carrier, settings):
    settings.CALLS_PER_SECOND = 2.0
    for number in range(5):
        placed(f"+1202555011{number}")
    made = []
    for _ in range(3):
        made.append(len(dial_all(carrier)))
        clock.shift(1)
    assert made == [2, 2, 1]


def test_no_more_at_once_than_there_are_slots_and_some_are_left_to_those_who_call(agent, clock, carrier, settings):
    settings.OUTBOUND_MAX_CALLS = 3
    for number in range(6):
        placed(f"+1202555011{number}")
    attempts = dial_all(carrier)
    assert len(attempts) == 3
    assert Lease.objects.count() == 3
    reports(attempts[0], "busy")
    assert len(dial_all(carrier)) == 1
    settings.OUTBOUND_MAX_CALLS = 9
    assert len(dial_all(carrier)) == 2  # the slots of all calls are the limit


# --- What becomes of it ------------------------------------------------------------------------------------


def test_a_call_follows_its_attempt_to_the_end(agent, clock, carrier):
    call = placed()
    [attempt] = dial_all(carrier)
    for number, status in enumerate(["initiated", "ringing"]):
        reports(attempt, status, str(number))
        assert fresh(call).status == status
    assert answered(attempt).verdict == "connect"
    assert fresh(call).status == "in-progress"
    clock.shift(30)
    reports(attempt, "completed", "3")
    call, attempt = fresh(call), fresh(attempt)
    assert (call.status, call.duration, attempt.status) == ("completed", 30.0, "completed")
    assert not Lease.objects.exists()


def test_busy_and_no_answer_are_tried_again_by_policy_and_then_the_call_ends(agent, clock, carrier):
    call = placed()
    for number, (status, wait) in enumerate([("busy", 600), ("no-answer", 7200)], start=1):
        [attempt] = dial_all(carrier)
        reports(attempt, status, SipResponseCode="486")
        call = fresh(call)
        assert (call.status, call.attempts_made, call.sid) == ("queued", number, None)
        assert wait <= (call.due_at - datetime.now(UTC)).total_seconds() <= 1.1 * wait
        clock.move_to(call.due_at)
    [attempt] = dial_all(carrier)
    reports(attempt, "busy")
    call = fresh(call)
    assert (call.status, call.end_reason, call.due_at) == ("busy", "busy", None)
    assert [one.status for one in call.attempts.all()] == ["busy", "no-answer", "busy"]


def test_a_number_that_does_not_exist_is_not_tried_again(agent, clock, carrier):
    call = placed()
    [attempt] = dial_all(carrier)
    reports(attempt, "failed", SipResponseCode="404")
    assert (fresh(call).status, fresh(call).end_reason) == ("failed", "failed")


def test_what_is_heard_of_an_earlier_attempt_comes_too_late(agent, clock, carrier):
    call = placed()
    [first] = dial_all(carrier)
    reports(first, "busy")
    clock.move_to(fresh(call).due_at)
    [second] = dial_all(carrier)
    reports(first, "completed", "9")
    reports(first, "ringing", "8")
    assert fresh(call).status == "queued"
    assert fresh(first).status == "busy"
    assert answered(first).verdict == "over"
    assert answered(second).verdict == "connect"


@pytest.mark.parametrize("order", [("ringing", "in-progress", "completed"), ("completed", "ringing", "in-progress")])
def test_callbacks_in_any_order_and_twice_lead_to_the_same_end(agent, clock, carrier, order):
    call = placed()
    [attempt] = dial_all(carrier)
    for status in (*order, *order):
        reports(attempt, status, {"ringing": "1", "in-progress": "2", "completed": "3"}[status])
    assert fresh(call).status == "completed"
    assert CallEvent.objects.filter(call=call, kind__startswith="status-").count() == 3


def test_callbacks_before_the_carrier_has_answered_the_request_find_their_attempt(agent, clock, carrier):
    call = placed()
    [attempt_id] = dialling.claim_due().attempts

    def at_once(made):
        attempt = DialAttempt.objects.get(pk=attempt_id)
        attempt.sid = made.sid
        reports(attempt, "ringing")
        assert answered(attempt).verdict == "connect"

    carrier.on_create = at_once
    dialling.dial(attempt_id, carrier=carrier)
    call = fresh(call)
    assert (call.status, call.sid) == ("in-progress", next(iter(carrier.calls)))


def test_a_callback_for_another_call_with_our_attempt_changes_nothing(agent, clock, carrier):
    call = placed()
    [attempt] = dial_all(carrier)
    assert record_status(sid="CAother", status="completed", attempt_id=str(attempt.pk)) is None
    assert fresh(call).status == "queued"
    assert record_status(sid="CAother", status="completed", attempt_id="garbage") is None


# --- When the carrier refuses, or does not answer ----------------------------------------------------------


def test_an_unknown_outcome_is_never_asked_for_again_but_found(agent, clock, carrier):
    call = placed()
    carrier.faults = [refusal(Kind.UNKNOWN)]
    [attempt] = dial_all(carrier)
    assert (fresh(call).status, attempt.sid) == ("queued", None)
    carrier.now_is(next(iter(carrier.calls)), status="in-progress")
    reconciling.reconcile(carrier=carrier)
    assert fresh(attempt).sid is None  # a request lasts longer than that
    clock.shift(reconciling.UNANSWERED_REQUEST)
    assert dial_all(carrier) == []
    assert reconciling.reconcile(carrier=carrier).settled == 1
    assert (fresh(call).status, fresh(attempt).sid) == ("in-progress", next(iter(carrier.calls)))
    assert len(carrier.requests) == 1


def test_a_request_that_never_arrived_is_made_again_only_when_that_is_certain(agent, clock, carrier):
    call = placed()
    carrier.faults = [refusal(Kind.UNKNOWN)]
    dial_all(carrier)
    carrier.calls.clear()
    for _ in range(5):
        clock.shift(60)
        reconciling.reconcile(carrier=carrier)
        assert dial_all(carrier) == []
    clock.shift(1)
    assert reconciling.reconcile(carrier=carrier).lost == 1
    [attempt] = dial_all(carrier)
    assert (attempt.number, fresh(call).attempts_made) == (2, 2)
    # Nobody's telephone rang: the attempt counts for nothing.
    for status in ("busy", "busy", "busy"):
        reports(attempt, status)
        if fresh(call).due_at:
            clock.move_to(fresh(call).due_at)
            [attempt] = dial_all(carrier)
    assert fresh(call).attempts_made == 4


def test_a_call_of_another_time_between_the_same_numbers_is_not_taken_for_ours(agent, clock, carrier):
    carrier.add(ANNA, "+15005550006", created_at=NOON - timedelta(minutes=5), status="completed")
    placed()
    carrier.faults = [refusal(Kind.UNKNOWN)]
    [attempt] = dial_all(carrier)
    sids = list(carrier.calls)
    clock.shift(reconciling.UNANSWERED_REQUEST)
    reconciling.reconcile(carrier=carrier)
    assert fresh(attempt).sid == sids[1]


def test_too_many_requests_put_dialling_off_and_count_for_nothing(agent, clock, carrier):
    placed()
    placed(BERT)
    carrier.faults = [refusal(Kind.LATER, 20429, retry_after=7.0)]
    for attempt_id in dialling.claim_due().attempts:
        dialling.dial(attempt_id, carrier=carrier)
    # What was claimed before the pause is held back as well.
    assert len(carrier.requests) == 1
    assert {call.due_at for call in Call.objects.all()} == {NOON + timedelta(seconds=7)}
    assert dial_all(carrier) == []
    clock.shift(8)
    assert len(dial_all(carrier)) == 2
    assert DialPace.objects.get().failures == 0


def test_requests_that_fail_together_are_one_failure(agent, clock, carrier):
    for number in range(4):
        placed(f"+1202555011{number}")
    attempts = [DialAttempt.objects.get(pk=pk) for pk in dialling.claim_due().attempts]
    for attempt in attempts:
        dialling._refused(attempt, refusal(Kind.LATER, 20429))
    pace = DialPace.objects.get()
    assert pace.failures == 1
    assert pace.paused_until <= NOON + timedelta(seconds=1)


def test_a_success_that_was_under_way_does_not_end_a_pause(agent, clock, carrier):
    placed()
    [attempt_id] = dialling.claim_due().attempts
    carrier.on_create = lambda made: dialling._pause("stop", NOON, at_least=60.0)
    dialling.dial(attempt_id, carrier=carrier)
    assert DialPace.objects.get().paused_until == NOON + timedelta(seconds=60)


def test_the_carriers_limit_of_calls_at_once_is_learned_and_slowly_tried_again(agent, clock, carrier):
    for number in range(5):
        placed(f"+1202555011{number}")
    carrier.faults = [None, None, refusal(Kind.CAPACITY, 10004), refusal(Kind.CAPACITY, 10004)]
    ids = dialling.claim_due().attempts
    for attempt_id in ids[:4]:
        dialling.dial(attempt_id, carrier=carrier)
    pace = DialPace.objects.get()
    assert pace.limit < 5
    assert pace.paused_until > NOON
    assert dial_all(carrier) == []
    clock.shift(11)
    assert len(DialAttempt.objects.filter(ended_at=None)) == 3
    assert dial_all(carrier) == []  # two are out, one is being dialled: that is what it stands
    clock.shift(400)
    assert len(dial_all(carrier)) == 2


def test_a_refused_account_stops_dialling_and_is_tried_again_later(agent, clock, carrier, caplog):
    placed()
    placed(BERT)
    carrier.faults = [refusal(Kind.ACCOUNT, 20003)]
    [first, _second] = dialling.claim_due().attempts
    dialling.dial(first, carrier=carrier)
    assert "refuses the account" in caplog.text
    assert dialling.claim_due().attempts == []
    clock.shift(dialling.ACCOUNT_PAUSE + 1)
    assert len(dial_all(carrier)) == 1


@pytest.mark.parametrize(
    ("kind", "code", "reason"), [(Kind.NUMBER, 21211, "number-refused"), (Kind.SETTINGS, 21210, "settings-refused")]
)
def test_what_the_carrier_will_never_do_ends_the_call_with_the_reason(agent, clock, carrier, kind, code, reason):
    call = placed()
    carrier.faults = [refusal(kind, code)]
    [attempt] = dial_all(carrier)
    assert (fresh(call).status, fresh(call).end_reason) == ("failed", reason)
    assert (attempt.error_code, attempt.status) == (str(code), "failed")
    assert not Lease.objects.exists()


# --- When a process dies -----------------------------------------------------------------------------------


def test_an_attempt_that_was_claimed_by_a_process_that_died_is_dialled_by_another(agent, clock, carrier):
    placed()
    [attempt_id] = dialling.claim_due().attempts
    assert reconciling.reconcile(carrier=carrier).to_dial == []
    clock.shift(reconciling.FORGOTTEN + 1)
    assert reconciling.reconcile(carrier=carrier).to_dial == [attempt_id]
    assert dialling.dial(attempt_id, carrier=carrier)
    assert not dialling.dial(attempt_id, carrier=carrier)
    assert len(carrier.requests) == 1


def test_a_call_of_which_nothing_is_heard_any_more_is_asked_after_and_closed(agent, clock, carrier):
    call = placed()
    [attempt] = dial_all(carrier)
    answered(attempt)
    carrier.now_is(attempt.sid, status="completed", ended_at=NOON + timedelta(seconds=42), duration=42.0)
    clock.shift(30)
    reconciling.reconcile(carrier=carrier)
    assert fresh(call).status == "in-progress"
    clock.shift(180)
    reconciling.reconcile(carrier=carrier)
    assert (fresh(call).status, fresh(call).duration) == ("completed", 42.0)


def test_a_carrier_that_cannot_be_asked_changes_nothing(agent, clock, carrier):
    call = placed()
    dial_all(carrier)
    clock.shift(600)
    carrier.faults = [refusal(Kind.UNKNOWN)]
    reconciling.reconcile(carrier=carrier)
    assert fresh(call).status == "queued"


# --- Stopping ----------------------------------------------------------------------------------------------


def test_a_waiting_call_is_canceled_at_once(agent, clock, carrier):
    call = placed(scheduled_for=NOON + timedelta(days=1))
    assert placing.cancel_call(call_id=call.pk, carrier=carrier).status == "canceled"
    assert placing.cancel_call(call_id=call.pk, carrier=carrier).status == "canceled"
    clock.shift(timedelta(days=2))
    assert dial_all(carrier) == []


def test_a_claimed_call_is_canceled_before_its_request(agent, clock, carrier):
    call = placed()
    [attempt_id] = dialling.claim_due().attempts
    assert placing.cancel_call(call_id=call.pk, carrier=carrier).status == "canceled"
    assert not dialling.dial(attempt_id, carrier=carrier)
    assert carrier.requests == []


def test_a_ringing_call_is_canceled_at_the_carrier_which_may_say_nothing_of_it(agent, clock, carrier):
    call = placed()
    [attempt] = dial_all(carrier)
    assert placing.cancel_call(call_id=call.pk, carrier=carrier).status == "canceled"
    assert carrier.calls[attempt.sid].status == "canceled"
    assert not Lease.objects.exists()


def test_a_call_that_is_canceled_while_it_is_dialled_ends_as_soon_as_it_has_a_name(agent, clock, carrier):
    call = placed()
    [attempt_id] = dialling.claim_due().attempts
    carrier.on_create = lambda made: placing.cancel_call(call_id=call.pk, carrier=carrier)
    dialling.dial(attempt_id, carrier=carrier)
    assert fresh(call).status == "canceled"
    assert [one.status for one in carrier.calls.values()] == ["canceled"]


def test_a_canceled_call_that_is_answered_all_the_same_is_hung_up(agent, clock, carrier):
    call = placed()
    [attempt] = dial_all(carrier)
    Call.objects.filter(pk=call.pk).update(canceled_at=NOON)
    assert answered(attempt).verdict == "over"


def test_an_answered_call_cannot_be_canceled_but_hung_up_politely(agent, clock, carrier):
    call = placed()
    [attempt] = dial_all(carrier)
    claim_stream(token=answered(attempt).token, process="web-1")
    with pytest.raises(CallsError, match="hang up"):
        placing.cancel_call(call_id=call.pk, carrier=carrier)
    placing.hang_up(call_id=call.pk, carrier=carrier)
    assert [(one.kind, one.data) for one in take_orders(process="web-1")] == [("hang-up", {"reason": "operator"})]
    assert take_orders(process="web-1") == []
    assert fresh(call).status == "in-progress"


def test_a_hang_up_that_no_process_takes_is_done_at_the_carrier(agent, clock, carrier):
    call = placed()
    [attempt] = dial_all(carrier)
    claim_stream(token=answered(attempt).token, process="web-1")
    carrier.now_is(attempt.sid, status="in-progress")
    placing.hang_up(call_id=call.pk, carrier=carrier)
    clock.shift(reconciling.ORDER_IGNORED + 1)
    reconciling.reconcile(carrier=carrier)
    assert carrier.calls[attempt.sid].status == "completed"


def test_an_answered_call_without_a_stream_is_hung_up_at_the_carrier(agent, clock, carrier):
    call = placed()
    [attempt] = dial_all(carrier)
    answered(attempt)
    carrier.now_is(attempt.sid, status="in-progress")
    placing.hang_up(call_id=call.pk, carrier=carrier)
    assert carrier.calls[attempt.sid].status == "completed"


# --- Answering machines ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "answered_by", "orders"),
    [
        ("hang-up", "machine_start", [("voicemail", {"message": ""})]),
        ("hang-up", "human", []),
        ("hang-up", "unknown", []),
        ("message", "machine_end_beep", [("voicemail", {"message": "Please call back, Anna."})]),
        ("talk", "machine_start", []),
        ("talk", "fax", [("voicemail", {"message": ""})]),
    ],
)
def test_what_answered_decides_by_the_agents_policy(agent, clock, carrier, wanted, answered_by, orders):
    Agent.objects.update(machine_detection=wanted, voicemail_message="Please call back, {{ name }}.")
    call = placed(variables={"name": "Anna"})
    [attempt] = dial_all(carrier)
    assert carrier.requests[0]["machine_detection"] == ("DetectMessageEnd" if wanted == "message" else "Enable")
    claim_stream(token=answered(attempt).token, process="web-1")
    assert record_verdict(sid=attempt.sid, answered_by=answered_by, attempt_id=str(attempt.pk))
    assert not record_verdict(sid=attempt.sid, answered_by=answered_by, attempt_id=str(attempt.pk))
    assert [(one.kind, one.data) for one in take_orders(process="web-1")] == orders
    assert fresh(call).answered_by == answered_by


def test_a_verdict_before_the_stream_is_open_waits_for_it_and_one_after_the_end_is_only_noted(agent, clock, carrier):
    Agent.objects.update(machine_detection="hang-up")
    call = placed()
    [attempt] = dial_all(carrier)
    record_verdict(sid=attempt.sid, answered_by="machine_start", attempt_id=str(attempt.pk))
    assert take_orders(process="web-1") == []
    claim_stream(token=answered(attempt).token, process="web-1")
    assert len(take_orders(process="web-1")) == 1
    other = placed(BERT)
    [attempt] = dial_all(carrier)
    reports(attempt, "completed")
    record_verdict(sid=attempt.sid, answered_by="machine_start", attempt_id=str(attempt.pk))
    assert fresh(other).answered_by == "machine_start"
    assert not CallOrder.objects.filter(call=other).exists()
    assert fresh(call).status == "in-progress"


# --- What two processes do at once, and what one leaves behind ---------------------------------------------


def test_a_call_that_was_given_up_and_arrives_after_all_is_talked_to_and_not_dialled_again(agent, clock, carrier):
    call = placed()
    carrier.faults = [refusal(Kind.UNKNOWN)]
    [attempt] = dial_all(carrier)
    [made] = carrier.calls.values()
    carrier.calls.clear()
    clock.shift(reconciling.NEVER_ARRIVED + 1)
    assert reconciling.reconcile(carrier=carrier).lost == 1
    attempt.sid = made.sid
    assert answered(attempt).verdict == "connect"
    assert (fresh(call).status, fresh(call).due_at, fresh(attempt).status) == ("in-progress", None, "in-progress")
    assert dial_all(carrier) == []


def test_once_the_next_attempt_has_begun_the_one_that_was_given_up_is_hung_up(agent, clock, carrier):
    placed()
    carrier.faults = [refusal(Kind.UNKNOWN)]
    [attempt] = dial_all(carrier)
    [made] = carrier.calls.values()
    carrier.calls.clear()
    clock.shift(reconciling.NEVER_ARRIVED + 1)
    reconciling.reconcile(carrier=carrier)
    [second] = dial_all(carrier)
    attempt.sid = made.sid
    assert answered(attempt).verdict == "over"
    assert answered(second).verdict == "connect"


@pytest.mark.parametrize("status", ["ringing", "in-progress"])
def test_a_callback_that_comes_while_the_carrier_is_asked_counts_more_than_its_silence(agent, clock, carrier, status):
    call = placed()
    carrier.faults = [refusal(Kind.UNKNOWN)]
    [attempt] = dial_all(carrier)
    [made] = carrier.calls.values()
    clock.shift(reconciling.NEVER_ARRIVED + 1)

    def find_calls(**_):
        record_status(sid=made.sid, status=status, attempt_id=str(attempt.pk))
        return []

    carrier.find_calls = find_calls
    assert reconciling.reconcile(carrier=carrier).lost == 0
    assert fresh(call).status == status
    assert fresh(attempt).sid == made.sid


def test_one_attempt_that_cannot_be_asked_after_does_not_keep_the_others(agent, clock, carrier):
    placed()
    placed(BERT)
    carrier.faults = [refusal(Kind.UNKNOWN)]
    dial_all(carrier)
    attempt = DialAttempt.objects.exclude(sid=None).get()

    def find_calls(**_):
        raise refusal(Kind.UNKNOWN)

    carrier.find_calls = find_calls
    carrier.now_is(attempt.sid, status="completed")
    clock.shift(200)
    reconciling.reconcile(carrier=carrier)
    assert fresh(attempt.call).status == "completed"


def test_a_call_that_is_already_in_the_books_is_not_taken_for_a_lost_one(agent, clock, carrier):
    placed()
    carrier.faults = [refusal(Kind.UNKNOWN)]
    [attempt] = dial_all(carrier)
    [made] = carrier.calls.values()
    by_hand = carrier.add(ANNA, "+15005550006")
    Call.objects.create(sid=by_hand.sid, direction="outbound", to_number=ANNA, agent=agent)
    clock.shift(reconciling.UNANSWERED_REQUEST)
    reconciling.reconcile(carrier=carrier)
    assert fresh(attempt).sid == made.sid


def test_whatever_the_carrier_calls_the_end_of_a_conversation_it_is_over(agent, clock, carrier):
    call = placed()
    [attempt] = dial_all(carrier)
    answered(attempt)
    carrier.now_is(attempt.sid, status="no-answer")
    clock.shift(200)
    reconciling.reconcile(carrier=carrier)
    assert fresh(call).status == "completed"


def test_a_hang_up_that_the_carrier_fails_to_do_is_tried_again(agent, clock, carrier):
    call = placed()
    [attempt] = dial_all(carrier)
    claim_stream(token=answered(attempt).token, process="web-1")
    carrier.now_is(attempt.sid, status="in-progress")
    placing.hang_up(call_id=call.pk, carrier=carrier)
    clock.shift(reconciling.ORDER_IGNORED + 1)
    carrier.faults = [refusal(Kind.UNKNOWN)]
    reconciling.reconcile(carrier=carrier)
    assert carrier.calls[attempt.sid].status == "in-progress"
    reconciling.reconcile(carrier=carrier)
    assert carrier.calls[attempt.sid].status == "completed"


def test_a_call_that_was_canceled_halfway_does_not_take_a_place(agent, clock, carrier):
    call = placed()
    Call.objects.filter(pk=call.pk).update(canceled_at=NOON)
    assert dial_all(carrier) == []
    assert (fresh(call).status, fresh(call).end_reason) == ("canceled", "canceled")


def test_a_call_that_was_answered_while_it_was_canceled_ends_as_the_carrier_says(agent, clock, carrier):
    call = placed()
    [attempt] = dial_all(carrier)
    carrier.now_is(attempt.sid, status="in-progress")
    placing.cancel_call(call_id=call.pk, carrier=carrier)
    assert fresh(call).status == "completed"


def test_calls_of_an_agent_that_is_switched_off_wait_until_it_is_back(agent, clock, carrier):
    call = placed()
    Agent.objects.update(active=False)
    assert dial_all(carrier) == []
    Agent.objects.update(active=True)
    clock.move_to(fresh(call).due_at)
    assert len(dial_all(carrier)) == 1


def test_a_number_whose_hours_are_unknown_ends_its_own_call_only(agent, clock, carrier):
    broken, fine = placed(timezone="Europe/Berlin"), placed(BERT)
    Call.objects.filter(pk=broken.pk).update(timezone="Europe/Atlantis")
    [attempt] = dial_all(carrier)
    assert attempt.call == fine
    assert (fresh(broken).status, fresh(broken).end_reason) == ("failed", "unknown-hours")


def test_hours_that_are_unknown_only_when_it_is_dialled_end_that_call_too_and_keep_no_other(agent, clock, carrier):
    broken, fine = placed(timezone="America/New_York"), placed(BERT, timezone="America/New_York")
    ids = dialling.claim_due().attempts
    queued = DialAttempt.objects.get(call=fine)
    dialling.dial(queued.pk, carrier=carrier)
    Call.objects.update(timezone="Europe/Atlantis")
    for attempt_id in ids:
        dialling.dial(attempt_id, carrier=carrier)
    assert (fresh(broken).status, fresh(broken).end_reason) == ("failed", "unknown-hours")
    clock.shift(200)
    carrier.now_is(fresh(queued).sid, status="completed")
    reconciling.reconcile(carrier=carrier)
    assert fresh(fine).status == "completed"


def test_a_call_that_the_carrier_still_queues_when_the_hours_end_is_taken_back(agent, clock, carrier):
    clock.move_to(datetime(2026, 11, 21, 1, 59, tzinfo=UTC))  # a minute to nine in the evening
    call = placed()
    [attempt] = dial_all(carrier)
    clock.shift(90)
    reconciling.reconcile(carrier=carrier)
    assert carrier.calls[attempt.sid].status == "canceled"
    assert (fresh(call).status, fresh(call).due_at) == ("queued", datetime(2026, 11, 21, 13, 0, tzinfo=UTC))


def test_a_call_that_waits_long_at_the_carrier_keeps_its_slot(agent, clock, carrier):
    placed()
    [attempt] = dial_all(carrier)
    for _ in range(20):
        clock.shift(15)
        reconciling.reconcile(carrier=carrier)
    assert Lease.objects.get(call=attempt.call).expires_at > datetime.now(UTC)


def test_a_clock_that_steps_back_does_not_stop_dialling(agent, clock, carrier):
    placed()
    dialling._pause("busy", NOON + timedelta(hours=3), at_least=60.0)
    DialPace.objects.update(limit=3, limit_at=NOON + timedelta(hours=3), next_at=NOON + timedelta(hours=3))
    Lease.objects.create(call=placed(CARL), slot=0, expires_at=NOON + timedelta(hours=3))
    Call.objects.filter(to_number=CARL).delete()
    [attempt] = dial_all(carrier)
    DialAttempt.objects.filter(pk=attempt.pk).update(requested_at=None, created_at=NOON + timedelta(hours=3))
    assert reconciling.reconcile(carrier=carrier).to_dial == [attempt.pk]


def test_dispatchers_that_look_at_the_same_time_keep_the_limit_together(agent, clock, carrier, settings, monkeypatch):
    settings.OUTBOUND_MAX_CALLS = 2
    for number in range(6):
        placed(f"+1202555011{number}")
    real = dialling._Known

    def another_goes_first(*arguments):
        monkeypatch.setattr(dialling, "_Known", real)
        known = real(*arguments)
        assert len(dialling.claim_due().attempts) == 2
        return known

    monkeypatch.setattr(dialling, "_Known", another_goes_first)
    assert dialling.claim_due().attempts == []
    assert DialAttempt.objects.count() == 2


def test_what_is_put_off_costs_the_same_number_of_queries_however_much_it_is(
    agent, clock, carrier, django_assert_max_num_queries
):
    clock.move_to(datetime(2026, 11, 20, 4, 0, tzinfo=UTC))
    place_calls([new(f"+1202555{number:04d}") for number in range(100, 200)])
    with django_assert_max_num_queries(12):
        assert dialling.claim_due().put_off == 100
    assert CallEvent.objects.filter(kind="put-off").count() == 100
