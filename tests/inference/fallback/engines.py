"""Engines for the tests of the fallback, and what the tests do with them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any

import pytest

from inference.types import AudioChunk, Message


def entry(backend: str, **options: Any) -> dict[str, Any]:
    """One engine in the options of a fallback."""
    return {"BACKEND": backend, "OPTIONS": options}


def _scripted(kind: str, **options: Any) -> dict[str, Any]:
    return entry(f"inference.engines.scripted.Scripted{kind}", **options)


llm = partial(_scripted, "LanguageModel")
tts = partial(_scripted, "TextToSpeech")
stt = partial(_scripted, "SpeechToText")

PATIENT: dict[str, Any] = {"failures": 10**6, "window": 10**6, "retry_after": 0.0}
"""Options of a fallback that asks its first engine every time, however often it has failed."""
SILENT: dict[str, Any] = {"stalls": [{"rate": 1.0, "seconds": 3600.0}]}
"""Options of a scripted engine that never answers."""
FAILING: dict[str, Any] = {"failures": [{"rate": 1.0}]}
"""Options of a scripted engine that always fails at once."""
MESSAGES = [Message("user", "Hello?")]
SECOND_REPLY = "I am the second one."


def loop_time() -> float:
    return asyncio.get_running_loop().time()


def exactly(seconds: float) -> Any:
    """The time, but for rounding."""
    return pytest.approx(seconds, abs=1e-6)


async def started(engine: Any) -> Any:
    await engine.start()
    return engine


async def read_reply(engine: Any, messages: Sequence[Message] = MESSAGES, **options: Any) -> str:
    async with aclosing(engine.stream(messages, **options)) as deltas:
        return "".join([delta.text async for delta in deltas])


async def text_of(*clauses: str) -> AsyncGenerator[str, None]:
    for clause in clauses:
        yield clause


async def speak(speech: Any, *clauses: str) -> list[AudioChunk]:
    async with aclosing(speech.speak(text_of(*clauses))) as chunks:
        return [chunk async for chunk in chunks]


def count_samples(chunks: Sequence[AudioChunk]) -> int:
    return sum(len(chunk.pcm) for chunk in chunks)


def outcomes(engine: Any) -> list[tuple[int, int, int, int]]:
    """How many requests each engine of a fallback has served, failed, timed out and skipped."""
    return [(count.served, count.failed, count.timed_out, count.skipped) for count in engine.counts.values()]
