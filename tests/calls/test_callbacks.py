"""Twilio's callbacks over HTTP, among them forged, replayed, late, duplicated and reordered ones."""

import time
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import pytest
import time_machine
from django.db import InterfaceError, OperationalError
from django.http import QueryDict
from django.urls import resolve
from django.utils import timezone
from twilio.request_validator import RequestValidator

from calls import services, twiml
from calls.models import Agent, Call, CallEvent, DialPause, Lease, StreamToken
from calls.services import admission, draining, facts, readiness, reports
from calls.services.slots import live_calls
from tests.calls.twilio_double import BASE_URL, new_sid, token_in, verbs
from tests.calls.twilio_double import twiml as parsed

AT = datetime(2026, 1, 1, 10, tzinfo=UTC)
PATHS = [
    *("/twilio/voice/", "/twilio/status/", "/twilio/stream-status/", "/twilio/after-stream/"),
    *("/twilio/amd/", "/twilio/after-transfer/"),
]


def row_counts() -> tuple[int, ...]:
    """Count the calls, events, tokens and leases."""
    return tuple(model.objects.count() for model in (Call, CallEvent, StreamToken, Lease))


# --- Refusals --------------------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize("path", PATHS)
class TestARequestThatTwilioHasNotSignedIsRefused:
    def test_without_a_signature(self, twilio, path):
        assert twilio.post(path, signature="").status_code == 403
        assert row_counts() == (0, 0, 0, 0)

    def test_with_a_guessed_signature(self, twilio, path):
        assert twilio.post(path, signature="bm90IHRoZSBzaWduYXR1cmU=").status_code == 403

    def test_signed_with_the_token_of_another_account(self, twilio, path):
        twilio.token = "token-of-another-account"
        assert twilio.post(path).status_code == 403

    def test_with_the_valid_signature_of_another_address(self, twilio, path):
        signature = twilio.sign("/twilio/elsewhere/", twilio.form())
        assert twilio.post(path, signature=signature).status_code == 403

    def test_with_a_signature_over_the_host_header(self, twilio, path):
        """The signed address is the configured one, so a client that chooses ``Host`` gains nothing."""
        signature = twilio.sign(path, twilio.form(), base_url="http://testserver")
        assert twilio.post(path, signature=signature).status_code == 403

    def test_with_a_field_that_was_changed_on_the_way(self, twilio, path):
        signature = twilio.sign(path, twilio.form())
        assert twilio.post(path, signature=signature, From="+15550000000").status_code == 403

    def test_about_another_account(self, twilio, path):
        assert twilio.post(path, AccountSid="AC" + "b2" * 16).status_code == 403

    @pytest.mark.parametrize("sid", ["", "CA\0", "CA" + "1" * 63])
    def test_with_an_invalid_call_sid(self, twilio, path, sid):
        assert twilio.post(path, CallSid=sid).status_code == 403

    @pytest.mark.parametrize(
        ("content_type", "body"),
        [
            ("application/json", b'{"CallSid": "CA1"}'),
            ("application/json", b"{"),
            ("text/plain", b"CallSid=CA1"),
            ("multipart/form-data", b"no boundary"),
            ("application/x-www-form-urlencoded; charset=utf-16", b"CallSid=CA1"),
            ("application/x-www-form-urlencoded", b"%ff=%00&\xff\xfe"),
            ("application/x-www-form-urlencoded", b"a=&" * 2000),
            ("application/x-www-form-urlencoded", b"a=" + b"b" * 3_000_000),
            ("", b""),
        ],
        ids=["json", "broken-json", "text", "multipart", "utf-16", "garbage", "many-fields", "huge", "empty"],
    )
    @pytest.mark.parametrize("signature", [{}, {"X-Twilio-Signature": "L/OH5YylLD5NRKLltdqwSvS0BnU="}])
    def test_with_a_body_that_is_not_a_form(self, client, path, content_type, body, signature):
        assert client.post(path, body, content_type=content_type, headers=signature).status_code == 403

    def test_with_another_method_than_post(self, client, path):
        assert client.get(path).status_code == 405


