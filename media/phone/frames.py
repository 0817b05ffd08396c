"""A frame of the telephone: 20 ms of mu-law audio at 8 kHz. What counts as silent and as audible in it."""

from __future__ import annotations

from inference.mulaw import decode_mulaw

RATE_HZ = 8000
FRAME_BYTES = 160
FRAME_SECONDS = 0.02
SILENT_FRAME = b"\xff" * FRAME_BYTES

AUDIBLE_AMPLITUDE = 256
"""A sample counts as audible from -42 dBFS: above line noise and codec hiss, below any voiced sound."""
AUDIBLE = bytes(abs(sample) >= AUDIBLE_AMPLITUDE for sample in decode_mulaw(bytes(range(256))).tolist())
"""A table for ``bytes.translate``: 1 where the mu-law byte is audible."""

QUIET_SECONDS = 0.2
"""A pause this long ends a stretch of speech; the pauses between words are shorter."""


def first_audible(payload: bytes) -> int:
    """Return the index of the first audible sample of mu-law audio, -1 if there is none."""
    return payload.translate(AUDIBLE).find(1)


def last_audible(payload: bytes) -> int:
    """Return the index of the last audible sample of mu-law audio, -1 if there is none."""
    return payload.translate(AUDIBLE).rfind(1)
