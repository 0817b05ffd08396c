"""Pauses of a caller id, of a country and of everything: what they hold, how they are tried, and who ends them."""

import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import cycle, pairwise
from pathlib import Path

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from calls.api.serializers.calls import CallSerializer
from calls.carrier_errors import REFUSALS
from calls.errors import PAUSING, FailureKind
from calls.models import Agent, Call, DialAttempt, DialPause, Lease
from calls.services import claiming, dialling, pauses, reconciling, upkeep
from calls.services.placing import place_call, place_calls
from calls.services.stopping import cancel_call
from tests.calls.fake_carrier import refusal
from tests.calls.services.dialler import ANNA, BERT, CARL, NOON, call_request, dial_due, place, reload, report

pytestmark = pytest.mark.django_db

ROOT = Path(__file__).parents[3]
OURS, OTHER = "+15005550006", "+15005550007"
PARIS, LYON = "+33142685300", "+33472103030"
KINDS = [
    (FailureKind.CALLER_ID, 21210, "caller-id"),
    (FailureKind.COUNTRY, 21215, "country"),
    (FailureKind.SETTINGS, 21205, "everything"),
    (FailureKind.ACCOUNT, 20003, "everything"),
]


@pytest.fixture
def sales(agent) -> Agent:
    """An agent that calls from another number."""
    return Agent.objects.create(name="sales", phone_number=OTHER, disclosure="Hello.")


@pytest.fixture
def abroad(settings):
    settings.DIAL_COUNTRIES = ("US", "FR")
    settings.CALLING_HOURS = {"*": "00:00-24:00"}


@pytest.fixture
def strict(carrier):
    """A carrier that refuses what ``strict`` names: a caller id, the beginning of a number, or everything."""
    refused = {}

    def check(made):
        for words, error in refused.items():
            if made["from_number"] == words or made["to_number"].startswith(words) or words == "all":
                raise error

    create = carrier.create_call

    def create_call(**request):
        try:
            check(request)
        except Exception:
            carrier.requests.append(request)
            raise
        return create(**request)

    carrier.create_call = create_call
    return refused


def numbers(count: int) -> list[str]:
    return [f"+1202555{number:04d}" for number in range(100, 100 + count)]


def statuses() -> set[str]:
    return set(Call.objects.values_list("status", flat=True))


# --- What a refusal pauses ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "code", "scope"), KINDS)
def test_a_list_waits_while_the_carrier_refuses_it_for_a_reason_of_ours(
    agent, clock, carrier, strict, kind, code, scope
):
    """The case of the report: twelve calls from a caller id that the carrier refuses."""
    strict["all"] = refusal(kind, code)
    requested = [call_request(number) for number in numbers(12)]
    first = place_call(requested[0], idempotency_key="order-0")[0]
    place_calls(requested[1:])
    for _ in range(30):
        dial_due(carrier)
        clock.shift(1)
    assert statuses() == {"queued"}
    # Those that were on their way together were refused together, and no other.
    assert len(carrier.requests) <= 5
    pause = DialPause.objects.get()
    assert (pause.scope, pause.code) == (scope, str(code))
    assert place_call(requested[0], idempotency_key="order-0") == (reload(first), False)
    strict.clear()
    clock.shift(600)
    assert len(dial_due(carrier)) == 1  # the trial
    assert not DialPause.objects.exists()
    for _ in range(4):
        dial_due(carrier)
        for attempt in DialAttempt.objects.filter(ended_at=None):
            report(attempt, "completed")
    assert statuses() == {"completed"}


def test_the_reason_is_in_the_log_the_api_and_the_attempt_without_the_number(agent, clock, carrier, caplog, abroad):
    call = place(PARIS)
    clock.shift(1)
    waiting = place(LYON)
    carrier.faults = [refusal(FailureKind.COUNTRY, 21215)]
    carrier.faults[0].args = (f"Twilio refused: not authorized to call {PARIS} or {PARIS[1:]}.",)
    claiming.claim_due(wanted=1)
    dialling.dial(DialAttempt.objects.get().pk, carrier=carrier)
    dial_due(carrier)
    pause = DialPause.objects.get()
    assert (pause.subject, pause.reason) == ("FR", "Twilio refused: not authorized to call this number or this number.")
    assert "Dialling is paused for country FR, and its calls wait, because the carrier does not let us" in caplog.text
    attempt = call.attempts.get()
    assert (attempt.error_code, attempt.status) == ("21215", "failed")
    held_because = f"country FR: {pause.reason}"
    assert CallSerializer(reload(waiting)).data["held_because"] == held_because
    assert pauses.why_waiting(reload(waiting), pauses.read_pauses(NOON)) == held_because
    assert not Lease.objects.exists()


