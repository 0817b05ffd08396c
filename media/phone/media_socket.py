"""The WebSocket to the application, driven without tasks."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Callable
from typing import cast

from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import SEND_EOF, State
from websockets.uri import WebSocketURI

from media.phone.impairments import FrameKind

CONNECT_TIMEOUT = 10.0  # Twilio's is not published
CLOSE_TIMEOUT = 2.0
MAX_MESSAGE_BYTES = 16 * 2**20  # fifteen minutes of audio in one message are legal on the wire, if unwise


class MediaSocket(asyncio.Protocol):
    """
    The WebSocket client, driven without tasks: messages are written and received inside one callback each.

    ``paused`` says that the kernel takes no more; what to do with messages until ``on_writable`` is not decided here.
    """

    def __init__(
        self,
        *,
        on_message: Callable[[bool, bytes], None],
        on_writable: Callable[[], None],
        on_closed: Callable[[], None],
    ) -> None:
        # The URI is only read by ``protocol.connect()``, whose request is not the one that Twilio sends.
        self.protocol = ClientProtocol(WebSocketURI(True, "", 443, "/", "", None, None), max_size=MAX_MESSAGE_BYTES)
        self.paused = False
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._request: Request | None = None
        self._on_message, self._on_writable, self._on_closed = on_message, on_writable, on_closed
        self._transport: asyncio.Transport | None = None
        self._parts: list[bytes] = []
        self._is_text = True
        self._deadline: asyncio.TimerHandle | None = None

    @property
    def is_open(self) -> bool:
        """Whether the upgrade was accepted, be it long ago."""
        return self._opened.done() and not self._opened.cancelled() and self._opened.exception() is None

    async def open(self, request: Request, *, host: str, port: int, secure: bool) -> None:
        """Connect and upgrade, within ``CONNECT_TIMEOUT``."""
        self._request = request
        context = ssl.create_default_context() if secure else None
        async with asyncio.timeout(CONNECT_TIMEOUT):
            await asyncio.get_running_loop().create_connection(lambda: self, host, port, ssl=context)
            await self._opened

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert self._request is not None
        self._transport = transport = cast(asyncio.Transport, transport)  # uvloop's has another base class
        # A short send buffer, so that an app that does not read is noticed after a second, not after a minute.
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)
        transport.set_write_buffer_limits(high=0)
        self.protocol.send_request(self._request)
        self._write()

    def data_received(self, data: bytes) -> None:
        self.protocol.receive_data(data)
        for event in self.protocol.events_received():
            if isinstance(event, Frame):
                self._frame(event)
            else:
                self._answered()
        self._write()

    def _frame(self, frame: Frame) -> None:
        if frame.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            return
        if frame.opcode is not Opcode.CONT:
            self._is_text = frame.opcode is Opcode.TEXT
            self._parts.clear()
        self._parts.append(bytes(frame.data))
        if frame.fin:
            self._on_message(self._is_text, b"".join(self._parts))

    def _answered(self) -> None:
        if self._opened.done():
            return
        if self.protocol.handshake_exc is None:
            self._opened.set_result(None)
        else:
            self._opened.set_exception(self.protocol.handshake_exc)
            self.abort()

    def eof_received(self) -> None:
        self.protocol.receive_eof()
        self._write()

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self._on_writable()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        if not self._opened.done():
            self._opened.set_exception(self.protocol.handshake_exc or ConnectionResetError("closed before answering"))
        elif self.is_open:
            self._on_closed()

    def send(self, kind: FrameKind, data: bytes) -> None:
        if self.protocol.state is not State.OPEN:
            return
        if kind == "text":
            self.protocol.send_text(data)
        else:
            self.protocol.send_binary(data)
        self._write()

    def close(self, code: int) -> None:
        if self.protocol.state is State.OPEN:
            self.protocol.send_close(code)
            self._write()

    def abort(self, *, reset: bool = False) -> None:
        if self._transport is not None:
            if reset:
                linger = struct.pack("ii", 1, 0)
                self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self._transport.abort()

    def pause_reading(self, seconds: float) -> None:
        transport = self._transport
        if transport is not None and not transport.is_closing():
            transport.pause_reading()
            asyncio.get_running_loop().call_later(seconds, _resume_reading, transport)

    def _write(self) -> None:
        assert self._transport is not None
        for data in self.protocol.data_to_send():
            if data is not SEND_EOF:
                self._transport.write(data)
            elif self._transport.can_write_eof():
                self._transport.write_eof()
            else:
                self._transport.close()
        if self._deadline is None and self.protocol.close_expected():
            self._deadline = asyncio.get_running_loop().call_later(CLOSE_TIMEOUT, self.abort)


def _resume_reading(transport: asyncio.Transport) -> None:
    if not transport.is_closing():
        transport.resume_reading()
