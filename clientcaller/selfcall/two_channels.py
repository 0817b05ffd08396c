"""Measures a recording of two channels, the caller on one and the agent on the other. Without I/O but for the bytes."""

from __future__ import annotations

import io
import wave
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FRAME_SECONDS = 0.02
LOUD = 200.0
"""The root mean square of a frame with a voice, of 32768: -44 dBFS. Noise of the line is 10 dB below."""
JOIN_AGENT = 0.4
"""Seconds: shorter pauses of the agent lie within a reply."""
JOIN_CALLER = 1.5
"""Seconds: shorter pauses of the caller lie within a line. Between lines they wait much longer for the reply."""
SHORTEST = 0.06
"""Seconds: a shorter sound is a click."""

Stretch = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Figures:
    """What a recording says. Times are in seconds."""

    responses: tuple[float | None, ...]
    """After each line of the caller, until the agent begins; None if it does not before the next line."""
    agent_seconds: float


def measure_recording(sound: bytes, *, lines: int) -> Figures:
    """Measure a WAV file. Of its two channels, the caller's has as many stretches of speech as there are lines."""
    rate, channels = _read(sound)
    found = [(stretches(one, rate, join=JOIN_CALLER), stretches(one, rate, join=JOIN_AGENT)) for one in channels]
    # Both may have as many: the caller begins later, after the greeting.
    caller = min((0, 1), key=lambda index: (abs(len(found[index][0]) - lines), -_beginning(found[index][0])))
    said, replies = found[caller][0], found[1 - caller][1]
    ends = [start for start, _ in said[1:]] + [float("inf")]
    responses = tuple(_response(end, until, replies) for (_, end), until in zip(said, ends, strict=True))
    return Figures(responses, sum(end - start for start, end in replies))


def _response(end: float, until: float, replies: list[Stretch]) -> float | None:
    """Seconds from the end of a line to the agent's next beginning; None if it speaks already, or not at all."""
    if any(start < end < stop for start, stop in replies):
        return None
    begun = [start for start, _ in replies if end <= start < until]
    return begun[0] - end if begun else None


def stretches(pcm: NDArray[np.int16], rate_hz: int, *, join: float) -> list[Stretch]:
    """When there is a voice, pauses below ``join`` included."""
    size = round(rate_hz * FRAME_SECONDS)
    frames = pcm[: len(pcm) // size * size].reshape(-1, size).astype(np.float64)
    loud = np.sqrt((frames**2).mean(axis=1)) > LOUD
    found: list[Stretch] = []
    for index in np.flatnonzero(loud):
        start = float(index) * FRAME_SECONDS
        end = start + FRAME_SECONDS
        if found and start - found[-1][1] < join:
            found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
    return [(start, end) for start, end in found if end - start >= SHORTEST]


def _beginning(found: list[Stretch]) -> float:
    return found[0][0] if found else float("-inf")


def _read(sound: bytes) -> tuple[int, list[NDArray[np.int16]]]:
    with wave.open(io.BytesIO(sound), "rb") as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.int16)
        count = file.getnchannels()
        both = samples[: len(samples) // count * count].reshape(-1, count)
        return file.getframerate(), [both[:, 0], both[:, min(1, count - 1)]]
