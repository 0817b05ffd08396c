"""Sounds for tests, as frames and as WAV files."""

import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

LOUD = bytes([0x10]) * 160
"""A frame of mu-law at one loud level: -6 dBFS, so every sample is audible."""


def sine(rate_hz: int, seconds: float = 0.5, frequency_hz: float = 440.0) -> NDArray[np.int16]:
    """Linear PCM at an amplitude of 8000."""
    return (8000 * np.sin(2 * np.pi * frequency_hz * np.arange(round(rate_hz * seconds)) / rate_hz)).astype(np.int16)


def write_wave(path: Path, pcm: NDArray[np.int16], rate_hz: int = 8000, *, channels: int = 1) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(pcm.astype("<i2").tobytes())
    return path
