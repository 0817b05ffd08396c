"""The recordings of people, as a recogniser gets them from a telephone."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from inference.mulaw import decode_mulaw, encode_mulaw
from inference.resampling import resample
from inference.types import Pcm
from media.noise import NoiseSuppressor
from tests.inference.word_errors import plain_words
from tests.sounds import RATE_HZ, Sound, active_level, read

SILENCE = np.zeros(int(0.3 * RATE_HZ), np.int16)
"""Before and after the words."""
BEFORE = np.zeros(int(0.7 * RATE_HZ), np.int16)
"""Before that, and not recognised."""


@dataclass(frozen=True, slots=True)
class Recording:
    name: str
    said: str
    kind: str
    pcm: Pcm
    """8 kHz."""


def recordings(folder: Path) -> list[Recording]:
    """The recordings whose words are known; those with cut-off words, which no transcript spells, are left out."""
    lines = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    return [
        Recording(line["file"].removesuffix(".wav"), line["transcript"], line["kind"], read(folder / line["file"]))
        for line in lines
        if line["transcript"] and "<cutoff" not in line["transcript"] and plain_words(line["transcript"])
    ]


def by_telephone(
    pcm: Pcm,
    *,
    gain_db: float = 0.0,
    noise: Callable[[int], Sound] | None = None,
    snr_db: float = 10.0,
    suppression: int = 0,
) -> Pcm:
    """
    Return sound of 8 kHz as the recogniser gets it: through mu-law, at 16 kHz, with silence at both ends.

    ``noise`` makes so many samples of noise, which is added ``snr_db`` below the louder half of the 20 ms blocks.
    ``suppression`` is one of ``media.noise.LEVELS``; the filter has heard the noise for ``BEFORE`` then.
    """
    voice = np.concatenate([SILENCE, pcm, SILENCE]) * 10 ** (gain_db / 20)
    sound = np.concatenate([BEFORE, voice])
    if noise is not None:
        made = noise(len(sound))
        sound = sound + made / np.sqrt(np.mean(made**2)) * active_level(voice) / 10 ** (snr_db / 20)
    line = decode_mulaw(encode_mulaw(sound.clip(-32768, 32767).astype(np.int16)))
    before, heard = line[: len(BEFORE)], line[len(BEFORE) :]
    if suppression:
        return NoiseSuppressor(RATE_HZ, 16000, suppression, before=before).push(heard)
    return resample(heard, RATE_HZ, 16000)