def test_a_refused_caller_id_holds_its_own_calls_and_no_others(agent, sales, clock, carrier, strict):
    strict[OURS] = refusal(FailureKind.CALLER_ID, 21212)
    place(ANNA)
    others = [place_call(call_request(number, agent="sales"))[0] for number in (BERT, CARL)]
    place("+12025550104")
    dial_due(carrier)
    dial_due(carrier)
    assert [reload(call).sid is not None for call in others] == [True, True]
    assert set(Call.objects.filter(held_by__subject=OURS).values_list("to_number", flat=True)) == {
        ANNA, "+12025550104",
    }  # fmt: skip


def test_a_refused_country_holds_its_own_calls_and_no_others(agent, clock, carrier, strict, abroad):
    strict["+33"] = refusal(FailureKind.COUNTRY, 13227)
    french, american = place(PARIS), place(ANNA)
    dial_due(carrier)
    later = place(LYON)
    dial_due(carrier)
    assert reload(american).sid is not None
    assert {reload(call).held_by.subject for call in (french, later)} == {"FR"}
    assert len(carrier.requests) == 2


def test_a_number_that_a_trial_account_has_not_verified_waits_alone(agent, clock, carrier, strict):
    strict[ANNA] = refusal(FailureKind.CALL, 21219)
    anna, bert = place(ANNA), place(BERT)
    dial_due(carrier)
    assert (reload(anna).held_by.scope, reload(anna).held_by.subject) == ("calls", "21219")
    assert reload(bert).sid is not None  # which does not end the pause of the other
    carl = place(CARL)
    dial_due(carrier)
    assert reload(carl).sid is not None
    clock.shift(61)
    strict.clear()
    dial_due(carrier)
    assert reload(anna).sid is not None
    assert not DialPause.objects.exists()


def test_a_refusal_for_an_unknown_reason_loses_no_call_and_stops_no_other(agent, clock, carrier, strict):
    strict[ANNA] = refusal(FailureKind.CALL, 29999)
    anna, bert = place(ANNA), place(BERT)
    dial_due(carrier)
    assert (reload(anna).status, reload(anna).held_by.subject) == ("queued", "29999")
    assert anna.attempts.get().error_code == "refused"
    assert reload(bert).sid is not None


@pytest.mark.parametrize("code", [code for code, known in REFUSALS.items() if known.kind in PAUSING])
def test_a_refused_request_counts_neither_as_an_attempt_nor_against_the_day(agent, clock, carrier, settings, code):
    settings.ATTEMPTS_PER_NUMBER_AND_DAY = 1
    call = place()
    carrier.faults = [refusal(REFUSALS[code].kind, code)]
    dial_due(carrier)
    clock.shift(400)
    [attempt] = dial_due(carrier)
    report(attempt, "busy")
    assert (reload(call).status, reload(call).due_at) > ("queued", NOON + timedelta(seconds=900))


def test_a_code_that_the_carrier_reports_of_a_call_that_it_took_counts_as_an_attempt(agent, clock, carrier):
    agent.max_attempts = 1
    agent.save()
    call = place()
    [attempt] = dial_due(carrier)
    report(attempt, "failed", ErrorCode="13227")
    assert reload(call).status == "failed"
    assert not DialPause.objects.exists()


def test_the_documentation_names_every_code_beside_what_it_pauses():
    page = (ROOT / "docs" / "calling-out.md").read_text(encoding="utf-8").partition("### What pauses dialling")[2]
    paragraphs = [line for line in page.partition("\n## ")[0].splitlines() if line.startswith("|")]
    named = {kind: {code for code, known in REFUSALS.items() if known.kind is kind} for kind in PAUSING}
    listed = [{int(code) for code in re.findall(r"[0-9]{5,6}", line)} for line in paragraphs]
    assert all(codes in listed for codes in named.values())


# --- Trials ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "code", "scope"), KINDS)
def test_one_call_at_a_time_is_risked_and_more_and_more_seldom(agent, clock, carrier, strict, kind, code, scope):
    strict["all"] = refusal(kind, code)
    for number in numbers(5):
        place(number)
    dial_due(carrier)
    first, trials = len(carrier.requests), []
    for minute in range(1, 6 * 60):
        clock.move_to(NOON + timedelta(minutes=minute, seconds=1))
        before = len(carrier.requests)
        dial_due(carrier)
        trials += [minute] * (len(carrier.requests) - before)
    gaps = [after - before for before, after in pairwise(trials)]
    assert first <= 5
    assert sorted(gaps) == gaps
    assert max(gaps) == 60
    assert len(trials) < 14
    assert statuses() == {"queued"}
    assert DialPause.objects.get().failures == len(trials) + 1


