"""The writes: one stream per token and call, a limit that holds."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest
from django.contrib.auth import authenticate
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from calls import services
from calls.models import Agent, Call, Lease, StreamToken
from calls.services import Verdict
from calls.status import Status
from tests.calls.twilio_double import ACCOUNT_SID, new_sid

AT = "2026-01-01T10:00:00+00:00"


def receive(sid: str | None = None, **params: str) -> services.Admission:
    return services.receive_call(
        sid=sid or new_sid(),
        from_number="+15557654321",
        to_number="+15551234567",
        account_sid=ACCOUNT_SID,
        params=params,
    )


def later(model: type, **fields: float) -> None:
    """Let time pass for these rows: their deadline moves back."""
    model.objects.update(expires_at=timezone.now() + timedelta(**fields))


def at_once(work: Callable[[int], Any], times: int) -> list[Any]:
    """The results of ``work(0..times-1)``, begun together in threads of their own."""
    start = Barrier(times)

    def run(index: int) -> Any:
        start.wait()
        try:
            return work(index)
        finally:
            connection.close()

    with ThreadPoolExecutor(times) as threads:
        return list(threads.map(run, range(times)))


# --- Opening a stream ------------------------------------------------------------------------------------


@pytest.mark.django_db
class TestAStreamToken:
    def test_opens_its_stream_with_all_that_the_session_needs(self):
        Agent.objects.update(prompt="Be brief.", voice="alto", language="de", max_duration=90, record=False)
        admission = receive(sid="CA1")
        claim = services.claim_stream(token=admission.token, process="web-1")
        assert (claim.call_id, claim.sid, claim.stream, claim.next_turn) == (admission.call_id, "CA1", 1, 1)
        assert (claim.history, claim.is_reconnect) == ((), False)
        assert (claim.from_number, claim.to_number) == ("+15557654321", "+15551234567")
        agent = claim.agent
        assert (agent.prompt, agent.voice, agent.language, agent.max_duration, agent.record) == (
            "Be brief.", "alto", "de", 90.0, False,
        )  # fmt: skip
        assert agent.greeting.startswith("Hello, this is the front desk")
        assert agent.greeting_interruptible

    def test_opens_it_once(self):
        token = receive().token
        assert services.claim_stream(token=token, process="web-1") is not None
        assert services.claim_stream(token=token, process="web-1") is None

    def test_is_worthless_when_it_is_late(self):
        token = receive().token
        later(StreamToken, seconds=-1)
        assert services.claim_stream(token=token, process="web-1") is None

    def test_is_worthless_after_the_call(self):
        token = receive(sid="CA1").token
        services.record_status(sid="CA1", status="completed")
        assert services.claim_stream(token=token, process="web-1") is None

    @pytest.mark.parametrize("token", ["", "guess", "\0", "ü" * 50])
    def test_cannot_be_guessed(self, token):
        receive()
        assert services.claim_stream(token=token, process="web-1") is None

    def test_is_not_what_the_database_holds(self):
        token = receive().token
        assert not StreamToken.objects.filter(digest__contains=token).exists()

    def test_fits_the_address_of_the_socket(self):
        assert {len(receive(sid="CA1").token) for _ in range(20)} == {32}

    @pytest.mark.parametrize(
        ("call_sid", "account_sid", "ours"),
        [("CA1", ACCOUNT_SID, True), ("CA2", ACCOUNT_SID, False), ("CA1", "AC" + "b2" * 16, False), ("", "", False)],
    )
    def test_is_bound_to_its_call_and_account(self, call_sid, account_sid, ours):
        call_id = receive(sid="CA1").call_id
        receive(sid="CA2")
        assert ours is services.confirm_stream(
            call_id=call_id, call_sid=call_sid, stream_sid="MZ1", account_sid=account_sid
        )
        assert Call.objects.get(pk=call_id).stream_sid == ("MZ1" if ours else "")


@pytest.mark.django_db(transaction=True)
def test_a_token_claimed_by_many_at_once_opens_one_stream():
    token = receive().token
    claims = at_once(lambda index: services.claim_stream(token=token, process=f"web-{index}"), 6)
    assert len([claim for claim in claims if claim]) == 1


@pytest.mark.django_db(transaction=True)
def test_many_tokens_of_one_call_open_one_stream():
    tokens = [receive(sid="CA1").token for _ in range(6)]
    claims = at_once(lambda index: services.claim_stream(token=tokens[index], process=f"web-{index}"), 6)
    assert len([claim for claim in claims if claim]) == 1
    assert Call.objects.get().streams == 1


# --- Admission -------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_calls_that_arrive_together_do_not_slip_past_the_limit():
    verdicts = [admission.verdict for admission in at_once(lambda _: receive(), 8)]
    assert sorted(verdicts) == [Verdict.BUSY] * 5 + [Verdict.CONNECT] * 3
    assert services.live_calls() == 3


@pytest.mark.django_db(transaction=True)
def test_one_call_that_arrives_many_times_at_once_is_one_call_in_one_slot():
    admissions = at_once(lambda _: receive(sid="CA1"), 6)
    assert {admission.verdict for admission in admissions} == {Verdict.CONNECT}
    assert Call.objects.count() == services.live_calls() == 1


@pytest.mark.django_db
class TestALease:
    def test_is_kept_by_renewing_it(self):
        claim = services.claim_stream(token=receive().token, process="web-1")
        later(Lease, seconds=1)
        assert services.renew_lease(call_id=claim.call_id, stream=1)
        assert Lease.objects.get().expires_at > timezone.now() + timedelta(seconds=services.LEASE - 5)

    def test_is_not_extended_by_a_repeated_request(self):
        services.claim_stream(token=receive(sid="CA1").token, process="web-1")
        before = Lease.objects.get().expires_at
        receive(sid="CA1")
        assert Lease.objects.get().expires_at == before

    def test_that_ran_out_frees_its_slot(self):
        calls = [receive() for _ in range(3)]
        assert receive().verdict is Verdict.BUSY
        later(Lease, seconds=-1)
        assert services.live_calls() == 0
        assert receive().verdict is Verdict.CONNECT
        assert not services.renew_lease(call_id=calls[0].call_id, stream=0)

    def test_can_be_given_back(self):
        claim = services.claim_stream(token=receive().token, process="web-1")
        assert services.release_lease(call_id=claim.call_id, stream=1)
        assert not services.release_lease(call_id=claim.call_id, stream=1)
        assert services.live_calls() == 0

    def test_of_a_stream_that_took_over_is_not_the_old_streams_to_keep_or_give_back(self):
        old = services.claim_stream(token=receive(sid="CA1").token, process="web-1")
        continuation = services.after_stream(sid="CA1", stream=1)
        new = services.claim_stream(token=continuation.token, process="web-1")
        assert not services.renew_lease(call_id=old.call_id, stream=old.stream)
        assert not services.release_lease(call_id=old.call_id, stream=old.stream)
        assert services.renew_lease(call_id=new.call_id, stream=new.stream)


@pytest.mark.django_db
def test_a_caller_turned_away_is_let_in_when_the_request_comes_again_and_a_slot_is_free():
    others = [receive(sid=f"CA{number}") for number in range(3)]
    assert receive(sid="CA9").verdict is Verdict.BUSY
    services.release_lease(call_id=others[0].call_id, stream=0)
    assert receive(sid="CA9").verdict is Verdict.CONNECT
    assert Call.objects.get(sid="CA9").end_reason == ""


@pytest.mark.django_db
def test_an_answered_outbound_call_is_its_dialling_numbers_agents():
    Agent.objects.create(name="survey", phone_number="+15557654321")
    call = Call.objects.get(pk=receive(Direction="outbound-api").call_id)
    assert (call.direction, call.status, call.agent.name) == ("outbound", Status.IN_PROGRESS, "survey")


# --- Housekeeping ----------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_the_books_of_abandoned_calls_are_closed():
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


@pytest.mark.django_db
def test_the_demonstrations_login_works_and_is_made_once():
    first, second = services.ensure_demo_login(), services.ensure_demo_login()
    assert first[0] == second[0] == "demo"
    assert authenticate(username=first[0], password=first[1]) is None
    user = authenticate(username=second[0], password=second[1])
    assert user.is_superuser
    assert user.is_staff


@pytest.mark.django_db
def test_the_operator_command_prints_a_login_that_works(capsys):
    call_command("operator", "alice")
    printed = dict(line.split(": ") for line in capsys.readouterr().out.splitlines())
    assert authenticate(username=printed["user"].strip(), password=printed["password"]).is_superuser
