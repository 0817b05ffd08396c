"""Applies the gain to the voice, and a limiter that keeps it from clipping."""

from __future__ import annotations

import torch
from torch import Tensor

from inference.csm.trimming import amplitude

CEILING_DBFS = -1.0
"""No sample is louder: what resamples and compresses the sound later must not clip."""

KNEE_DBFS = -3.0
"""Below this level the limiter changes nothing. Speech at -20 dBFS has few peaks above it."""

SILENCE_DBFS = -96.0
"""The level of digital silence: the dynamic range of 16 bits."""

_CEILING, _KNEE = amplitude(CEILING_DBFS), amplitude(KNEE_DBFS)


def limit_and_quantise(audio: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
    """
    Sound ``[B, N]`` from -1 to 1 times ``gain`` ``[B]`` -> int16 ``[B, N]`` and its levels ``[B]`` in dBFS (RMS).

    Peaks are bent below the ceiling sample by sample, without state or look-ahead. NaN and infinity become silence.
    """
    sound = torch.nan_to_num(audio.float() * gain[:, None], nan=0.0, posinf=0.0, neginf=0.0)
    size, headroom = sound.abs(), _CEILING - _KNEE
    limited = sound.sign() * (_KNEE + headroom * torch.tanh((size - _KNEE) / headroom))
    sound = torch.where(size <= _KNEE, sound, limited)
    level = 10 * torch.log10(sound.square().mean(1).clamp_min(amplitude(SILENCE_DBFS) ** 2))
    return (sound * 32768).round().to(torch.int16), level