def test_the_trials_take_turns_among_the_calls(agent, clock, carrier, strict):
    strict[OURS] = refusal(FailureKind.CALLER_ID, 21210)
    for number in (ANNA, BERT, CARL):
        place(number)
        clock.shift(1)
    claiming.claim_due(wanted=1)
    dialling.dial(DialAttempt.objects.get().pk, carrier=carrier)
    dial_due(carrier)
    for _ in range(4):
        clock.shift(1000)
        dial_due(carrier)
    tried = [request["to_number"] for request in carrier.requests]
    assert tried[:3] == [ANNA, BERT, CARL]
    assert len(tried) >= 4


def test_dispatchers_at_the_same_time_risk_one_call_together(agent, clock, carrier, strict, monkeypatch):
    strict[OURS] = refusal(FailureKind.CALLER_ID, 21210)
    for number in numbers(4):
        place(number)
    dial_due(carrier)
    dial_due(carrier)
    clock.shift(61)
    real = claiming.KnownNumbers
    both = []

    def another_goes_first(*arguments):
        monkeypatch.setattr(claiming, "KnownNumbers", real)
        known = real(*arguments)
        both.extend(claiming.claim_due().attempts)
        return known

    monkeypatch.setattr(claiming, "KnownNumbers", another_goes_first)
    both.extend(claiming.claim_due().attempts)
    assert len(both) == 1
    assert DialPause.objects.get().trial == both[0]
    assert claiming.claim_due().attempts == []


def test_a_trial_of_the_account_is_one_call_though_many_are_due(agent, clock, carrier, strict):
    strict["all"] = refusal(FailureKind.ACCOUNT, 20005)
    for number in numbers(5):
        place(number)
    dial_due(carrier)
    clock.shift(301)
    assert len(claiming.claim_due().attempts) == 1
    assert claiming.claim_due().attempts == []


def test_a_trial_that_dies_is_followed_by_another_and_does_not_send_any_more(agent, clock, carrier, strict):
    strict[OURS] = refusal(FailureKind.CALLER_ID, 21210)
    place(ANNA)
    place(BERT)
    dial_due(carrier)
    dial_due(carrier)
    strict.clear()
    clock.shift(61)
    [dead] = claiming.claim_due().attempts
    clock.shift(30)
    assert reconciling.reconcile(carrier=carrier).to_dial == [dead]
    clock.shift(31)
    [other] = claiming.claim_due().attempts
    assert not dialling.dial(dead, carrier=carrier)
    assert dialling.dial(other, carrier=carrier)
    assert not DialPause.objects.exists()
    assert statuses() == {"queued"}


def test_a_trial_whose_number_is_refused_says_nothing(agent, clock, carrier, strict):
    strict[OURS] = refusal(FailureKind.CALLER_ID, 21210)
    anna, bert = place(ANNA), place(BERT)
    dial_due(carrier)
    dial_due(carrier)
    strict.clear()
    strict[ANNA] = refusal(FailureKind.NUMBER, 21211)
    clock.shift(61)
    dial_due(carrier)
    assert (reload(anna).status, reload(anna).end_reason) == ("failed", "number-refused")
    assert DialPause.objects.get().failures == 1
    clock.shift(6)
    dial_due(carrier)
    assert reload(bert).sid is not None
    assert not DialPause.objects.exists()


def test_a_trial_that_may_no_longer_be_sent_gives_its_place_to_another(agent, clock, carrier, strict):
    strict[OURS] = refusal(FailureKind.CALLER_ID, 21210)
    anna, bert = place(ANNA), place(BERT)
    dial_due(carrier)
    dial_due(carrier)
    strict.clear()
    clock.shift(61)
    [attempt] = claiming.claim_due().attempts
    tried = DialAttempt.objects.get(pk=attempt).call
    Call.objects.filter(pk=tried.pk).update(canceled_at=NOON)
    dialling.dial(attempt, carrier=carrier)
    dial_due(carrier)
    [other] = [call for call in (anna, bert) if call.pk != tried.pk]
    assert reload(other).sid is not None


def test_a_success_that_was_requested_before_a_pause_does_not_end_it(agent, clock, carrier):
    place(ANNA)
    place(BERT)
    first, second = claiming.claim_due().attempts

    def refuse_the_other(_made):
        carrier.on_create = None
        carrier.faults = [refusal(FailureKind.CALLER_ID, 21210)]
        dialling.dial(second, carrier=carrier)

    carrier.on_create = refuse_the_other
    dialling.dial(first, carrier=carrier)
    assert DialPause.objects.get().subject == OURS


