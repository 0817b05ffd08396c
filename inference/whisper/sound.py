"""The sound of one utterance as recognition needs it: features, and how loud each moment was."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inference.types import Pcm
from inference.whisper.mel import EDGE, HOP, RATE_HZ, Float32, LogMel, Spectrum

MAX_HELD = 60 * RATE_HZ
"""More waits only if the model is half a minute behind: no answer would come in time, and the rest is dropped."""
BLOCK = RATE_HZ // 50
"""Loudness is measured by 20 ms."""
STEP = 16 * BLOCK
"""Sound is worked on by 320 ms, 0.1 ms at a time: a sixth of what 20 ms would cost, 2 % of a core for 60 calls."""
LONGEST = 28 * RATE_HZ
"""What the largest window holds beside its margin. Of a longer utterance the first part is recognised for good."""
CUT_SEARCH = 10 * RATE_HZ
"""The cut is made at the quietest moment of the last 10 s of the window."""
CUT_BLOCKS = 10

VOICE_RMS = 60
SURE_VOICE_RMS = 300
"""A block is no speech below the first, nor, below the second, if it lies 30 dB under the loudest."""
QUIET_RMS = 60
SURE_SOUND_RMS = 200
"""
Of sound after the words: a block below the first is silence, and none above the second. Between them it must lie 30 dB
below the loudest, or 20 dB and no more than 6 dB above the noise of the line, not to be taken for more words.
"""


class Sound:
    """Takes sound as it comes, by any number of samples. Positions are samples from the beginning of the utterance."""

    def __init__(self, filters: Float32) -> None:
        self._mel = LogMel(filters)
        self._pending = bytearray()
        self._part = np.zeros(0, np.int16)
        self._levels: list[float] = []
        self._loudest = 0.0
        self.samples = 0
        self.start = 0
        """Before here nothing is held any more."""

    @property
    def held(self) -> int:
        return self.samples - self.start

    @property
    def frames(self) -> int:
        """How long the spectrum of a ``cut`` is: the last frames begin within the sound and look beyond it."""
        return -(-(self.held + EDGE) // HOP)

    def push(self, pcm: Pcm) -> None:
        pcm = pcm[: MAX_HELD - self.held]
        self._pending += pcm.tobytes()
        self.samples += len(pcm)
        if len(self._pending) >= 2 * STEP:
            self.advance()

    def advance(self) -> None:
        """Work on what is left, so that the rest of this class knows all that was pushed."""
        if not self._pending:
            return
        pcm = np.frombuffer(bytes(self._pending), np.int16)
        self._pending.clear()
        self._mel.add(pcm)
        pcm = np.concatenate([self._part, pcm])
        whole = len(pcm) - len(pcm) % BLOCK
        self._part = pcm[whole:]
        if whole:
            levels = levels_of(pcm[:whole])
            self._levels += levels.tolist()
            self._loudest = max(self._loudest, float(levels.max()))

    def speech(self) -> float:
        """Seconds of what is held that may be speech."""
        self.advance()
        return speech_seconds(np.array(self._levels))

    def cut(self) -> tuple[Spectrum, float]:
        """All that is held: its spectrum, and the seconds of it that may be speech."""
        speech = self.speech()
        return self._mel.cut(), speech

    def cut_first(self) -> tuple[Spectrum, float, int]:
        """The part to be recognised for good of more than ``LONGEST``; at last the position where it ends."""
        self.advance()
        levels = np.array(self._levels[: LONGEST // BLOCK])
        blocks = quietest_block(levels)
        return self._mel.beginning(blocks * BLOCK // HOP), speech_seconds(levels[:blocks]), self.start + blocks * BLOCK

    def drop(self, until: int) -> None:
        """Forget what lies before ``until``, to the block."""
        self.advance()
        # The last block has frames that wait for the sound behind it.
        blocks = max(0, min((until - self.start) // BLOCK, len(self._levels) - 1))
        self._mel.drop(blocks * BLOCK // HOP)
        del self._levels[:blocks]
        self.start += blocks * BLOCK

    def is_quiet(self, since: int, until: int) -> bool:
        """
        Whether nothing between the two can be speech.

        A block that begins before ``since`` counts as a whole: rather one decode too many than a word lost. The
        samples behind the last whole block, at most 20 ms, are shorter than any sound of speech.
        """
        self.advance()
        first, end = max(0, since - self.start) // BLOCK, (until - self.start) // BLOCK
        levels = np.array(self._levels)
        if end <= first:
            return True
        line = float(np.percentile(levels, 5))
        limit = max(QUIET_RMS, min(SURE_SOUND_RMS, max(self._loudest / 30, min(2 * line, self._loudest / 10))))
        return bool(levels[first:end].max(initial=0.0) <= limit)


def levels_of(pcm: Pcm) -> NDArray[np.floating]:
    """Root mean square of each block; the samples must be whole blocks."""
    blocks = pcm.reshape(-1, BLOCK).astype(np.float32)
    levels: NDArray[np.floating] = np.sqrt(np.mean(blocks * blocks, axis=1))
    return levels


def speech_seconds(levels: NDArray[np.floating]) -> float:
    """How much of the sound is loud enough for speech."""
    floor = max(VOICE_RMS, min(SURE_VOICE_RMS, levels.max(initial=0.0) / 30))
    return float(np.count_nonzero(levels > floor) * BLOCK / RATE_HZ)


def quietest_block(levels: NDArray[np.floating]) -> int:
    """The block in the middle of the quietest 200 ms near the end."""
    start = max(0, len(levels) - CUT_SEARCH // BLOCK)
    loudness = np.convolve(levels[start:], np.ones(CUT_BLOCKS), mode="valid")
    return start + int(loudness.argmin()) + CUT_BLOCKS // 2