def test_during_a_rotation_the_old_token_still_signs(twilio, settings, db):
    settings.TWILIO_AUTH_TOKENS = ["the-new-token", twilio.token]
    assert verbs(twilio.rings()) == ["Connect", "Say"]


def test_an_unknown_parameter_is_accepted(twilio, db):
    assert verbs(twilio.rings(SomethingNew="ünïcode & =signs")) == ["Connect", "Say"]


def test_a_repeated_field_is_signed_as_twilio_signs_it(client, twilio, db):
    body = urlencode([*twilio.form().items(), ("Tag", "b"), ("Tag", "a")])
    signature = RequestValidator(twilio.token).compute_signature(BASE_URL + "/twilio/voice/", QueryDict(body))
    response = client.post(
        "/twilio/voice/",
        body,
        content_type="application/x-www-form-urlencoded",
        headers={"X-Twilio-Signature": signature},
    )
    assert response.status_code == 200


@pytest.mark.parametrize("path", [*PATHS, "/healthz", "/readyz"])
def test_an_address_with_and_without_the_trailing_slash_is_one_view(path):
    assert resolve(path.rstrip("/")).func is resolve(path.rstrip("/") + "/").func


def test_an_address_without_the_trailing_slash_is_not_redirected(twilio, db):
    assert parsed(twilio.post("/twilio/voice")).find("Connect") is not None


# --- An inbound call -------------------------------------------------------------------------------------


def test_a_new_call_is_recorded_and_connected_to_the_agent(twilio, db):
    answer = twilio.rings(StirVerstat="TN-Validation-Passed-A")
    call = twilio.call
    assert (call.direction, call.status) == ("inbound", "ringing")
    assert (call.from_number, call.to_number, call.agent.name) == ("+15557654321", "+15551234567", "front-desk")
    assert call.events.get(kind="voice-request").data["StirVerstat"] == "TN-Validation-Passed-A"
    assert answer.find("Connect/Stream").get("url") == f"wss://phone.example.com/twilio/media/{token_in(answer)}"
    assert "?" not in answer.find("Connect/Stream").get("url")
    assert services.claim_stream(token=token_in(answer), process="web-1").sid == twilio.sid


@pytest.mark.parametrize("number", ["anonymous", "client:alice", "sip:bob@example.com:5060", "x" * 300, ""])
def test_a_caller_need_not_have_a_telephone_number(twilio, number, db):
    assert verbs(twilio.rings(From=number)) == ["Connect", "Say"]
    assert twilio.call.from_number == number[:128]


def test_the_number_that_was_called_chooses_the_agent(new_call, db):
    Agent.objects.create(name="sales", phone_number="+15550001111")
    Agent.objects.create(name="retired", phone_number="+15550002222", active=False)
    chosen = {}
    for number in ("+15550001111", "+15550002222", "+15559999999"):
        call = new_call()
        call.rings(To=number)
        chosen[number] = call.call.agent.name
    assert chosen == {"+15550001111": "sales", "+15550002222": "front-desk", "+15559999999": "front-desk"}


def test_without_an_active_agent_the_caller_is_asked_to_try_again(twilio, db):
    Agent.objects.update(active=False)
    assert twilio.rings().find("Say").text == twiml.TRY_AGAIN
    assert row_counts() == (0, 0, 0, 0)


def test_a_duplicated_request_is_one_call_and_either_answer_opens_its_one_stream(twilio, db):
    first, second = twilio.rings(), twilio.rings()
    assert Call.objects.count() == Lease.objects.count() == CallEvent.objects.count() == 1
    assert services.claim_stream(token=token_in(second), process="web-1") is not None
    assert services.claim_stream(token=token_in(first), process="web-1") is None


def test_a_request_replayed_during_the_call_opens_no_second_stream(twilio, connected):
    replayed = twilio.rings()
    assert services.claim_stream(token=token_in(replayed), process="web-2") is None
    assert twilio.call.process == "web-1"


