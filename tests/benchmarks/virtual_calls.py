"""
Calls in virtual time: the telephone, its line, the sessions and the engines in one process, without a network.

Everything is the product's own, except for what lies between the media stream and the session: the socket and its
consumer, admission, and the database. Recognition is done when it is asked for, and its result comes after the
processor time that it took, on one core that all calls share (``tests/virtual_core.py``). All other work (voice
activity, the voice, the telephone) takes no virtual time. So the figures hardly depend on what else the machine does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import UUID

from calls.services import facts
from inference.backends import Engines
from inference.engines.espeak import EspeakTextToSpeech
from inference.engines.scripted import ScriptedLanguageModel
from inference.interfaces import SpeechToText
from media.agent_options import options_of
from media.messages import KeyPress, MarkEcho, Media, Start, Stop, parse
from media.phone.gateway import Gateway
from media.phone.impairments import FrameKind, Impairments
from media.phone.media_socket import MediaSocket
from media.phone.party import Party
from media.phone.stream_handshake import StreamRequest
from media.phone.tape import Tape
from media.phrases import Phrases
from media.session import Session
from media.speech import VoiceDetector
from tests.media.claims import stream_claim
from tests.virtual_core import AtOnce, core_loop

AGENT = {
    "greeting": "Hello, this is the front desk of Harper Hall. How can I help you?",
    "greeting_interruptible": True,
    "disclosure": "",
    "opt_out_key": "",
    "hears_opt_out": False,
    "transfer_targets": (),
    "record": False,
}
"""The agent of a new installation, with which the server in real time works."""


class _EspeakAtOnce(EspeakTextToSpeech):
    """Speaks on the loop's own thread: a clause takes it a millisecond or two."""

    async def start(self) -> None:
        await super().start()
        assert self._threads is not None
        self._threads._executor = AtOnce()  # type: ignore[assignment]


@dataclass
class App:
    """What the calls of one process share, and the facts that they report."""

    engines: Engines
    detector: VoiceDetector
    phrases: Phrases
    facts: dict[UUID, list[facts.Fact]] = field(default_factory=dict)
    """By call, in order."""
    started: dict[UUID, float] = field(default_factory=dict)
    """When the session of each call began, on the loop's clock."""
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)

    def record(self, fact: facts.Fact) -> None:
        self.facts.setdefault(fact.call_id, []).append(fact)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task


class SessionSocket(MediaSocket):
    """A media stream whose other end is a session in this process."""

    def __init__(self, *, app: App, call: UUID, **callbacks: Callable[..., None]) -> None:
        super().__init__(**callbacks)  # type: ignore[arg-type]
        self._app = app
        self._call = call
        self._loop = asyncio.get_running_loop()
        claim = stream_claim(agent=AGENT, call_id=call, direction="inbound")
        self._session = Session(
            claim,
            options_of(claim, speculate=True),
            engines=app.engines,
            detector=app.detector,
            phrases=app.phrases,
            facts=app,  # type: ignore[arg-type]
            hang_up=lambda reason: self.close(1000),
        )
        self._writer: asyncio.Task[None] | None = None
        self._closing = False

    @property
    def was_opened(self) -> bool:
        return self._writer is not None

    async def open(self, request: object, **address: object) -> None:
        self._writer = self._app.spawn(self._write())

    def send(self, kind: FrameKind, data: bytes) -> None:
        self._loop.call_soon(self._receive, data)

    def close(self, code: int) -> None:
        if not self._closing:
            self._closing = True
            self._app.spawn(self._end())

    def abort(self, *, reset: bool = False) -> None:
        self.close(1006)

    def _receive(self, data: bytes) -> None:
        match message := parse(data):
            case Start():
                self._app.started[self._call] = self._loop.time()
                self._session.start(message.stream_sid)
            case Media():
                self._session.media(message)
            case MarkEcho():
                self._session.mark(message.name)
            case KeyPress():
                self._session.key(message.digit)
            case Stop():
                self.close(1000)

    async def _write(self) -> None:
        while True:
            self._on_message(True, (await self._session.outgoing()).encode())

    async def _end(self) -> None:
        await self._session.close("caller-hung-up")
        if self._writer is not None:
            self._writer.cancel()
        self._on_closed()


@dataclass(frozen=True)
class VirtualCall:
    """One call as it went."""

    tape: Tape
    facts: list[facts.Fact]
    started_at: float
    """When the session began, in seconds on the tape. The first fact has the same time on the wall clock."""


async def _hold(app: App, party: Party, number: int, impairments: Impairments) -> VirtualCall:
    await asyncio.sleep(0.7 * number)
    call, tape = UUID(int=number + 1), Tape()
    gateway = Gateway(party, tape=tape, impairments=impairments, make_socket=partial(SessionSocket, app=app, call=call))
    name = f"{number:032x}"
    request = StreamRequest(
        "wss://phone.example.com/", "AC" + name, "CA" + name, "MZ" + name, auth_token="0", parameters={}
    )
    await gateway.run(request)
    return VirtualCall(tape, app.facts[call], tape.seconds(app.started[call]))


def hold_calls(
    parties: Sequence[Party], *, stt: Callable[[], SpeechToText], replies: Sequence[str], impairments: Impairments
) -> tuple[list[VirtualCall], float]:
    """
    Hold these calls at once, each until its party hangs up. ``stt`` makes the recogniser.

    Returns the calls, and the share of the core that recognition took.
    """
    with core_loop() as loop:

        async def work() -> tuple[list[VirtualCall], float]:
            engines = Engines(stt(), ScriptedLanguageModel(replies=replies), _EspeakAtOnce())
            await engines.start()
            phrases = Phrases(engines.tts)
            claim = stream_claim(agent=AGENT)
            await phrases.prepare(options_of(claim, speculate=True).stock_phrases, voice="", language="en")
            app = App(engines, VoiceDetector(), phrases)
            began, busy = loop.time(), loop.core.busy
            held = await asyncio.gather(*(_hold(app, party, n, impairments) for n, party in enumerate(parties)))
            share = (loop.core.busy - busy) / (loop.time() - began)
            await asyncio.gather(*app.tasks)
            await engines.close()
            return held, share

        return loop.run_until_complete(work())
