"""Whatever Cartesia and ElevenLabs send, no voice breaks the engine, and the next clause is spoken."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from contextlib import aclosing, suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.engines import cartesia, elevenlabs
from inference.hosted.context import Context, Manner, VoiceMemory
from inference.hosted.lease import Lease, tell
from inference.hosted.plan import Frame
from inference.hosted.speech import HostedSpeech
from inference.types import EngineError
from tests.inference.hosted.speaking import text_of
from tests.virtual_time import run

TEXT = ("We open at ten. ", "… ", "And shut at six.")
AUDIO = base64.b64encode(bytes(range(200)) * 20).decode()
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from([AUDIO, "c0", "chunk", "done", "error", "timestamps", "quota_exceeded"])
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
CARTESIA = [
    {"type": "chunk", "context_id": "c0", "data": AUDIO, "done": False, "status_code": 206, "flush_id": 1},
    {"type": "timestamps", "context_id": "c0", "word_timestamps": {"words": ["We"], "start": [0.0], "end": [0.2]}},
    {"type": "timestamps", "context_id": "c0", "word_timestamps": {"words": ["shut", "at"], "end": [1.0, 1.2]}},
    {"type": "flush_done", "context_id": "c0", "flush_done": True, "flush_id": 1},
    {"type": "done", "context_id": "c0", "done": True},
    {"type": "error", "context_id": "c0", "title": "Trouble", "status_code": 500, "error_code": "x"},
]
ALIGNMENT = {"chars": list("We op"), "charStartTimesMs": [0, 50, 90, 120, 150], "charDurationsMs": [50] * 5}
ELEVENLABS = [
    {"audio": AUDIO, "alignment": ALIGNMENT, "normalizedAlignment": ALIGNMENT, "contextId": "c0"},
    {"audio": AUDIO, "alignment": None, "context_id": "c0"},
    {"audio": None, "alignment": ALIGNMENT, "contextId": "c0"},
    {"audio": None, "isFinal": True, "contextId": "c0"},
    {"message": "no", "error": "max_active_conversations", "code": 1008, "contextId": "c0"},
]


@st.composite
def mutated(draw: st.DrawFn, messages: list[dict[str, Any]]) -> dict[str, Any]:
    """A valid message of which some values, at any depth, are others or missing."""
    message = json.loads(json.dumps(draw(st.sampled_from(messages))))
    for _ in range(draw(st.integers(0, 3))):
        place: Any = message
        while isinstance(place, dict | list) and place:
            key = draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
            if isinstance(place[key], dict | list) and place[key] and draw(st.booleans()):
                place = place[key]
                continue
            if isinstance(place, dict) and draw(st.booleans()):
                del place[key]
            else:
                place[key] = draw(JSON)
            break
    return message


class Sockets:
    """A pool of one socket at which a script answers each text that is sent."""

    def __init__(self, script: list[Any], valid: list[dict[str, Any]]) -> None:
        self.notes = None
        self._script = iter(script)
        self._valid = valid
        self._leases: list[Lease] = []
        self._count = 0

    def take(self, listener: Any) -> Lease:
        lease = Lease(lambda *_: None, listener, f"c{self._count}")
        self._count += 1
        lease.place(self)
        self._leases.append(lease)
        return lease

    def send(self, frame: Frame) -> None:
        asyncio.get_running_loop().call_soon(self._answer, self._leases[-1])

    def _answer(self, lease: Lease) -> None:
        for message in self._script:
            if message is None:
                return
            if isinstance(message, EngineError):
                tell(lease.lose, message)
                return
            # As the pool does it; but an exception is not hidden here.
            lease.receive(message)


def manner(sockets: Sockets, make: Callable[[str], Context], *, marks_clauses: bool) -> Manner:
    return Manner(
        provider="Acme",
        usage_name="acme/voice",
        take=sockets.take,
        open_context=make,
        voice=VoiceMemory(),
        first_audio=0.02,
        stall=0.02,
        life=0.5,
        holds_room=not marks_clauses,
        marks_clauses=marks_clauses,
        times_words=True,
    )


def steps(valid: list[dict[str, Any]]) -> st.SearchStrategy[list[Any]]:
    """Messages, pauses (None) and the loss of the socket, in any order."""
    lost = st.builds(EngineError, st.just("the socket is gone"))
    fields = sorted({name for message in valid for name in message})
    anything = st.dictionaries(st.sampled_from(fields), JSON)
    return st.lists(mutated(valid) | anything | st.none() | lost, max_size=12)


def check(script: list[Any], valid: list[dict[str, Any]], make: Callable[[str], Context], **options: bool) -> None:
    async def speak() -> None:
        failed: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failed.append(context))
        speech = HostedSpeech(manner(Sockets(script, valid), make, **options))
        said = 0
        with suppress(EngineError):
            async with aclosing(speech.speak(text_of(*TEXT))) as chunks:
                async for chunk in chunks:
                    assert said <= chunk.text_end <= len("".join(TEXT))
                    assert len(chunk.pcm) > 0
                    said = chunk.text_end
            assert said == len("".join(TEXT))
        await speech.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert failed == []

    run(speak())


@settings(max_examples=60)
@given(steps(CARTESIA))
def test_a_voice_of_cartesia_takes_any_message(script):
    check(script, CARTESIA, lambda key: cartesia.CartesiaContext(key, {}), marks_clauses=True)


@settings(max_examples=60)
@given(steps(ELEVENLABS))
def test_a_voice_of_elevenlabs_takes_any_message(script):
    check(script, ELEVENLABS, lambda key: elevenlabs.ElevenLabsContext(key, {}), marks_clauses=False)


@pytest.mark.parametrize("engine", [cartesia, elevenlabs])
@given(st.text(max_size=30) | st.binary(max_size=10) | JSON.map(json.dumps) | mutated(CARTESIA).map(json.dumps))
def test_reading_a_frame_gives_an_object_or_nothing(engine, frame):
    with suppress(ValueError):  # the pool takes any exception for nothing
        received = engine.read(frame)
        assert received is None or isinstance(received.message, dict)
        if received is not None:
            error = engine.failure(received.message)
            assert (error is None) == (received.key is not None)