def test_a_request_replayed_after_the_call_changes_nothing(twilio, connected):
    twilio.reports("completed", 0, CallDuration="12")
    before = row_counts()
    assert verbs(twilio.rings()) == ["Hangup"]
    assert row_counts() == before


@pytest.mark.parametrize(("is_busy", "words"), [(True, twiml.BUSY), (False, twiml.TRY_AGAIN)])
def test_a_caller_hears_why_engines_take_no_calls(new_call, monkeypatch, db, is_busy, words):
    monkeypatch.setattr(readiness, "_refusals", [lambda: readiness.Refusal("no credit is left", is_busy)])
    answer = new_call().rings()
    assert answer.find("Say").text == words


def test_a_caller_beyond_the_limit_hears_that_all_lines_are_busy(new_call, settings, db):
    settings.MAX_LIVE_CALLS = 2
    calls = [new_call() for _ in range(3)]
    answers = [call.rings() for call in calls]
    assert [verbs(answer) for answer in answers] == [["Connect", "Say"], ["Connect", "Say"], ["Say", "Hangup"]]
    assert answers[2].find("Say").text == twiml.BUSY
    assert calls[2].call.end_reason == "refused"
    calls[0].reports("completed", 0)
    assert verbs(new_call().rings()) == ["Connect", "Say"]


@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
def test_while_the_database_is_unavailable_the_caller_is_asked_to_try_again(twilio, monkeypatch, caplog, error):
    def unavailable(**_):
        raise error("connection refused")

    for module, service in (
        (admission, "receive_call"),
        (admission, "after_stream"),
        (reports, "record_status"),
        (reports, "record_stream_event"),
    ):
        monkeypatch.setattr(module, service, unavailable)
    assert twilio.rings().find("Say").text == twiml.TRY_AGAIN
    assert twilio.loses_stream().find("Say").text == twiml.LOST
    assert twilio.reports("completed").status_code == twilio.post("/twilio/stream-status/").status_code == 503
    assert "The database is unavailable" in caplog.text


# --- Status callbacks ------------------------------------------------------------------------------------


@time_machine.travel("2018-03-25T09:55:00Z", tick=False)
def test_status_callbacks_move_the_call_from_ringing_to_completed(twilio, db):
    services.claim_stream(token=token_in(twilio.rings()), process="web-1")
    twilio.reports("in-progress", 2, Timestamp="Sun, 25 Mar 2018 09:53:19 +0000")
    assert twilio.call.status == "in-progress"
    assert twilio.call.answered_at.isoformat() == "2018-03-25T09:53:19+00:00"
    twilio.reports("completed", 3, Timestamp="Sun, 25 Mar 2018 09:54:21 +0000", CallDuration="62")
    call = twilio.call
    assert (call.status, call.duration, call.ended_at.isoformat()) == ("completed", 62.0, "2018-03-25T09:54:21+00:00")
    assert live_calls() == 0


@pytest.mark.parametrize(
    "timestamp",
    ["Sun, 25 Mar 2018 09:53:19 +0000", "Mon, 1 Jan 9999 00:00:00 -2359", "Mon, 99999999999999 Jan 2026", "soon", ""],
)
def test_an_old_or_invalid_timestamp_is_replaced_by_the_present(twilio, connected, timestamp):
    assert twilio.reports("in-progress", 2, Timestamp=timestamp).status_code == 204
    assert abs(twilio.call.answered_at - timezone.now()) < timedelta(minutes=1)


def test_a_callback_that_comes_twice_counts_once(twilio, connected):
    for _ in range(2):
        assert twilio.reports("completed", 3, CallDuration="62").status_code == 204
    assert twilio.call.events.filter(kind="status-completed").count() == 1


@pytest.mark.parametrize("late", ["initiated", "ringing", "in-progress", "busy", "failed"])
def test_no_callback_changes_a_call_that_has_ended(twilio, connected, late):
    twilio.reports("completed", 3, CallDuration="62")
    before = twilio.call
    assert twilio.reports(late, 1, CallDuration="1").status_code == 204
    after = twilio.call
    assert (after.status, after.duration, after.ended_at, after.answered_at) == (
        before.status, before.duration, before.ended_at, before.answered_at,
    )  # fmt: skip


