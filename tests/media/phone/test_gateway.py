"""The media gateway against a small application on the other end of a real WebSocket."""

import asyncio
import base64
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import pytest
from aiohttp import WSCloseCode, WSMsgType, web
from twilio.request_validator import RequestValidator

from media.phone import media_socket, uplink
from media.phone.frames import SILENT_FRAME
from media.phone.gateway import Gateway
from media.phone.impairments import Fault, Impairments, Stall
from media.phone.measurements import measure
from media.phone.stream import StreamEnd, StreamViolation
from media.phone.stream_handshake import StreamRequest
from media.phone.tape import Tape
from tests.media.phone.sounds import LOUD

TOKEN = "12345"
SID = "MZ" + "1" * 32


@dataclass
class Person:
    """Says nothing, hears everything, and hangs up when told to."""

    hung_up: bool = False
    voice: bytes = SILENT_FRAME
    keys: list[str] = field(default_factory=list)
    heard: list[bytes] = field(default_factory=list)

    def connected(self) -> None: ...

    def next_frame(self) -> bytes:
        return self.voice

    def hear(self, frame: bytes) -> None:
        self.heard.append(frame)

    def next_key(self) -> str | None:
        return self.keys.pop(0) if self.keys else None

    @property
    def heard_loud(self) -> int:
        return sum(frame.count(LOUD[0]) for frame in self.heard)


@dataclass
class App:
    """The application's socket: everything it was sent, and a way to wait for it."""

    request: web.BaseRequest
    socket: web.WebSocketResponse
    messages: list[dict[str, Any]] = field(default_factory=list)

    async def receive(self) -> dict[str, Any]:
        message = await self.socket.receive(timeout=5)
        if message.type is not WSMsgType.TEXT:
            raise EOFError(message.type)
        self.messages.append(json.loads(message.data))
        return self.messages[-1]

    async def wait_for(self, event: str) -> dict[str, Any]:
        while (message := await self.receive())["event"] != event:
            pass
        return message

    async def receive_all(self) -> None:
        try:
            while True:
                await self.receive()
        except EOFError:
            pass

    async def play(self, audio: bytes, sid: str = SID) -> None:
        payload = base64.b64encode(audio).decode()
        await self.socket.send_json({"event": "media", "streamSid": sid, "media": {"payload": payload}})

    async def mark(self, name: str) -> None:
        await self.socket.send_json({"event": "mark", "streamSid": SID, "mark": {"name": name}})

    async def clear(self) -> None:
        await self.socket.send_json({"event": "clear", "streamSid": SID})

    def of(self, event: str) -> list[dict[str, Any]]:
        return [message for message in self.messages if message["event"] == event]


Behaviour = Callable[[App], Awaitable[None]]


@asynccontextmanager
async def application(behaviour: Behaviour) -> AsyncIterator[StreamRequest]:
    """An application that behaves so on its one stream; gives what it takes to call it."""

    async def serve(request: web.BaseRequest) -> web.StreamResponse:
        response = web.WebSocketResponse(compress=False, max_msg_size=2**24)
        await response.prepare(request)
        await behaviour(App(request, response))
        return response

    async with served(serve) as request:
        yield request


