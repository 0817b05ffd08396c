"""
Computes Whisper's features while the sound comes in.

Computed at the end, they would add 10 to 37 ms to every answer. Computed as the sound comes in, only the last two
frames and the normalisation are left for the end. This module needs only numpy: the filters come from the model.
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
"""Samples that one frame looks at: 25 ms."""
EDGE = WINDOW // 2
"""A frame looks so many samples to both sides. Before the first sample it sees the beginning mirrored."""

SILENCE = -10.0
"""log10 of the lowest power in the features: silence has it in every band."""
DYNAMIC_RANGE = 8.0
"""Power that lies more than so many powers of ten below the loudest in the clip is raised to that level."""

Float32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Spectrum:
    """The log-mel powers of one piece of sound, shape ``(frames, mels)``, and the largest of them."""

    rows: Float32
    peak: float

    def fill(self, out: Float32, *, silence: bool = True) -> None:
        """
        Write the features, shape ``(mels, T)``, of this sound followed by silence.

        The sound is padded with silence, like the windows that Whisper was trained on. This needs no computing: silence
        has the lowest power in every band, which the normalisation raises to the floor of the clip. Without
        ``silence`` the features are padded with 0.0, as faster-whisper does it.
        """
        frames = min(len(self.rows), out.shape[1])
        floor = max(SILENCE, self.peak - DYNAMIC_RANGE)
        np.maximum(self.rows[:frames].T, floor, out=out[:, :frames])
        out[:, frames:] = floor
        out += 4.0
        out /= 4.0
        if not silence:
            out[:, frames:] = 0.0


class LogMel:
    """
    The spectrum of sound that is still coming in. Its features equal those of ``faster_whisper.FeatureExtractor`` to
    1e-6.

    ``filters`` has the shape ``(mels, WINDOW // 2 + 1)``. Finished rows are never changed in place, so that another
    thread can read a cut.
    """

    def __init__(self, filters: Float32) -> None:
        self._filters = np.ascontiguousarray(filters.T, np.float32)
        self._taper = np.hanning(WINDOW + 1)[:-1].astype(np.float32)
        self._rows = np.empty((512, len(filters)), np.float32)
        """The frames, with room for more: 5 s at first."""
        self._finished = 0
        """The number of rows that are finished."""
        self._peak = SILENCE
        """The largest power in them."""
        self._begun = False
        """Whether there was enough sound to mirror the beginning."""
        self._rest = np.zeros(0, np.float32)
        """The sound from the left edge of the next frame on; until the beginning can be mirrored, all of it."""

    def add(self, pcm: Pcm) -> None:
        """Take the next samples. A call costs about as much as 300 ms of sound, so add longer pieces."""
        self._rest = np.concatenate([self._rest, pcm.astype(np.float32) / np.float32(32768)])
        if not self._begun and len(self._rest) > EDGE:
            self._begun, self._rest = True, _mirrored(self._rest)
        if self._begun and len(self._rest) >= WINDOW:
            count = (len(self._rest) - WINDOW) // HOP + 1
            self._append(self._frames(self._rest, count))
            self._rest = self._rest[count * HOP :].copy()

    def cut(self) -> Spectrum:
        """The spectrum of everything that was added, as if silence followed."""
        rest = self._rest
        if not self._begun:
            rest = _mirrored(np.pad(rest, (0, EDGE + 1 - len(rest))))[: EDGE + len(rest)]
        count = -(-len(rest) // HOP)
        tail = self._frames(np.pad(rest, (0, WINDOW)), count)
        rows = np.concatenate([self._rows[: self._finished], tail])
        return Spectrum(rows, max(self._peak, float(tail.max(initial=SILENCE))))

    def beginning(self, frames: int) -> Spectrum:
        """The spectrum of the first ``frames`` only, all of which must be finished."""
        rows = self._rows[:frames]
        return Spectrum(rows, float(rows.max(initial=SILENCE)))

    def drop(self, frames: int) -> None:
        """Drop the first ``frames``, all of which must be finished."""
        self._rows = np.concatenate(
            [self._rows[frames : self._finished], np.empty((512, self._rows.shape[1]), np.float32)]
        )
        self._finished -= frames
        self._peak = float(self._rows[: self._finished].max(initial=SILENCE))

    def _append(self, rows: Float32) -> None:
        end = self._finished + len(rows)
        if end > len(self._rows):
            grown = np.empty((max(end, 2 * len(self._rows)), self._rows.shape[1]), np.float32)
            grown[: self._finished] = self._rows[: self._finished]
            self._rows = grown
        self._rows[self._finished : end] = rows
        self._finished = end
        self._peak = max(self._peak, float(rows.max()))

    def _frames(self, sound: Float32, count: int) -> Float32:
        spectrum = np.fft.rfft(sliding_window_view(sound, WINDOW)[: count * HOP : HOP] * self._taper, axis=1)
        power = spectrum.real**2 + spectrum.imag**2
        rows: Float32 = np.log10(np.maximum(power @ self._filters, 1e-10), dtype=np.float32)
        return rows


def _mirrored(sound: Float32) -> Float32:
    return np.concatenate([sound[EDGE:0:-1], sound])