def test_a_reordered_callback_does_not_move_the_call_back(twilio, connected):
    twilio.reports("in-progress", 2)
    twilio.reports("ringing", 1)
    assert twilio.call.status == "in-progress"


def test_the_duration_that_twilio_reports_replaces_the_measured_one(twilio, connected):
    services.record_fact(facts.StreamStarted(fact_id="1", call_id=connected.call_id, stream_sid="MZ1", at=AT))
    services.record_fact(
        facts.StreamEnded(
            fact_id="2", call_id=connected.call_id, reason="caller-hung-up", at=AT + timedelta(seconds=90), stream=1
        )
    )
    assert (twilio.call.status, twilio.call.duration) == ("completed", 90.0)
    twilio.reports("completed", 0, CallDuration="92")
    assert twilio.call.duration == 92.0


@pytest.mark.parametrize("path", ["/twilio/status/", "/twilio/stream-status/"])
def test_a_callback_for_an_unknown_call_is_accepted_and_logged(twilio, path, caplog, db):
    assert twilio.post(path, CallSid=new_sid(), CallStatus="completed").status_code == 204
    assert row_counts() == (0, 0, 0, 0)
    assert "unknown call" in caplog.text


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("status", ["completed", "in-progress", "ringing", "nonsense"])
@pytest.mark.parametrize("path", PATHS)
def test_a_callback_for_a_call_that_is_deleted_meanwhile_is_accepted(twilio, path, status, monkeypatch, caplog):
    twilio.rings()

    def find(**by):
        call = Call.objects.filter(sid=by["sid"]).first()
        Call.objects.filter(sid=by["sid"]).delete()
        return call

    for module in (reports, admission):
        monkeypatch.setattr(module, "find_call", find)
    fields = {"CallStatus": status, "StreamEvent": "stream-started", "StreamSid": "MZ1", "DialCallStatus": status}
    assert twilio.post(path, **fields).status_code in (200, 204)
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.parametrize("path", PATHS)
def test_a_fault_of_ours_is_logged_and_twilio_gets_what_it_can_play(twilio, path, monkeypatch, caplog, db):
    view = resolve(path).func
    monkeypatch.setattr(admission, "receive_call", lambda **_: 1 / 0)
    monkeypatch.setattr(admission, "find_call", lambda **_: 1 / 0)
    monkeypatch.setattr(reports, "find_call", lambda **_: 1 / 0)
    monkeypatch.setattr(reports.attempts, "find_attempt", lambda **_: 1 / 0)
    response = twilio.post(path)
    assert response.content == view.without_database().content
    assert response.status_code == view.without_database().status_code
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [ZeroDivisionError]


@pytest.mark.parametrize(
    "fields",
    [
        {"CallStatus": "teleported", "SequenceNumber": "x", "Timestamp": "soon", "CallDuration": "-1"},
        {"CallStatus": "", "CallDuration": "9" * 40},
        {"CallStatus": "completed", "CallDuration": "²"},
        {"CallStatus": "completed", "CallDuration": "NaN", "Timestamp": "2018-99-99"},
        {"CallStatus": "x" * 500, "Nul": "a\0b"},
    ],
)
def test_a_callback_with_invalid_values_is_accepted(twilio, connected, fields):
    assert twilio.post("/twilio/status/", **fields).status_code == 204


@time_machine.travel("2024-11-29T00:10:00Z", tick=False)
def test_a_stream_event_is_recorded_once_however_often_it_is_reported(twilio, caplog, db):
    twilio.rings()
    fields = {"StreamSid": new_sid("MZ"), "Timestamp": "2024-11-29T00:09:39.602648368Z"}
    for _ in range(2):
        twilio.post("/twilio/stream-status/", StreamEvent="stream-started", **fields)
    twilio.post("/twilio/stream-status/", StreamEvent="stream-error", StreamError="31921 closed", **fields)
    assert [event.kind for event in twilio.call.events.filter(kind__startswith="twilio-")] == [
        "twilio-stream-started", "twilio-stream-error",
    ]  # fmt: skip
    assert twilio.call.events.get(kind="twilio-stream-started").at.isoformat() == "2024-11-29T00:09:39.602648+00:00"
    assert twilio.call.status == "ringing"
    assert "31921 closed" in caplog.text


