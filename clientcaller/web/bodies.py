"""Bounds the bodies of requests in size and time, before a view or a thread is concerned with them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import cast

from asgiref.typing import ASGI3Application, ASGIReceiveCallable, ASGIReceiveEvent, ASGISendCallable, Scope

from calls.api.problems import Problem, to_response
from clientcaller.web import handler
from clientcaller.web.handler import SCOPE, Rooms

MOST_BYTES = 2_621_440
"""Bytes of one body: Django's own limit for what it keeps in memory."""
MOST_FORM_BYTES = 65_536
"""Bytes of a form that anybody may send. A callback of Twilio has a kilobyte or two, a login far less."""
FORMS = ("/twilio/", "/admin/login")
"""
Where the addresses of such forms begin. A name of a megabyte in a login would be stored, logged and shown again, which
takes a tenth of a second of all calls.
"""
MOST_BYTES_AT_ONCE = 64 * 1024 * 1024
"""
Bytes of all bodies that are arriving or being answered. Only large bodies are refused for it: one of
``MOST_FORM_BYTES`` always finds room, since there are not more of them than connections.
"""
REST_TIMEOUT = 1.0
"""Seconds in which the rest of a refused body is read, so that its client can read why it is refused."""
MOST_READ_ON = 16
"""Refused bodies of which the rest is read at once. Hundreds of them would take the processor from the calls."""
BODY_TIMEOUT = 20.0
"""Seconds in which a body must have arrived."""


class _Refused(Exception):
    """The body is not read to its end."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


class BoundedHttp:
    """An ASGI application in front of Django's: it bounds bodies, and gives requests the rooms of this server."""

    def __init__(self, application: ASGI3Application) -> None:
        self._application = application
        self._rooms = Rooms()
        self._held = 0
        """Bytes of the bodies in memory."""
        self._reading_on = 0
        """Refused bodies of which the rest is read at the moment."""

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        assert scope["type"] == "http"
        is_form = scope["path"].startswith(FORMS)
        body = _Body(receive, most=MOST_FORM_BYTES if is_form else MOST_BYTES, hold=self._hold)
        try:
            body.check_length(dict(scope["headers"]).get(b"content-length", b""))
            inner = cast(Scope, {**scope, SCOPE: self._rooms})
            await self._application(inner, body.receive, send)
        except _Refused as refusal:
            await self._read_on(body)
            await asyncio.sleep(handler.REFUSAL_DELAY)
            await _answer(send, refusal)
        finally:
            self._held -= body.held

    async def _read_on(self, body: _Body) -> None:
        """Read what is left of a refused body, unless so many are being read already."""
        if self._reading_on >= MOST_READ_ON:
            return
        self._reading_on += 1
        try:
            await body.skip_rest()
        finally:
            self._reading_on -= 1

    def _hold(self, count: int, body: _Body) -> None:
        self._held += count
        if self._held > MOST_BYTES_AT_ONCE and body.held > MOST_FORM_BYTES:
            text = "The server has too many large requests at the moment. Try again later."
            raise _Refused(Problem(503, "server-busy", text))


class _Body:
    """Counts the bytes of one body as they arrive."""

    def __init__(self, receive: ASGIReceiveCallable, *, most: int, hold: Callable[[int, _Body], None]) -> None:
        self.held = 0
        self._receive = receive
        self._most = most
        self._hold = hold
        self._deadline = asyncio.get_running_loop().time() + BODY_TIMEOUT
        self._is_whole = False

    def check_length(self, announced: bytes) -> None:
        # The server has checked that it is a number.
        if announced.isdigit() and int(announced) > self._most:
            raise self._too_large()

    async def receive(self) -> ASGIReceiveEvent:
        if self._is_whole:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            text = f"The body did not arrive within {BODY_TIMEOUT:.0f} s."
            raise _Refused(Problem(408, "body-too-slow", text)) from None
        if message["type"] == "http.request":
            self._is_whole = not message["more_body"]
            count = len(message["body"])
            self.held += count
            self._hold(count, self)
            if self.held > self._most:
                raise self._too_large()
        return message

    async def skip_rest(self) -> None:
        """Read on for a moment: a client whose connection is closed while it sends could not read the answer."""
        with suppress(TimeoutError):
            async with asyncio.timeout(REST_TIMEOUT):
                while not self._is_whole:
                    message = await self._receive()
                    self._is_whole = message["type"] != "http.request" or not message["more_body"]

    def _too_large(self) -> _Refused:
        text = f"The body is too large. At most {self._most} bytes are allowed here."
        return _Refused(Problem(413, "body-too-large", text))


async def _answer(send: ASGISendCallable, refusal: _Refused) -> None:
    response = to_response(refusal.problem)
    headers = [(name.lower().encode(), value.encode()) for name, value in response.items()]
    headers += [(b"content-length", str(len(response.content)).encode())]
    headers += [(b"connection", b"close")]  # the rest of the body is not read
    status = refusal.problem.status_code
    await send({"type": "http.response.start", "status": status, "headers": headers, "trailers": False})
    await send({"type": "http.response.body", "body": response.content, "more_body": False})
