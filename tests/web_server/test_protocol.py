"""Connections that wait, drip, send huge headers or do not read are closed. Real sockets."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import uvicorn

from calls.seldom import Seldom
from clientcaller.web import handler, protocol
from clientcaller.web.protocol import BoundedProtocol
from clientcaller.web.sockets import SocketProtocol
from tests.media.odd_messages import CLOSE, CONTINUED, TEXT, frame

REQUEST = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"


class Application:
    """
    Answers at once, or when it is let go. ``/large`` has more than any buffer takes, ``/endless`` ends with its client.
    """

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.go.set()
        self.asked = 0
        self.received: list[str | None] = []
        """The messages of WebSockets."""
        self.left = asyncio.Event()
        """The client of ``/endless`` has left."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked += 1
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            while (event := await receive())["type"] != "websocket.disconnect":
                self.received.append(event.get("text"))
            return
        if scope["path"] == "/endless":
            while (await receive())["type"] != "http.disconnect":
                """It takes no notice of a body."""
            self.left.set()
            return
        await self.go.wait()
        if scope["path"] == "/body":
            while (await receive()).get("more_body"):
                pass
        await send({"type": "http.response.start", "status": 200, "headers": []})
        length = 50_000 if scope["path"] == "/medium" else 10_000
        for _ in range(2000 if scope["path"] == "/large" else 1):
            await send({"type": "http.response.body", "body": b"x" * length, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


Connect = Callable[..., Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


@asynccontextmanager
async def serving(application: Application, *, buffer: int | None = None) -> AsyncIterator[Connect]:
    """
    Serve it. Yields a function that connects a client and sends bytes; all clients end with the block.

    ``buffer`` is the number of bytes that the system keeps of what was sent and not read.
    """
    config = uvicorn.Config(application, http=BoundedProtocol, ws=SocketProtocol, lifespan="off", log_config=None)
    config.load()
    state = uvicorn.server.ServerState()
    listener = socket.create_server(("127.0.0.1", 0))
    if buffer is not None:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    server = await asyncio.get_running_loop().create_server(lambda: BoundedProtocol(config, state, {}), sock=listener)
    clients: list[asyncio.StreamWriter] = []

    async def connect(sent: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        clients.append(writer)
        writer.write(sent)
        return reader, writer

    try:
        yield connect
    finally:
        application.go.set()
        server.close()
        for writer in clients:
            writer.transport.abort()
        async with asyncio.timeout(20):
            await asyncio.gather(*state.tasks, return_exceptions=True)
        while state.connections:  # noqa: ASYNC110 (it has no event for the last one)
            await asyncio.sleep(0.001)


async def everything(reader: asyncio.StreamReader) -> bytes:
    """What comes until the server closes the connection."""
    received = b""
    try:
        async with asyncio.timeout(20):
            while data := await reader.read(65536):
                received += data
    except ConnectionError:
        pass
    return received


@pytest.mark.parametrize(
    "sent", [b"", b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-Slow: ", REQUEST + b"\r\n", REQUEST + b"GET /"]
)
async def test_a_connection_that_sends_no_whole_request_is_closed(monkeypatch, sent):
    monkeypatch.setattr(protocol, "HEADERS_TIMEOUT", 0.1)
    async with serving(Application()) as connect:
        reader, _ = await connect(sent)
        assert (b"200 OK" in await everything(reader)) is sent.startswith(REQUEST)


async def test_a_connection_that_drips_is_closed_as_well(monkeypatch):
    monkeypatch.setattr(protocol, "HEADERS_TIMEOUT", 0.2)
    async with serving(Application()) as connect:
        reader, writer = await connect(b"GET /healthz HTTP/1.1\r\n")
        reading = asyncio.ensure_future(everything(reader))
        count = 0
        while not reading.done():
            count += 1
            writer.write(b"X-%d: 1\r\n" % count)
            await asyncio.sleep(0.02)
        assert reading.result() == b""


async def test_a_request_that_is_being_answered_is_not_closed(monkeypatch):
    monkeypatch.setattr(protocol, "HEADERS_TIMEOUT", 0.05)
    application = Application()
    application.go.clear()
    async with serving(application) as connect:
        reader, _ = await connect(REQUEST)
        await asyncio.sleep(0.15)
        application.go.set()
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")


UPGRADE = (
    b"GET /twilio/media/x HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 70_000,
        b"GET /" + b"x" * 70_000,
        b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: 1\r\n" % number for number in range(9000)),
        UPGRADE + b"X: " + b"x" * 8200 + b"\r\n\r\n",  # python-websockets refuses it without an answer
        UPGRADE + b"".join(b"X-%d: 1\r\n" % number for number in range(130)) + b"\r\n",
        UPGRADE.replace(b"media/x", b"media/" + b"x" * 8200) + b"\r\n",
    ],
    ids=[
        "one header",
        "path",
        "many headers",
        "header of an upgrade",
        "many headers of an upgrade",
        "path of an upgrade",
    ],
)
async def test_headers_that_are_too_large_get_an_answer(sent):
    async with serving(Application()) as connect:
        reader, _ = await connect(sent)
        assert (await everything(reader)).startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")


@pytest.mark.parametrize(
    "behind",
    [UPGRADE + b"\r\n", UPGRADE + b"X: " + b"x" * 8200 + b"\r\n\r\n", b"\xff\xfe\r\n", REQUEST + UPGRADE + b"\r\n"],
    ids=["an upgrade", "a large upgrade", "garbage", "a request and an upgrade"],
)
async def test_what_comes_behind_a_request_that_is_being_answered_costs_no_traceback(caplog, behind):
    """An answer never goes into a WebSocket."""
    async with serving(Application()) as connect:
        reader, _ = await connect(REQUEST + behind)
        assert b"101 Switching" not in await everything(reader)
    assert [record for record in caplog.records if record.levelno > logging.WARNING] == []


@pytest.mark.parametrize("behind", [b"", REQUEST, 3 * REQUEST, b"GET / HTTP/1.1\r\nX: "])
async def test_a_view_is_told_that_its_client_has_left_whatever_came_behind_the_request(behind):
    application = Application()
    async with serving(application) as connect:
        _, writer = await connect(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n" + behind)
        await writer.drain()
        writer.transport.abort()
        async with asyncio.timeout(20):
            await application.left.wait()


async def test_an_upgrade_behind_a_request_that_was_answered_works():
    async with serving(Application()) as connect:
        reader, writer = await connect(REQUEST)
        assert (await reader.readuntil(b"0\r\n\r\n")).startswith(b"HTTP/1.1 200")
        writer.write(UPGRADE + b"\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 101")


async def test_an_upgrade_of_the_usual_size_works_and_is_not_closed(monkeypatch):
    monkeypatch.setattr(protocol, "HEADERS_TIMEOUT", 0.05)
    async with serving(Application()) as connect:
        reader, _ = await connect(UPGRADE + b"X: " + b"x" * 4000 + b"\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 101")


@pytest.mark.parametrize(
    "sent",
    [
        *(
            frame(TEXT, text)
            for text in (b"\xff", b'{"event":"mark\xc3\x28"}', b"\xed\xa0\x80", b"\xc0\xaf", b"\xf0\x9f")
        ),
        frame(TEXT, b'{"event":"\xf0\x9f', fin=False) + frame(CONTINUED, b'"}'),
    ],
)
async def test_invalid_utf_8_closes_the_socket_with_one_line_in_the_log(caplog, sent):
    async with serving(Application()) as connect:
        reader, writer = await connect(UPGRADE + b"\r\n")
        await reader.readuntil(b"\r\n\r\n")
        caplog.clear()
        writer.write(sent)
        assert (await reader.readexactly(4))[2:] == (1007).to_bytes(2)
        writer.write(frame(CLOSE, (1007).to_bytes(2)))
        await everything(reader)
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [(record.levelname, record.exc_info) for record in warnings] == [("WARNING", None)]
    assert "invalid UTF-8" in warnings[0].getMessage()


@pytest.mark.parametrize("also", [b"", frame(TEXT, b"\xfe")])
async def test_invalid_utf_8_right_before_a_close_frame_costs_no_traceback(caplog, also):
    async with serving(Application()) as connect:
        reader, writer = await connect(UPGRADE + b"\r\n")
        await reader.readuntil(b"\r\n\r\n")
        caplog.clear()
        writer.write(frame(TEXT, b"\xff") + also + frame(CLOSE, (1000).to_bytes(2)))
        assert (await reader.readexactly(4))[2:] == (1000).to_bytes(2)
        await everything(reader)
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert {(record.levelname, record.exc_info) for record in warnings} == {("WARNING", None)}
    assert all("invalid UTF-8" in record.getMessage() for record in warnings)


async def test_a_message_right_before_a_close_frame_arrives():
    application = Application()
    async with serving(application) as connect:
        reader, writer = await connect(UPGRADE + b"\r\n")
        await reader.readuntil(b"\r\n\r\n")
        writer.write(frame(TEXT, "später".encode()) + frame(CLOSE, (1000).to_bytes(2)))
        await everything(reader)
    assert application.received == ["später"]


async def test_a_client_that_does_not_read_its_answer_is_left(monkeypatch):
    monkeypatch.setattr(protocol, "SEND_TIMEOUT", 0.2)
    async with serving(Application()) as connect:
        reader, _ = await connect(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        await asyncio.sleep(0.5)  # the reader's buffer is full, and it reads no more
        assert len(await everything(reader)) < 20_000_000


async def test_a_client_that_leaves_the_end_of_its_answer_unread_is_left_too(monkeypatch):
    """What is left is less than what makes the transport pause, and the server has closed its side already."""
    monkeypatch.setattr(protocol, "SEND_TIMEOUT", 0.1)
    loop = asyncio.get_running_loop()
    async with serving(Application(), buffer=4096) as connect:
        _, other = await connect()
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.setblocking(False)
            await loop.sock_connect(client, other.get_extra_info("peername"))
            await loop.sock_sendall(client, b"GET /medium HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            await asyncio.sleep(0.3)
            received = b""
            with suppress(ConnectionResetError):
                while data := await loop.sock_recv(client, 65536):
                    received += data
        assert 0 < len(received) < 50_000


async def test_too_many_connections_cost_those_without_a_request_their_place(monkeypatch):
    monkeypatch.setattr(protocol, "MOST_CONNECTIONS", 3)
    monkeypatch.setattr(protocol, "YOUNG", -1.0)
    application = Application()
    application.go.clear()
    async with serving(application) as connect:
        twilio, _ = await connect(b"POST /twilio/voice/ HTTP/1.1\r\nHost: a\r\n\r\n")
        busy, _ = await connect(REQUEST)
        idle, _ = await connect()
        await connect(REQUEST)
        assert await everything(idle) == b""  # it had no request
        await connect(b"POST /twilio/status/ HTTP/1.1\r\nHost: a\r\n\r\n")
        application.go.set()
        assert (await twilio.readline()).startswith(b"HTTP/1.1 200")
        assert (await busy.readline()) in (b"", b"HTTP/1.1 200 OK\r\n")


async def test_connections_that_never_finish_their_bodies_keep_no_new_one_out(monkeypatch):
    """Also if they say that they are Twilio's: a callback has a body that is whole."""
    monkeypatch.setattr(protocol, "MOST_CONNECTIONS", 3)
    monkeypatch.setattr(protocol, "YOUNG", -1.0)
    application = Application()
    async with serving(application) as connect:
        application.go.clear()
        for path in (b"/x", b"/twilio/voice/", b"/y"):
            await connect(b"POST " + path + b" HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n.")
        callbacks = [await connect(b"POST /twilio/voice/ HTTP/1.1\r\nHost: a\r\n\r\n") for _ in range(3)]
        application.go.set()
        for reader, _ in callbacks:
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "body", [b"Content-Length: 5\r\n\r\nhello", b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"]
)
async def test_an_upgrade_with_a_body_is_refused(body):
    async with serving(Application()) as connect:
        reader, _ = await connect(UPGRADE + body)
        assert (await everything(reader)).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize(
    "first",
    [
        REQUEST + b"GET /y HTTP/1.1\r\nX: ",  # a second request behind one that is being answered
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ",  # headers behind a body
    ],
)
async def test_endless_headers_behind_a_request_are_ended_too(first):
    application = Application()
    application.go.clear()
    async with serving(application) as connect:
        reader, writer = await connect(first)
        reading = asyncio.ensure_future(everything(reader))
        sent = 0
        while not reading.done() and sent < 100:
            sent += 1
            writer.write(b"x" * 10_000)
            await asyncio.sleep(0.005)
        assert sent < 100
        await reading


async def test_a_client_may_ask_a_little_ahead_and_not_without_end():
    application = Application()
    application.go.clear()
    async with serving(application) as connect:
        few, _ = await connect(REQUEST * protocol.MOST_PIPELINED)
        many, _ = await connect(REQUEST * 8000)
        assert await everything(many) == b""
        application.go.set()
        assert application.asked == 2
        answered = 0
        while answered < protocol.MOST_PIPELINED:
            answered += (await few.readline()).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("behind", [UPGRADE + b"\r\n", b"no request\r\n\r\n"], ids=["upgrade", "nonsense"])
async def test_what_may_not_stand_behind_a_request_ends_the_connection(behind):
    """The answers would be mixed up."""
    application = Application()
    application.go.clear()
    async with serving(application) as connect:
        reader, _ = await connect(REQUEST + behind)
        assert await everything(reader) == b""
        application.go.set()


@pytest.mark.parametrize(("size", "count", "status"), [(1, 20_000, b"400 Bad Request"), (1000, 2_500, b"200 OK")])
async def test_a_body_in_tiny_pieces_is_refused(size, count, status):
    chunk = b"%x\r\n%s\r\n" % (size, b"x" * size)
    async with serving(Application()) as connect:
        head = b"POST /body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        reader, _ = await connect(head + chunk * count + b"0\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 " + status)


@pytest.mark.parametrize(
    "sent",
    [
        b"no request\r\n\r\n",
        REQUEST * 1000,
        b"POST /body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 20_000,
    ],
    ids=["nonsense", "sent ahead", "tiny pieces"],
)
async def test_what_is_refused_waits_so_that_its_client_cannot_come_again_at_once(monkeypatch, sent):
    monkeypatch.setattr(handler, "REFUSAL_DELAY", 2.0)
    application = Application()
    application.go.clear()
    async with serving(application) as connect:
        reader, writer = await connect(sent)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await reader.read(1)
        asked = application.asked
        writer.write(REQUEST * 10)  # nobody reads it
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await reader.read(1)
        assert application.asked == asked


async def test_upgrades_without_a_signature_cost_little_and_are_logged_once_in_a_while(monkeypatch, caplog):
    monkeypatch.setattr(protocol, "_refusals", Seldom(protocol.logger))
    monkeypatch.setattr(BoundedProtocol, "may_upgrade", staticmethod(signed_by_us))
    application = Application()
    async with serving(application) as connect:
        for _ in range(10):
            reader, writer = await connect(UPGRADE + b"\r\n")
            writer.write(b"a frame")
            assert (await everything(reader)).startswith(b"HTTP/1.1 403 Forbidden\r\n")
        assert application.asked == 0
        reader, _ = await connect(UPGRADE + b"X-Twilio-Signature: ours\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 101")
    assert sum("signature is invalid" in line for line in caplog.messages) == 5


def signed_by_us(path: str, headers: Mapping[str, str]) -> bool:
    return (path, headers.get("x-twilio-signature")) == ("/twilio/media/x", "ours")
