"""Keeps the sound of one utterance as recognition needs it: its features, and how loud each moment was."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inference.types import Pcm
from inference.whisper.mel import EDGE, HOP, RATE_HZ, Float32, LogMel, Spectrum
from inference.whisper.tones import share_without_tones

MAX_HELD = 60 * RATE_HZ
"""Samples. More than this waits only if the model is half a minute behind. No answer would come in time, so the rest is
dropped."""
BLOCK = RATE_HZ // 50
"""Samples. Loudness is measured in blocks of 20 ms."""
STEP = 16 * BLOCK
"""Samples. Sound is processed in steps of 320 ms, which take 0.1 ms each: 2 % of a core for 60 calls, a sixth of what
steps of 20 ms would cost."""
LONGEST = 28 * RATE_HZ
"""Samples. The largest window holds this beside its margin. The first part of a longer utterance is recognised for
good."""
CUT_SEARCH = 10 * RATE_HZ
"""Samples. A long utterance is cut at the quietest moment of the last 10 s of the window."""
CUT_BLOCKS = 10
"""The quietest moment is the middle of this many blocks, 200 ms: long enough to be a pause between words."""

FAINT_RMS = 8
VOICE_RMS = 60
SURE_VOICE_RMS = 300
"""
Levels (16-bit RMS). A block below the first is not speech: mu-law's smallest step is 8. Nor is a block that is 30 dB
quieter than the loudest, unless it is above the third, nor one that is less than 6 dB louder than the noise of the
line, unless it is above the second. So a caller who is 30 dB quieter than others still has as much speech.
"""
QUIET_RMS = 20
SURE_SOUND_RMS = 200
"""
Levels (16-bit RMS) of sound after the words. A block below the first is silence, a block above the second is not. A
block between them is silence if it is 30 dB quieter than the loudest block, or if it is 20 dB quieter and at most 6 dB
louder than the noise of the line. The loudest block of a caller who is hard to hear may have 40.
"""


class Sound:
    """Takes sound as it comes, in pieces of any length. Positions are samples from the beginning of the utterance."""

    def __init__(self, filters: Float32) -> None:
        self._mel = LogMel(filters)
        self._pending = bytearray()
        """Samples that are not processed yet."""
        self._part = np.zeros(0, np.int16)
        """Processed samples that do not fill a block yet."""
        self._levels: list[float] = []
        """The level of each block that is held."""
        self._loudest = 0.0
        """The level of the loudest block of the whole utterance."""
        self.samples = 0
        """The length of the utterance so far, without samples that were refused."""
        self.start = 0
        """The position at which the sound that is held begins."""

    @property
    def held(self) -> int:
        """The number of samples that are held."""
        return self.samples - self.start

    @property
    def frames(self) -> int:
        """The length of a ``cut``'s spectrum. Its last frames begin within the sound and look beyond it."""
        return -(-(self.held + EDGE) // HOP)

    def push(self, pcm: Pcm) -> None:
        """Take the next samples; those beyond ``MAX_HELD`` are dropped."""
        pcm = pcm[: MAX_HELD - self.held]
        self._pending += pcm.tobytes()
        self.samples += len(pcm)
        if len(self._pending) >= 2 * STEP:
            self.advance()

    def advance(self) -> None:
        """Process what is pending, so that all other methods see everything that was pushed."""
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
        """The seconds of the held sound that may be speech."""
        self.advance()
        return speech_seconds(np.array(self._levels))

    def cut(self) -> tuple[Spectrum, float]:
        """The spectrum of the held sound, and how many seconds of it may be speech: tones are none."""
        speech, spectrum = self.speech(), self._mel.cut()
        return spectrum, speech * share_without_tones(spectrum.rows)

    def cut_first(self) -> tuple[Spectrum, float, int]:
        """The part of a long utterance to be recognised for good: its spectrum, its seconds of speech, and its end."""
        self.advance()
        levels = np.array(self._levels[: LONGEST // BLOCK])
        blocks = quietest_block(levels)
        spectrum = self._mel.beginning(blocks * BLOCK // HOP)
        speech = speech_seconds(levels[:blocks]) * share_without_tones(spectrum.rows)
        return spectrum, speech, self.start + blocks * BLOCK

    def drop(self, until: int) -> None:
        """Drop the sound before ``until``, rounded down to a block."""
        self.advance()
        # Some frames of the last block wait for the sound after it.
        blocks = max(0, min((until - self.start) // BLOCK, len(self._levels) - 1))
        self._mel.drop(blocks * BLOCK // HOP)
        del self._levels[:blocks]
        self.start += blocks * BLOCK

    def is_quiet(self, since: int, until: int) -> bool:
        """
        Whether nothing between the two positions can be speech.

        A block that begins before ``since`` counts as a whole, because one decode too many is better than a lost word.
        The samples behind the last whole block, at most 20 ms, are shorter than any sound of speech.
        """
        self.advance()
        first, end = max(0, since - self.start) // BLOCK, (until - self.start) // BLOCK
        levels = np.array(self._levels)
        return end <= first or is_quiet(levels, first, end, loudest=self._loudest)


def levels_of(pcm: Pcm) -> NDArray[np.floating]:
    """The root mean square of each block. The samples must fill whole blocks."""
    blocks = pcm.reshape(-1, BLOCK).astype(np.float32)
    levels: NDArray[np.floating] = np.sqrt(np.mean(blocks * blocks, axis=1))
    return levels


def speech_seconds(levels: NDArray[np.floating]) -> float:
    """The seconds of the sound that are loud enough for speech."""
    line = min(VOICE_RMS, 2 * noise_of_line(levels))
    floor = max(FAINT_RMS, line, min(SURE_VOICE_RMS, levels.max(initial=0.0) / 30))
    return float(np.count_nonzero(levels > floor) * BLOCK / RATE_HZ)


def is_quiet(levels: NDArray[np.floating], first: int, end: int, *, loudest: float) -> bool:
    """Whether none of these blocks can be speech. ``loudest`` is the level of the loudest block of the utterance."""
    return bool(levels[first:end].max(initial=0.0) <= quiet_level(levels, loudest=loudest))


def quiet_level(levels: NDArray[np.floating], *, loudest: float) -> float:
    """The level up to which a block cannot be speech."""
    return max(QUIET_RMS, min(SURE_SOUND_RMS, max(loudest / 30, min(2 * noise_of_line(levels), loudest / 10))))


def noise_of_line(levels: NDArray[np.floating]) -> float:
    """The level of the softest blocks."""
    return float(np.percentile(levels, 5)) if len(levels) else 0.0


def quietest_block(levels: NDArray[np.floating]) -> int:
    """The block in the middle of the quietest 200 ms near the end."""
    start = max(0, len(levels) - CUT_SEARCH // BLOCK)
    loudness = np.convolve(levels[start:], np.ones(CUT_BLOCKS), mode="valid")
    return start + int(loudness.argmin()) + CUT_BLOCKS // 2