def test_a_call_that_alone_is_refused_again_does_not_stop_its_country_again_soon(agent, clock, carrier, strict, abroad):
    """Numbers of a high risk have permissions of their own within a country."""
    strict[PARIS] = refusal(FailureKind.COUNTRY, 21215)
    paris = place(PARIS)
    dial_due(carrier)
    lyon = place(LYON)
    dial_due(carrier)
    clock.shift(61)
    dial_due(carrier)
    assert reload(lyon).sid is not None
    assert not DialPause.objects.exists()
    dial_due(carrier)  # its second time
    assert DialPause.objects.exists()
    assert reload(paris).due_at == NOON + timedelta(seconds=121)
    nice = place("+33493137000")
    dial_due(carrier)
    clock.shift(60)
    dial_due(carrier)
    assert reload(nice).sid is not None


def test_a_trial_waits_for_calling_hours_like_any_call(agent, clock, carrier, strict):
    strict[OURS] = refusal(FailureKind.CALLER_ID, 21210)
    place(ANNA)
    dial_due(carrier)
    strict.clear()
    clock.move_to(NOON + timedelta(hours=12))
    assert dial_due(carrier) == []
    clock.move_to(NOON + timedelta(hours=22))
    assert len(dial_due(carrier)) == 1


def test_a_long_queue_does_not_keep_trials_from_being_dialled(agent, sales, clock, carrier, strict, settings):
    settings.CALLS_PER_SECOND = 1.0
    strict[OURS] = refusal(FailureKind.CALLER_ID, 21210)
    anna = place(ANNA)
    dial_due(carrier)
    strict.clear()
    for number in numbers(20):
        place_call(call_request(number, agent="sales"))
    clock.shift(61)
    dial_due(carrier)
    assert reload(anna).sid is not None


def test_a_call_of_two_pauses_is_tried_only_when_both_may_be(agent, sales, clock, carrier, strict, abroad):
    strict[OURS] = refusal(FailureKind.CALLER_ID, 21210)
    place(PARIS)
    dial_due(carrier)
    clock.shift(30)
    strict["+33"] = refusal(FailureKind.COUNTRY, 21215)
    place_call(call_request(LYON, agent="sales"))
    dial_due(carrier)
    assert set(DialPause.objects.values_list("subject", flat=True)) == {OURS, "FR"}
    strict.clear()
    clock.shift(31)
    assert dial_due(carrier) == []  # the country is not to be tried yet
    clock.shift(30)
    assert len(dial_due(carrier)) >= 1
    dial_due(carrier)
    assert not DialPause.objects.exists()


def test_a_clock_that_steps_back_keeps_nothing_paused(agent, clock, carrier, strict):
    place(ANNA)
    strict[OURS] = refusal(FailureKind.CALLER_ID, 21210)
    dial_due(carrier)
    strict.clear()
    DialPause.objects.update(try_at=NOON + timedelta(hours=5), since=NOON + timedelta(hours=5))
    assert len(dial_due(carrier)) == 1
    assert not DialPause.objects.exists()


# --- Operators ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "code", "scope"), KINDS)
def test_an_operator_resumes_at_once(agent, clock, carrier, strict, kind, code, scope):
    strict["all"] = refusal(kind, code)
    for number in (ANNA, BERT, CARL):
        place(number)
    dial_due(carrier)
    dial_due(carrier)
    strict.clear()
    assert pauses.resume(DialPause.objects.get().pk, by="ada") == 1
    assert len(dial_due(carrier)) == 3
    assert pauses.resume(by="ada") == 0


def test_an_operator_who_resumes_too_early_loses_no_call(agent, clock, carrier, strict):
    strict[OURS] = refusal(FailureKind.CALLER_ID, 21210)
    for number in numbers(3):
        place(number)
    for _ in range(3):
        dial_due(carrier)
        pauses.resume(by="ada")
    assert statuses() == {"queued"}
    strict.clear()
    pauses.resume(by="ada")
    # Also those that were refused more than once, and were to wait longer.
    assert len(dial_due(carrier)) == 3


def test_a_held_call_can_be_canceled(agent, clock, carrier, strict):
    strict[OURS] = refusal(FailureKind.CALLER_ID, 21210)
    call = place(ANNA)
    dial_due(carrier)
    cancel_call(call_id=call.pk, carrier=carrier)
    assert (reload(call).status, reload(call).held_by) == ("canceled", None)


