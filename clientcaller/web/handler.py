"""
Gives each request its room: Twilio's callbacks have one of their own, and all other clients share another.

This is not a middleware, because Django runs all of them in the thread of the request as soon as one is synchronous.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http import HTTPStatus
from typing import Any, cast

from asgiref.sync import ThreadSensitiveContext
from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler, ASGIRequest
from django.http import HttpRequest, HttpResponse, HttpResponseForbidden, JsonResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase

from calls.api.problems import Problem, to_response
from calls.call_context import about_call
from calls.callbacks import healthz, signed_form, without_room
from calls.hosts import PROBES
from calls.seldom import Seldom
from calls.services import draining
from clientcaller.web.requests import PlainRequest
from clientcaller.web.rooms import NoRoom, Room

logger = logging.getLogger(__name__)

SCOPE = "clientcaller.rooms"
"""The key of the ``Rooms`` in the scope of a request."""
TWILIO_THREADS, TWILIO_WAITING, TWILIO_PATIENCE = 6, 1000, 12.0
"""Twilio waits 15 s for an answer. Only signed requests come into this room, so that a long queue does no harm."""
PEOPLE_THREADS, PEOPLE_WAITING, PEOPLE_PATIENCE = 2, 200, 10.0
"""For operators, API clients and strangers. More threads would not answer sooner: Python runs one of them at a time."""
PROBE_PATIENCE = 3.0
"""Seconds after which a probe is told that the database does not answer."""
MOST_PROBES = 20
"""Probes of one client in a second that are answered at once; those beyond wait as what is refused does."""
FRESH = 0.5
"""Seconds for which a health probe gets the answer of the one before it."""
REFUSAL_DELAY = 1.0
"""
Seconds before a request is refused. A client that sends the next request as soon as it has an answer would else be
answered two thousand times a second, which takes a whole processor.
"""
RETRY_AFTER = 2
"""Seconds after which a client that found no room shall ask again."""

GetResponse = Callable[[HttpRequest], Awaitable[HttpResponseBase]]


class Rooms:
    """The rooms of one web server."""

    def __init__(self) -> None:
        self.twilio = Room("twilio", threads=TWILIO_THREADS, most_waiting=TWILIO_WAITING, patience=TWILIO_PATIENCE)
        self.people = Room("people", threads=PEOPLE_THREADS, most_waiting=PEOPLE_WAITING, patience=PEOPLE_PATIENCE)
        self.probes = Room("probes", threads=1, most_waiting=2, patience=PROBE_PATIENCE)
        self.signals = ThreadPoolExecutor(1, thread_name_prefix="http-signals")
        """Runs what Django does at the beginning and the end of each request."""
        self.files = ThreadPoolExecutor(2, thread_name_prefix="http-files")
        """Reads static files and recordings."""
        self.probe_counts = Counts()
        self.probe_answers: dict[tuple[str, bool], SharedAnswer] = {}


class Counts:
    """Counts what each client does in the current second."""

    def __init__(self) -> None:
        self._second = -1
        self._counts: Counter[str] = Counter()

    def add(self, client: str) -> int:
        """Count one more. Returns the client's count in this second."""
        second = int(asyncio.get_running_loop().time())
        if second != self._second:
            self._second = second
            self._counts.clear()
        self._counts[client] += 1
        return self._counts[client]


class SharedAnswer:
    """One answer for all requests that come while it is made and shortly after."""

    def __init__(self) -> None:
        self._making: asyncio.Future[HttpResponseBase] | None = None
        self._made_at = 0.0

    async def get(self, make: Callable[[], Awaitable[HttpResponseBase]]) -> HttpResponse:
        now = asyncio.get_running_loop().time()
        if self._making is None or (self._making.done() and not 0.0 <= now - self._made_at < FRESH):
            self._making = asyncio.ensure_future(self._make(make))
            # Also if nobody is left who could read its error.
            self._making.add_done_callback(lambda made: made.cancelled() or made.exception())
        made = cast(HttpResponse, await asyncio.shield(self._making))
        return _unlogged(HttpResponse(made.content, status=made.status_code, headers=dict(made.items())))

    async def _make(self, make: Callable[[], Awaitable[HttpResponseBase]]) -> HttpResponseBase:
        try:
            return await make()
        finally:
            self._made_at = asyncio.get_running_loop().time()


