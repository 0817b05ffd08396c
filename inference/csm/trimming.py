"""Trims near-silence at the beginning of speech, and fades out where it is cut."""

from __future__ import annotations

import numpy as np

from inference.types import Pcm

AUDIBLE_DBFS = -50.0
"""Sound below this level does not count as speech: noise in the pauses of speech at -20 dBFS is quieter."""

WINDOW = 120
"""Samples, 5 ms of Mimi's 24 kHz: the precision with which the onset is found."""

KEPT = 240
"""Samples before the onset, 10 ms: a consonant may begin below AUDIBLE_DBFS."""


def amplitude(dbfs: float) -> float:
    """The factor on full scale that is this level."""
    return float(10 ** (dbfs / 20))


class LeadingSilence:
    """
    Trims the near-silence with which a reply begins, so that the caller hears the first word sooner.

    At most ``most_frames`` are dropped whole. The first audible frame keeps its sound, and ``KEPT`` samples before it.
    """

    def __init__(self, most_frames: int) -> None:
        self._frames_left = most_frames
        """The number of frames that may still be dropped."""
        self._has_begun = False
        """Once true, every frame passes unchanged."""

    def push(self, pcm: Pcm, level_dbfs: float) -> Pcm:
        """The part of this frame, whose level is given, that the caller should hear."""
        if self._has_begun:
            return pcm
        if level_dbfs < AUDIBLE_DBFS and self._frames_left:
            self._frames_left -= 1
            return pcm[:0]
        self._has_begun = True
        if level_dbfs < AUDIBLE_DBFS:
            return pcm
        windows = pcm[: len(pcm) // WINDOW * WINDOW].reshape(-1, WINDOW).astype(np.float32)
        loud = np.square(windows).mean(1) >= (32768 * amplitude(AUDIBLE_DBFS)) ** 2
        return pcm[max(0, int(loud.argmax()) * WINDOW - KEPT) :]


def fade_out(pcm: Pcm, rate_hz: int, seconds: float = 0.04) -> Pcm:
    """The first ``seconds``, fading to silence; the rest is dropped."""
    faded = pcm[: round(seconds * rate_hz)]
    slope = 0.5 + 0.5 * np.cos(np.linspace(0, np.pi, len(faded)))
    return np.rint(faded * slope).astype(np.int16)
