"""How a stream is opened: the upgrade request, and what each refusal is reported as."""

import asyncio
import socket
from contextlib import suppress
from dataclasses import replace

import pytest
from aiohttp import web
from twilio.request_validator import RequestValidator

from media.phone import media_socket
from media.phone.gateway import Gateway
from media.phone.stream_handshake import StreamRequest
from media.phone.tape import Tape
from tests.media.phone.doubles import Person
from tests.media.phone.streams import SID, TOKEN, AppStream, run_stream, serve_application, serve_requests


async def test_the_upgrade_request_has_exactly_twilios_headers():
    seen: list[web.BaseRequest] = []

    async def app(app: AppStream) -> None:
        seen.append(app.request)
        await app.socket.close()

    await run_stream(app)
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


async def test_the_url_can_be_signed_with_a_trailing_slash_and_has_no_query():
    seen: list[web.BaseRequest] = []

    async def app(app: AppStream) -> None:
        seen.append(app.request)
        await app.socket.close()

    gateway = Gateway(Person(), tape=Tape(), sign_trailing_slash=True)
    async with serve_application(app) as request:
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
async def test_any_response_except_a_plain_upgrade_is_reported_as_refused(handler, code, status):
    gateway = Gateway(Person(), tape=Tape())
    async with serve_requests(handler) as request:
        end = await gateway.run(request)
    assert (end.reason, end.code) == ("refused", status)
    assert [error.code for error in gateway.errors] == [code]


async def test_a_closed_port_and_a_bad_url_have_error_codes_of_their_own():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    request = StreamRequest("wss://a.example/x", "AC1", "CA1", SID, TOKEN, connect_to=f"ws://127.0.0.1:{port}")
    gateway = Gateway(Person(), tape=Tape())
    assert (await gateway.run(request)).reason == "refused"
    assert (await gateway.run(replace(request, url="ws://a.example/x"))).reason == "refused"
    assert (await gateway.run(replace(request, url="wss:///x"))).reason == "refused"
    assert [error.code for error in gateway.errors] == [31902, 31922, 31923]


async def test_the_gateway_gives_up_on_a_server_that_does_not_answer(monkeypatch):
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