class Handler(ASGIHandler):
    """Django's handler of requests, with rooms."""

    request_class = PlainRequest

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        rooms = scope.get(SCOPE)
        if not isinstance(rooms, Rooms):
            await super().__call__(scope, receive, send)
            return
        # Around each request Django calls functions that take microseconds, each in a thread of its own without this.
        async with ThreadSensitiveContext(executor=rooms.signals):
            await super().__call__(scope, receive, send)

    async def listen_for_disconnect(self, receive: Callable[[], Awaitable[Mapping[str, Any]]]) -> None:
        """
        Return when the client has left or has its answer, in which case Django raises an error to itself.

        Django ignores the error, but the task of this method keeps it, and it keeps the frame that holds the task. With
        them all objects of every request would be left to the garbage collector, which stops the calls while it runs.
        """
        with suppress(RequestAborted):
            await super().listen_for_disconnect(receive)

    async def get_response_async(self, request: HttpRequest) -> HttpResponseBase:
        rooms = request.scope.get(SCOPE) if isinstance(request, ASGIRequest) else None
        if not isinstance(rooms, Rooms):
            return await super().get_response_async(request)
        with about_call():  # a view may find out which
            response = await _answer_in(rooms, request, super().get_response_async)
        if isinstance(response, HttpResponse) and not response.has_header("Content-Length"):
            # What no middleware has seen. Without it uvicorn answers in chunks, which probes of HTTP/1.0 cannot read.
            response.headers["Content-Length"] = str(len(response.content))
        return response


async def _answer_in(rooms: Rooms, request: HttpRequest, get_response: GetResponse) -> HttpResponseBase:
    path = request.path.rstrip("/")
    if path in PROBES and request.method in ("GET", "HEAD"):
        if rooms.probe_counts.add(request.META.get("REMOTE_ADDR", "")) > MOST_PROBES:
            await asyncio.sleep(REFUSAL_DELAY)
        if path == "/healthz":  # it asks for nothing that could hang
            return healthz(request)
        # A process that begins to drain says so at once, not after the last answer has become old.
        shared = rooms.probe_answers.setdefault((path, draining.is_draining()), SharedAnswer())
        return await shared.get(lambda: _probe(rooms.probes, request, get_response))
    if not _is_callback(request):
        return _send_in_pieces(await _answer(rooms.people, request, get_response), rooms.files)
    # The signature is checked here, on the loop, because a forged request must not take a thread.
    if signed_form(request) is None:
        await asyncio.sleep(REFUSAL_DELAY)
        return HttpResponseForbidden()
    return await _answer(rooms.twilio, request, get_response)


async def _probe(room: Room, request: HttpRequest, get_response: GetResponse) -> HttpResponseBase:
    """Answer within ``PROBE_PATIENCE``, also if the database neither answers nor refuses."""
    asking = asyncio.ensure_future(room.run(lambda: get_response(request), client=""))
    done, _ = await asyncio.wait([asking], timeout=PROBE_PATIENCE)
    if done and asking.exception() is None:
        return asking.result()
    asking.add_done_callback(lambda late: late.cancelled() or late.exception())
    return _unlogged(JsonResponse({"ready": False, "problems": ["database"]}, status=503))


async def _answer(room: Room, request: HttpRequest, get_response: GetResponse) -> HttpResponseBase:
    try:
        response = await room.run(lambda: get_response(request), client=request.META.get("REMOTE_ADDR", ""))
        if isinstance(request, PlainRequest) and not response.streaming:
            request.let_go()
        return response
    except NoRoom:
        _refusals.warning("Refused HTTP requests, because too many came at once; the last was to %s", request.path)
        if _is_callback(request):
            return without_room(request)
        await asyncio.sleep(REFUSAL_DELAY)
        return _refuse(request)


def _is_callback(request: HttpRequest) -> bool:
    return request.method == "POST" and request.path.startswith("/twilio/")


def _send_in_pieces(response: HttpResponseBase, threads: ThreadPoolExecutor) -> HttpResponseBase:
    """Read a file as its client does. Django would read a file whole, for each client."""
    if isinstance(response, StreamingHttpResponse) and not response.is_async:
        pieces = iter(cast(Iterator[bytes], response.streaming_content))

        async def read() -> AsyncIterator[bytes]:
            loop = asyncio.get_running_loop()
            while (piece := await loop.run_in_executor(threads, next, pieces, None)) is not None:
                yield piece

        response.streaming_content = read()
    return response


def _refuse(request: HttpRequest) -> HttpResponse:
    headers = {"Retry-After": str(RETRY_AFTER)}
    text = f"The server has too many requests at the moment. Try again in {RETRY_AFTER} s."
    if request.path.startswith("/api/"):
        return _unlogged(to_response(Problem(503, "server-busy", text, headers=headers)))
    status = HTTPStatus.SERVICE_UNAVAILABLE
    return _unlogged(HttpResponse(f"{text}\n", status=status, headers=headers, content_type="text/plain"))


def _unlogged(response: HttpResponse) -> HttpResponse:
    """Keep Django from logging an error for each answer with status 503: clients can cause any number of them."""
    response._has_been_logged = True  # type: ignore[attr-defined]
    return response


_refusals = Seldom(logger)
