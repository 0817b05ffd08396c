"""The beginning and the end of what the voice says: near-silence is trimmed, and a cut fades out."""

from __future__ import annotations

import numpy as np

from inference.types import Pcm

AUDIBLE_DBFS = -50.0
"""Sound below this level does not count as speech: noise in the pauses of speech at -20 dBFS is quieter."""


def amplitude(dbfs: float) -> float:
    """The factor on full scale that is this level."""
    return float(10 ** (dbfs / 20))


class LeadingSilence:
    """
    Trims the near-silence with which a reply begins, so that the caller hears the first word sooner.

    At most ``most_frames`` are dropped whole. The first audible frame keeps its sound, and ``kept`` seconds before it.
    """

    def __init__(
        self,
        *,
        rate_hz: int = 24000,
        most_frames: int = 3,
        threshold_dbfs: float = AUDIBLE_DBFS,
        kept: float = 0.01,
    ) -> None:
        self._frames_left = most_frames
        """How many more frames may be dropped."""
        self._threshold_dbfs = threshold_dbfs
        self._window = rate_hz // 200
        """Samples, 5 ms: the precision with which the onset is found."""
        self._kept_samples = round(kept * rate_hz)
        self._has_begun = False
        """Once true, every frame passes unchanged."""

    def push(self, pcm: Pcm, level_dbfs: float) -> Pcm:
        """The part of this frame, whose level is given, that the caller should hear."""
        if self._has_begun:
            return pcm
        if level_dbfs < self._threshold_dbfs and self._frames_left:
            self._frames_left -= 1
            return pcm[:0]
        self._has_begun = True
        if level_dbfs < self._threshold_dbfs:
            return pcm
        windows = pcm[: len(pcm) // self._window * self._window].reshape(-1, self._window).astype(np.float32)
        loud = np.square(windows).mean(1) >= (32768 * amplitude(self._threshold_dbfs)) ** 2
        return pcm[max(0, int(loud.argmax()) * self._window - self._kept_samples) :]


def fade_out(pcm: Pcm, rate_hz: int, seconds: float = 0.04) -> Pcm:
    """The first ``seconds``, fading to silence; the rest is dropped."""
    faded = pcm[: round(seconds * rate_hz)]
    slope = 0.5 + 0.5 * np.cos(np.linspace(0, np.pi, len(faded)))
    return np.rint(faded * slope).astype(np.int16)
