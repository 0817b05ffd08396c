"""A call over a real session with scripted engines and real voice activity, on a telephone in virtual time."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeVar, cast

import numpy as np

from calls.services import facts
from inference.backends import Engines
from inference.engines.espeak import EspeakTextToSpeech
from inference.engines.scripted import (
    ScriptedLanguageModel,
    ScriptedSpeechToText,
    ScriptedTextToSpeech,
)
from inference.mulaw import decode_mulaw, encode_mulaw
from inference.types import Pcm
from media.held_recording import HeldRecording
from media.messages import Media
from media.phone.clips import Clip
from media.phrases import Phrases
from media.recorder import Recording
from media.reply import render
from media.session import Session
from media.speech import VoiceDetector
from media.turns.options import ConversationOptions
from tests.media.claims import stream_claim
from tests.virtual_time import run

QUIET = b"\xff" * 160
STREAM = "MZ0"


@cache
def voice(text: str) -> bytes:
    """The text in a synthetic voice, as mu-law."""

    async def speak() -> bytes:
        tts = EspeakTextToSpeech()
        await tts.start()
        try:
            return await render(text, tts=tts, voice="", language="en")
        finally:
            await tts.close()

    # In a thread, because a test may run a loop in this one.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(speak())).result()


def mix(mulaw: bytes, behind: Pcm) -> bytearray:
    """Add ``behind`` to the sound, both from their start."""
    pcm = decode_mulaw(bytes(mulaw)).astype(np.int32)
    length = min(len(pcm), len(behind))
    pcm[:length] += behind[:length]
    return bytearray(encode_mulaw(pcm.clip(-32768, 32767).astype(np.int16)))


FactType = TypeVar("FactType", bound=facts.Fact)


class FactLog:
    """Keeps the facts of a call as a spool would pass them on."""

    def __init__(self) -> None:
        self.facts: list[facts.Fact] = []

    def record(self, fact: facts.Fact) -> None:
        assert facts.decode(facts.encode(fact)) == fact
        self.facts.append(fact)

    def of(self, kind: type[FactType]) -> list[FactType]:
        return [fact for fact in self.facts if isinstance(fact, kind)]


@dataclass
class RecordedSound:
    """Keeps what a session records."""

    said: bytearray = field(default_factory=bytearray)
    """The caller's sound from position 0 on."""
    heard: list[tuple[int, bytes]] = field(default_factory=list)
    """The agent's sound, as pieces with their positions."""

    def caller(self, position: int, mulaw: bytes) -> None:
        assert position == len(self.said)
        self.said += mulaw

    def agent(self, position: int, mulaw: bytes) -> None:
        self.heard.append((position, mulaw))


@dataclass
class CallResult:
    """What a call has left. Times are seconds since its start."""

    sent: list[tuple[float, dict[str, Any]]]
    """The messages that were sent to the carrier, and when."""
    facts: FactLog
    recording: RecordedSound
    hung_up: str
    """The reason for which the session hung up; empty if the caller did."""
    tasks_left: int
    """How many more tasks there are than before the call."""
    caller_stopped: dict[str, float]
    """When the voice of each sentence of the caller ended."""

    def times(self, event: str) -> list[float]:
        """When messages of this kind were sent."""
        return [when for when, message in self.sent if message["event"] == event]

    @property
    def turns(self) -> list[tuple[str, str]]:
        """Speaker and heard words of each turn."""
        return [(turn.speaker, turn.heard) for turn in self.facts.of(facts.TurnEnded)]


