"""Calls from end to end: the order of requests, as TWILIO's documentation has it, and a stream over a real socket."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import WSMsgType, web

from media.phone.answering import CarrierTiming, Outcome
from media.phone.call_request import Callback, CallRequest, MachineDetection, Program, RecordingRequest
from media.phone.injections import CallbackFault, Injections
from media.phone.leg import PhoneCall
from media.phone.network import DialQueue, PhoneNetwork
from media.phone.stream import StreamEnd, StreamViolation
from media.phone.stream_handshake import StreamRequest

PUBLIC = "https://voice.example"
HERE = "+15005550006"
THERE = "+15005550100"
ALL_EVENTS = frozenset({"initiated", "ringing", "answered", "completed"})
CONNECT = (
    '<Connect action="/twilio/after-stream/"><Stream url="wss://voice.example/media/t" statusCallback="/s/"/></Connect>'
)
HOLD = "<Pause length='3600'/>"


class Streams:
    """Stands where the media gateway does: each stream lasts until it is stopped or the test ends it."""

    def __init__(self) -> None:
        self.requests: list[StreamRequest] = []
        self.stopped: list[str] = []
        self.errors: list = []
        self._opened = asyncio.Event()
        self._end: asyncio.Future[StreamEnd] | None = None

    def make(self, party, tape) -> "Streams":
        self.party = party
        return self

    async def run(self, request: StreamRequest) -> StreamEnd:
        self.requests.append(request)
        self._end = asyncio.get_running_loop().create_future()
        self._opened.set()
        return await self._end

    def stop(self, reason: str = "call-updated") -> None:
        self.stopped.append(reason)
        self.end(reason)

    def end(self, reason: str, code: int | None = None, detail: str = "") -> None:
        if not self._end.done():
            self._end.set_result(StreamEnd(reason, code, detail))

    async def opened(self) -> StreamRequest:
        await asyncio.wait_for(self._opened.wait(), 5)
        self._opened.clear()
        return self.requests[-1]


@pytest.fixture
def streams() -> Streams:
    return Streams()


@asynccontextmanager
async def phone_network(app, streams=None, **options) -> AsyncIterator[PhoneNetwork]:
    factory = streams.make if streams else None
    options = {"calls_per_second": 1000.0, **options}
    async with PhoneNetwork(app_url=app.url, public_url=PUBLIC, gateway_factory=factory, **options) as network:
        yield network


@pytest.fixture
async def network(app, streams) -> AsyncIterator[PhoneNetwork]:
    async with phone_network(app, streams) as network:
        yield network


async def ring_in(network: PhoneNetwork, party) -> PhoneCall:
    return await network.call_in(party, from_number=THERE, to_number=HERE)


def request(**changes) -> CallRequest:
    defaults = {
        "to_number": THERE,
        "from_number": HERE,
        "program": Program(f"{PUBLIC}/twilio/voice/"),
        "callback": Callback(f"{PUBLIC}/twilio/status/", events=ALL_EVENTS),
    }
    return CallRequest(**{**defaults, **changes})


def statuses(app) -> list[tuple[str, str]]:
    return [(request.form["SequenceNumber"], request.form["CallStatus"]) for request in app.to("/twilio/status/")]


# -- inbound --------------------------------------------------------------------------------------


async def test_an_inbound_call_asks_for_twiml_while_it_rings(app, network, person):
    app.answers = {"/twilio/voice/": "<Say>Hello</Say>"}
    caller = person()
    call = await ring_in(network, caller)
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
    assert caller.is_connected
    assert status.path == "/twilio/status/"
    assert (status.form["CallStatus"], status.form["SequenceNumber"]) == ("completed", "0")
    assert (status.form["CallDuration"], status.form["Duration"], status.form["SipResponseCode"]) == ("1", "1", "200")
    assert status.form["CallbackSource"] == "call-progress-events"
    assert status.form["Timestamp"].endswith("+0000")
    assert {"event": "say", "text": "Hello"} in call.events


@pytest.mark.parametrize(("reason", "status"), [("rejected", "no-answer"), ("busy", "busy")])
async def test_a_rejected_call_is_never_answered(app, network, person, reason, status):
    app.answers = {"/twilio/voice/": f'<Reject reason="{reason}"/>'}
    caller = person()
    end = await (await ring_in(network, caller)).wait()
    assert end.status == status
    assert not caller.is_connected
    assert "CallDuration" not in app.to("/twilio/status/")[0].form


async def test_a_caller_who_gives_up_while_it_rings(app, network, person):
    async def never(request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    app.answers = {"/twilio/voice/": never}
    caller = person()
    call = await ring_in(network, caller)
    await app.hears("/twilio/voice/")
    caller.hung_up = True
    end = await call.wait()
    assert (end.status, end.ended_by) == ("no-answer", "caller")


@pytest.mark.parametrize(
    ("answer", "code"), [(500, 11200), ("<Say>Hi</Shout>", 12100), (204, 12300), ("x" * 65536, 11750)]
)
async def test_twiml_that_cannot_be_had_ends_the_call_with_an_apology(app, network, person, answer, code):
    app.answers = {"/twilio/voice/": answer}
    call = await ring_in(network, person())
    assert (await call.wait()).status == "completed"
    assert [alert.code for alert in network.alerts] == [code]
    assert any("application error" in event.get("text", "") for event in call.events)


async def test_the_fallback_is_asked_with_the_reason(app, network, person):
    app.answers = {"/twilio/voice/": 500, "/fallback/": "<Say>Sorry</Say>"}
    call = await network.call_in(person(), from_number=THERE, to_number=HERE, fallback_path="/fallback/")
    await call.wait()
    (fallback,) = app.to("/fallback/")
    assert (fallback.form["ErrorCode"], fallback.form["ErrorUrl"]) == ("11200", f"{PUBLIC}/twilio/voice/")
    assert {"event": "say", "text": "Sorry"} in call.events


# -- streams --------------------------------------------------------------------------------------


async def test_the_app_closes_the_socket_and_is_asked_what_next(app, network, streams, person):
    app.answers = {"/twilio/voice/": CONNECT, "/twilio/after-stream/": "<Say>Goodbye</Say><Hangup/>"}
    call = await ring_in(network, person())
    request = await streams.opened()
    assert request.url == "wss://voice.example/media/t"
    assert request.connect_to == app.url.replace("http", "ws")
    assert (request.call_sid, request.account_sid) == (call.sid, network.account_sid)
    assert (request.stream_sid[:2], len(request.stream_sid)) == ("MZ", 34)
    streams.end("app-closed", 1000)
    await call.wait()
    paths = [request.path for request in app.received]
    assert paths[-1] == "/twilio/status/", "the last word"
    after = app.to("/twilio/after-stream/")[0]
    assert (after.form["CallStatus"], after.form["CallSid"]) == ("in-progress", call.sid)
    stream_events = [request.form["StreamEvent"] for request in app.to("/s/")]
    assert stream_events == ["stream-started", "stream-stopped"]
    assert app.to("/s/")[0].form["StreamSid"] == request.stream_sid
    assert app.to("/s/")[0].form["Timestamp"].endswith("Z")


async def test_a_second_stream_belongs_to_the_same_call(app, network, streams, person):
    app.answers = {"/twilio/voice/": CONNECT, "/twilio/after-stream/": [CONNECT, "<Hangup/>"]}
    call = await ring_in(network, person())
    first = await streams.opened()
    streams.end("lost", 1006)
    second = await streams.opened()
    streams.end("app-closed", 1000)
    await call.wait()
    assert first.stream_sid != second.stream_sid
    assert first.call_sid == second.call_sid == call.sid


async def test_a_refused_stream_is_reported_and_the_call_goes_on(app, network, streams, person):
    app.answers = {"/twilio/voice/": CONNECT, "/twilio/after-stream/": "<Hangup/>"}
    call = await ring_in(network, person())
    await streams.opened()
    streams.end("refused", 403, "the upgrade was refused")
    await call.wait()
    (report,) = app.to("/s/")
    assert (report.form["StreamEvent"], report.form["StreamError"]) == ("stream-error", "the upgrade was refused")
    assert app.to("/twilio/after-stream/")


async def test_a_caller_who_hangs_up_ends_it_without_an_action(app, network, streams, person):
    app.answers = {"/twilio/voice/": CONNECT}
    call = await ring_in(network, person())
    await streams.opened()
    streams.end("party-hung-up")
    end = await call.wait()
    assert (end.status, end.ended_by) == ("completed", "caller")
    assert not app.to("/twilio/after-stream/")
    events = [request.form.get("StreamEvent") or request.form["CallStatus"] for request in app.received[1:]]
    assert events == ["stream-started", "stream-stopped", "completed"]


async def test_hanging_up_from_outside_stops_the_stream(app, network, streams, person):
    app.answers = {"/twilio/voice/": CONNECT}
    call = await ring_in(network, person())
    await streams.opened()
    call.hang_up()
    assert (await call.wait()).ended_by == "caller"
    assert streams.stopped == ["party-hung-up"]
    call.hang_up()  # a no-op


async def test_an_update_replaces_the_document_at_once(app, network, streams, person):
    app.answers = {"/twilio/voice/": CONNECT}
    call = await ring_in(network, person())
    await streams.opened()
    call.update(
        program=Program(twiml="<Response><Say>A moment</Say></Response>"), callback=None, status="", time_limit=None
    )
    await call.wait()
    assert streams.stopped == ["call-updated"]
    assert {"event": "say", "text": "A moment"} in call.events
    assert not app.to("/twilio/after-stream/")


async def test_the_app_hangs_up_over_rest(app, network, streams, person):
    app.answers = {"/twilio/voice/": CONNECT}
    call = await ring_in(network, person())
    await streams.opened()
    call.update(program=None, callback=None, status="completed", time_limit=None)
    end = await call.wait()
    assert (end.status, end.ended_by) == ("completed", "app")
    assert streams.stopped == ["call-updated"]


async def test_the_time_limit_ends_the_call(app, network, streams, person):
    app.answers = {"/twilio/voice/": CONNECT}
    call = await ring_in(network, person())
    await streams.opened()
    call.update(program=None, callback=None, status="", time_limit=0.05)
    assert (await call.wait()).ended_by == "time-limit"


# -- outbound -------------------------------------------------------------------------------------


async def test_an_answered_call_reports_each_step_in_order(app, network, person):
    app.answers = {"/twilio/voice/": "<Say>Hello</Say>"}
    network.on_dial(THERE, person)
    call = network.place(request())
    assert (await call.wait()).status == "completed"
    assert statuses(app) == [("0", "initiated"), ("1", "ringing"), ("2", "in-progress"), ("3", "completed")]
    (voice,) = app.to("/twilio/voice/")
    assert (voice.form["CallStatus"], voice.form["Direction"]) == ("in-progress", "outbound-api")
    assert app.received.index(voice) >= 2, "asked only once somebody answered"


async def test_the_answered_report_and_the_twiml_request_come_in_either_order(app, person):
    app.answers = {"/twilio/voice/": HOLD}
    seen = set()
    for seed in range(12):
        async with phone_network(app, seed=seed, timing=CarrierTiming(scatter=(1.0, 1.0))) as network:
            network.on_dial(THERE, person, after=0)
            call = network.place(request())
            await asyncio.gather(call.wait_for_callback("voice"), app.hears("/twilio/status/", times=3))
            seen.add(app.received[2].path)
        app.received.clear()
    assert seen == {"/twilio/voice/", "/twilio/status/"}


async def test_only_subscribed_events_are_numbered(app, network, person):
    app.answers = {"/twilio/voice/": "<Hangup/>"}
    network.on_dial(THERE, person)
    await network.place(request(callback=Callback(f"{PUBLIC}/twilio/status/"))).wait()
    assert statuses(app) == [("0", "completed")]


@pytest.mark.parametrize(
    ("outcome", "status", "sip_code", "rang"),
    [
        (Outcome.busy(), "busy", "486", True),
        (Outcome.no_answer(), "no-answer", "487", True),
        (Outcome.failed(), "failed", "404", False),
        (Outcome.failed(503), "failed", "503", False),
    ],
)
async def test_nobody_answers(app, network, outcome, status, sip_code, rang):
    network.on_dial(THERE, lambda: outcome)
    end = await network.place(request(timeout=20.0)).wait()
    assert end.status == status
    final = app.received[-1].form
    assert (final["CallStatus"], final["SipResponseCode"]) == (status, sip_code)
    assert "CallDuration" not in final
    assert ("1", "ringing") in statuses(app) or not rang
    assert not app.to("/twilio/voice/")


async def test_an_unknown_number_fails(network):
    assert (await network.place(request()).wait()).sip_code == 404


async def test_it_rings_no_longer_than_the_timeout(app, network, person):
    network.on_dial(THERE, person, after=1000.0)
    assert (await network.place(request(timeout=5.0)).wait()).status == "no-answer"


async def test_a_call_cancelled_in_the_queue_reports_nothing(app, streams):
    async with phone_network(app, streams, calls_per_second=0.01) as network:
        network.place(request())
        waiting = network.place(request())
        assert waiting.status == "queued"
        waiting.update(program=None, callback=None, status="canceled", time_limit=None)
        assert (await waiting.wait()).status == "canceled"
        assert not [request for request in app.received if request.form["CallSid"] == waiting.sid]


async def test_a_call_cancelled_while_it_rings_reports_so(app, network, person):
    network.on_dial(THERE, person, after=10_000.0)
    call = network.place(request(timeout=600.0))
    await app.hears("/twilio/status/", times=2)
    call.update(program=None, callback=None, status="canceled", time_limit=None)
    assert (await call.wait()).status == "canceled"
    assert statuses(app)[-1] == ("2", "canceled")


async def test_twiml_handed_over_is_not_fetched(app, network, person):
    network.on_dial(THERE, person)
    call = network.place(request(program=Program(twiml="<Response><Say>Hello</Say></Response>")))
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
async def test_synchronous_detection_delays_the_twiml(app, network, person, mode, answered_by, verdict):
    app.answers = {"/twilio/voice/": "<Hangup/>"}
    network.on_dial(THERE, person, answered_by=answered_by)
    call = network.place(request(machine_detection=MachineDetection(mode)))
    await call.wait()
    (voice,) = app.to("/twilio/voice/")
    assert voice.form["AnsweredBy"] == verdict
    assert app.received.index(voice) == 3, "after the report of the answer"
    assert app.received[-1].form["AnsweredBy"] == verdict
    assert call.answered_by == verdict


async def test_asynchronous_detection_reports_apart(app, network, person):
    app.answers = {"/twilio/voice/": HOLD}
    network.on_dial(THERE, person, answered_by="machine_start")
    detection = MachineDetection("Enable", asynchronous=True, callback=Callback(f"{PUBLIC}/twilio/amd/"))
    call = network.place(request(machine_detection=detection))
    verdict = await app.hears("/twilio/amd/")
    assert verdict.form["AnsweredBy"] == "machine_start"
    assert set(verdict.form) == {"CallSid", "AccountSid", "AnsweredBy", "MachineDetectionDuration"}
    assert "AnsweredBy" not in app.to("/twilio/voice/")[0].form
    call.hang_up()
    await call.wait()


async def test_the_verdict_may_come_after_the_end(app, streams, person):
    app.answers = {"/twilio/voice/": "<Hangup/>"}
    async with phone_network(app, streams, injections=Injections(amd_after_end=True)) as network:
        network.on_dial(THERE, person)
        detection = MachineDetection("Enable", asynchronous=True, callback=Callback(f"{PUBLIC}/twilio/amd/"))
        await network.place(request(machine_detection=detection)).wait()
        await network.wait_until_idle()
    assert app.received[-1].path == "/twilio/amd/"


async def test_digits_to_send_switch_detection_off(app, network, person):
    app.answers = {"/twilio/voice/": "<Hangup/>"}
    network.on_dial(THERE, person)
    await network.place(request(send_digits="1w2", machine_detection=MachineDetection("Enable"))).wait()
    assert "AnsweredBy" not in app.to("/twilio/voice/")[0].form


# -- recordings, keys, other people ---------------------------------------------------------------


async def test_a_recorded_call_says_where(app, network, person):
    app.answers = {"/twilio/voice/": "<Hangup/>"}
    network.on_dial(THERE, person)
    recording = RecordingRequest("OutboundAPI", Callback(f"{PUBLIC}/recorded/"), channels=2)
    await network.place(request(recording=recording)).wait()
    final = app.to("/twilio/status/")[-1].form
    later = (await app.hears("/recorded/")).form
    assert final["RecordingSid"] == later["RecordingSid"]
    assert final["RecordingUrl"].endswith(final["RecordingSid"])
    assert (later["RecordingStatus"], later["RecordingSource"], later["RecordingChannels"]) == (
        "completed",
        "OutboundAPI",
        "2",
    )


async def test_keys_pressed_outside_a_stream_reach_gather(app, person):
    app.answers = {
        "/twilio/voice/": '<Gather action="/keys/" numDigits="2" timeout="600"/>',
        "/keys/": "<Hangup/>",
    }
    async with phone_network(app) as network:
        await (await ring_in(network, person(keys=["4", "2"]))).wait()
    assert app.to("/keys/")[0].form["Digits"] == "42"


async def test_a_message_is_recorded_until_the_caller_falls_silent(app, person):
    app.answers = {"/twilio/voice/": '<Record action="/message/" timeout="20"/>', "/message/": "<Hangup/>"}
    async with phone_network(app) as network:
        caller = person(says=b"\x10" * 160)
        call = await ring_in(network, caller)
        await caller.hears(b"\xff")
        caller.says = b"\xff" * 160
        await call.wait()
    message = app.to("/message/")[0].form
    assert message["RecordingUrl"].endswith(message["RecordingSid"])


async def test_a_message_ended_by_hanging_up_is_reported(app, person):
    app.answers = {"/twilio/voice/": '<Record action="/message/"/>'}
    async with phone_network(app, timing=CarrierTiming(scale=1.0)) as network:
        caller = person(says=b"\x10" * 160)
        call = await ring_in(network, caller)
        await caller.hears(b"\xff")
        caller.hung_up = True
        await call.wait()
    assert app.to("/message/")[0].form["Digits"] == "hangup"


async def test_dial_bridges_two_people(app, person):
    app.answers = {
        "/twilio/voice/": '<Dial action="/after-dial/"><Number statusCallback="/leg/" url="/whisper/">'
        "+15005550101</Number><Number>+15005550102</Number></Dial>",
        "/whisper/": "<Say>A call for you</Say>",
        "/after-dial/": "<Hangup/>",
    }
    caller, callee = person(says=b"\x01" * 160), person(says=b"\x02" * 160)
    async with phone_network(app) as network:
        network.on_dial("+15005550101", lambda: callee, after=0)
        network.on_dial("+15005550102", Outcome.no_answer)
        call = await ring_in(network, caller)
        await asyncio.gather(caller.hears(b"\x02"), callee.hears(b"\x01"))
        callee.hung_up = True
        end = await call.wait()
        legs = [leg for leg in network.calls.values() if leg.parent is call]
    assert end.status == "completed"
    assert {leg.status for leg in legs} == {"completed", "canceled"}
    result = app.to("/after-dial/")[0].form
    assert (result["DialCallStatus"], result["DialBridged"]) == ("completed", "true")
    assert result["DialCallSid"] == legs[0].sid
    assert app.to("/whisper/")[0].form["ParentCallSid"] == call.sid
    assert app.to("/leg/")[0].form["Direction"] == "outbound-dial"


@pytest.mark.parametrize(
    ("outcome", "status"), [(Outcome.busy, "busy"), (Outcome.no_answer, "no-answer"), (Outcome.failed, "failed")]
)
async def test_dial_reports_why_nobody_came(app, network, person, outcome, status):
    app.answers = {
        "/twilio/voice/": '<Dial action="/after-dial/">+15005550101</Dial>',
        "/after-dial/": "<Hangup/>",
    }
    network.on_dial("+15005550101", outcome)
    await (await ring_in(network, person())).wait()
    result = app.to("/after-dial/")[0].form
    assert (result["DialCallStatus"], result["DialBridged"]) == (status, "false")


async def test_the_caller_hangs_up_while_the_other_phone_rings(app, network, person):
    app.answers = {
        "/twilio/voice/": '<Dial timeout="600"><Number statusCallback="/leg/" statusCallbackEvent="ringing">'
        "+15005550101</Number></Dial>"
    }
    network.on_dial("+15005550101", Outcome.no_answer)
    caller = person()
    call = await ring_in(network, caller)
    await app.hears("/leg/")
    caller.hung_up = True
    assert (await call.wait()).ended_by == "caller"
    assert [leg.status for leg in network.calls.values() if leg.parent] == ["canceled"]


async def test_say_can_be_heard(app, person):
    app.answers = {"/twilio/voice/": "<Say>Hello</Say>"}
    caller = person()
    async with phone_network(app, render_say=lambda text: b"\x05" * 400) as network:
        await (await ring_in(network, caller)).wait()
    assert caller.heard.count(b"\x05") == 400


# -- what goes wrong on purpose -------------------------------------------------------------------


async def test_callbacks_can_come_in_any_order(app, streams, person):
    app.answers = {"/twilio/voice/": "<Hangup/>"}
    async with phone_network(app, streams, injections=Injections(reorder=True), seed=1) as network:
        network.on_dial(THERE, person)
        await network.place(request()).wait()
    assert statuses(app)[0] == ("3", "completed")
    assert sorted(statuses(app)) == [("0", "initiated"), ("1", "ringing"), ("2", "in-progress"), ("3", "completed")]


async def test_a_forged_twiml_request_does_not_get_through_twice(app, streams, person):
    app.answers = {"/twilio/voice/": HOLD}
    forged = CallbackFault(kinds=("voice",), extra=True, signature="wrong")
    async with phone_network(app, streams, injections=Injections(callbacks=[forged])) as network:
        await ring_in(network, person())
        await app.hears("/twilio/voice/", times=2)
        assert [request.is_signed for request in app.to("/twilio/voice/")] == [True, False]
        status = await network.replay(network.deliveries[0])
    assert status == 200
    assert app.to("/twilio/voice/")[2].headers == app.to("/twilio/voice/")[0].headers


def test_the_dialling_queue_holds_the_rate():
    queue = DialQueue(calls_per_second=2.0)
    assert [queue.reserve(now) for now in (0.0, 0.0, 0.1)] == [0.0, 0.5, pytest.approx(0.9)]
    assert queue.reserve(10.0) == 0.0, "unused turns are not saved up"
    burst = DialQueue(calls_per_second=1.0, burst=3)
    assert [burst.reserve(10.0) for _ in range(4)] == [0.0, 0.0, 0.0, 1.0]


# -- with the real gateway ------------------------------------------------------------------------


async def speak_once(request: web.Request) -> web.WebSocketResponse:
    """An agent that checks the upgrade, waits for the caller, says 40 ms, and closes when they were played."""
    socket = web.WebSocketResponse(compress=False)
    await socket.prepare(request)
    stream_sid = ""
    async for message in socket:
        if message.type is not WSMsgType.TEXT:
            continue
        event = json.loads(message.data)
        match event["event"]:
            case "start":
                stream_sid = event["start"]["streamSid"]
            case "media" if event["media"]["chunk"] == "1":
                payload = "EBAQ" * 106 + "EBA="
                await socket.send_json({"event": "media", "streamSid": stream_sid, "media": {"payload": payload}})
                await socket.send_json({"event": "mark", "streamSid": stream_sid, "mark": {"name": "said"}})
            case "mark":
                await socket.close()
    return socket


async def test_a_whole_call_over_a_real_socket(app, person, tmp_path):
    app.answers = {"/twilio/voice/": CONNECT, "/media/t": speak_once, "/twilio/after-stream/": "<Hangup/>"}
    caller = person()
    async with phone_network(app, tape_directory=tmp_path) as network:
        call = await ring_in(network, caller)
        end = await call.wait()
    assert end.status == "completed"
    assert caller.heard.count(b"\x10") == 320
    upgrade = app.to("/media/t")[0]
    assert "Origin" not in upgrade.headers
    assert upgrade.headers["X-Twilio-Signature"]
    assert (tmp_path / call.sid / "call.wav").exists()
    assert [error.code for error in call.gateway.errors] == [31921]
    assert [request.form["StreamEvent"] for request in app.to("/s/")] == ["stream-started", "stream-stopped"]


async def test_in_strict_mode_a_bad_message_fails_whoever_waits(app, person):
    async def babble(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        await socket.receive()
        await socket.send_str("hello")
        async for _ in socket:
            pass
        return socket

    app.answers = {"/twilio/voice/": CONNECT, "/media/t": babble}
    async with phone_network(app) as network:
        call = await ring_in(network, person())
        with pytest.raises(StreamViolation):
            await call.wait()
        assert call.is_over


async def test_a_refused_socket_leads_to_the_action(app, person):
    app.answers = {"/twilio/voice/": CONNECT, "/media/t": 403, "/twilio/after-stream/": "<Hangup/>"}
    async with phone_network(app) as network:
        call = await ring_in(network, person())
        await call.wait()
    assert [error.code for error in call.gateway.errors] == [31920]
    assert [request.form["StreamEvent"] for request in app.to("/s/")] == ["stream-error"]
    assert app.to("/twilio/after-stream/")
