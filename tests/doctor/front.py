"""The real application on a port of this machine, and a proxy with TLS in front of it that may be wrong."""

from __future__ import annotations

import asyncio
import re
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import uvicorn
from channels.routing import ProtocolTypeRouter

HELD = 0.9
"""Seconds for which a proxy that collects data holds it."""


@dataclass
class Behaviour:
    """What the proxy does to requests."""

    alter: Callable[[str], str] = lambda head: head
    """Changes the request line and the headers; a text that begins with ``HTTP/`` is answered instead."""
    alter_body: Callable[[bytes], bytes] = lambda body: body
    alter_answer: Callable[[bytes], bytes] = lambda answer: answer
    """Changes what comes first of an answer."""
    holds_answers: bool = False
    """Whether it collects what comes back from a socket and passes it on now and then."""
    ends_sockets: bool = False
    """Whether it ends a socket as soon as it is open."""


class Front:
    """A proxy that passes each connection on, altered as ``behaviour`` says."""

    def __init__(self, upstream: int) -> None:
        self._upstream = upstream
        self.behaviour = Behaviour()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                await self._serve(reader, writer)
        finally:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.readexactly(1)
        if first == b"\x16":  # TLS, where none is spoken
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            await writer.drain()
            return
        head = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        length = int(match[1]) if (match := re.search(r"(?i)content-length: (\d+)", head)) else 0
        body = self.behaviour.alter_body(await reader.readexactly(length))
        altered = self.behaviour.alter(head)
        if altered.startswith("HTTP/"):
            writer.write(altered.encode("latin-1"))
            await writer.drain()
            return
        upstream, downstream = await asyncio.open_connection("127.0.0.1", self._upstream)
        downstream.write(altered.encode("latin-1") + body)
        try:
            tasks = [
                asyncio.ensure_future(self._copy(reader, downstream)),
                asyncio.ensure_future(self._return(upstream, writer, "upgrade: websocket" in altered.lower())),
            ]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            downstream.close()

    async def _copy(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
        await asyncio.Event().wait()  # until the answer is complete

    async def _return(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, is_socket: bool) -> None:
        first = True
        while data := await source.read(65536):
            if is_socket and self.behaviour.holds_answers and not first:
                await asyncio.sleep(HELD)
            target.write(self.behaviour.alter_answer(data) if first else data)
            await target.drain()
            if is_socket and self.behaviour.ends_sockets:
                return
            first = False


class Background:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="front", daemon=True)
        self._thread.start()

    def call(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(20)

    def close(self) -> None:
        async def cancel() -> None:
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self.call(cancel())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


@contextmanager
def application() -> Iterator[int]:
    """Serve the project's HTTP and sockets in this process, with the settings of the tests. Gives the port."""
    from clientcaller import asgi
    from clientcaller.web.handler import Handler

    served = ProtocolTypeRouter({"http": Handler(), "websocket": asgi._sockets})
    config = uvicorn.Config(served, port=0, lifespan="off", log_config=None, ws_per_message_deflate=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="application", daemon=True)
    started = threading.Event()
    startup = server.startup

    async def start(*args: Any, **options: Any) -> None:
        await startup(*args, **options)
        started.set()

    server.startup = start
    thread.start()
    assert started.wait(30)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join(30)


@contextmanager
def listening(background: Background, front: Front, context: ssl.SSLContext | None) -> Iterator[int]:
    """Let the proxy listen, with this certificate. Gives the port."""

    async def begin() -> asyncio.Server:
        return await asyncio.start_server(front.serve, "127.0.0.1", 0, ssl=context)

    async def end(server: asyncio.Server) -> None:
        server.close()

    server = background.call(begin())
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        background.call(end(server))
