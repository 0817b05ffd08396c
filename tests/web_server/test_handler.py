"""Twilio's callbacks find a thread however many other requests there are, and forged ones take none."""

from __future__ import annotations

import asyncio
import gc
import io
import json
import logging
import threading
import weakref
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

import pytest
from django.http import FileResponse, HttpRequest, HttpResponse
from django.test import Client
from django.urls import path
from rest_framework.request import Request
from rest_framework.response import Response

from calls import callbacks
from calls.api.views.shared import Finishing
from clientcaller.web import handler
from clientcaller.web.bodies import BoundedHttp
from clientcaller.web.handler import PEOPLE_THREADS, PEOPLE_WAITING
from tests.calls.twilio_double import ACCOUNT_SID, AUTH_TOKEN, BASE_URL, Twilio

CROWD = PEOPLE_THREADS + PEOPLE_WAITING + 50
_go = threading.Event()
_begun: list[str] = []
_requests: list[weakref.ref[HttpRequest]] = []


def slow(request: HttpRequest) -> HttpResponse:
    """Any view that takes long."""
    _begun.append(request.path)
    assert _go.wait(60)
    return HttpResponse("done")


@callbacks.callback(without_database=lambda: HttpResponse("spoken"))
def quick(request: HttpRequest, form: callbacks.Form) -> HttpResponse:
    return HttpResponse(threading.current_thread().name)


def noted(request: HttpRequest) -> HttpResponse:
    _requests.append(weakref.ref(request))
    return HttpResponse("noted")


class NotedView(Finishing):
    """A view of REST framework."""

    permission_classes = ()

    def get(self, request: Request) -> Response:
        _requests.append(weakref.ref(request._request))
        return Response("noted")


urlpatterns = [
    path("noted/", noted),
    path("api/noted/", NotedView.as_view()),
    path("api/slow/", slow),
    path("slow/", slow),
    path("twilio/quick/", quick),
    path("readyz", slow),
    path("readyz/", lambda request: HttpResponse("ready")),
    path("healthz", callbacks.healthz),
    path("file/", lambda request: FileResponse(Sound())),
]


class Sound(io.BytesIO):
    """A file; notes which thread reads it."""

    def __init__(self) -> None:
        super().__init__(bytes(1_000_000))

    def read(self, size: int | None = -1) -> bytes:
        _begun.append(threading.current_thread().name.rpartition("_")[0])
        return super().read(size)


@pytest.fixture
def twilio(settings) -> Twilio:
    settings.TWILIO_ACCOUNT_SID, settings.TWILIO_AUTH_TOKENS = ACCOUNT_SID, [AUTH_TOKEN]
    settings.PUBLIC_BASE_URL = BASE_URL
    return Twilio(Client())


@pytest.fixture
async def ask(settings) -> AsyncIterator[Any]:
    """Sends a request to the application with its middleware. Returns status, headers and body."""
    settings.ROOT_URLCONF = __name__
    settings.ALLOWED_HOSTS = ["*"]
    _go.clear()
    _begun.clear()
    application = BoundedHttp(handler.Handler())
    tasks: list[asyncio.Task[Any]] = []

    def ask(
        path: str,
        *,
        body: bytes = b"",
        method: str = "GET",
        client: str = "10.0.0.1",
        reads: asyncio.Event | None = None,
        **headers: str,
    ) -> Any:
        """``reads``: the client reads on once this is set, after the first piece of the answer."""
        sending = request(application, path, body, method, client, headers, reads=reads)
        tasks.append(asyncio.ensure_future(sending))
        return tasks[-1]

    yield ask
    _go.set()
    await asyncio.gather(*tasks)


