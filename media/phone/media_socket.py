"""The WebSocket to the application, driven without tasks so that one process can hold many."""

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

CONNECT_TIMEOUT = 10.0
"""Seconds for the TCP connection and the upgrade. Twilio does not publish its limit."""
CLOSE_TIMEOUT = 2.0
"""Seconds that the application has to close the connection after a close frame; then it is cut."""
MAX_MESSAGE_BYTES = 16 * 2**20
"""Twilio states no limit. This takes a quarter of an hour of audio in one message."""
SEND_BUFFER_BYTES = 16_384
"""A small send buffer in the kernel, so that an application that does not read is noticed within a second."""


class MediaSocket(asyncio.Protocol):
    """
    A WebSocket client that writes and receives messages inside one callback of the event loop each.

    - ``on_message(is_text, data)``: a message arrived.
    - ``on_writable()``: after ``is_paused``, the kernel takes data again.
    - ``on_closed()``: the connection, once open, is gone.
    """

    def __init__(
        self,
        *,
        on_message: Callable[[bool, bytes], None],
        on_writable: Callable[[], None],
        on_closed: Callable[[], None],
    ) -> None:
        # Only ``protocol.connect()`` reads the URI, and the request that Twilio sends is made elsewhere.
        self.protocol = ClientProtocol(WebSocketURI(True, "", 443, "/", "", None, None), max_size=MAX_MESSAGE_BYTES)
        """The protocol of the ``websockets`` package without I/O: close codes and errors are read from it."""
        self.is_paused = False
        """True while the kernel takes no more data. The caller keeps its messages until ``on_writable``."""
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()  # the answer to the upgrade
        self._request: Request | None = None
        self._on_message, self._on_writable, self._on_closed = on_message, on_writable, on_closed
        self._transport: asyncio.Transport | None = None
        self._parts: list[bytes] = []  # of a fragmented message
        self._is_text = True  # whether that message is text
        self._close_deadline: asyncio.TimerHandle | None = None

    @property
    def was_opened(self) -> bool:
        """Whether the application accepted the upgrade, even if the connection has ended since."""
        return self._opened.done() and not self._opened.cancelled() and self._opened.exception() is None

    async def open(
        self, request: Request, *, host: str, port: int, secure: bool, name: str = "", tls: ssl.SSLContext | None = None
    ) -> None:
        """
        Connect and upgrade within ``CONNECT_TIMEOUT``.

        With TLS the certificate must be for ``name`` (default: ``host``); ``tls`` says which ones are trusted.
        """
        self._request = request
        context = (tls or ssl.create_default_context()) if secure else None
        async with asyncio.timeout(CONNECT_TIMEOUT):
            await asyncio.get_running_loop().create_connection(
                lambda: self, host, port, ssl=context, server_hostname=(name or host) if secure else None
            )
            await self._opened

    def send(self, kind: FrameKind, data: bytes) -> None:
        """Send a message. Does nothing on a connection that is closing."""
        if self.protocol.state is not State.OPEN:
            return
        if kind == "text":
            self.protocol.send_text(data)
        else:
            self.protocol.send_binary(data)
        self._write()

    def close(self, code: int) -> None:
        """Begin the closing handshake."""
        if self.protocol.state is State.OPEN:
            self.protocol.send_close(code)
            self._write()

    def abort(self, *, reset: bool = False) -> None:
        """Cut the connection, with ``reset`` so that the application sees a connection reset."""
        if self._transport is not None:
            if reset:
                linger = struct.pack("ii", 1, 0)
                self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self._transport.abort()

    def pause_reading(self, seconds: float) -> None:
        """Read nothing from the application for this long."""
        transport = self._transport
        if transport is not None and not transport.is_closing():
            transport.pause_reading()
            asyncio.get_running_loop().call_later(seconds, _resume_reading, transport)

    # -- asyncio.Protocol -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert self._request is not None
        self._transport = transport = cast(asyncio.Transport, transport)  # uvloop's has another base class
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        # asyncio pauses a TLS transport that holds `high` bytes or more, and so one with none if that is 0.
        transport.set_write_buffer_limits(high=1 if transport.get_extra_info("sslcontext") else 0)
        self.protocol.send_request(self._request)
        self._write()

    def data_received(self, data: bytes) -> None:
        self.protocol.receive_data(data)
        for event in self.protocol.events_received():
            if isinstance(event, Frame):
                self._receive_frame(event)
            else:
                self._receive_upgrade()
        self._write()

    def eof_received(self) -> None:
        self.protocol.receive_eof()
        self._write()

    def pause_writing(self) -> None:
        self.is_paused = True

    def resume_writing(self) -> None:
        self.is_paused = False
        self._on_writable()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._close_deadline is not None:
            self._close_deadline.cancel()
        if not self._opened.done():
            self._opened.set_exception(self.protocol.handshake_exc or ConnectionResetError("closed before answering"))
        elif self.was_opened:
            self._on_closed()

    def _receive_frame(self, frame: Frame) -> None:
        if frame.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            return
        if frame.opcode is not Opcode.CONT:
            self._is_text = frame.opcode is Opcode.TEXT
            self._parts.clear()
        self._parts.append(bytes(frame.data))
        if frame.fin:
            self._on_message(self._is_text, b"".join(self._parts))

    def _receive_upgrade(self) -> None:
        if self._opened.done():
            return
        if self.protocol.handshake_exc is None:
            self._opened.set_result(None)
        else:
            self._opened.set_exception(self.protocol.handshake_exc)
            self.abort()

    def _write(self) -> None:
        assert self._transport is not None
        for data in self.protocol.data_to_send():
            if data is not SEND_EOF:
                self._transport.write(data)
            elif self._transport.can_write_eof():
                self._transport.write_eof()
            else:
                self._transport.close()
        if self._close_deadline is None and self.protocol.close_expected():
            self._close_deadline = asyncio.get_running_loop().call_later(CLOSE_TIMEOUT, self.abort)


def _resume_reading(transport: asyncio.Transport) -> None:
    if not transport.is_closing():
        transport.resume_reading()
