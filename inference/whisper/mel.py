"""
Whisper's features, made while the sound comes in.

Made at the end, they cost 10 to 37 ms of every answer; made as the sound comes, what is left at the end is the last
two frames and the normalisation. Only numpy is needed here: the filters come from the model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from inference.types import Pcm

RATE_HZ = 16000
HOP = 160
"""Samples from one frame of features to the next: 10 ms."""
WINDOW = 400
EDGE = WINDOW // 2
"""A frame looks this far to both sides; before the first sample it sees the beginning mirrored."""

SILENCE = -10.0
"""log10 of the least power that the features know: what silent sound gives in every band."""
DYNAMIC_RANGE = 8.0
"""Whatever lies more than these powers of ten below the loudest of the clip is lifted to there."""

Float32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Spectrum:
    """The log-mel powers of one piece of sound, shape ``(frames, mels)``, and the greatest of them."""

    rows: Float32
    peak: float

    def fill(self, out: Float32) -> None:
        """
        Write the features, shape ``(mels, T)``, of this sound followed by silence.

        Silence is added to the sound and not to its features (0.0, as faster-whisper does): so were the windows
        filled that Whisper learned from. It needs no computing: silence gives the least power in every band, which
        the normalisation lifts to the floor of the clip.
        """
        frames = min(len(self.rows), out.shape[1])
        floor = max(SILENCE, self.peak - DYNAMIC_RANGE)
        np.maximum(self.rows[:frames].T, floor, out=out[:, :frames])
        out[:, frames:] = floor
        out += 4.0
        out /= 4.0


class LogMel:
    """
    The spectrum of sound that is still coming; its features equal those of ``faster_whisper.FeatureExtractor`` to 1e-6.

    ``filters`` has the shape ``(mels, WINDOW // 2 + 1)``. Rows once made are never changed in place, so that a cut can
    be read on another thread.
    """

    def __init__(self, filters: Float32) -> None:
        self._filters = np.ascontiguousarray(filters.T, np.float32)
        self._taper = np.hanning(WINDOW + 1)[:-1].astype(np.float32)
        self._rows = np.empty((512, len(filters)), np.float32)
        self._made = 0
        self._peak = SILENCE
        self._begun = False
        self._rest = np.zeros(0, np.float32)
        """The sound from the left edge of the next frame on; before the beginning can be mirrored, all of it."""

    def add(self, pcm: Pcm) -> None:
        """Take the next samples. A call has a cost of its own, near that of 300 ms of sound: bring more at a time."""
        self._rest = np.concatenate([self._rest, pcm.astype(np.float32) / np.float32(32768)])
        if not self._begun and len(self._rest) > EDGE:
            self._begun, self._rest = True, _mirrored(self._rest)
        if self._begun and len(self._rest) >= WINDOW:
            count = (len(self._rest) - WINDOW) // HOP + 1
            self._append(self._frames(self._rest, count))
            self._rest = self._rest[count * HOP :].copy()

    def cut(self) -> Spectrum:
        """The spectrum of all that was added, as if silence followed."""
        rest = self._rest
        if not self._begun:
            rest = _mirrored(np.pad(rest, (0, EDGE + 1 - len(rest))))[: EDGE + len(rest)]
        count = -(-len(rest) // HOP)
        tail = self._frames(np.pad(rest, (0, WINDOW)), count)
        rows = np.concatenate([self._rows[: self._made], tail])
        return Spectrum(rows, max(self._peak, float(tail.max(initial=SILENCE))))

    def beginning(self, frames: int) -> Spectrum:
        """The spectrum of the first ``frames`` alone, all of which must have been made."""
        rows = self._rows[:frames]
        return Spectrum(rows, float(rows.max(initial=SILENCE)))

    def drop(self, frames: int) -> None:
        """Forget the first ``frames``, all of which must have been made."""
        self._rows = np.concatenate([self._rows[frames : self._made], np.empty((512, self._rows.shape[1]), np.float32)])
        self._made -= frames
        self._peak = float(self._rows[: self._made].max(initial=SILENCE))

    def _append(self, rows: Float32) -> None:
        end = self._made + len(rows)
        if end > len(self._rows):
            grown = np.empty((max(end, 2 * len(self._rows)), self._rows.shape[1]), np.float32)
            grown[: self._made] = self._rows[: self._made]
            self._rows = grown
        self._rows[self._made : end] = rows
        self._made = end
        self._peak = max(self._peak, float(rows.max()))

    def _frames(self, sound: Float32, count: int) -> Float32:
        spectrum = np.fft.rfft(sliding_window_view(sound, WINDOW)[: count * HOP : HOP] * self._taper, axis=1)
        power = spectrum.real**2 + spectrum.imag**2
        rows: Float32 = np.log10(np.maximum(power @ self._filters, 1e-10), dtype=np.float32)
        return rows


def _mirrored(sound: Float32) -> Float32:
    return np.concatenate([sound[EDGE:0:-1], sound])
