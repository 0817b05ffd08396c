"""
Finds steady tones: ringing, busy and dial tones, beeps, DTMF, fax. No voice holds its pitch and its loudness like them.

Whisper describes a tone ("Beep!") or invents a sentence about it, and is as sure of that as of a short answer.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inference.whisper.mel import Float32

LOUD = 3.0
"""Powers of ten below the loudest frame. Softer frames are not judged."""
NARROW_BANDS = 8
"""The two tones of a key or a ringing signal fill at most so many of the 80 mel bands."""
NARROW_SHARE = 0.8
"""The share of a frame's power that they then have; in a vowel it is rarely more than this."""
LAG = 5
"""Frames of 10 ms. A frame is compared with the one so long before."""
STEADY = 0.1
"""Powers of ten. The strong bands of a tone change by less in that time: 0 to 0.07, the larger values where two tones
beat. Those of a voice change by 0.3 on average."""
SHORTEST = 8
"""Frames. A shorter steady moment is part of a vowel; the tones of a key last 5 of them more."""
EDGES = 7
"""Frames before and after a tone that belong to it: its beginning, which has no steady past, and its end."""
LEAST = 0.3
"""The share of the loud frames from which on the sound counts as tones. In 98 recordings of people it was 0.14 at
most, in tones 0.9 to 1."""


def share_without_tones(rows: Float32) -> float:
    """The share of the loud frames that are not part of a tone; ``rows`` are log10 powers, shape ``(frames, mels)``."""
    if len(rows) <= LAG:
        return 1.0
    power = np.power(10.0, rows, dtype=np.float32)
    total = power.sum(axis=1)
    loud = total > total.max() / 10**LOUD
    strongest = np.partition(power, -NARROW_BANDS, axis=1)[:, -NARROW_BANDS:].sum(axis=1)
    weights = np.minimum(power[LAG:], power[:-LAG])
    change = (np.abs(rows[LAG:] - rows[:-LAG]) * weights).sum(axis=1) / weights.sum(axis=1)
    steady = loud & (strongest > NARROW_SHARE * total)
    steady[:LAG] = False
    steady[LAG:] &= change < STEADY
    tones = _spread(_runs(steady))
    share = np.count_nonzero(loud & tones) / np.count_nonzero(loud)
    return float(1.0 - share) if share >= LEAST else 1.0


def _runs(steady: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Only what is true for at least ``SHORTEST`` frames in a row."""
    whole = np.convolve(steady, np.ones(SHORTEST), mode="valid") == SHORTEST
    return np.convolve(whole, np.ones(SHORTEST)) > 0 if len(steady) >= SHORTEST else np.zeros_like(steady)


def _spread(frames: NDArray[np.bool_]) -> NDArray[np.bool_]:
    spread: NDArray[np.bool_] = np.convolve(frames, np.ones(2 * EDGES + 1))[EDGES:-EDGES] > 0
    return spread
