"""Bodies that are too large or too slow are refused before a view sees them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from clientcaller.web import bodies
from clientcaller.web.bodies import MOST_BYTES, MOST_FORM_BYTES, BoundedHttp


class Reader:
    """An application that reads the body, as Django does, and answers its length."""

    def __init__(self) -> None:
        self.read = 0
        self.go = asyncio.Event()
        self.go.set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        more = True
        while more:
            message = await receive()
            self.read += len(message["body"])
            more = message["more_body"]
        await self.go.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(self.read).encode()})


async def request(
    application: BoundedHttp, *parts: bytes, path: str = "/api/calls/", length: int | None = None, stalls: bool = False
) -> tuple[int, Any]:
    """Send a body in these parts. Returns the status and what the answer says; of a problem, its code."""
    headers = [] if length is None else [(b"content-length", str(length).encode())]
    messages = [
        {"type": "http.request", "body": part, "more_body": stalls or number < len(parts) - 1}
        for number, part in enumerate(parts)
    ]
    sent: list[Any] = []

    async def receive() -> Any:
        if not messages:
            await asyncio.Event().wait()
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "path": path, "headers": headers}
    await application(scope, receive, send)  # type: ignore[arg-type]
    start, body = sent
    if start["status"] == 200:
        return 200, int(body["body"])
    assert (b"connection", b"close") in start["headers"]
    return start["status"], json.loads(body["body"])["code"]


async def test_a_body_passes_as_it_came():
    assert await request(BoundedHttp(Reader()), b"ab", b"", b"cde") == (200, 5)
    assert await request(BoundedHttp(Reader()), b"x" * MOST_BYTES, length=MOST_BYTES) == (200, MOST_BYTES)


@pytest.mark.parametrize(
    ("path", "most"),
    [("/api/calls/", MOST_BYTES), ("/twilio/voice/", MOST_FORM_BYTES), ("/admin/login/", MOST_FORM_BYTES)],
)
async def test_a_body_that_is_too_large_is_refused_whether_it_says_so_or_not(path, most):
    reader = Reader()
    application = BoundedHttp(reader)
    assert await request(application, b"x", path=path, length=most + 1) == (413, "body-too-large")
    assert reader.read == 0
    assert await request(application, b"x" * most, b"x", path=path) == (413, "body-too-large")
    assert await request(application, b"x" * most, b"x", b"x" * most, path=path) == (413, "body-too-large")


async def test_a_body_that_does_not_arrive_is_given_up(monkeypatch):
    monkeypatch.setattr(bodies, "BODY_TIMEOUT", 0.01)
    monkeypatch.setattr(bodies, "REST_TIMEOUT", 0.01)
    assert await request(BoundedHttp(Reader()), b"x", stalls=True) == (408, "body-too-slow")


async def test_all_bodies_together_take_no_more_memory_than_allowed(monkeypatch):
    monkeypatch.setattr(bodies, "MOST_BYTES_AT_ONCE", 2 * MOST_FORM_BYTES)
    reader = Reader()
    application = BoundedHttp(reader)
    reader.go.clear()
    first = asyncio.ensure_future(request(application, b"x" * 2 * MOST_FORM_BYTES))
    await asyncio.sleep(0)
    assert await request(application, b"x" * MOST_FORM_BYTES, b"x") == (503, "server-busy")
    small = [b"x" * MOST_FORM_BYTES, b"x", b""]
    others = [asyncio.ensure_future(request(application, body)) for body in small]
    reader.go.set()
    assert (await first)[0] == 200
    assert [(await other)[0] for other in others] == [200, 200, 200]
    assert (await request(application, b"x" * 2 * MOST_FORM_BYTES))[0] == 200


async def test_the_rest_is_read_of_few_refused_bodies_at_once(monkeypatch):
    monkeypatch.setattr(bodies, "MOST_READ_ON", 1)
    monkeypatch.setattr(bodies, "REST_TIMEOUT", 60.0)
    application = BoundedHttp(Reader())
    first = asyncio.ensure_future(request(application, b"x", length=MOST_BYTES + 1, stalls=True))
    await asyncio.sleep(0)
    assert not first.done()  # it waits for the rest
    assert await request(application, b"x", length=MOST_BYTES + 1, stalls=True) == (413, "body-too-large")
    first.cancel()
    assert (await asyncio.gather(first, return_exceptions=True)) != [None]
    third = asyncio.ensure_future(request(application, b"x", length=MOST_BYTES + 1, stalls=True))
    await asyncio.sleep(0)
    assert not third.done()
    third.cancel()


async def test_strangers_whose_forms_never_end_keep_no_callback_out(monkeypatch):
    monkeypatch.setattr(bodies, "MOST_BYTES_AT_ONCE", 3 * MOST_FORM_BYTES)
    application = BoundedHttp(Reader())
    form = b"x" * (MOST_FORM_BYTES - 1)
    strangers = [
        asyncio.ensure_future(request(application, form, path="/twilio/voice/", stalls=True)) for _ in range(5)
    ]
    await asyncio.sleep(0)
    assert await request(application, b"CallSid=CA1", path="/twilio/voice/") == (200, 5 * len(form) + 11)
    for stranger in strangers:
        stranger.cancel()
    await asyncio.gather(*strangers, return_exceptions=True)
