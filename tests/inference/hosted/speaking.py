"""Lets hosted voices speak, and measures what they say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import numpy as np

from inference.types import AudioChunk


async def text_of(*clauses: str) -> AsyncIterator[str]:
    for clause in clauses:
        yield clause


class Lines:
    """A text of which a test says when the next clause comes."""

    def __init__(self, *clauses: str) -> None:
        self._queue: asyncio.Queue[str | None] = asyncio.Queue()
        for clause in clauses:
            self.add(clause)

    def add(self, clause: str) -> None:
        self._queue.put_nowait(clause)

    def end(self) -> None:
        self._queue.put_nowait(None)

    def __aiter__(self) -> Lines:
        return self

    async def __anext__(self) -> str:
        if (clause := await self._queue.get()) is None:
            raise StopAsyncIteration
        return clause


async def say(engine: Any, *clauses: str, **options: Any) -> list[AudioChunk]:
    """What the engine says in one ``speak()`` of a new call."""
    speech = engine.open(**options)
    try:
        async with aclosing(speech.speak(text_of(*clauses))) as chunks:
            return [chunk async for chunk in chunks]
    finally:
        await speech.close()


async def say_until_error(engine: Any, *clauses: str, **options: Any) -> tuple[list[AudioChunk], BaseException]:
    """What the engine says until it fails, and how it fails."""
    said: list[AudioChunk] = []
    try:
        async with aclosing(engine.open(**options).speak(text_of(*clauses))) as chunks:
            async for chunk in chunks:
                said.append(chunk)
    except Exception as error:
        return said, error
    raise AssertionError("it did not fail")


def samples(said: list[AudioChunk]) -> int:
    return sum(len(chunk.pcm) for chunk in said)


def sound(said: list[AudioChunk]) -> np.ndarray:
    return np.concatenate([chunk.pcm for chunk in said]).astype(float)


def ends(said: list[AudioChunk]) -> list[int]:
    return [chunk.text_end for chunk in said]


async def until(condition: Callable[[], Any]) -> None:
    """Let the loop run until something holds."""
    for _ in range(100_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never held")