async def request(
    application: BoundedHttp,
    path: str,
    body: bytes,
    method: str,
    client: str,
    headers: dict[str, str],
    *,
    query: bytes = b"",
    reads: asyncio.Event | None = None,
) -> tuple[int, dict[str, str], bytes]:
    sent: list[Any] = []
    waiting = asyncio.Event()
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Any:
        if not messages:
            await waiting.wait()
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            messages.append({"type": "http.disconnect"})  # as uvicorn says behind each answer
            waiting.set()
        if reads is not None and message.get("body"):
            await reads.wait()

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query,
        "client": (client, 1),
        "server": ("127.0.0.1", 80),
        "headers": [(name.replace("_", "-").lower().encode(), value.encode()) for name, value in headers.items()],
    }
    await application(scope, receive, send)  # type: ignore[arg-type]
    answer = {name.decode().lower(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], answer, b"".join(message.get("body", b"") for message in sent[1:])


def signed(twilio: Twilio, path: str) -> dict[str, Any]:
    form = twilio.form()
    return {
        "method": "POST",
        "body": urlencode(form).encode(),
        "content_type": "application/x-www-form-urlencoded",
        "x_twilio_signature": twilio.sign(path, form),
    }


async def crowd_at(ask: Any, path: str, count: int) -> list[Any]:
    """Ask so often at once. Returns the tasks, once those that find no room are done."""
    tasks = [ask(path) for _ in range(count)]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    while sum(task.done() for task in tasks) < count - PEOPLE_THREADS - PEOPLE_WAITING:
        await asyncio.wait([task for task in tasks if not task.done()], return_when=asyncio.FIRST_COMPLETED)
    return tasks


async def test_callbacks_of_twilio_are_answered_while_others_take_all_their_threads(ask, twilio):
    tasks = await crowd_at(ask, "/slow/", CROWD)
    status, _, body = await ask("/twilio/quick/", **signed(twilio, "/twilio/quick/"))
    assert (status, body[:12]) == (200, b"http-twilio-")
    assert len(_begun) == PEOPLE_THREADS
    done = [task for task in tasks if task.done()]
    assert len(done) == 50
    status, headers, body = done[0].result()
    assert (status, headers["retry-after"]) == (503, "2")
    assert b"Try again in 2 s" in body


async def test_what_is_refused_under_api_is_a_problem(ask):
    tasks = await crowd_at(ask, "/api/slow/", CROWD)
    refused = next(task for task in tasks if task.done())
    status, headers, body = refused.result()
    assert (status, headers["content-type"]) == (503, "application/problem+json")
    assert json.loads(body)["code"] == "server-busy"
    assert headers["content-length"] == str(len(body))


async def test_a_client_with_few_requests_is_served_beside_one_with_many(ask):
    await crowd_at(ask, "/slow/", CROWD)
    lonely = ask("/slow/", client="10.0.0.2")
    await asyncio.sleep(0.01)
    _go.set()
    assert (await lonely)[0] == 200


@pytest.mark.parametrize("signature", ["", "bm90IHRoZSBzaWduYXR1cmU="])
async def test_forged_callbacks_take_no_thread_and_few_lines(ask, twilio, caplog, monkeypatch, signature):
    monkeypatch.setattr(callbacks, "_refusals", callbacks.Seldom(callbacks.logger))
    monkeypatch.setattr(handler.Room, "run", None)
    forged = {**signed(twilio, "/twilio/quick/"), "x_twilio_signature": signature}
    answers = await asyncio.gather(*(ask("/twilio/quick/", **forged) for _ in range(40)))
    assert {(status, headers["content-length"]) for status, headers, _ in answers} == {(403, "0")}
    lines = [record for record in caplog.records if "no valid signature" in record.getMessage()]
    assert len(lines) == 5


async def test_probes_that_come_at_once_share_one_answer(ask, monkeypatch):
    monkeypatch.setattr(handler, "FRESH", 60.0)
    tasks = [ask("/readyz") for _ in range(300)]
    _go.set()
    assert {(status, body) for status, _, body in await asyncio.gather(*tasks)} == {(200, b"done")}
    assert len(_begun) == 1


async def test_a_client_that_probes_all_the_time_waits_and_no_other_one(ask, monkeypatch):
    monkeypatch.setattr(handler, "REFUSAL_DELAY", 0.3)
    monkeypatch.setattr(handler.Counts, "add", lambda self, client: 100 if client == "10.6.6.6" else 1)
    flood = ask("/healthz", client="10.6.6.6")
    assert (await ask("/healthz"))[0] == 200
    assert not flood.done()
    assert (await flood)[0] == 200


async def test_readyz_is_answered_while_others_take_all_their_threads(ask):
    """A balancer takes a process away that does not answer, and with it the calls that come."""
    await crowd_at(ask, "/slow/", CROWD)
    assert (await ask("/readyz/"))[::2] == (200, b"ready")


async def test_healthz_is_answered_while_the_database_hangs_and_readyz_says_so(ask, monkeypatch):
    monkeypatch.setattr(handler, "PROBE_PATIENCE", 0.05)
    status, _, body = await ask("/readyz")
    assert (status, json.loads(body)["problems"]) == (503, ["database"])
    assert (await ask("/healthz"))[0] == 200


@pytest.mark.parametrize("path", ["/healthz", "/healthz/", "/readyz/"])
async def test_a_probe_of_http_1_0_can_read_the_answer(ask, path):
    """Without its length the server would send the answer in chunks, also to clients that cannot read them."""
    status, headers, body = await ask(path)
    assert (status, headers["content-length"]) == (200, str(len(body)))


async def test_a_callback_that_finds_no_thread_gets_the_answer_without_a_database(ask, twilio, monkeypatch):
    async def no_room(*_: object, **__: object) -> None:
        raise handler.NoRoom

    monkeypatch.setattr(handler.Room, "run", no_room)
    assert (await ask("/twilio/quick/", **signed(twilio, "/twilio/quick/")))[::2] == (200, b"spoken")


async def test_forged_callbacks_start_no_threads(ask, twilio):
    await ask("/twilio/quick/", method="POST")
    before = threading.active_count()
    await asyncio.gather(*(ask("/twilio/quick/", method="POST", body=b"a=b") for _ in range(100)))
    assert threading.active_count() <= before


async def test_a_static_file_is_read_as_it_is_sent(ask):
    status, _, body = await ask("/file/")
    assert (status, len(body)) == (200, 1_000_000)
    assert set(_begun) == {"http-files"}
    assert len(_begun) > 10


async def test_a_file_is_read_no_further_than_its_client_has_read(ask):
    reads = asyncio.Event()
    await ask("/file/")
    pieces = len(_begun)
    slow = ask("/file/", reads=reads)
    await ask("/file/")
    assert len(_begun) <= 2 * pieces + 1  # of the slow client one, however long others took
    reads.set()
    assert len((await slow)[2]) == 1_000_000
    assert len(_begun) == 3 * pieces


async def test_refusals_are_logged_once_in_a_while(ask, caplog, monkeypatch):
    monkeypatch.setattr(handler, "_refusals", callbacks.Seldom(logging.getLogger("clientcaller.web")))
    await crowd_at(ask, "/slow/", CROWD)
    lines = [record.getMessage() for record in caplog.records]
    assert len([line for line in lines if "too many came at once" in line]) == 5
    assert not [record for record in caplog.records if record.name == "django.request"]


@pytest.mark.parametrize("path", ["/noted/", "/api/noted/"])
async def test_a_request_leaves_nothing_to_the_garbage_collector(ask, path):
    gc.disable()
    try:
        status, *_ = await ask(path)
        assert status == 200
        assert _requests.pop()() is None
    finally:
        gc.enable()


async def test_a_forged_request_leaves_nothing_to_the_garbage_collector(ask, monkeypatch):
    monkeypatch.setattr(handler, "REFUSAL_DELAY", 0.0)
    monkeypatch.setattr(handler, "signed_form", lambda request: _requests.append(weakref.ref(request)))
    gc.disable()
    try:
        status, *_ = await ask("/twilio/quick/", method="POST")
        assert status == 403
        assert _requests.pop()() is None
    finally:
        gc.enable()
