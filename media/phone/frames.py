"""What a frame of the telephone is: 20 ms of mu-law at 8 kHz, what silence is in it, and what is audible."""

from __future__ import annotations

from media.audio import decode_mulaw

RATE_HZ = 8000
FRAME_BYTES = 160
FRAME_SECONDS = 0.02
SILENT_FRAME = b"\xff" * FRAME_BYTES

# A sample counts as audible from -42 dBFS: above line noise and codec hiss, below any voiced sound.
AUDIBLE_AMPLITUDE = 256
AUDIBLE = bytes(abs(sample) >= AUDIBLE_AMPLITUDE for sample in decode_mulaw(bytes(range(256))).tolist())
"""Table for ``bytes.translate``: 1 where the mu-law byte is audible."""

QUIET_SECONDS = 0.2
"""A pause this long ends a stretch of speech."""


def first_audible(payload: bytes) -> int:
    """Index of the first audible sample of mu-law audio, -1 if there is none."""
    return payload.translate(AUDIBLE).find(1)


def last_audible(payload: bytes) -> int:
    """Index of the last audible sample of mu-law audio, -1 if there is none."""
    return payload.translate(AUDIBLE).rfind(1)
