"""What one utterance says if its passages fail, without a service: a test delivers what each context hears."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import numpy as np
import pytest

from inference.hosted.context import Heard, Manner, VoiceMemory
from inference.hosted.lease import Lease
from inference.hosted.loudness import Loudness
from inference.hosted.plan import Listener
from inference.hosted.speech import HostedSpeech
from inference.mulaw import encode_mulaw
from inference.types import AudioChunk, EngineError
from tests.inference.hosted.speaking import text_of, until

LOUD, SOFT = (encode_mulaw(np.full(1600, level, np.int16)) for level in (8000, 2000))


class Contexts:
    """The contexts of a service, in the order in which they are opened. Their messages are what they mean."""

    def __init__(self) -> None:
        self.leases: list[Lease] = []
        self.said: list[str] = []

    def take(self, listener: Listener) -> Lease:
        self.leases.append(Lease(lambda *_: None, listener, str(len(self.leases))))
        self.said.append("")
        return self.leases[-1]

    def open(self, key: str) -> OneContext:
        return OneContext(self, int(key))


class OneContext:
    def __init__(self, contexts: Contexts, number: int) -> None:
        self._contexts, self._number = contexts, number

    def begin(self) -> Sequence[str]:
        return ()

    def say(self, text: str) -> Sequence[str]:
        self._contexts.said[self._number] += text
        return ()

    def end(self) -> Sequence[str]:
        return ()

    def cancel(self) -> Sequence[str]:
        return ()

    def hear(self, message: Any) -> Heard:
        assert isinstance(message, Heard)
        return message


def manner_of(contexts: Contexts, **options: Any) -> Manner:
    return Manner(
        provider="Echo Ltd",
        usage_name="echo/1",
        take=contexts.take,
        open_context=contexts.open,
        voice=VoiceMemory(Loudness(0.0)),
        **options,
    )


async def test_a_passage_that_is_said_again_comes_before_the_passage_that_follows_it():
    contexts = Contexts()
    manner = manner_of(contexts, has_room=lambda: False)  # each clause has a context of its own

    async def say() -> list[AudioChunk]:
        async with aclosing(HostedSpeech(manner).speak(text_of("One. ", "Two. "))) as chunks:
            return [chunk async for chunk in chunks]

    saying = asyncio.create_task(say())
    await until(lambda: len(contexts.leases) == 2)
    contexts.leases[0].lose(EngineError("the connection broke"))
    assert contexts.said == ["One. ", "Two. ", "One. "]
    contexts.leases[1].receive(Heard(audio=SOFT, clauses=1))
    contexts.leases[2].receive(Heard(audio=LOUD, clauses=1))
    said = await saying
    peaks = [int(np.abs(chunk.pcm).max()) > 4000 for chunk in said]
    assert peaks == sorted(peaks, reverse=True)
    first = [chunk for chunk, is_loud in zip(said, peaks, strict=True) if is_loud]
    assert sum(len(chunk.pcm) for chunk in first) == 1600
    assert first[-1].text_end == len("One. ")
    assert said[-1].text_end == len("One. Two. ")


async def test_a_text_that_is_cancelled_ends_the_utterance():
    manner = manner_of(Contexts())

    async def text() -> AsyncGenerator[str, None]:
        raise asyncio.CancelledError
        yield ""

    with pytest.raises(EngineError, match="the text was cancelled"):
        async with asyncio.timeout(10), aclosing(HostedSpeech(manner).speak(text())) as chunks:
            await anext(chunks)
