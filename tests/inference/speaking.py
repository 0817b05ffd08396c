"""Passes clauses to a speech engine and looks at the sound, for the tests of the engines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import numpy as np

from inference.types import AudioChunk, Pcm


async def clauses(*given: str | float) -> AsyncGenerator[str, None]:
    """Yield the clauses, and sleep for the numbers between them."""
    for clause in given:
        if isinstance(clause, float):
            await asyncio.sleep(clause)
        else:
            yield clause


async def speak(engine, *given: str, voice: str = "", language: str = "en") -> list[AudioChunk]:
    return [chunk async for chunk in engine.open(voice=voice, language=language).speak(clauses(*given))]


async def sound_of(engine, *given: str, voice: str = "", language: str = "en") -> Pcm:
    return np.concatenate([chunk.pcm for chunk in await speak(engine, *given, voice=voice, language=language)])


def loud_samples(pcm: Pcm) -> np.ndarray:
    """Return the positions of the samples that are not silence."""
    return np.flatnonzero(np.abs(pcm.astype(np.int32)) > 160)


def speech_level(pcm: Pcm, rate_hz: int) -> float:
    """Return the level in dBFS of the 20 ms frames that hold speech."""
    frame = rate_hz // 50
    frames = pcm[: len(pcm) // frame * frame].astype(float).reshape(-1, frame)
    power = (frames**2).mean(axis=1)
    return float(10 * np.log10(power[power > 300**2].mean() / 32768**2))
