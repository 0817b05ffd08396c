"""Clips for a simulated caller to say: mu-law audio at 8 kHz, made from speech or from WAV files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inference.mulaw import decode_mulaw, encode_mulaw
from inference.resampling import resample
from media.errors import MediaError
from media.phone.frames import RATE_HZ

_LOUD_SHARE = 10 ** (-30 / 20)
"""A sample is loud from 30 dB below the clip's peak: breath and room noise at the ends of a recording are quieter."""
_WAVE_FORMATS = {1: "PCM", 6: "A-law", 7: "mu-law"}


class ScriptError(MediaError):
    """A script that cannot be followed: it has an unknown line, an unreadable recording, or text without a voice."""


@dataclass(frozen=True, slots=True)
class Clip:
    """
    Something to say. ``name`` is what the log calls it.

    A sample is loud if it is within 30 dB of the clip's peak and above line noise.
    """

    name: str
    audio: bytes
    first_loud: int
    """Index of the first loud sample; 0 in a silent clip, like ``last_loud``."""
    last_loud: int

    @classmethod
    def of(cls, audio: bytes, *, name: str = "") -> Clip:
        """Make a clip of mu-law audio."""
        level = np.abs(decode_mulaw(audio).astype(np.int32))
        threshold = max(256, int(level.max(initial=0) * _LOUD_SHARE))
        loud = np.flatnonzero(level >= threshold)
        first, last = (int(loud[0]), int(loud[-1])) if len(loud) else (0, 0)
        return cls(name or f"{len(audio) / RATE_HZ:.1f} s of sound", audio, first, last)

    @classmethod
    def load(cls, path: Path) -> Clip:
        """Make a clip of a mono WAV file: 16-bit PCM or mu-law, at any rate."""
        return cls.of(read_wave(path), name=path.name)

    @property
    def seconds(self) -> float:
        return len(self.audio) / RATE_HZ


def read_wave(path: Path) -> bytes:
    """Return the sound of a mono WAV file (16-bit PCM or mu-law, any rate) as mu-law at 8 kHz."""
    try:
        encoding, channels, rate_hz, width, data = _read_riff(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ScriptError(f"Cannot read {path}: {error}.") from error
    if channels != 1 or (encoding, width) not in ((1, 2), (7, 1)):
        what = f"{channels} channel(s) of {8 * width}-bit {_WAVE_FORMATS.get(encoding, f'format {encoding}')}"
        raise ScriptError(f"{path} has {what}. Convert it to mono, 16-bit PCM or mu-law.")
    if encoding == 7 and rate_hz == RATE_HZ:
        return data
    return to_mulaw(decode_mulaw(data) if encoding == 7 else np.frombuffer(data, "<i2").astype(np.int16), rate_hz)


def to_mulaw(pcm: NDArray[np.int16], rate_hz: int) -> bytes:
    """Convert PCM at any rate to mu-law at 8 kHz."""
    return encode_mulaw(resample(pcm, rate_hz, RATE_HZ))


def _read_riff(content: bytes) -> tuple[int, int, int, int, bytes]:
    """Return encoding, channels, rate, bytes per sample and data. The ``wave`` module refuses mu-law."""
    if content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        raise ValueError("it is not a WAV file")
    header = None
    position = 12
    while position + 8 <= len(content):
        chunk, size = content[position : position + 4], int.from_bytes(content[position + 4 : position + 8], "little")
        body = content[position + 8 : position + 8 + size]
        if chunk == b"fmt ":
            if len(body) < 16:
                raise ValueError("its header is truncated")
            number = [int.from_bytes(body[at : at + 2], "little") for at in (0, 2, 14, 24)]
            encoding = (
                number[3] if number[0] == 0xFFFE else number[0]
            )  # WAVE_FORMAT_EXTENSIBLE has the real one elsewhere
            header = encoding, number[1], int.from_bytes(body[4:8], "little"), number[2] // 8
        elif chunk == b"data" and header is not None:
            width = max(1, header[3])
            return *header, body[: len(body) // width * width]
        position += 8 + size + size % 2
    raise ValueError("it is a WAV file without sound")
