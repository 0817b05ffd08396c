"""Synthesised sentences as a telephone transmits them, for the tests of recognisers."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

import numpy as np

from inference.mulaw import decode_mulaw, encode_mulaw
from inference.resampling import resample
from inference.types import Pcm

RATE_HZ = 16_000
"""The rate of PocketSphinx."""

PRE_ROLL = 0.3
"""Seconds of sound before the voice that a session gives to the recogniser."""


def over_the_telephone(pcm: Pcm, rate_hz: int) -> Pcm:
    """Encode the sound as 8 kHz mu-law, decode it, and resample it to the recogniser's rate."""
    narrow = resample(pcm, rate_hz, 8000)
    return resample(decode_mulaw(encode_mulaw(narrow)), 8000, RATE_HZ)


def spoken(voice_pcm: Pcm, *, silence: float) -> Pcm:
    """The voiced part of a clip, with the pre-roll before it and ``silence`` seconds after it."""
    voiced = np.flatnonzero(np.abs(voice_pcm.astype(np.int32)) > 400)
    clip = voice_pcm[voiced[0] : voiced[-1] + 1]
    return np.concatenate([_quiet(PRE_ROLL), clip, _quiet(silence)])


async def say(tts, text: str, *, voice: str = "") -> Pcm:
    """Let the engine say a sentence, and return the sound at the engine's own rate."""

    async def clause() -> AsyncGenerator[str, None]:
        yield text

    speech = tts.open(voice=voice)
    async with aclosing(speech.speak(clause())) as chunks:
        pieces = [chunk.pcm async for chunk in chunks]
    await speech.close()
    return np.concatenate(pieces)


def _quiet(seconds: float) -> Pcm:
    return np.zeros(round(seconds * RATE_HZ), np.int16)
