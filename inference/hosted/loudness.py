"""Brings the voices of hosted services to one loudness."""

from __future__ import annotations

from math import log10

import numpy as np
from numpy.typing import NDArray

from inference.types import Pcm
from inference.voices.loudness import ACTIVE_DBFS, limit_and_quantise

BLOCK = 160
"""Samples: 20 ms at 8 kHz."""
SOUND_DBFS = -50.0
"""A quieter block is silence."""
ENOUGH, COMPLETE = 30, 250
"""Blocks with sound (0.6 and 5 s) from which the level is taken for the first time, and the last time."""
EVERY = 10
"""Blocks with sound (0.2 s) after which the level is taken again, until then."""
LARGEST_DB = 12.0
"""The largest correction."""
_FULL_SCALE_POWER = BLOCK * 32768.0**2
"""The sum of the squares of a block at full scale (0 dBFS)."""
_SOUND_POWER = _FULL_SCALE_POWER * 10 ** (SOUND_DBFS / 10)
UNLIMITED = 32768 * 10 ** (-3 / 20)
"""Where the limiter begins. It takes several times as long as the rest, and few pieces of a voice reach it."""
DB_PER_SECOND = 3.0
"""How fast the gain may change within an utterance: slower than anybody hears."""


class Loudness:
    """The gain for one voice. It is measured on the first seconds that the voice speaks, and then stays."""

    def __init__(self, gain_db: float | None = None) -> None:
        """``gain_db`` is the gain, if nothing is to be measured."""
        self.gain_db = gain_db or 0.0
        """The gain that is right as far as is known."""
        self._is_settled = gain_db is not None
        self._blocks: list[float] = []
        """The power of the blocks with sound."""
        self._next = ENOUGH
        """The number of them with which the level is taken next."""

    def measure(self, pcm: Pcm) -> None:
        """Take sound as the provider has sent it."""
        if self._is_settled:
            return
        blocks = pcm[: len(pcm) // BLOCK * BLOCK].reshape(-1, BLOCK).astype(np.float32)
        power = np.einsum("ij,ij->i", blocks, blocks).tolist()
        self._blocks += [each for each in power if each > _SOUND_POWER]
        if len(self._blocks) < self._next:
            return
        self._next = len(self._blocks) + EVERY
        louder = sorted(self._blocks)[len(self._blocks) // 2 :]
        level = 10 * log10(sum(louder) / len(louder) / _FULL_SCALE_POWER)
        self.gain_db = max(-LARGEST_DB, min(LARGEST_DB, ACTIVE_DBFS - level))
        self._is_settled = len(self._blocks) >= COMPLETE


class Levelling:
    """Applies the gain of a voice to one utterance, in which it changes too slowly to be heard."""

    def __init__(self, loudness: Loudness) -> None:
        self._loudness = loudness
        self._gain_db = loudness.gain_db

    def apply(self, pcm: Pcm) -> Pcm:
        """Return samples of shape ``(n,)`` at the house level. They are measured, too."""
        self._loudness.measure(pcm)
        before = self._gain_db
        step = DB_PER_SECOND * len(pcm) / (50 * BLOCK)
        self._gain_db += max(-step, min(step, self._loudness.gain_db - before))
        if before == self._gain_db == 0.0 or not len(pcm):
            return pcm
        gain: NDArray[np.float32] | np.float32 = np.float32(10 ** (before / 20))
        if before != self._gain_db:
            change = 10 ** (self._gain_db / 20) - 10 ** (before / 20)
            gain = gain + np.arange(1, len(pcm) + 1, dtype=np.float32) * np.float32(change / len(pcm))
        sound: NDArray[np.float32] = pcm * gain
        if max(np.maximum.reduce(sound), -np.minimum.reduce(sound)) <= UNLIMITED:
            levelled: Pcm = np.rint(sound, out=sound).astype(np.int16)
            return levelled
        return limit_and_quantise(sound, 1 / 32768)
