"""``<Connect><Stream>`` on a leg, with a fake gateway and with the real one."""

import json

import pytest
from aiohttp import WSMsgType, web

from media.phone.call_request import Program
from media.phone.stream import StreamViolation
from tests.media.phone.doubles import CONNECT, Person, call_in, open_network


async def test_the_action_is_requested_after_the_application_closed_the_socket(app, network, gateway):
    app.answers = {"/twilio/voice/": CONNECT, "/twilio/after-stream/": "<Say>Goodbye</Say><Hangup/>"}
    call = await call_in(network, Person())
    request = await gateway.wait_for_stream()
    assert request.url == "wss://voice.example/media/t"
    assert request.connect_to == app.url.replace("http", "ws")
    assert (request.call_sid, request.account_sid) == (call.sid, network.account_sid)
    assert (request.stream_sid[:2], len(request.stream_sid)) == ("MZ", 34)
    gateway.end_stream("app-closed", 1000)
    await call.wait()
    paths = [request.path for request in app.received]
    assert paths[-1] == "/twilio/status/", "the report of the end comes last"
    after = app.requests_to("/twilio/after-stream/")[0]
    assert (after.form["CallStatus"], after.form["CallSid"]) == ("in-progress", call.sid)
    stream_events = [request.form["StreamEvent"] for request in app.requests_to("/s/")]
    assert stream_events == ["stream-started", "stream-stopped"]
    assert app.requests_to("/s/")[0].form["StreamSid"] == request.stream_sid
    assert app.requests_to("/s/")[0].form["Timestamp"].endswith("Z")


async def test_a_call_can_have_a_second_stream(app, network, gateway):
    app.answers = {"/twilio/voice/": CONNECT, "/twilio/after-stream/": [CONNECT, "<Hangup/>"]}
    call = await call_in(network, Person())
    first = await gateway.wait_for_stream()
    gateway.end_stream("lost", 1006)
    second = await gateway.wait_for_stream()
    gateway.end_stream("app-closed", 1000)
    await call.wait()
    assert first.stream_sid != second.stream_sid
    assert first.call_sid == second.call_sid == call.sid


async def test_a_refused_stream_is_reported_and_the_call_continues(app, network, gateway):
    app.answers = {"/twilio/voice/": CONNECT, "/twilio/after-stream/": "<Hangup/>"}
    call = await call_in(network, Person())
    await gateway.wait_for_stream()
    gateway.end_stream("refused", 403, "the upgrade was refused")
    await call.wait()
    (report,) = app.requests_to("/s/")
    assert (report.form["StreamEvent"], report.form["StreamError"]) == ("stream-error", "the upgrade was refused")
    assert app.requests_to("/twilio/after-stream/")


async def test_no_action_is_requested_after_the_caller_hung_up(app, network, gateway):
    app.answers = {"/twilio/voice/": CONNECT}
    call = await call_in(network, Person())
    await gateway.wait_for_stream()
    gateway.end_stream("party-hung-up")
    end = await call.wait()
    assert (end.status, end.ended_by) == ("completed", "caller")
    assert not app.requests_to("/twilio/after-stream/")
    events = [request.form.get("StreamEvent") or request.form["CallStatus"] for request in app.received[1:]]
    assert events == ["stream-started", "stream-stopped", "completed"]


async def test_hanging_up_the_call_stops_the_stream(app, network, gateway):
    app.answers = {"/twilio/voice/": CONNECT}
    call = await call_in(network, Person())
    await gateway.wait_for_stream()
    call.hang_up()
    assert (await call.wait()).ended_by == "caller"
    assert gateway.stopped == ["party-hung-up"]
    call.hang_up()  # does nothing any more


async def test_an_update_over_rest_replaces_the_twiml_at_once(app, network, gateway):
    app.answers = {"/twilio/voice/": CONNECT}
    call = await call_in(network, Person())
    await gateway.wait_for_stream()
    call.update(
        program=Program(twiml="<Response><Say>A moment</Say></Response>"), callback=None, status="", time_limit=None
    )
    await call.wait()
    assert gateway.stopped == ["call-updated"]
    assert {"event": "say", "text": "A moment"} in call.events
    assert not app.requests_to("/twilio/after-stream/")


async def test_the_application_can_hang_up_over_rest(app, network, gateway):
    app.answers = {"/twilio/voice/": CONNECT}
    call = await call_in(network, Person())
    await gateway.wait_for_stream()
    call.update(program=None, callback=None, status="completed", time_limit=None)
    end = await call.wait()
    assert (end.status, end.ended_by) == ("completed", "app")
    assert gateway.stopped == ["call-updated"]


async def test_the_time_limit_ends_the_call(app, network, gateway):
    app.answers = {"/twilio/voice/": CONNECT}
    call = await call_in(network, Person())
    await gateway.wait_for_stream()
    call.update(program=None, callback=None, status="", time_limit=0.05)
    assert (await call.wait()).ended_by == "time-limit"


# -- with the real gateway ------------------------------------------------------------------------


async def speak_once(request: web.Request) -> web.WebSocketResponse:
    """Serve an agent that waits for the caller, says 40 ms, and closes the socket when they were played."""
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


async def test_a_call_from_the_upgrade_to_the_action_over_a_real_socket(app, tmp_path):
    app.answers = {"/twilio/voice/": CONNECT, "/media/t": speak_once, "/twilio/after-stream/": "<Hangup/>"}
    caller = Person()
    async with open_network(app, tape_directory=tmp_path) as network:
        call = await call_in(network, caller)
        end = await call.wait()
    assert end.status == "completed"
    assert caller.heard.count(b"\x10") == 320
    upgrade = app.requests_to("/media/t")[0]
    assert "Origin" not in upgrade.headers
    assert upgrade.headers["X-Twilio-Signature"]
    assert (tmp_path / call.sid / "call.wav").exists()
    assert [error.code for error in call.gateway.errors] == [31921]
    assert [request.form["StreamEvent"] for request in app.requests_to("/s/")] == ["stream-started", "stream-stopped"]


async def test_in_strict_mode_waiting_for_the_call_raises_the_violation(app):
    async def send_nonsense(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        await socket.receive()
        await socket.send_str("hello")
        async for _ in socket:
            pass
        return socket

    app.answers = {"/twilio/voice/": CONNECT, "/media/t": send_nonsense}
    async with open_network(app) as network:
        call = await call_in(network, Person())
        with pytest.raises(StreamViolation):
            await call.wait()
        assert call.is_over


async def test_the_action_is_requested_after_the_socket_was_refused(app):
    app.answers = {"/twilio/voice/": CONNECT, "/media/t": 403, "/twilio/after-stream/": "<Hangup/>"}
    async with open_network(app) as network:
        call = await call_in(network, Person())
        await call.wait()
    assert [error.code for error in call.gateway.errors] == [31920]
    assert [request.form["StreamEvent"] for request in app.requests_to("/s/")] == ["stream-error"]
    assert app.requests_to("/twilio/after-stream/")
