"""Converts sound from one sample rate to another, as a stream or as a whole. Pure."""

from __future__ import annotations

from functools import cache
from math import ceil, gcd

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from inference.types import Pcm

_HALF_TAPS = 24  # samples of the lower rate on each side: 3 ms at 8 kHz; with 16, 4.1 kHz folds back at -22 dB
_KAISER_BETA = 7.0  # images and aliases are below -83 dB
_ROLL_OFF = 0.94  # the cut-off, as a share of the lower Nyquist frequency
_BLOCK_TAPS = 1 << 16  # taps that are multiplied at once: they fit in the cache, and a sentence needs little memory


@cache
def _kernels(up: int, down: int) -> tuple[int, NDArray[np.float32]]:
    """Return half the length in input samples, and a windowed sinc for each phase, shape ``(up, 2 * half)``."""
    half = ceil(_HALF_TAPS * max(1, down / up))
    cut_off = min(1.0, up / down) * _ROLL_OFF
    offset = np.arange(2 * half) - (half - 1) - np.arange(up)[:, None] / up
    edge = np.sqrt(np.maximum(0.0, 1 - (offset / half) ** 2))
    kernel = np.sinc(cut_off * offset) * np.i0(_KAISER_BETA * edge)
    return half, (kernel / kernel.sum(1, keepdims=True)).astype(np.float32)


class Resampler:
    """
    Converts a stream of PCM from one rate to another, in pieces of any length.

    It is a polyphase filter. It holds back 3 ms as look-ahead (24 samples of the lower rate), and the cuts between the
    pieces are inaudible. Output sample k has the time of input sample ``k * src_hz / dst_hz``. After ``flush``, n input
    samples have become ``ceil(n * dst_hz / src_hz)`` output samples.
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
        """The input samples that later outputs need."""
        self._next = 0
        """The point of ``_input`` at which the kernel of the next output begins, in steps of 1 / ``up`` samples."""

    def push(self, pcm: Pcm) -> Pcm:
        """Take samples of shape ``(n,)`` and return the output that they complete."""
        if self._up == self._down:
            return pcm
        self._input = np.concatenate([self._input, pcm], dtype=np.float32)
        ready = len(self._input) - 2 * self._half + 1  # kernels that begin before this sample are complete
        count = max(0, -((self._next - ready * self._up) // self._down))
        out = np.empty(count, np.int16)
        block = _BLOCK_TAPS // (2 * self._half)
        for begin in range(0, count, block):
            self._render(out[begin : begin + block])
        used = min(self._next // self._up, len(self._input))
        self._input = self._input[used:]
        self._next -= used * self._up
        return out

    def flush(self) -> Pcm:
        """Return what was held back. The next ``push`` begins a new stream."""
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
    """Convert a whole recording of n samples to ``ceil(n * dst_hz / src_hz)`` samples."""
    resampler = Resampler(src_hz, dst_hz)
    return np.concatenate([resampler.push(pcm), resampler.flush()])
