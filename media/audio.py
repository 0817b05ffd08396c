"""Finds where sound begins and ends in the telephone's mu-law, and fades it in. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inference.mulaw import DECODE, decode_mulaw, encode_mulaw

SILENCE = b"\xff"
"""One sample of mu-law silence."""

AUDIBLE_DBFS = -50.0
"""The lowest level that counts as sound, as the RMS of a short window; line noise is below it."""

_WINDOW = 40
"""Samples of that window: 5 ms at 8 kHz, half a period of the deepest voices."""

FADE = 40
"""Samples (5 ms) in which sound rises that begins in its middle: too short to be noticed, long enough not to click."""

_POWER = DECODE.astype(np.float32) ** 2
_THRESHOLD = np.float32((32768 * 10 ** (AUDIBLE_DBFS / 20)) ** 2)


def first_audible(mulaw: bytes) -> int | None:
    """Index of the first audible sample, or None: the first loud sample of the first loud 5 ms."""
    return _loud_sample(_POWER.take(np.frombuffer(mulaw, np.uint8)))


def last_audible(mulaw: bytes) -> int | None:
    """Index of the last audible sample, or None: the last loud sample of the last loud 5 ms."""
    from_end = _loud_sample(_POWER.take(np.frombuffer(mulaw, np.uint8)[::-1]))
    return None if from_end is None else len(mulaw) - 1 - from_end


def fade_in(mulaw: bytes) -> bytes:
    """Return the sound with its first 5 ms rising from silence."""
    begin = decode_mulaw(mulaw[:FADE])
    rise = np.linspace(0, 1, len(begin), endpoint=False)
    return encode_mulaw(np.rint(begin * rise).astype(np.int16)) + mulaw[FADE:]


def _loud_sample(power: NDArray[np.float32]) -> int | None:
    whole = len(power) // _WINDOW * _WINDOW
    loud = power[:whole].reshape(-1, _WINDOW).sum(1) >= _THRESHOLD * _WINDOW
    first = int(loud.argmax()) * _WINDOW if loud.any() else whole
    if first == whole and power[whole:].sum() < _THRESHOLD * _WINDOW:
        return None
    return first + int((power[first : first + _WINDOW] >= _THRESHOLD).argmax())
