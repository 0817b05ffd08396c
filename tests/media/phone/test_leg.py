"""The life of a leg: how it is called, answered and ended, and what is asked of the application meanwhile."""

import asyncio

import pytest
from aiohttp import web

from media.phone.answering import CarrierTiming, Outcome
from media.phone.call_request import Callback, MachineDetection, Program
from media.phone.injections import Injections
from tests.media.phone.doubles import (
    HERE,
    HOLD,
    PUBLIC_URL,
    THERE,
    Person,
    call_in,
    call_request,
    open_network,
    reported_statuses,
)

# -- inbound --------------------------------------------------------------------------------------


async def test_an_inbound_call_asks_for_twiml_while_it_rings(app, network):
    app.answers = {"/twilio/voice/": "<Say>Hello</Say>"}
    caller = Person()
    call = await call_in(network, caller)
    end = await call.wait()
    assert (end.status, end.ended_by) == ("completed", "twiml")
    voice, status = app.received
    assert voice.path == "/twilio/voice/"
    assert voice.is_signed
    form = voice.form
    assert (form["CallSid"], form["AccountSid"]) == (call.sid, network.account_sid)
    assert (form["From"], form["To"], form["Caller"], form["Called"]) == (THERE, HERE, THERE, HERE)
    assert (form["CallStatus"], form["Direction"], form["ApiVersion"]) == ("ringing", "inbound", "2010-04-01")
    assert (form["FromCity"], form["FromCountry"]) == ("", "US")
    assert form["StirVerstat"] == "TN-Validation-Passed-A"
    assert {"event": "call_status", "status": "in-progress"} in call.events
    assert status.path == "/twilio/status/"
    assert (status.form["CallStatus"], status.form["SequenceNumber"]) == ("completed", "0")
    assert call.duration >= 1
    duration = str(call.duration)
    assert (status.form["CallDuration"], status.form["Duration"], status.form["SipResponseCode"]) == (
        duration,
        "1",
        "200",
    )
    assert status.form["CallbackSource"] == "call-progress-events"
    assert status.form["Timestamp"].endswith("+0000")
    assert {"event": "say", "text": "Hello"} in call.events


@pytest.mark.parametrize(("reason", "status"), [("rejected", "no-answer"), ("busy", "busy")])
async def test_a_rejected_call_is_never_answered(app, network, reason, status):
    app.answers = {"/twilio/voice/": f'<Reject reason="{reason}"/>'}
    call = await call_in(network, Person())
    assert (await call.wait()).status == status
    assert {"event": "call_status", "status": "in-progress"} not in call.events
    assert "CallDuration" not in app.requests_to("/twilio/status/")[0].form


