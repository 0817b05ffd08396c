"""Sound at 8 kHz that the tests and benchmarks measure and make."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

RATE_HZ = 8000
_BLOCK = RATE_HZ // 50

Sound = NDArray[np.float64]
"""Samples between -32768 and 32767."""


def read(path: Path) -> NDArray[np.int16]:
    """The samples of a mono WAV file of 16 bits at 8 kHz."""
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (RATE_HZ, 1, 2)
        return np.frombuffer(file.readframes(file.getnframes()), np.int16)


def active_level(sound: Sound) -> float:
    """The RMS of the louder half of the blocks of 20 ms."""
    power = (sound[: len(sound) // _BLOCK * _BLOCK].reshape(-1, _BLOCK) ** 2).mean(1)
    return float(np.sqrt(np.sort(power)[len(power) // 2 :].mean()))


def pink_noise(length: int, seed: int) -> Sound:
    """Noise whose power falls with the frequency, with a standard deviation of 1."""
    spectrum = np.fft.rfft(np.random.default_rng(seed).normal(size=length))
    hz = np.fft.rfftfreq(length, 1 / RATE_HZ)
    noise = np.fft.irfft(np.where(hz < 50, 0, spectrum / np.sqrt(np.maximum(hz, 50))), length)
    return noise / noise.std()
