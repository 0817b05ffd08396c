"""How loud a voice is: measures it, brings it to the level that all voices share, and keeps it from clipping. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inference.types import Pcm

ACTIVE_DBFS = -20.0
"""The level of every voice. It is that of Flite and eSpeak NG, and leaves headroom for peaks on the telephone."""

BLOCK = 0.02
"""Seconds of the blocks in which a level is measured: one frame of the telephone."""

MAX_GAIN = 30.0
"""The largest factor. A voice that would need more made no sound when it was measured."""

_CEILING, _KNEE = 10 ** (-1 / 20), 10 ** (-3 / 20)
"""The loudest sample (-1 dBFS), so that what resamples the sound later does not clip, and where the limiter begins
(-3 dBFS). Speech at -20 dBFS has few peaks above that."""


def active_level(pcm: Pcm, rate_hz: int) -> float:
    """Return the level of speech in dBFS: the RMS of the louder half of its blocks. Silence is -inf."""
    size = int(BLOCK * rate_hz)
    blocks = pcm[: len(pcm) // size * size].astype(np.float64).reshape(-1, size)
    power = np.sort(np.square(blocks).mean(1))[len(blocks) // 2 :]
    mean = float(power.mean()) if len(power) else 0.0
    return float(10 * np.log10(mean / 32768**2)) if mean > 0 else -np.inf


def gain_for(pcm: Pcm, rate_hz: int) -> float:
    """Return the factor that brings a voice, of which this is a sample, to ``ACTIVE_DBFS``; 1 for silence."""
    gain = 10 ** ((ACTIVE_DBFS - active_level(pcm, rate_hz)) / 20)
    return float(gain) if gain <= MAX_GAIN else 1.0


def limit_and_quantise(sound: NDArray[np.float32], gain: float) -> Pcm:
    """
    Sound from -1 to 1, shape ``(n,)``, times ``gain`` -> int16.

    Peaks are bent below the ceiling sample by sample, so that the cuts between the pieces of a stream are inaudible.
    NaN and infinity become silence.
    """
    sound = np.nan_to_num(sound * np.float32(gain), nan=0.0, posinf=0.0, neginf=0.0)
    size, headroom = np.abs(sound), _CEILING - _KNEE
    if size.size and size.max() > _KNEE:
        bent = np.sign(sound) * (_KNEE + headroom * np.tanh((size - _KNEE) / headroom))
        sound = np.where(size <= _KNEE, sound, bent)
    pcm: Pcm = np.rint(sound * 32768).astype(np.int16)
    return pcm