async def test_a_caller_can_hang_up_while_it_rings(app, network):
    async def never(request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    app.answers = {"/twilio/voice/": never}
    caller = Person()
    call = await call_in(network, caller)
    await app.wait_for_request("/twilio/voice/")
    caller.hung_up = True
    end = await call.wait()
    assert (end.status, end.ended_by) == ("no-answer", "caller")


@pytest.mark.parametrize(
    ("answer", "code"), [(500, 11200), ("<Say>Hi</Shout>", 12100), (204, 12300), ("x" * 65536, 11750)]
)
async def test_twiml_that_cannot_be_used_ends_the_call_with_an_apology(app, network, answer, code):
    app.answers = {"/twilio/voice/": answer}
    call = await call_in(network, Person())
    assert (await call.wait()).status == "completed"
    assert [alert.code for alert in network.alerts] == [code]
    assert any("application error" in event.get("text", "") for event in call.events)


async def test_the_fallback_url_gets_the_error(app, network):
    app.answers = {"/twilio/voice/": 500, "/fallback/": "<Say>Sorry</Say>"}
    call = await network.call_in(Person(), from_number=THERE, to_number=HERE, fallback_path="/fallback/")
    await call.wait()
    (fallback,) = app.requests_to("/fallback/")
    assert (fallback.form["ErrorCode"], fallback.form["ErrorUrl"]) == ("11200", f"{PUBLIC_URL}/twilio/voice/")
    assert {"event": "say", "text": "Sorry"} in call.events


# -- outbound -------------------------------------------------------------------------------------


async def test_an_answered_call_reports_each_step_in_order(app, network):
    app.answers = {"/twilio/voice/": "<Say>Hello</Say>"}
    network.on_dial(THERE, Person)
    call = network.place(call_request())
    assert (await call.wait()).status == "completed"
    assert reported_statuses(app) == [("0", "initiated"), ("1", "ringing"), ("2", "in-progress"), ("3", "completed")]
    (voice,) = app.requests_to("/twilio/voice/")
    assert (voice.form["CallStatus"], voice.form["Direction"]) == ("in-progress", "outbound-api")
    assert app.received.index(voice) >= 2, "requested only after the answer"


async def test_the_report_of_the_answer_and_the_request_for_twiml_come_in_either_order(app):
    app.answers = {"/twilio/voice/": HOLD}
    seen = set()
    for seed in range(12):
        async with open_network(app, seed=seed, timing=CarrierTiming(scatter=(1.0, 1.0))) as network:
            network.on_dial(THERE, Person, after=0)
            call = network.place(call_request())
            await asyncio.gather(call.callbacks.wait_for("voice"), app.wait_for_request("/twilio/status/", times=3))
            seen.add(app.received[2].path)
        app.received.clear()
    assert seen == {"/twilio/voice/", "/twilio/status/"}


async def test_only_subscribed_events_are_numbered(app, network):
    app.answers = {"/twilio/voice/": "<Hangup/>"}
    network.on_dial(THERE, Person)
    await network.place(call_request(callback=Callback(f"{PUBLIC_URL}/twilio/status/"))).wait()
    assert reported_statuses(app) == [("0", "completed")]


@pytest.mark.parametrize(
    ("outcome", "status", "sip_code", "rang"),
    [
        (Outcome.busy(), "busy", "486", True),
        (Outcome.no_answer(), "no-answer", "487", True),
        (Outcome.failed(), "failed", "404", False),
        (Outcome.failed(503), "failed", "503", False),
    ],
)
async def test_a_call_that_is_not_answered_reports_why(app, network, outcome, status, sip_code, rang):
    network.on_dial(THERE, lambda: outcome)
    end = await network.place(call_request(timeout=20.0)).wait()
    assert end.status == status
    final = app.received[-1].form
    assert (final["CallStatus"], final["SipResponseCode"]) == (status, sip_code)
    assert "CallDuration" not in final
    assert ("1", "ringing") in reported_statuses(app) or not rang
    assert not app.requests_to("/twilio/voice/")


async def test_an_unknown_number_fails(network):
    assert (await network.place(call_request()).wait()).sip_code == 404


async def test_a_phone_rings_no_longer_than_the_timeout(app, network):
    network.on_dial(THERE, Person, after=1000.0)
    assert (await network.place(call_request(timeout=5.0)).wait()).status == "no-answer"


async def test_a_call_cancelled_in_the_queue_reports_nothing(app, gateway):
    async with open_network(app, gateway, calls_per_second=0.01) as network:
        network.place(call_request())
        waiting = network.place(call_request())
        assert waiting.status == "queued"
        waiting.update(program=None, callback=None, status="canceled", time_limit=None)
        assert (await waiting.wait()).status == "canceled"
        assert not [request for request in app.received if request.form["CallSid"] == waiting.sid]


async def test_a_call_cancelled_while_it_rings_reports_canceled(app, network):
    network.on_dial(THERE, Person, after=10_000.0)
    call = network.place(call_request(timeout=600.0))
    await app.wait_for_request("/twilio/status/", times=2)
    call.update(program=None, callback=None, status="canceled", time_limit=None)
    assert (await call.wait()).status == "canceled"
    assert reported_statuses(app)[-1] == ("2", "canceled")


async def test_twiml_in_the_request_is_not_fetched(app, network):
    network.on_dial(THERE, Person)
    call = network.place(call_request(program=Program(twiml="<Response><Say>Hello</Say></Response>")))
    await call.wait()
    assert {"event": "say", "text": "Hello"} in call.events
    assert {request.path for request in app.received} == {"/twilio/status/"}


# -- machine detection ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "answered_by", "verdict"),
    [
        ("Enable", "human", "human"),
        ("Enable", "machine", "machine_start"),
        ("DetectMessageEnd", "machine", "machine_end_beep"),
        ("DetectMessageEnd", "machine_end_silence", "machine_end_silence"),
    ],
)
async def test_the_twiml_waits_for_synchronous_machine_detection(app, network, mode, answered_by, verdict):
    app.answers = {"/twilio/voice/": "<Hangup/>"}
    network.on_dial(THERE, Person, answered_by=answered_by)
    call = network.place(call_request(machine_detection=MachineDetection(mode)))
    await call.wait()
    (voice,) = app.requests_to("/twilio/voice/")
    assert voice.form["AnsweredBy"] == verdict
    assert app.received.index(voice) == 3, "after the report of the answer"
    assert app.received[-1].form["AnsweredBy"] == verdict
    assert call.answered_by == verdict


async def test_asynchronous_machine_detection_reports_to_its_own_callback(app, network):
    app.answers = {"/twilio/voice/": HOLD}
    network.on_dial(THERE, Person, answered_by="machine_start")
    detection = MachineDetection("Enable", asynchronous=True, callback=Callback(f"{PUBLIC_URL}/twilio/amd/"))
    call = network.place(call_request(machine_detection=detection))
    verdict = await app.wait_for_request("/twilio/amd/")
    assert verdict.form["AnsweredBy"] == "machine_start"
    assert set(verdict.form) == {"CallSid", "AccountSid", "AnsweredBy", "MachineDetectionDuration"}
    # The two requests are independent, so that of the TwiML may come second.
    voice = await app.wait_for_request("/twilio/voice/")
    assert "AnsweredBy" not in voice.form
    call.hang_up()
    await call.wait()


async def test_the_result_of_machine_detection_can_come_after_the_end(app, gateway):
    app.answers = {"/twilio/voice/": "<Hangup/>"}
    async with open_network(app, gateway, injections=Injections(amd_after_end=True)) as network:
        network.on_dial(THERE, Person)
        detection = MachineDetection("Enable", asynchronous=True, callback=Callback(f"{PUBLIC_URL}/twilio/amd/"))
        await network.place(call_request(machine_detection=detection)).wait()
        await network.wait_until_idle()
    assert app.received[-1].path == "/twilio/amd/"


async def test_send_digits_switches_machine_detection_off(app, network):
    app.answers = {"/twilio/voice/": "<Hangup/>"}
    network.on_dial(THERE, Person)
    await network.place(call_request(send_digits="1w2", machine_detection=MachineDetection("Enable"))).wait()
    assert "AnsweredBy" not in app.requests_to("/twilio/voice/")[0].form
