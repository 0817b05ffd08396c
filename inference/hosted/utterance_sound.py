"""Keeps the sound of one utterance for a service that recognises it piece by piece, and how loud each moment was."""

from __future__ import annotations

import numpy as np

from inference.types import Pcm
from inference.whisper.sound import is_quiet, quiet_level, speech_seconds

MAX_HELD = 120.0
"""Seconds. What is pushed then takes the place of the oldest sound: nobody speaks so long without a pause in which the
words are asked for."""


class UtteranceSound:
    """Takes sound as it comes, in pieces of any length. Positions are samples from the beginning of the utterance."""

    def __init__(self, rate_hz: int) -> None:
        self.samples = 0
        """The length of the utterance so far."""
        self.start = 0
        """The position at which the sound that is held begins."""
        self._rate_hz = rate_hz
        self._block = rate_hz // 50
        self._pcm = bytearray()
        self._levels: list[float] = []
        """The level (RMS) of each whole block that is held."""
        self._measured = 0
        """The position up to which levels are known."""
        self._loudest = 0.0

    def push(self, pcm: Pcm) -> None:
        self._pcm += pcm.astype("<i2").tobytes()
        self.samples += len(pcm)
        if (excess := self.samples - self.start - int(MAX_HELD * self._rate_hz)) > 0:
            self.drop(self.start + excess + self._block - 1)

    def is_full(self, more: int) -> bool:
        """Whether the oldest sound is dropped when so many samples are pushed."""
        return self.samples + more - self.start > int(MAX_HELD * self._rate_hz)

    def pcm(self, until: int) -> bytes:
        """The held sound up to this position, 16-bit little-endian."""
        return bytes(self._pcm[: 2 * (until - self.start)])

    def speech(self, until: int) -> float:
        """The seconds of the held sound up to this position that may be speech."""
        self._measure()
        return speech_seconds(np.array(self._levels[: (until - self.start) // self._block]))

    def is_quiet(self, since: int, until: int) -> bool:
        """Whether nothing between the two positions can be speech. Less than a block is too short for any."""
        self._measure()
        first, end = max(0, since - self.start) // self._block, (until - self.start) // self._block
        return end <= first or is_quiet(np.array(self._levels), first, end, loudest=self._loudest)

    def drop(self, until: int) -> None:
        """Drop the sound before this position, rounded down to a block."""
        self._measure()
        blocks = max(0, min((until - self.start) // self._block, len(self._levels)))
        del self._levels[:blocks]
        del self._pcm[: 2 * blocks * self._block]
        self.start += blocks * self._block

    def drop_quiet(self, keep: int) -> None:
        """Drop the sound at the beginning that cannot be speech, but for so many samples before what may be."""
        self._measure()
        levels = np.array(self._levels)
        loud = np.flatnonzero(levels > quiet_level(levels, loudest=self._loudest))
        blocks = int(loud[0]) if loud.size else len(levels)
        self.drop(self.start + blocks * self._block - keep)

    def _measure(self) -> None:
        blocks = (self.samples - self._measured) // self._block
        if blocks:
            begin = 2 * (self._measured - self.start)
            pcm = np.frombuffer(bytes(self._pcm[begin : begin + 2 * blocks * self._block]), "<i2")
            levels = np.sqrt(np.square(pcm.reshape(-1, self._block).astype(np.float32)).mean(1))
            self._levels += levels.tolist()
            self._loudest = max(self._loudest, float(levels.max()))
            self._measured += blocks * self._block