def test_calls_are_not_held_by_a_pause_that_has_ended_meanwhile(agent, clock, carrier):
    call = place(ANNA)
    pause = DialPause.objects.create(scope="caller-id", subject=OURS, cause="caller-id", try_at=NOON)
    stale = DialPause.objects.get()
    pauses.resume(by="ada")
    assert pauses.hold_calls(stale, [call.pk]) == 0
    assert reload(call).held_by_id is None
    assert pause.pk


# --- Pauses that end by themselves -------------------------------------------------------------------------


def test_engines_of_a_process_hold_the_dialler_beside_all_other_causes(agent, clock, carrier, strict):
    strict["all"] = refusal(FailureKind.ACCOUNT, 20003)
    place()
    dial_due(carrier)
    for process in ("web:1", "web:2"):
        pauses.hold_dialling(process=process, why="no credit is left", seconds=120)
    pauses.release_dialling(process="web:1")
    causes = DialPause.objects.values_list("cause", "subject")
    assert set(causes) == {("account", ""), ("engines", "web:2")}
    strict.clear()
    clock.shift(60)
    pauses.hold_dialling(process="web:2", why="no credit is left", seconds=3600)
    clock.shift(300)
    assert dial_due(carrier) == []  # the account might be tried, but not while engines are full
    pauses.release_dialling(process="web:2")
    assert len(dial_due(carrier)) == 1


def test_a_pause_of_engines_lasts_as_long_as_its_process_last_said(agent, clock, carrier):
    place()
    pauses.hold_dialling(process="web:1", why="no credit is left", seconds=120)
    pauses.hold_dialling(process="web:1", why="full", seconds=5)
    assert dial_due(carrier) == []
    clock.shift(5)
    assert len(dial_due(carrier)) == 1


def test_pauses_that_ended_long_ago_are_deleted(agent, clock):
    pauses.slow_down("busy", NOON, at_least=60.0)
    pauses.hold_dialling(process="web:1", why="full", seconds=5)
    DialPause.objects.create(scope="country", subject="FR", cause="country", try_at=NOON)
    clock.shift(2 * 3600)
    upkeep.clean_up()
    assert list(DialPause.objects.values_list("cause", flat=True)) == ["country"]


# --- Many calls --------------------------------------------------------------------------------------------


def test_dispatchers_come_across_the_calls_of_a_paused_caller_id_only_once(
    agent, sales, clock, carrier, strict, django_assert_max_num_queries
):
    strict[OURS] = refusal(FailureKind.CALLER_ID, 21210)
    place(ANNA)
    dial_due(carrier)
    place_calls([call_request(number) for number in numbers(250)])
    other = place_call(call_request(BERT, agent="sales"))[0]
    with django_assert_max_num_queries(40):
        claimed = claiming.claim_due()
    assert (claimed.held, len(claimed.attempts)) == (250, 1)
    assert reload(other).attempts_made == 1
    with CaptureQueriesContext(connection) as asked:
        assert claiming.claim_due().held == 0
    assert len(asked) <= 6
    assert pauses.list_pauses(NOON)[0].held == 251


@pytest.mark.skipif(connection.vendor == "sqlite", reason="the test database of SQLite has one connection")
@pytest.mark.django_db(transaction=True)
def test_dispatchers_at_once_dial_each_call_once_while_pauses_come_and_go(agent, sales, carrier, settings, monkeypatch):
    settings.CALLING_HOURS = {"*": "00:00-24:00"}
    settings.CALLS_PER_SECOND, settings.MAX_LIVE_CALLS, settings.OUTBOUND_MAX_CALLS = 1000.0, 100, 100
    monkeypatch.setattr(pauses, "FIRST_WAIT", 0.0)
    monkeypatch.setattr(pauses, "wait_after", lambda *_, **__: 0.0)
    place_calls([call_request(number, agent=name) for name, number in zip(cycle(["front-desk", "sales"]), numbers(40))])
    kinds = (FailureKind.CALLER_ID, FailureKind.COUNTRY, FailureKind.CALL)
    carrier.faults = [refusal(kinds[n % 3]) if n % 4 == 0 else None for n in range(60)]

    def dispatch() -> None:
        try:
            for _ in range(500):
                for attempt_id in claiming.claim_due(wanted=3).attempts:
                    dialling.dial(attempt_id, carrier=carrier)
                if not Call.objects.filter(sid=None).exists():
                    return
                pauses.resume(by="ada")  # as operators do, here at any moment
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(dispatch) for _ in range(4)]:
            done.result()
    dialled = Counter(call.to_number for call in carrier.calls.values())
    assert (len(dialled), set(dialled.values())) == (40, {1})
    assert not Call.objects.filter(held_by__isnull=False).exists()
