"""
Bounds connections: how long they may be silent, how large headers may be, and how many there may be.

uvicorn's own protocol waits for ever for the first request of a connection, for the rest of its headers and for a
client that does not read its answer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from functools import partial
from http import HTTPStatus
from typing import ClassVar
from urllib.parse import unquote

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from calls.seldom import Seldom
from clientcaller.web import handler

logger = logging.getLogger(__name__)

HEADERS_TIMEOUT = 10.0
"""Seconds in which the headers of a request must have arrived, from the connection or the request's first byte on."""
SEND_TIMEOUT = 60.0
"""Seconds for which a client may read nothing of its answer. At 1 kB/s, some of it is read within 50 s."""
MOST_HEADER_BYTES = 65_536
MOST_UPGRADE_LINE_BYTES, MOST_UPGRADE_HEADERS = 8000, 120
"""Of a request for a WebSocket. ``websockets`` refuses more than 8192 and 128 without an answer."""
MOST_CONNECTIONS = 2000
"""
Connections that are no WebSocket. If there are more, the least useful ones are closed, and none that is new or has a
whole request of Twilio.
"""
YOUNG = 2.0
"""Seconds in which a new connection has its request, and is not closed to make room."""
MOST_PIPELINED = 8
"""
Requests that wait behind one that is being answered. Browsers and proxies send none. uvicorn reads on after each answer
and keeps whatever comes: one client took 1.7 GB in 15 s, and held up the loop for 2.4 s.
"""
MOST_CHUNKS_AT_ONCE = 2000
"""
Chunks of a body in one read, which has up to 256 kB. Each takes 5 µs of the loop that carries the calls, and chunks of
one byte held it up for 0.24 s.
"""


class _TooMuch(Exception):
    """Makes the parser stop."""


