"""A hosted service over real sockets on this machine. A test says how it answers, and how it fails."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web

from media.phone.serving import stop_server


class Socket:
    """One WebSocket, as the service sees it."""

    def __init__(self, ws: web.WebSocketResponse, request: web.Request) -> None:
        self.ws = ws
        self.request = request
        self.received: list[Any] = []
        """What the client sent, in order: decoded JSON, or bytes."""
        self.gone = asyncio.Event()
        """Set when the socket is closed, by whomever."""
        self.tasks: list[asyncio.Task[None]] = []
        """What the service does for this socket beside reading. It ends with the socket."""

    async def send(self, message: Any) -> None:
        """Send bytes as a binary frame, text as it is, and anything else as JSON. Ignored after the end."""
        if self.ws.closed or self.gone.is_set():
            return
        if isinstance(message, bytes):
            await self.ws.send_bytes(message)
        else:
            await self.ws.send_str(message if isinstance(message, str) else json.dumps(message))

    async def close(self, code: int = WSCloseCode.OK, reason: str = "") -> None:
        await self.ws.close(code=code, message=reason.encode())

    def abort(self) -> None:
        """Cut the connection off without a word."""
        if (transport := self.request.transport) is not None:
            transport.abort()


Serve = Callable[[Socket], Awaitable[None]]


class Service:
    """
    Serves WebSockets and HTTP at a free port.

    A subclass overrides ``handle``, which gets each message of a client. ``routes`` adds addresses of HTTP.
    """

    def __init__(self) -> None:
        self.sockets: list[Socket] = []
        """Every socket that was accepted, in order."""
        self.requests: list[web.Request] = []
        """Every handshake and request, in order."""
        self.refusal: tuple[int, str, dict[str, str]] | None = None
        """Status, body and headers with which handshakes are refused; None accepts them."""
        self.handshake = asyncio.Event()
        """Handshakes wait for it. It is set unless a test clears it."""
        self.handshake.set()
        self.accepted = asyncio.Condition()
        """Notified with each socket."""
        self.base_url = ""
        """``http://host:port``, while it is ``serving``."""

    @property
    def ws_url(self) -> str:
        return self.base_url.replace("http", "ws", 1)

    @property
    def open_sockets(self) -> list[Socket]:
        return [socket for socket in self.sockets if not socket.gone.is_set()]

    async def opened(self, socket: Socket) -> None:
        """A client has connected."""

    async def handle(self, socket: Socket, message: Any) -> None:
        """Answer one message: decoded JSON, or bytes."""

    def refuse(self, request: web.Request) -> tuple[int, str, dict[str, str]] | None:
        """The refusal of this handshake; None accepts it."""
        return self.refusal

    def routes(self, router: web.UrlDispatcher) -> None:
        """Add the addresses of HTTP."""

    async def until(self, sockets: int) -> None:
        """Wait until so many sockets were accepted in all."""
        async with self.accepted:
            await self.accepted.wait_for(lambda: len(self.sockets) >= sockets)

    def freeze(self) -> None:
        """Read nothing more on the sockets that are open, so that not even pings are answered."""
        for socket in self.open_sockets:
            if socket.request.transport is not None:
                socket.request.transport.pause_reading()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Any]:
        """Serve while the block runs."""
        app = web.Application()
        self.routes(app.router)
        app.router.add_get("/{path:.*}", self._accept)
        runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            for socket in self.open_sockets:
                socket.abort()
            await stop_server(runner)

    @asynccontextmanager
    async def serving_elsewhere(self) -> AsyncIterator[Any]:
        """Serve from another thread while the block runs, so that no task of the service is among those of the test."""
        started, ended = threading.Event(), asyncio.Event()

        async def serve() -> None:
            async with self.serving():
                self.loop = asyncio.get_running_loop()
                started.set()
                await ended.wait()

        thread = threading.Thread(target=asyncio.run, args=(serve(),), name="hosted service")
        thread.start()
        await asyncio.to_thread(started.wait)
        try:
            yield self
        finally:
            self.loop.call_soon_threadsafe(ended.set)
            await asyncio.to_thread(thread.join)

    async def _accept(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        await self.handshake.wait()
        if (refusal := self.refuse(request)) is not None:
            status, body, headers = refusal
            return web.Response(status=status, text=body, headers=headers)
        ws = web.WebSocketResponse(max_msg_size=16 << 20)
        await ws.prepare(request)
        socket = Socket(ws, request)
        self.sockets.append(socket)
        async with self.accepted:
            self.accepted.notify_all()
        try:
            await self.opened(socket)
            while True:
                message = await ws.receive()
                if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                    break
                content = json.loads(message.data) if message.type is WSMsgType.TEXT else message.data
                socket.received.append(content)
                await self.handle(socket, content)
        except ConnectionError:
            pass
        finally:
            socket.gone.set()
            for task in socket.tasks:
                task.cancel()
            await asyncio.gather(*socket.tasks, return_exceptions=True)
        return ws
