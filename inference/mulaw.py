"""Between the telephone's mu-law and linear PCM (ITU-T G.711). Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inference.types import Pcm


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


DECODE = _decode_table()
"""The linear sample of each code, shape ``(256,)``."""
_ENCODE = _encode_table()


def decode_mulaw(mulaw: bytes) -> Pcm:
    """Expand mu-law to linear PCM, shape ``(len(mulaw),)``, same rate."""
    return DECODE.take(np.frombuffer(mulaw, np.uint8))


def encode_mulaw(pcm: Pcm) -> bytes:
    """Compress linear PCM of any strides to mu-law, same rate."""
    return _ENCODE.take(np.ascontiguousarray(pcm).view(np.uint16)).tobytes()