@asynccontextmanager
async def served(handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> AsyncIterator[StreamRequest]:
    runner = web.ServerRunner(web.Server(handler), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        yield StreamRequest(
            url="wss://agent.example.com/twilio/media/abc",
            account_sid="AC" + "2" * 32,
            call_sid="CA" + "3" * 32,
            stream_sid=SID,
            auth_token=TOKEN,
            parameters={"token": "t0"},
            connect_to=f"ws://127.0.0.1:{port}",
        )
    finally:
        await runner.cleanup()


async def call(behaviour: Behaviour, party: Person | None = None, **options: Any) -> tuple[StreamEnd, Gateway]:
    """One stream from beginning to end; ``options`` are those of the gateway."""
    gateway = Gateway(party or Person(), tape=Tape(), **options)
    async with application(behaviour) as request, asyncio.timeout(8):
        return await gateway.run(request), gateway


def events(gateway: Gateway, name: str) -> list[dict[str, Any]]:
    return [event for event in gateway.tape.events if event["event"] == name]


# -- the upgrade ----------------------------------------------------------------------------------


async def test_the_upgrade_request_has_exactly_twilios_headers():
    seen: list[web.BaseRequest] = []

    async def app(app: App) -> None:
        seen.append(app.request)
        await app.socket.close()

    await call(app)
    names = [name.decode() for name, _ in seen[0].raw_headers]
    assert names == [
        *("host", "user-agent", "connection", "upgrade", "sec-websocket-version"),
        *("sec-websocket-key", "x-twilio-signature", "accept-encoding"),
    ]
    headers = seen[0].headers
    assert headers["host"] == "agent.example.com"
    assert headers["user-agent"] == "Twilio.TmeWs/1.0"
    assert RequestValidator(TOKEN).validate(
        "wss://agent.example.com/twilio/media/abc", {}, headers["x-twilio-signature"]
    )


async def test_the_signature_can_be_made_with_a_trailing_slash_and_the_query_is_dropped():
    seen: list[web.BaseRequest] = []

    async def app(app: App) -> None:
        seen.append(app.request)
        await app.socket.close()

    gateway = Gateway(Person(), tape=Tape(), sign_trailing_slash=True)
    async with application(app) as request:
        await gateway.run(replace(request, url=request.url + "?who=me"))
    assert seen[0].path_qs == "/twilio/media/abc"
    signature = seen[0].headers["x-twilio-signature"]
    expected = RequestValidator(TOKEN).compute_signature("wss://agent.example.com/twilio/media/abc/", {})
    assert signature == expected


async def answer_403(request: web.BaseRequest) -> web.StreamResponse:
    return web.Response(status=403)


async def redirect(request: web.BaseRequest) -> web.StreamResponse:
    return web.Response(status=301, headers={"Location": "/elsewhere"})


async def choose_a_subprotocol(request: web.BaseRequest) -> web.StreamResponse:
    response = web.WebSocketResponse()
    response.headers["Sec-WebSocket-Protocol"] = "audio"
    await response.prepare(request)
    return response


@pytest.mark.parametrize(
    ("handler", "code", "status"),
    [(answer_403, 31920, 403), (redirect, 31920, 301), (choose_a_subprotocol, 31924, None)],
)
async def test_anything_but_a_plain_upgrade_is_refused(handler, code, status):
    gateway = Gateway(Person(), tape=Tape())
    async with served(handler) as request:
        end = await gateway.run(request)
    assert (end.reason, end.code) == ("refused", status)
    assert [error.code for error in gateway.errors] == [code]


async def test_a_closed_port_and_a_plain_ws_address_are_refused_with_their_own_codes():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    request = StreamRequest("wss://a.example/x", "AC1", "CA1", SID, TOKEN, connect_to=f"ws://127.0.0.1:{port}")
    gateway = Gateway(Person(), tape=Tape())
    assert (await gateway.run(request)).reason == "refused"
    assert (await gateway.run(replace(request, url="ws://a.example/x"))).reason == "refused"
    assert (await gateway.run(replace(request, url="wss:///x"))).reason == "refused"
    assert [error.code for error in gateway.errors] == [31902, 31922, 31923]


async def test_a_silent_server_is_given_up(monkeypatch):
    monkeypatch.setattr(media_socket, "CONNECT_TIMEOUT", 0.1)
    gone = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionResetError):
            while await reader.read(1000):
                pass
        writer.close()
        gone.set()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    gateway = Gateway(Person(), tape=Tape())
    end = await gateway.run(StreamRequest("wss://a.example/x", "AC1", "CA1", SID, TOKEN, {}, f"ws://127.0.0.1:{port}"))
    await gone.wait()
    server.close()
    assert end.reason == "refused"
    assert [error.code for error in gateway.errors] == [31901]


# -- what the app is sent -------------------------------------------------------------------------


async def test_the_messages_are_twilios_with_string_counters():
    seen: list[App] = []

    async def app(app: App) -> None:
        seen.append(app)
        while len(app.of("media")) < 4:
            await app.receive()
        await app.socket.close()

    end, gateway = await call(app, Person(keys=["5"]))
    assert end == StreamEnd("app-closed", 1000)
    assert [error.code for error in gateway.errors] == [31921]
    connected, start, *rest = seen[0].messages
    assert connected == {"event": "connected", "protocol": "Call", "version": "1.0.0"}
    assert start == {
        "event": "start",
        "sequenceNumber": "1",
        "streamSid": SID,
        "start": {
            "streamSid": SID,
            "accountSid": "AC" + "2" * 32,
            "callSid": "CA" + "3" * 32,
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": {"token": "t0"},
        },
    }
    assert [message["sequenceNumber"] for message in rest] == [str(number + 2) for number in range(len(rest))]
    media = seen[0].of("media")
    assert [message["media"]["chunk"] for message in media] == [str(number + 1) for number in range(len(media))]
    stamps = [int(message["media"]["timestamp"]) for message in media]
    assert 100 <= stamps[0] <= 200
    assert all(18 <= later - earlier <= 22 for earlier, later in pairwise(stamps))
    assert media[0]["media"]["track"] == "inbound"
    assert seen[0].of("dtmf")[0]["dtmf"] == {"track": "inbound_track", "digit": "5"}


async def test_silence_is_sent_as_comfort_noise_and_speech_as_it_is():
    payloads: list[bytes] = []
    person = Person()

    async def app(app: App) -> None:
        payloads.append(base64.b64decode((await app.wait_for("media"))["media"]["payload"]))
        person.voice = LOUD
        while payloads[-1] != LOUD:
            payloads.append(base64.b64decode((await app.wait_for("media"))["media"]["payload"]))
        await app.socket.close()

    await call(app, person)
    assert len(payloads[0]) == 160
    assert set(payloads[0]) == {0xFF, 0x7F}


async def test_a_party_that_hangs_up_sends_stop_and_closes():
    person = Person()
    seen: list[App] = []

    async def app(app: App) -> None:
        seen.append(app)
        await app.wait_for("media")
        person.hung_up = True
        await app.receive_all()

    end, gateway = await call(app, person)
    assert end == StreamEnd("party-hung-up", 1000)
    assert seen[0].messages[-1]["event"] == "stop"
    assert seen[0].messages[-1]["stop"] == {"accountSid": "AC" + "2" * 32, "callSid": "CA" + "3" * 32}
    assert seen[0].socket.close_code == 1000
    assert gateway.errors == []


async def test_a_call_that_is_changed_over_rest_stops_its_stream_and_can_have_another():
    tape, seen = Tape(), []
    gateway = Gateway(Person(), tape=tape)

    async def app(app: App) -> None:
        seen.append(app)
        await app.wait_for("media")
        gateway.stop()
        await app.receive_all()

    async with application(app) as request:
        assert (await gateway.run(request)).reason == "call-updated"
        again = await gateway.run(replace(request, stream_sid="MZ" + "9" * 32))
    assert again.reason == "call-updated"
    assert [app.of("start")[0]["sequenceNumber"] for app in seen] == ["1", "1"]
    gateway.stop()  # between streams: nothing happens


# -- play-out -------------------------------------------------------------------------------------


async def test_audio_is_played_in_real_time_and_its_mark_echoed_after_it():
    person = Person()

    async def app(app: App) -> None:
        await app.mark("too early")
        await app.wait_for("start")
        await app.mark("nothing queued")
        assert (await app.wait_for("mark"))["mark"] == {"name": "nothing queued"}
        await app.play(LOUD * 5)
        await app.mark("played")
        echo = await app.wait_for("mark")
        assert echo["mark"] == {"name": "played"}
        assert person.heard_loud == 800
        await app.socket.close()

    _, gateway = await call(app, person, strict=False)
    assert [error.code for error in gateway.errors] == [31951, 31921]
    start, end = events(gateway, "agent_speech_start")[0]["at"], events(gateway, "agent_speech_end")[0]["at"]
    assert end - start == pytest.approx(0.1, abs=0.001)
    assert gateway.underruns == 0


async def test_a_clear_silences_at_once_and_echoes_every_mark():
    person = Person()
    names: list[str] = []

    async def app(app: App) -> None:
        await app.wait_for("start")
        await app.play(LOUD * 100)
        await app.mark("one")
        await app.mark("two")
        while not person.heard_loud:
            await app.receive()
        await app.clear()
        for _ in range(2):
            names.append((await app.wait_for("mark"))["mark"]["name"])
        heard = person.heard_loud
        for _ in range(5):
            await app.wait_for("media")
        assert person.heard_loud <= heard + 160
        await app.socket.close()

    _, gateway = await call(app, person)
    assert names == ["one", "two"]
    clear = events(gateway, "clear")[0]
    assert clear["marks"] == ["one", "two"]
    assert clear["played_bytes"] + clear["dropped_bytes"] == pytest.approx(16_000, abs=160)
    assert gateway.underruns == 0


async def test_a_queue_that_runs_dry_in_mid_speech_is_an_underrun():
    async def app(app: App) -> None:
        await app.wait_for("start")
        await app.play(LOUD * 2)
        await app.mark("dry")
        await app.wait_for("mark")
        for _ in range(4):
            await app.wait_for("media")
        await app.play(LOUD * 2)
        await app.mark("end")
        await app.wait_for("mark")
        await app.socket.close()

    _, gateway = await call(app)
    assert gateway.underruns == 1
    assert [gap.seconds >= 0.06 for gap in measure(gateway.tape).gaps] == [True]


async def test_more_than_ten_minutes_of_audio_are_reported_once():
    async def app(app: App) -> None:
        await app.wait_for("start")
        await app.play(bytes(4_700_000))
        await app.play(bytes(200_000))
        await app.play(bytes(200_000))
        await app.mark("unheard")
        await app.clear()
        await app.wait_for("mark")
        await app.socket.close()

    _, gateway = await call(app)
    assert [error.code for error in gateway.errors] == [31931, 31921]


# -- strictness -----------------------------------------------------------------------------------

BAD_TEXTS = {
    "not JSON": "hello",
    "unknown event": '{"event":"pause","streamSid":"%s"}',
    "a missing field": '{"event":"media","streamSid":"%s"}',
    "an extra field": '{"event":"clear","streamSid":"%s","sequenceNumber":"1"}',
    "an extra field of media": '{"event":"media","streamSid":"%s","media":{"payload":"//8=","track":"outbound"}}',
    "bad base64": '{"event":"media","streamSid":"%s","media":{"payload":"*"}}',
    "another stream": '{"event":"clear","streamSid":"MZ0%s"}',
}


@pytest.mark.parametrize("text", BAD_TEXTS.values(), ids=BAD_TEXTS)
async def test_a_message_of_the_wrong_shape_fails_a_strict_call(text):
    async def app(app: App) -> None:
        await app.wait_for("start")
        await app.socket.send_str(text.replace("%s", SID))
        await app.receive_all()

    with pytest.raises(StreamViolation, match="31951"):
        await call(app)


async def test_a_lenient_gateway_ignores_bad_messages_and_reports_each_kind_once():
    person = Person()

    async def app(app: App) -> None:
        await app.wait_for("start")
        for text in BAD_TEXTS.values():
            await app.socket.send_str(text.replace("%s", SID))
        await app.socket.send_bytes(LOUD)
        await app.socket.send_bytes(LOUD)
        await app.play(LOUD)
        await app.mark("still here")
        await app.wait_for("mark")
        await app.socket.close(code=WSCloseCode.GOING_AWAY)

    end, gateway = await call(app, person, strict=False)
    assert end == StreamEnd("app-closed", 1001)
    assert [error.code for error in gateway.errors] == [31951, 31950, 31921]
    assert person.heard_loud == 160


async def test_a_dropped_connection_is_lost_and_not_closed():
    async def app(app: App) -> None:
        await app.wait_for("media")
        assert app.request.transport is not None
        app.request.transport.abort()

    end, gateway = await call(app)
    assert end == StreamEnd("lost", 1006)
    assert [error.code for error in gateway.errors] == [31903]


async def test_a_party_that_breaks_ends_its_own_call_only():
    class Broken(Person):
        def next_frame(self) -> bytes:
            raise RuntimeError("broken party")

    async def app(app: App) -> None:
        await app.receive_all()

    with pytest.raises(RuntimeError, match="broken party"):
        await call(app, Broken())


# -- a bad line, and a bad peer -------------------------------------------------------------------


async def media_under(impairments: Impairments, count: int, party: Person | None = None) -> list[dict[str, Any]]:
    """The first ``count`` media messages that arrive under these impairments."""
    seen: list[App] = []

    async def app(app: App) -> None:
        seen.append(app)
        while len(app.of("media")) < count:
            await app.receive()
        await app.socket.close()

    await call(app, party, impairments=impairments)
    return seen[0].of("media")


def stamps_of(media: list[dict[str, Any]]) -> list[int]:
    return [int(message["media"]["timestamp"]) for message in media]


async def test_lost_audio_is_a_gap_in_the_timestamps_and_not_in_the_counters():
    media = await media_under(Impairments(faults=[Fault(0.25, "gap", 0.4)]), 12)
    chunks = [int(message["media"]["chunk"]) for message in media]
    stamps = stamps_of(media)
    assert chunks == list(range(1, 13))
    assert max(later - earlier for earlier, later in pairwise(stamps)) >= 380


async def test_loss_drops_its_share_of_frames_the_same_ones_each_time():
    first = stamps_of(await media_under(Impairments(loss=0.5, seed=3), 10))
    again = stamps_of(await media_under(Impairments(loss=0.5, seed=3), 10))
    steps = [round((later - earlier) / 20) for earlier, later in pairwise(first)]
    assert max(steps) > 1
    assert steps == [round((later - earlier) / 20) for earlier, later in pairwise(again)]


async def test_a_stall_keeps_frames_back_and_then_delivers_them_all():
    loop = asyncio.get_running_loop()
    arrivals: list[float] = []

    async def app(app: App) -> None:
        await app.wait_for("start")
        while len(arrivals) < 30:
            await app.wait_for("media")
            arrivals.append(loop.time())
        stamps = stamps_of(app.of("media"))
        assert all(later - earlier <= 22 for earlier, later in pairwise(stamps))
        await app.socket.close()

    await call(app, impairments=Impairments(stalls=[Stall(0.3, 0.3)]))
    pauses = [later - earlier for earlier, later in pairwise(arrivals)]
    assert max(pauses) > 0.25
    burst = pauses[pauses.index(max(pauses)) + 1 :][:8]
    assert sum(burst) < 0.1


async def test_jitter_and_bunches_never_change_the_order():
    stamps = stamps_of(await media_under(Impairments(network_delay=0.01, jitter=0.06, bunch=5), 20))
    assert stamps == sorted(stamps)


async def test_line_noise_is_heard_in_silence():
    media = await media_under(Impairments(noise_db=-30), 2)
    assert len(set(base64.b64decode(media[0]["media"]["payload"]))) > 20


async def test_the_carriers_leg_delays_both_directions_and_shows_on_the_tape():
    person = Person()

    async def app(app: App) -> None:
        await app.wait_for("start")
        await app.play(LOUD)
        while not person.heard_loud:
            await app.receive()
        await app.socket.close()

    _, gateway = await call(app, person, impairments=Impairments(carrier_delay=0.1))
    speech = events(gateway, "agent_speech_start")[0]
    assert speech["heard_at"] - speech["at"] == pytest.approx(0.1, abs=0.001)
    assert person.heard.index(LOUD) >= 5


@pytest.mark.parametrize(
    ("kind", "arrives"),
    [
        ("garbage", "JSONDecodeError"),
        ("deep-json", "RecursionError"),
        ("binary", "BINARY"),
        ("invalid-utf8", "ERROR"),
    ],
)
async def test_faults_on_the_wire_reach_the_app_as_they_are(kind, arrives):
    seen: list[str] = []

    async def app(app: App) -> None:
        while True:
            try:
                await app.receive()
            except EOFError as error:
                seen.append(error.args[0].name)
                break
            except (json.JSONDecodeError, RecursionError) as error:
                seen.append(type(error).__name__)
                break
        await app.socket.close()

    await call(app, impairments=Impairments(faults=[Fault(0.05, kind)]))
    assert seen == [arrives]


@pytest.mark.parametrize(
    "kind", ["bad-base64", "empty-payload", "odd-length", "unknown-field", "number-sequence", "array", "huge"]
)
async def test_faults_inside_a_message_leave_the_stream_alive(kind):
    lengths: list[int] = []

    async def app(app: App) -> None:
        while len(lengths) < 25:
            message = await app.socket.receive(timeout=5)
            lengths.append(len(message.data))
        await app.socket.close()

    end, gateway = await call(app, impairments=Impairments(faults=[Fault(0.15, kind)]))
    assert end.reason == "app-closed"
    assert [event["kind"] for event in events(gateway, "fault")] == [kind]


async def test_faults_of_order():
    faults = [Fault(0.22, "duplicate"), Fault(0.3, "swap"), Fault(0.4, "sequence-gap", 10), Fault(0.0, "second-start")]
    seen: list[App] = []

    async def app(app: App) -> None:
        seen.append(app)
        while len(app.of("media")) < 22:
            await app.receive()
        await app.socket.close()

    await call(app, impairments=Impairments(faults=[*faults, Fault(0, "early-media")]))
    names = [message["event"] for message in seen[0].messages]
    assert names[:3] == ["connected", "media", "start"]
    assert names.count("start") == 2
    sequence = [int(message["sequenceNumber"]) for message in seen[0].of("media")[1:]]
    steps = [later - earlier for earlier, later in pairwise(sequence)]
    assert 0 in steps
    assert 11 in steps
    assert -1 in steps


async def test_a_reset_and_a_close_in_mid_call():
    async def app(app: App) -> None:
        await app.receive_all()

    end, _ = await call(app, impairments=Impairments(faults=[Fault(0.2, "drop")]))
    assert end == StreamEnd("lost", 1006)

    codes: list[int | None] = []

    async def other(app: App) -> None:
        await app.receive_all()
        codes.append(app.socket.close_code)

    await call(other, impairments=Impairments(faults=[Fault(0.2, "close", 1001)]))
    assert codes == [1001]


async def test_marks_can_be_lost_or_late():
    loop = asyncio.get_running_loop()

    async def app(app: App) -> None:
        await app.wait_for("media")
        await app.wait_for("media")
        await app.mark("lost")
        await app.mark("kept")
        assert (await app.wait_for("mark"))["mark"]["name"] == "kept"
        while not events(gateway, "fault")[1:]:
            await app.receive()
        asked_at = loop.time()
        await app.mark("late")
        assert (await app.wait_for("mark"))["mark"]["name"] == "late"
        assert loop.time() - asked_at > 0.2
        await app.socket.close()

    faults = [Fault(0.05, "lose-mark"), Fault(0.3, "late-marks", 0.4)]
    gateway = Gateway(Person(), tape=Tape(), impairments=Impairments(faults=faults))
    async with application(app) as request:
        await gateway.run(request)
    assert measure(gateway.tape).unresolved_marks == 1


async def test_an_app_that_does_not_read_costs_audio_and_not_memory(monkeypatch):
    monkeypatch.setattr(uplink, "MAX_UNSENT_FRAMES", 5)
    done = asyncio.Event()

    class Watcher(Person):
        def next_frame(self) -> bytes:
            if gateway.errors:
                done.set()
            return SILENT_FRAME

    async def app(request: web.BaseRequest) -> web.StreamResponse:
        assert request.transport is not None
        response = web.WebSocketResponse()
        await response.prepare(request)
        request.transport.pause_reading()
        await done.wait()
        request.transport.resume_reading()
        return response

    # A megabyte fills the kernel's buffers at once; what follows has to wait in the gateway.
    faults = [Fault(0.1 + number / 100, "huge") for number in range(8)]
    gateway = Gateway(Watcher(), tape=Tape(), impairments=Impairments(faults=faults))
    async with served(app) as request, asyncio.timeout(8):
        await gateway.run(request)
    assert gateway.errors[0].code == 31930


async def test_a_start_that_never_comes():
    async def app(app: App) -> None:
        assert (await app.receive())["event"] == "connected"
        await app.socket.close()

    end, _ = await call(app, impairments=Impairments(start_delay=float("inf")))
    assert end.reason == "app-closed"


def test_an_unknown_fault_is_named():
    with pytest.raises(ValueError, match="there are: array"):
        Impairments(faults=[Fault(0, "gremlins")])
