"""An application with nothing but answers on file, and a person who does as the test says."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from multidict import CIMultiDict
from twilio.request_validator import RequestValidator

from media.phone.network import AUTH_TOKEN
from tests.web import serving

PUBLIC_URL = "https://voice.example"


@dataclass
class Received:
    method: str
    path: str
    form: dict[str, str]
    headers: CIMultiDict[str]
    is_signed: bool


@dataclass
class Application:
    """``answers`` maps a path to TwiML, a status, or a coroutine function; what is not listed gets a 204."""

    url: str = ""
    answers: dict[str, Any] = field(default_factory=dict)
    received: list[Received] = field(default_factory=list)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def to(self, path: str) -> list[Received]:
        return [request for request in self.received if request.path.partition("?")[0] == path]

    async def hears(self, path: str, times: int = 1) -> Received:
        async with asyncio.timeout(5):
            while len(self.to(path)) < times:
                self._news.clear()
                await self._news.wait()
        return self.to(path)[times - 1]

    async def serve(self, request: web.Request) -> web.StreamResponse:
        form = {name: str(value) for name, value in (await request.post()).items()}
        signature = request.headers.get("X-Twilio-Signature", "")
        url = PUBLIC_URL + request.path_qs
        is_signed = bool(signature) and RequestValidator(AUTH_TOKEN).validate(url, form, signature)
        self.received.append(Received(request.method, request.path_qs, form, CIMultiDict(request.headers), is_signed))
        self._news.set()
        answer = self.answers.get(request.path, 204)
        if isinstance(answer, list):
            answer = answer.pop(0)
        if isinstance(answer, int):
            return web.Response(status=answer)
        if isinstance(answer, str):
            return web.Response(text=f"<Response>{answer}</Response>", content_type="text/xml")
        response: web.StreamResponse = await answer(request)
        return response


@dataclass
class Person:
    """On the phone; says nothing, presses ``keys`` once connected, hangs up when told."""

    keys: list[str] = field(default_factory=list)
    hung_up: bool = False
    is_connected: bool = False
    hangs_up_when_connected: bool = False
    says: bytes = b"\xff" * 160
    heard: bytearray = field(default_factory=bytearray)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def hears(self, sample: bytes) -> None:
        async with asyncio.timeout(5):
            while sample not in self.heard:
                self._news.clear()
                await self._news.wait()

    def next_frame(self) -> bytes:
        return self.says

    def hear(self, frame: bytes) -> None:
        self.heard += frame
        self._news.set()

    def next_key(self) -> str | None:
        return self.keys.pop(0) if self.keys else None

    def connected(self) -> None:
        self.is_connected = True
        self.hung_up = self.hangs_up_when_connected


@pytest.fixture
async def app() -> AsyncIterator[Application]:
    application = Application()
    async with serving(application.serve) as application.url:
        yield application


@pytest.fixture
def person() -> Callable[..., Person]:
    return Person


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port of this machine that refuses connections: bound, so that nobody takes it, but not listening."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]
