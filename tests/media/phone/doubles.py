"""An application with prepared answers, a person who does what the test says, a fake gateway, and their network."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from multidict import CIMultiDict
from twilio.request_validator import RequestValidator

from media.phone.call_request import CALL_EVENTS, Callback, CallRequest, Program
from media.phone.frames import SILENT_FRAME
from media.phone.gateway import GatewayError
from media.phone.leg import PhoneCall
from media.phone.network import AUTH_TOKEN, PhoneNetwork
from media.phone.party import Note, Party
from media.phone.stream import Reason, StreamEnd
from media.phone.stream_handshake import StreamRequest
from media.phone.tape import Tape
from tests.media.phone.sounds import LOUD

PUBLIC_URL = "https://voice.example"
DEADLINE = 60.0
"""Seconds after which a test gives up waiting for something that takes milliseconds on an idle machine."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Answer = str | int | Handler
"""The verbs of a TwiML document, the status of an empty response, or a handler."""


@dataclass
class ReceivedRequest:
    method: str
    path: str
    form: dict[str, str]
    headers: CIMultiDict[str]
    is_signed: bool


@dataclass
class Application:
    """Answers each path as ``answers`` says, a list one answer after another; other paths get an empty 204."""

    url: str = ""
    answers: dict[str, Answer | list[Answer]] = field(default_factory=dict)
    received: list[ReceivedRequest] = field(default_factory=list)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def requests_to(self, path: str) -> list[ReceivedRequest]:
        return [request for request in self.received if request.path.partition("?")[0] == path]

    async def wait_for_request(self, path: str, times: int = 1) -> ReceivedRequest:
        async with asyncio.timeout(DEADLINE):
            while len(self.requests_to(path)) < times:
                self._arrived.clear()
                await self._arrived.wait()
        return self.requests_to(path)[times - 1]

    async def serve(self, request: web.Request) -> web.StreamResponse:
        form = {name: str(value) for name, value in (await request.post()).items()}
        signature = request.headers.get("X-Twilio-Signature", "")
        url = PUBLIC_URL + request.path_qs
        is_signed = bool(signature) and RequestValidator(AUTH_TOKEN).validate(url, form, signature)
        headers = CIMultiDict(request.headers)
        self.received.append(ReceivedRequest(request.method, request.path_qs, form, headers, is_signed))
        self._arrived.set()
        answer = self.answers.get(request.path, 204)
        if isinstance(answer, list):
            answer = answer.pop(0)
        if isinstance(answer, int):
            return web.Response(status=answer)
        if isinstance(answer, str):
            return web.Response(text=f"<Response>{answer}</Response>", content_type="text/xml")
        return await answer(request)


@dataclass
class Person:
    """A ``Party``: says the same frame all the time, presses ``keys``, and hangs up when the test sets ``hung_up``."""

    keys: list[str] = field(default_factory=list)
    says: bytes = SILENT_FRAME
    hung_up: bool = False
    said_frames: int = 0
    """How many frames the network has taken so far: the clock of the stream, at any speed of the machine."""
    heard: bytearray = field(default_factory=bytearray)
    _frame_arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def wait_to_hear(self, sample: bytes) -> None:
        async with asyncio.timeout(DEADLINE):
            while sample not in self.heard:
                self._frame_arrived.clear()
                await self._frame_arrived.wait()

    @property
    def loud_samples(self) -> int:
        """How many of the samples heard are those of ``LOUD``."""
        return self.heard.count(LOUD[:1])

    def next_frame(self) -> bytes:
        self.said_frames += 1
        return self.says

    def hear(self, frame: bytes) -> None:
        self.heard += frame
        self._frame_arrived.set()

    def next_key(self) -> str | None:
        return self.keys.pop(0) if self.keys else None

    def take_notes(self) -> list[Note]:
        return []


class FakeGateway:
    """Takes the place of a media gateway: each stream lasts until it is stopped or the test ends it."""

    def __init__(self) -> None:
        self.requests: list[StreamRequest] = []
        self.stopped: list[str] = []
        """The reasons with which the network stopped streams."""
        self.errors: list[GatewayError] = []
        self._opened = asyncio.Event()
        self._end: asyncio.Future[StreamEnd] | None = None

    def make(self, party: Party, tape: Tape) -> "FakeGateway":
        return self

    async def run(self, request: StreamRequest) -> StreamEnd:
        self.requests.append(request)
        self._end = asyncio.get_running_loop().create_future()
        self._opened.set()
        return await self._end

    def stop(self, reason: Reason = "call-updated") -> None:
        self.stopped.append(reason)
        self.end_stream(reason)

    def end_stream(self, reason: Reason, code: int | None = None, detail: str = "") -> None:
        assert self._end is not None
        if not self._end.done():
            self._end.set_result(StreamEnd(reason, code, detail))

    async def wait_for_stream(self) -> StreamRequest:
        await asyncio.wait_for(self._opened.wait(), DEADLINE)
        self._opened.clear()
        return self.requests[-1]


HERE = "+15005550006"
THERE = "+15005550100"
CONNECT = (
    '<Connect action="/twilio/after-stream/"><Stream url="wss://voice.example/media/t" statusCallback="/s/"/></Connect>'
)
HOLD = "<Pause length='3600'/>"


@asynccontextmanager
async def open_network(
    app: Application, gateway: FakeGateway | None = None, **options: Any
) -> AsyncIterator[PhoneNetwork]:
    """Open a network that dials at once and calls the application; without a fake gateway, with the real one."""
    options = {"calls_per_second": 1000.0, **options}
    if gateway is not None:
        options["gateway_factory"] = gateway.make
    async with PhoneNetwork(app_url=app.url, public_url=PUBLIC_URL, **options) as network:
        yield network


async def call_in(network: PhoneNetwork, party: Party) -> PhoneCall:
    return await network.call_in(party, from_number=THERE, to_number=HERE)


def call_request(to_number: str = THERE, **changes: Any) -> CallRequest:
    """Ask for a call that reports all of its progress."""
    callback = Callback(f"{PUBLIC_URL}/twilio/status/", events=frozenset(CALL_EVENTS))
    defaults = {"program": Program(f"{PUBLIC_URL}/twilio/voice/"), "callback": callback}
    return CallRequest(to_number, HERE, **{**defaults, **changes})


def reported_statuses(app: Application) -> list[tuple[str, str]]:
    """The progress that the application was told of: sequence numbers and statuses, in order of arrival."""
    return [
        (request.form["SequenceNumber"], request.form["CallStatus"]) for request in app.requests_to("/twilio/status/")
    ]
