"""Between the telephone's mu-law and linear PCM, and where sound begins and ends. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inference.types import Pcm

SILENCE = b"\xff"
"""One sample of mu-law silence."""

AUDIBLE_DBFS = -50.0
"""The lowest level that counts as sound, as the RMS of a short window; line noise is below it."""

_WINDOW = 40
"""Samples of that window: 5 ms at 8 kHz, half a period of the deepest voices."""


def _decode_table() -> Pcm:
    code = ~np.arange(256, dtype=np.int32) & 0xFF
    magnitude = ((((code & 0x0F) << 3) + 0x84) << ((code & 0x70) >> 4)) - 0x84
    return np.where(code & 0x80, -magnitude, magnitude).astype(np.int16)


def _encode_table() -> NDArray[np.uint8]:
    """Indexed by the sample as an unsigned 16-bit number; G.711 works on the upper 14 bits."""
    sample = np.arange(65536, dtype=np.uint16).view(np.int16).astype(np.int32) >> 2
    biased = np.minimum(np.abs(sample), 8159) + 33
    segment = np.searchsorted([0x3F, 0x7F, 0xFF, 0x1FF, 0x3FF, 0x7FF, 0xFFF, 0x1FFF], biased)
    code = np.minimum((segment << 4) | ((biased >> (segment + 1)) & 0x0F), 0x7F)
    table: NDArray[np.uint8] = (code ^ np.where(sample < 0, 0x7F, 0xFF)).astype(np.uint8)
    return table


_DECODE = _decode_table()
_ENCODE = _encode_table()
_POWER = _DECODE.astype(np.float32) ** 2
_THRESHOLD = np.float32((32768 * 10 ** (AUDIBLE_DBFS / 20)) ** 2)


def decode_mulaw(mulaw: bytes) -> Pcm:
    """Expand mu-law to linear PCM, shape ``(len(mulaw),)``, same rate (ITU-T G.711)."""
    return _DECODE.take(np.frombuffer(mulaw, np.uint8))


def encode_mulaw(pcm: Pcm) -> bytes:
    """Compress linear PCM of any strides to mu-law, same rate (ITU-T G.711)."""
    return _ENCODE.take(np.ascontiguousarray(pcm).view(np.uint16)).tobytes()


def first_audible(mulaw: bytes) -> int | None:
    """Index of the first audible sample, or None: the first loud sample of the first loud 5 ms."""
    return _loud_sample(_POWER.take(np.frombuffer(mulaw, np.uint8)))


def last_audible(mulaw: bytes) -> int | None:
    """Index of the last audible sample, or None: the last loud sample of the last loud 5 ms."""
    from_end = _loud_sample(_POWER.take(np.frombuffer(mulaw, np.uint8)[::-1]))
    return None if from_end is None else len(mulaw) - 1 - from_end


def _loud_sample(power: NDArray[np.float32]) -> int | None:
    whole = len(power) // _WINDOW * _WINDOW
    loud = power[:whole].reshape(-1, _WINDOW).sum(1) >= _THRESHOLD * _WINDOW
    first = int(loud.argmax()) * _WINDOW if loud.any() else whole
    if first == whole and power[whole:].sum() < _THRESHOLD * _WINDOW:
        return None
    return first + int((power[first : first + _WINDOW] >= _THRESHOLD).argmax())
