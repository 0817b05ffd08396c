"""What happens to the voice between the codec and the caller: its level, its beginning and its end."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from inference.types import Pcm

CEILING_DBFS = -1.0
"""Nothing leaves above: what resamples and compresses after us must not clip."""

KNEE_DBFS = -3.0
"""Up to here the limiter does nothing. Speech at -20 dBFS has few peaks above."""

SILENCE_DBFS = -96.0
"""The level of nothing, in 16 bits."""

AUDIBLE_DBFS = -50.0
"""The least level that counts as speech."""


def _amplitude(dbfs: float) -> float:
    return float(10 ** (dbfs / 20))


_CEILING, _KNEE = _amplitude(CEILING_DBFS), _amplitude(KNEE_DBFS)


def finish(audio: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
    """
    Sound ``[B, N]`` from -1 to 1 times ``gain`` ``[B]`` -> int16 ``[B, N]`` and its levels ``[B]`` in dBFS (RMS).

    Peaks are bent below the ceiling sample by sample: no state, no look-ahead. Numbers that are none become silence.
    """
    sound = torch.nan_to_num(audio.float() * gain[:, None], nan=0.0, posinf=0.0, neginf=0.0)
    size, room = sound.abs(), _CEILING - _KNEE
    sound = torch.where(size <= _KNEE, sound, sound.sign() * (_KNEE + room * torch.tanh((size - _KNEE) / room)))
    level = 10 * torch.log10(sound.square().mean(1).clamp_min(_amplitude(SILENCE_DBFS) ** 2))
    return (sound * 32768).round().to(torch.int16), level


class LeadingSilence:
    """
    Takes away the near-silence that a reply begins with, so that the caller hears the first word sooner.

    At most ``most_frames`` go whole; of the first audible frame stays its sound, and ``kept`` seconds before that.
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
        self._threshold_dbfs = threshold_dbfs
        self._window = rate_hz // 200  # 5 ms
        self._kept_samples = round(kept * rate_hz)
        self._over = False

    def push(self, pcm: Pcm, level_dbfs: float) -> Pcm:
        """What of this frame, which has this level, is to be heard."""
        if self._over:
            return pcm
        if level_dbfs < self._threshold_dbfs and self._frames_left:
            self._frames_left -= 1
            return pcm[:0]
        self._over = True
        if level_dbfs < self._threshold_dbfs:
            return pcm
        windows = pcm[: len(pcm) // self._window * self._window].reshape(-1, self._window).astype(np.float32)
        loud = np.square(windows).mean(1) >= (32768 * _amplitude(self._threshold_dbfs)) ** 2
        return pcm[max(0, int(loud.argmax()) * self._window - self._kept_samples) :]


def fade_out(pcm: Pcm, rate_hz: int, seconds: float = 0.04) -> Pcm:
    """The first ``seconds``, fading to nothing; the rest is left out."""
    faded = pcm[: round(seconds * rate_hz)]
    slope = 0.5 + 0.5 * np.cos(np.linspace(0, np.pi, len(faded)))
    return np.rint(faded * slope).astype(np.int16)