# --- After the stream ------------------------------------------------------------------------------------


def test_a_lost_stream_is_reconnected_and_continues_the_conversation(twilio, connected):
    turn = {"call_id": connected.call_id, "started_at": AT}
    services.record_fact(facts.TurnEnded(number=1, speaker="agent", said="Hello, who is", heard="Hello", **turn))
    services.record_fact(facts.TurnEnded(number=2, speaker="caller", said="It is me", heard="It is me", **turn))
    services.record_fact(facts.TurnEnded(number=3, speaker="agent", said="Never heard", heard="", **turn))
    services.record_fact(
        facts.StreamEnded(fact_id="4", call_id=connected.call_id, reason="stream-lost", at=AT, stream=1)
    )
    answer = twilio.loses_stream(1)
    assert verbs(answer) == ["Connect", "Say"]  # the agent says what has happened
    claim = services.claim_stream(token=token_in(answer), process="web-2")
    assert claim.is_reconnect
    assert (claim.call_id, claim.stream, claim.next_turn) == (connected.call_id, 2, 4)
    assert claim.history == (("agent", "Hello"), ("caller", "It is me"))
    assert twilio.call.end_reason == ""


def test_two_reconnects_and_then_an_apology(twilio, connected):
    for stream in (1, 2):
        assert services.claim_stream(token=token_in(twilio.loses_stream(stream)), process="web-2") is not None
    assert twilio.loses_stream(3).find("Say").text == twiml.LOST
    assert (twilio.call.status, twilio.call.end_reason) == ("completed", "stream-lost")


def test_a_repeated_request_after_a_stream_opens_no_further_stream(twilio, connected):
    first, second = twilio.loses_stream(1), twilio.loses_stream(1)
    assert services.claim_stream(token=token_in(second), process="web-2") is not None
    assert services.claim_stream(token=token_in(first), process="web-3") is None
    replayed = twilio.loses_stream(1)
    assert services.claim_stream(token=token_in(replayed), process="web-3") is None
    assert (twilio.call.process, twilio.call.streams) == ("web-2", 2)


def test_a_stream_that_never_opened_is_tried_again_from_the_beginning(twilio, db):
    twilio.rings()
    claim = services.claim_stream(token=token_in(twilio.loses_stream(1)), process="web-1")
    assert (claim.stream, claim.is_reconnect, claim.history) == (2, False, ())


@pytest.mark.parametrize("reason", ["agent-ended", "silence", "max-duration"])
def test_a_call_that_our_side_ended_is_hung_up(twilio, connected, reason):
    services.record_fact(facts.StreamEnded(fact_id="1", call_id=connected.call_id, reason=reason, at=AT, stream=1))
    assert verbs(twilio.loses_stream(1)) == ["Hangup"]
    assert (twilio.call.status, twilio.call.end_reason) == ("completed", reason)
    assert live_calls() == 0


def test_after_failed_engines_the_caller_hears_an_apology(twilio, connected):
    services.record_fact(
        facts.StreamEnded(fact_id="1", call_id=connected.call_id, reason="engines-failed", at=AT, stream=1)
    )
    assert twilio.loses_stream(1).find("Say").text == twiml.BROKEN


def test_a_draining_process_hands_the_call_over(twilio, connected):
    services.record_fact(facts.StreamEnded(fact_id="1", call_id=connected.call_id, reason="drain", at=AT, stream=1))
    assert twilio.loses_stream(1).find("Connect") is not None


def test_a_reconnect_needs_a_free_slot(twilio, connected, new_call, settings):
    settings.MAX_LIVE_CALLS = 1
    services.release_lease(call_id=connected.call_id, stream=1)
    new_call().rings()
    assert twilio.loses_stream(1).find("Say").text == twiml.LOST


