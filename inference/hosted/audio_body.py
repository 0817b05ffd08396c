"""Reads the sound of an HTTP response: bare samples, or WAV whatever its header says about its length."""

from __future__ import annotations

import re
from struct import Struct

import numpy as np

from inference.resampling import Resampler
from inference.types import EngineError, Pcm

NONE: Pcm = np.zeros(0, np.int16)
MAX_HEADER = 1 << 16
"""Bytes before the sound of a WAV: a longer header is none."""
TAIL = 1024
"""Bytes (20 ms at 24 kHz) that are held back of a WAV of unknown length: a chunk of text may follow the sound."""
UNKNOWN_BYTES = 0x7FFF0000
"""Lengths from here on mean that a server did not know the length when it began to send; so does 0."""

_CONTAINERS = {b"OggS": "Ogg", b"fLaC": "FLAC", b"ID3": "MP3", b"\x1aE\xdf\xa3": "WebM"}
"""The first bytes of formats that are not read. No speech begins with them as samples."""
_COMPRESSED = ("mpeg", "mp3", "ogg", "opus", "flac", "aac", "webm", "mp4")
_PCM = 1
_EXTENSIBLE = 0xFFFE
_CHUNK = Struct("<4sI")
_FORMAT = Struct("<HHIIHH")


class AudioBody:
    """
    Turns the bytes of one response, which are cut anywhere, into samples at ``rate_hz``.

    The content type may name another rate (``audio/pcm;rate=22050``), and so may the header of a WAV: then the sound is
    resampled. Whatever cannot be understood raises a permanent ``EngineError``, because the next one will be the same.
    """

    def __init__(self, content_type: str, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._pending = b""
        """Bytes that are not read yet: an odd one, a header, or the tail of a WAV."""
        self._begun = False
        """Whether it is known what the body is."""
        self._is_wav = False
        self._left: int | None = None
        """Bytes of sound to come, if a WAV says so."""
        self._resampler: Resampler | None = None
        kind, _, parameters = content_type.lower().partition(";")
        if any(name in kind for name in _COMPRESSED):
            raise _unreadable(f"{kind.strip()} instead of bare samples")
        if given := re.search(r"\brate\s*=\s*\"?(\d+)", parameters):
            self._take_rate(int(given[1]))
        if (channels := re.search(r"\bchannels\s*=\s*\"?(\d+)", parameters)) and channels[1] != "1":
            raise _unreadable(f"sound with {channels[1]} channels instead of 1")

    def feed(self, data: bytes) -> Pcm:
        """Return the samples that these bytes complete."""
        self._pending += data
        if not self._begun and not self._begin():
            return NONE
        if self._left is not None:
            ready = min(len(self._pending), self._left)
        else:
            ready = len(self._pending) - (TAIL if self._is_wav else 0)
        return self._take(max(0, ready - ready % 2))

    def finish(self) -> Pcm:
        """Return the rest at the end of the body. Half a sample is dropped."""
        if not self._begun:
            if self._pending.startswith(b"RIFF"):
                raise _unreadable("a WAV that ends within its header")
            self._begun = True
        rest = self._pending if self._left is None else self._pending[: self._left]
        if self._is_wav and self._left is None:
            rest = rest[: _end_of_sound(rest)]
        sound = self._take(len(rest) - len(rest) % 2)
        self._pending = b""
        return sound if self._resampler is None else np.concatenate([sound, self._resampler.flush()])

    def _take(self, size: int) -> Pcm:
        taken, self._pending = self._pending[:size], self._pending[size:]
        if self._left is not None:
            self._left -= size
            if self._left < 2:
                self._pending = b""  # what follows is no sound
        sound = np.frombuffer(taken, "<i2").astype(np.int16)
        return sound if self._resampler is None else self._resampler.push(sound)

    def _begin(self) -> bool:
        """Find out what the body is. False: too little of it has come."""
        if len(self._pending) < 4:
            return False
        for mark, name in _CONTAINERS.items():
            if self._pending.startswith(mark):
                raise _unreadable(f"{name} instead of bare samples")
        if self._pending.startswith((b'{"', b"<!DO", b"<htm")):
            raise _unreadable("a text instead of sound")
        if self._pending.startswith((b"RIFF", b"RIFX", b"RF64")):
            if not self._pending.startswith(b"RIFF"):
                raise _unreadable("a WAV of another kind than RIFF")
            self._is_wav = True
            self._begun = self._read_header()
            return self._begun
        self._begun = True
        return True

    def _read_header(self) -> bool:
        """Read the chunks of a WAV up to its sound. False: too little of them has come."""
        at, known = 12, False
        while len(self._pending) >= at + _CHUNK.size:
            name, size = _CHUNK.unpack_from(self._pending, at)
            at += _CHUNK.size
            if name == b"data":
                if not known:
                    raise _unreadable("a WAV without a format")
                self._pending = self._pending[at:]
                self._left = size if 0 < size < UNKNOWN_BYTES else None
                return True
            if name == b"fmt ":
                if len(self._pending) < at + _FORMAT.size:
                    return False
                self._read_format(*_FORMAT.unpack_from(self._pending, at))
                known = True
            at += size + size % 2
            if at > MAX_HEADER:
                raise _unreadable("a WAV without sound")
        return False

    def _read_format(self, kind: int, channels: int, rate_hz: int, _speed: int, _block: int, bits: int) -> None:
        if kind not in (_PCM, _EXTENSIBLE) or bits != 16 or channels != 1:
            raise _unreadable(f"a WAV of format {kind} with {channels} channels of {bits} bits instead of 16-bit mono")
        self._take_rate(rate_hz)

    def _take_rate(self, rate_hz: int) -> None:
        if not 4000 <= rate_hz <= 192_000:
            raise _unreadable(f"sound at {rate_hz} Hz")
        if rate_hz != self._rate_hz:
            self._resampler = Resampler(rate_hz, self._rate_hz)
        else:
            self._resampler = None


def _end_of_sound(tail: bytes) -> int:
    """Where the sound ends: before a chunk that reaches to the end of the body, if there is one."""
    for at in range(len(tail) - _CHUNK.size + 1):
        if tail[at : at + 4] in (b"LIST", b"id3 ", b"ID3 ", b"bext", b"fact"):
            size = _CHUNK.unpack_from(tail, at)[1]
            if len(tail) - at - _CHUNK.size in (size, size + size % 2):
                return at
    return len(tail)


def _unreadable(what: str) -> EngineError:
    return EngineError(
        f'the server sent {what}: it must understand "response_format": "pcm", or send WAV', permanent=True
    )
