"""Sound from one sample rate to another, as a stream or as a whole. Pure."""

from __future__ import annotations

from functools import cache
from math import ceil, gcd

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from inference.types import Pcm

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


def resample(pcm: Pcm, src_hz: int, dst_hz: int) -> Pcm:
    """A whole recording, ``ceil(n * dst_hz / src_hz)`` samples."""
    resampler = Resampler(src_hz, dst_hz)
    return np.concatenate([resampler.push(pcm), resampler.flush()])