@pytest.mark.parametrize("query", ["", "?stream=", "?stream=x", "?stream=-1", "?stream=%F0", "?stream=" + "9" * 5000])
def test_a_request_with_an_invalid_stream_number_is_answered(twilio, connected, query):
    assert parsed(twilio.post(f"/twilio/after-stream/{query}")).tag == "Response"


def test_the_end_of_a_stream_of_an_unknown_call_is_a_hang_up(twilio, db):
    assert verbs(twilio.loses_stream(1)) == ["Hangup"]


def test_the_end_of_a_stream_after_the_call_is_a_hang_up(twilio, connected):
    twilio.reports("completed", 0)
    assert verbs(twilio.loses_stream(1)) == ["Hangup"]


# --- Draining --------------------------------------------------------------------------------------------


@pytest.fixture
def begin_draining():
    draining.reset()
    yield draining.begin
    draining.reset()


def test_a_process_that_ends_has_twilio_ask_again_and_takes_no_new_call(begin_draining, twilio, db):
    begin_draining()
    asked = [parsed(twilio.post("/twilio/voice/"))]
    while (redirect := asked[-1].find("Redirect")) is not None:
        assert redirect.get("method") == "POST"
        assert redirect.text.startswith(BASE_URL)
        assert row_counts() == (0, 0, 0, 0)
        asked.append(parsed(twilio.post(redirect.text.removeprefix(BASE_URL).partition("#")[0])))
    waits = [int(pause.get("length")) if (pause := answer.find("Pause")) is not None else 0 for answer in asked[:-1]]
    assert waits == [0, 1, 1, 2, 2, 3]
    # No other process takes it: it is on record, and nobody is dialled for a while.
    assert asked[-1].find("Say").text == twiml.TRY_AGAIN
    assert Call.objects.get().end_reason == "refused"
    assert CallEvent.objects.get(kind="refused").data == {"why": "this process is ending"}
    assert "the web process is ending" in DialPause.objects.get().reason
    assert not Lease.objects.exists()


def test_a_call_that_is_being_admitted_as_its_process_begins_to_end_goes_elsewhere(
    begin_draining, twilio, db, monkeypatch
):
    def admit(**call):
        begin_draining()
        return admitted(**call)

    admitted = admission.receive_call
    with monkeypatch.context() as patched:
        patched.setattr(admission, "receive_call", admit)
        redirect = parsed(twilio.post("/twilio/voice/")).find("Redirect")
    assert not DialPause.objects.exists()
    draining.reset()  # the other process
    answer = parsed(twilio.post(redirect.text.removeprefix(BASE_URL).partition("#")[0]))
    assert answer.find("Connect") is not None
    assert Call.objects.get().end_reason == ""


def test_a_call_that_has_its_stream_goes_on_while_its_process_ends(begin_draining, twilio, connected):
    begin_draining()
    assert parsed(twilio.post("/twilio/voice/")).find("Connect") is not None  # a repeated request
    assert twilio.loses_stream(1).find("Connect") is not None


def test_the_attempt_of_an_outbound_call_is_kept_when_twilio_asks_again(begin_draining, twilio, db):
    begin_draining()
    redirect = parsed(twilio.post("/twilio/voice/?attempt=abc")).find("Redirect")
    assert redirect.text == f"{BASE_URL}/twilio/voice/?attempt=abc&asked=1#rc=3&rp=ct,rt,5xx"
    assert parsed(twilio.post("/twilio/voice/?attempt=abc&asked=2")).find("Pause").get("length") == "1"
    # A person listens meanwhile, so that it asks less often. This attempt is unknown.
    assert verbs(parsed(twilio.post("/twilio/voice/?attempt=abc&asked=3"))) == ["Hangup"]


