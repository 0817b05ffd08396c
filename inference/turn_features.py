"""
The features of Smart Turn: those of Whisper, over exactly the last 8 s of a turn.

They differ from those in ``inference.whisper.mel`` in two ways: the sound is normalised as a whole before its spectrum
is taken, so nothing can be computed while it comes in, and what is too short is padded in front.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from inference.resampling import resample
from inference.types import Pcm
from inference.whisper.mel import DYNAMIC_RANGE, EDGE, HOP, RATE_HZ, WINDOW

SECONDS = 8
SAMPLES = SECONDS * RATE_HZ
FRAMES = SAMPLES // HOP
MELS = 80
_LEAST_VARIANCE = 1e-7
"""Added to the variance by which the sound is divided, as in the extractor on which the model was trained."""

Float32 = NDArray[np.float32]


def features(pcm: Pcm, rate_hz: int) -> Float32:
    """Return the features of the last 8 s of this sound, shape ``(MELS, FRAMES)``."""
    sound = resample(pcm[-SECONDS * rate_hz :], rate_hz, RATE_HZ).astype(np.float32) / np.float32(32768)
    sound = np.pad(sound[-SAMPLES:], (max(0, SAMPLES - len(sound)), 0))
    sound = (sound - sound.mean()) / np.sqrt(sound.var() + np.float32(_LEAST_VARIANCE))
    # The frame behind the last one is left out, as in the reference.
    windows = sliding_window_view(np.pad(sound, EDGE, mode="reflect"), WINDOW)[::HOP][:FRAMES]
    spectrum = np.fft.rfft(windows * np.hanning(WINDOW + 1)[:-1].astype(np.float32), axis=1)
    power = spectrum.real**2 + spectrum.imag**2
    rows: Float32 = np.log10(np.maximum(power @ _filters(), 1e-10), dtype=np.float32).T
    np.maximum(rows, rows.max() - DYNAMIC_RANGE, out=rows)
    rows += 4.0
    rows /= 4.0
    return rows


@cache
def _filters() -> Float32:
    """
    Return triangular filters on the mel scale of Slaney's Auditory Toolbox, each of the same area, shape
    ``(WINDOW // 2 + 1, MELS)``.
    """
    edges = _hertz(np.linspace(0, _mel(RATE_HZ / 2), MELS + 2))
    bins = np.linspace(0, RATE_HZ / 2, WINDOW // 2 + 1)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    triangles = np.maximum(0, np.minimum(rising, falling))
    return (triangles * 2 / (edges[2:] - edges[:-2])).astype(np.float32)


_LINEAR_TO = 1000.0
"""Hertz up to which the scale is linear, with 3 mel for 200 Hz; above, 27 mel for a factor of 6.4."""


def _mel(hertz: float) -> float:
    return float(15 + np.log(hertz / _LINEAR_TO) * 27 / np.log(6.4)) if hertz >= _LINEAR_TO else hertz * 3 / 200


def _hertz(mels: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(mels < 15, mels * 200 / 3, _LINEAR_TO * np.exp(np.log(6.4) / 27 * (mels - 15)))