def run_call(
    says: list[tuple[float, str]],
    *,
    seconds: float,
    options: ConversationOptions | None = None,
    stt: dict[str, Any] | None = None,
    llm: dict[str, Any] | None = None,
    tts: dict[str, Any] | None = None,
    during: Callable[[Session], None] | None = None,
    at: float = 0.0,
    model: type[ScriptedLanguageModel] = ScriptedLanguageModel,
    served_by: Engines | None = None,
    claim: dict[str, Any] | None = None,
    said_by: Callable[[str], bytes] = voice,
    behind: Pcm | None = None,
    frame_seconds: float = 0.02,
    redact: bool = False,
) -> CallResult:
    """
    Run a call in virtual time in which the caller says these sentences at these seconds.

    ``stt``, ``llm`` and ``tts`` are options of the scripted engines, unless the call is ``served_by`` other engines.
    ``during`` is called with the session at second ``at``. ``claim`` has fields of the stream's claim. ``said_by``
    returns a sentence in the caller's voice, as mu-law. ``behind`` is what else is heard on the line, from its start.
    A frame of 20 ms is sent every ``frame_seconds``, without timestamps if that is not 0.02. Then the caller's times
    are longer in the same proportion. ``redact``: numbers that must not be stored are taken out.
    """
    clips = [(start, text, said_by(text)) for start, text in says]

    async def work() -> CallResult:
        loop = asyncio.get_running_loop()
        engines = served_by or Engines(
            ScriptedSpeechToText(**(stt or {})),
            model(**(llm or {})),
            ScriptedTextToSpeech(**(tts or {})),
        )
        await engines.start()
        log, recording, phrases = FactLog(), RecordedSound(), Phrases(engines.tts)
        behaviour = options or ConversationOptions()
        fields = dict(claim or {})
        agent = {"transfer_targets": behaviour.transfer_targets, "hears_opt_out": behaviour.hears_opt_out}
        agent |= fields.pop("agent", {})
        await phrases.prepare(behaviour.stock_phrases, voice="", language="en")
        held = HeldRecording(cast(Recording, recording)) if redact else None
        before = len(asyncio.all_tasks())
        ended: list[str] = []
        session = Session(
            stream_claim(agent=agent, **fields),
            behaviour,
            engines=engines,
            detector=VoiceDetector(),
            phrases=phrases,
            facts=log,
            hang_up=ended.append,
            recording=held or recording,
            redact=redact,
        )
        sent: list[tuple[float, dict[str, Any]]] = []
        began = loop.time()

        async def read() -> None:
            """Act as the carrier, which returns a mark once everything before it was played."""
            plays_until = 0.0
            while True:
                message = json.loads(await session.outgoing())
                now = loop.time() - began
                sent.append((now, message))
                match message["event"]:
                    case "media":
                        seconds = len(base64.b64decode(message["media"]["payload"])) / 8000
                        plays_until = max(plays_until, now) + seconds
                    case "clear":
                        plays_until = now
                    case "mark":
                        loop.call_later(max(0.0, plays_until - now), session.mark, message["mark"]["name"])

        reader = asyncio.ensure_future(read())
        session.start(STREAM)
        sound = bytearray(QUIET * round(seconds * 50))
        stopped = {}
        for start, text, clip in clips:
            sound[round(start * 8000) : round(start * 8000) + len(clip)] = clip
            stopped[text] = (start + Clip.of(clip).last_loud / 8000) * frame_seconds / 0.02
        if behind is not None:
            sound = mix(sound, behind)
        if during is not None:
            loop.call_later(at, during, session)
        for number in range(round(seconds * 50)):
            await asyncio.sleep(began + (number + 1) * frame_seconds - loop.time())
            if ended:
                break
            payload = base64.b64encode(bytes(sound[number * 160 : number * 160 + 160])).decode()
            timestamp = 150 + number * 20 if frame_seconds == 0.02 else None
            session.media(Media(STREAM, payload, timestamp_ms=timestamp, chunk=number + 1))
        await session.close("caller-hung-up")
        if held is not None:
            held.release(len(sound))
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
        await engines.close()
        await asyncio.sleep(0)
        left = len(asyncio.all_tasks()) - before
        return CallResult(sent, log, recording, ended[0] if ended else "", left, stopped)

    return run(work())