def test_a_call_counts_from_its_webhook_until_its_token_is_used_or_expires(twilio, db, settings, monkeypatch):
    draining.reset()
    token = token_in(twilio.rings())
    assert draining.calls_to_wait_for() == 1
    remove = draining.add_count(lambda: 2)
    assert draining.calls_to_wait_for() == 3
    remove()
    services.claim_stream(token=token, process="another")
    draining.forget_used_tokens()
    assert draining.calls_to_wait_for() == 0
    draining.note_token("of a database that is away")
    monkeypatch.setattr(draining, "unused_tokens", lambda tokens: (_ for _ in ()).throw(OperationalError("away")))
    draining.forget_used_tokens()
    assert draining.calls_to_wait_for() == 1  # it may still open a stream
    later = time.monotonic() + settings.STREAM_TOKEN_TTL + 1
    monkeypatch.setattr(draining.time, "monotonic", lambda: later)
    assert draining.calls_to_wait_for() == 0
    draining.reset()


def test_a_process_that_takes_no_stream_any_more_gives_out_none(begin_draining, twilio, connected):
    """Each would be refused, and a call has eight."""
    path = "/twilio/after-stream/?stream=1"
    begin_draining()
    draining.finish()
    for asked, wait in enumerate((0, 1, 1)):
        answer = parsed(twilio.post(f"{path}&asked={asked}"))
        assert verbs(answer) == ["Pause", "Redirect"] if wait else ["Redirect"]
        assert answer.find("Redirect").text.startswith(f"{BASE_URL}{path}&asked={asked + 1}#")
    # There is no other one. Perhaps the proxy knows one for the stream.
    assert verbs(parsed(twilio.post(f"{path}&asked=3")))[0] == "Connect"


def test_readyz_says_that_the_process_ends(begin_draining, client, db, settings):
    begin_draining()
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["problems"]) == (503, ["draining"])
    assert answer.json()["draining"] == {"calls": 0, "seconds_left": pytest.approx(settings.DRAIN_LIMIT, abs=30)}


# --- Probes ----------------------------------------------------------------------------------------------


def test_healthz_does_not_query_the_database(client):
    assert client.get("/healthz").status_code == 200


def test_readyz_lists_what_is_missing(client, monkeypatch, db):
    monkeypatch.setattr(readiness, "_checks", [lambda: "", lambda: "speech-to-text is loading"])
    response = client.get("/readyz")
    assert (response.status_code, response.json()["problems"]) == (503, ["speech-to-text is loading"])


def test_readyz_answers_200_when_nothing_is_missing(client, monkeypatch, db):
    monkeypatch.setattr(readiness, "_checks", [])
    assert client.get("/readyz").json() == {"ready": True, "problems": []}


def test_readyz_says_that_new_calls_are_refused_and_stays_ready(client, monkeypatch, db):
    """A load balancer would else send callers to nobody, who hear an error of the carrier."""
    monkeypatch.setattr(readiness, "_checks", [])
    monkeypatch.setattr(readiness, "_details", [lambda: {"refuses_calls": "no credit is left", "engines": {}}])
    response = client.get("/readyz")
    assert response.status_code == 200
    assert response.json() == {"ready": True, "problems": [], "refuses_calls": "no credit is left", "engines": {}}


def test_readyz_reports_that_the_database_is_unavailable(client, monkeypatch):
    class Unavailable:
        def cursor(self):
            raise OperationalError("connection refused")

    monkeypatch.setattr(readiness, "connection", Unavailable())
    monkeypatch.setattr(readiness, "_checks", [])
    assert client.get("/readyz").json()["problems"] == ["database"]


def test_readyz_says_what_is_not_dialled_without_numbers_and_the_carriers_words(client, monkeypatch, db):
    monkeypatch.setattr(readiness, "_checks", [])
    DialPause.objects.create(
        scope="caller-id",
        subject="+15005550006",
        cause="caller-id",
        code="21210",
        reason="+1500",
        try_at=timezone.now(),
    )
    DialPause.objects.create(scope="everything", subject="web:1", cause="engines", reason="full", until=timezone.now())
    response = client.get("/readyz")
    [paused] = response.json()["dialling_paused"]
    assert (response.status_code, paused.pop("since")[:2]) == (200, "20")
    assert paused == {"scope": "caller-id", "cause": "caller-id", "code": "21210"}
