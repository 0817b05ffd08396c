"""
The caller's mu-law, linear PCM, and the way between sample rates. Pure.

Everything here works on short pieces and keeps its own state, so that a call can be cut anywhere.
"""

from __future__ import annotations

from functools import cache
from math import ceil, gcd, log10

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Pcm = NDArray[np.int16]
"""Mono 16-bit linear samples, shape ``(n,)``."""

SILENCE = b"\xff"
"""One sample of mu-law silence."""

AUDIBLE_DBFS = -50.0
"""The least level that counts as sound, as the RMS of a short window; line noise lies below it."""

_WINDOW = 40  # samples: 5 ms at 8 kHz, half a period of the deepest voices


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


def level_dbfs(pcm: Pcm) -> float:
    """RMS level against a full-scale square wave; -96 for silence or nothing."""
    if not len(pcm):
        return -96.0
    samples = pcm.astype(np.float64)
    power = float(samples @ samples) / len(pcm)
    return max(-96.0, 10 * log10(power) - 20 * log10(32768)) if power else -96.0


def first_audible(mulaw: bytes) -> int | None:
    """Index of the first sample of sound, or None: the first loud one of the first loud 5 ms."""
    return _loud_sample(_POWER.take(np.frombuffer(mulaw, np.uint8)))


def last_audible(mulaw: bytes) -> int | None:
    """Index of the last sample of sound, or None: the last loud one of the last loud 5 ms."""
    from_end = _loud_sample(_POWER.take(np.frombuffer(mulaw, np.uint8)[::-1]))
    return None if from_end is None else len(mulaw) - 1 - from_end


def _loud_sample(power: NDArray[np.float32]) -> int | None:
    whole = len(power) // _WINDOW * _WINDOW
    loud = power[:whole].reshape(-1, _WINDOW).sum(1) >= _THRESHOLD * _WINDOW
    first = int(loud.argmax()) * _WINDOW if loud.any() else whole
    if first == whole and power[whole:].sum() < _THRESHOLD * _WINDOW:
        return None
    return first + int((power[first : first + _WINDOW] >= _THRESHOLD).argmax())


_HALF_TAPS = 16  # samples of the slower rate on each side: 2 ms at 8 kHz
_KAISER_BETA = 7.0  # images and aliases under -83 dB
_ROLL_OFF = 0.94  # of the slower Nyquist frequency
_BLOCK_TAPS = 1 << 16  # multiplied at once: stays in the cache, and a whole sentence needs little memory


@cache
def _kernels(up: int, down: int) -> tuple[int, NDArray[np.float32]]:
    """Half length in input samples, and one windowed sinc for each of the ``up`` phases, shape ``(up, 2 * half)``."""
    half = ceil(_HALF_TAPS * max(1, down / up))
    cut_off = min(1.0, up / down) * _ROLL_OFF
    offset = np.arange(2 * half) - (half - 1) - np.arange(up)[:, None] / up
    edge = np.sqrt(np.maximum(0.0, 1 - (offset / half) ** 2))
    kernel = np.sinc(cut_off * offset) * np.i0(_KAISER_BETA * edge)
    return half, (kernel / kernel.sum(1, keepdims=True)).astype(np.float32)


class Resampler:
    """
    A stream of PCM from one rate to another, in pieces of any length.

    A polyphase filter: 2 ms are held back as look-ahead (16 samples of the slower rate), and nothing is heard
    of where the pieces were cut. Output sample k stands at the instant of input sample ``k * src_hz /
    dst_hz``; after ``flush`` there are ``ceil(n * dst_hz / src_hz)`` of them for n that went in.
    """

    def __init__(self, src_hz: int, dst_hz: int) -> None:
        if src_hz <= 0 or dst_hz <= 0:
            raise ValueError(f"cannot resample {src_hz} Hz to {dst_hz} Hz")
        divisor = gcd(src_hz, dst_hz)
        self._up, self._down = dst_hz // divisor, src_hz // divisor
        self._half, self._kernel = _kernels(self._up, self._down)
        self._reset()

    def _reset(self) -> None:
        self._input = np.zeros(self._half - 1, np.float32)
        self._next = 0  # where the next output's kernel begins in _input, in steps of 1 / up

    def push(self, pcm: Pcm) -> Pcm:
        """The output that these samples, shape ``(n,)``, complete."""
        if self._up == self._down:
            return pcm
        self._input = np.concatenate([self._input, pcm], dtype=np.float32)
        ready = len(self._input) - 2 * self._half + 1  # kernels may begin before this sample
        count = max(0, -((self._next - ready * self._up) // self._down))
        out = np.empty(count, np.int16)
        block = _BLOCK_TAPS // (2 * self._half)
        for begin in range(0, count, block):
            self._render(out[begin : begin + block])
        spent = min(self._next // self._up, len(self._input))
        self._input = self._input[spent:]
        self._next -= spent * self._up
        return out

    def flush(self) -> Pcm:
        """What was held back; the next ``push`` begins a new stream."""
        if self._up == self._down:
            return np.empty(0, np.int16)
        out = self.push(np.zeros(self._half, np.int16))
        self._reset()
        return out

    def _render(self, out: Pcm) -> None:
        steps = self._next + self._down * np.arange(len(out))
        self._next += self._down * len(out)
        start, phase = np.divmod(steps, self._up)
        taps = sliding_window_view(self._input, 2 * self._half)[start]
        sound = np.einsum("ij,ij->i", taps, self._kernel[phase])
        np.clip(np.rint(sound, out=sound), -32768, 32767, out=sound)
        out[:] = sound