class BoundedProtocol(HttpToolsProtocol):
    """One connection of a client, until it becomes a WebSocket."""

    keeps_alive: ClassVar[bool] = True
    """Whether connections stay open after an answer. A server that ends turns it off, so that proxies leave it."""
    may_upgrade: ClassVar[Callable[[str, Mapping[str, str]], bool]] = staticmethod(lambda path, headers: True)
    """Whether a request for a WebSocket, with this path and these headers, is let through to the application."""
    _waiting_for_headers: asyncio.TimerHandle | None = None
    _waiting_for_reader: asyncio.TimerHandle | None = None
    _waiting_for_end: asyncio.TimerHandle | None = None
    _waiting_for_refusal: asyncio.TimerHandle | None = None
    _unparsed = 0
    """Bytes since the last headers or piece of a body that were complete."""
    _chunks = 0
    """Chunks since the last read began."""
    _began_at = 0.0
    _in_work: RequestResponseCycle | None = None
    """The request whose answer was begun last; others may wait behind it."""

    # -- from asyncio ---------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        others = [other for other in self.connections if isinstance(other, BoundedProtocol)]
        super().connection_made(transport)
        self._began_at = self.loop.time()
        self._await_headers()
        if len(others) >= MOST_CONNECTIONS:
            self._close_one_of(others)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        # uvicorn tells the request that came last, though one before it may still be in work.
        if self._in_work is not None and not self._in_work.response_complete:
            self._in_work.disconnected = True
            self._in_work.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._waiting_for_refusal is not None:
            return
        if self._waiting_for_headers is None and not self._is_busy:
            self._await_headers()
        self._chunks = 0
        self._unparsed += len(data)
        super().data_received(data)
        # Headers also come behind a body, and behind a request that is being answered.
        if self._unparsed > MOST_HEADER_BYTES:
            self._refuse_headers()
        self._bound_end()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._waiting_for_reader is None:
            self._waiting_for_reader = self.loop.call_later(SEND_TIMEOUT, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._waiting_for_reader is not None:
            self._waiting_for_reader.cancel()
            self._waiting_for_reader = None

    # -- from the parser ------------------------------------------------------------------------------------

    def on_headers_complete(self) -> None:
        if self._waiting_for_headers is not None:
            self._waiting_for_headers.cancel()
            self._waiting_for_headers = None
        self._unparsed = 0
        if self.parser.should_upgrade() and self._should_upgrade() and self._announces_body():
            # The parser would wait for the body, and nobody answer it.
            self._refuse(HTTPStatus.BAD_REQUEST, "A request for a WebSocket has no body.")
        super().on_headers_complete()
        if not self.keeps_alive and self.cycle is not None:
            self.cycle.keep_alive = False
        if len(self.pipeline) > MOST_PIPELINED:
            raise _TooMuch

    def on_body(self, body: bytes) -> None:
        self._unparsed = 0
        self._chunks += 1
        if self._chunks > MOST_CHUNKS_AT_ONCE:
            raise _TooMuch
        super().on_body(body)

    def handle_websocket_upgrade(self) -> None:
        headers = list(self.scope["headers"])
        longest = max((len(name) + len(value) for name, value in headers), default=0)
        if max(longest, len(self.url)) > MOST_UPGRADE_LINE_BYTES or len(headers) > MOST_UPGRADE_HEADERS:
            self._refuse_headers()
        elif self._is_busy:  # else the answer to the request before it would go into the WebSocket
            self._close()
        elif self._is_admitted(headers):
            self._stop_waiting()
            super().handle_websocket_upgrade()
        elif self._waiting_for_refusal is None:
            # It stays a connection that is among the first to be closed.
            _refusals.warning("Refused a WebSocket: its signature is invalid")
            self._waiting_for_refusal = self.loop.call_later(
                handler.REFUSAL_DELAY, self._refuse, HTTPStatus.FORBIDDEN, "The signature is missing or invalid."
            )

    # -- from uvicorn ---------------------------------------------------------------------------------------

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._bound_end()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._bound_end()

    def shutdown(self) -> None:
        super().shutdown()
        self._bound_end()

    def send_400_response(self, msg: str) -> None:
        # Later, because a client that connects again at once would else be refused a thousand times a second.
        if self._waiting_for_refusal is None and not self.transport.is_closing():
            self.transport.pause_reading()
            # Behind another request, the client would take a refusal for the answer to that one.
            end = self._close if self.pipeline else partial(self._refuse_garbled, msg)
            self.pipeline.clear()  # nothing that waits is answered any more
            self._waiting_for_refusal = self.loop.call_later(handler.REFUSAL_DELAY, end)

    # -- limits ---------------------------------------------------------------------------------------------

    def _refuse_garbled(self, msg: str) -> None:
        reads_body = self.cycle is not None and self.cycle.more_body and not self.cycle.response_started
        if self._is_busy and not reads_body:
            self._close()  # an answer is on its way
        elif not self.transport.is_closing():
            super().send_400_response(msg)

    @property
    def _is_busy(self) -> bool:
        """Whether a request is being answered, or its body is arriving."""
        return self.cycle is not None and not self.cycle.response_complete

    def _usefulness(self) -> int:
        """Nothing of a request, a request that has not arrived, one that is being answered, and one of Twilio's."""
        if not self._is_busy:
            return 0
        if self.cycle.more_body:
            return 1
        return 3 if str(self.cycle.scope["path"]).startswith("/twilio/") else 2

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._in_work = cycle
        super()._start_asgi_task(cycle, app)

    def _announces_body(self) -> bool:
        return any(
            name == b"transfer-encoding" or (name == b"content-length" and value.strip(b" 0"))
            for name, value in self.scope["headers"]
        )

    def _is_admitted(self, headers: list[tuple[bytes, bytes]]) -> bool:
        path = unquote(self.url.partition(b"?")[0].decode("latin-1"))
        return type(self).may_upgrade(path, {name.decode(): value.decode("latin-1") for name, value in headers})

    def _await_headers(self) -> None:
        self._unparsed = 0
        self._waiting_for_headers = self.loop.call_later(HEADERS_TIMEOUT, self._close)

    def _stop_waiting(self) -> None:
        timers = (self._waiting_for_headers, self._waiting_for_reader, self._waiting_for_end, self._waiting_for_refusal)
        for timer in timers:
            if timer is not None:
                timer.cancel()
        self._waiting_for_headers = self._waiting_for_reader = None
        self._waiting_for_end = self._waiting_for_refusal = None

    def _bound_end(self) -> None:
        """A connection that is closed still sends what is left of its answer: do not wait for ever for its reader."""
        if self.transport.is_closing() and self._waiting_for_end is None and self in self.connections:
            self._waiting_for_end = self.loop.call_later(SEND_TIMEOUT, self.transport.abort)

    def _close(self) -> None:
        self._stop_waiting()
        self.transport.abort()

    def _close_one_of(self, others: list[BoundedProtocol]) -> None:
        """Close the least useful one, and of several the oldest."""
        old = [one for one in others if self.loop.time() - one._began_at > YOUNG and one._usefulness() < 3]
        if old:
            min(old, key=lambda one: (one._usefulness(), one._began_at))._close()

    def _refuse_headers(self) -> None:
        if self._is_busy:  # an answer is on its way already
            self._close()
        else:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "The headers of the request are too large.")

    def _refuse(self, status: HTTPStatus, text: str) -> None:
        if self.transport.is_closing():
            return
        self._stop_waiting()
        body = f"{text}\n".encode()
        self.transport.write(
            f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: text/plain; charset=utf-8\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode()
            + body
        )
        self.transport.close()


_refusals = Seldom(logger)
