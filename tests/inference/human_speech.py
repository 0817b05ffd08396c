"""The recordings of people, as a recogniser gets them from a telephone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from inference.resampling import resample
from inference.types import Pcm
from media.audio import decode_mulaw, encode_mulaw
from tests.inference.word_errors import plain_words
from tests.sounds import RATE_HZ, active_level, read

SILENCE = np.zeros(int(0.3 * RATE_HZ), np.int16)
"""Before and after the words."""


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


def by_telephone(pcm: Pcm, *, gain_db: float = 0.0, snr_db: float | None = None) -> Pcm:
    """
    Return sound of 8 kHz as the recogniser gets it: through mu-law, at 16 kHz, with silence at both ends.

    ``snr_db`` adds pink noise, so many dB below the louder half of the 20 ms blocks.
    """
    sound = np.concatenate([SILENCE, pcm, SILENCE]) * 10 ** (gain_db / 20)
    if snr_db is not None:
        sound = sound + pink_noise(len(sound)) * active_level(sound) / 10 ** (snr_db / 20)
    return resample(decode_mulaw(encode_mulaw(sound.clip(-32768, 32767).astype(np.int16))), RATE_HZ, 16000)


def pink_noise(samples: int) -> np.ndarray:
    """Noise with a mean square of 1 whose power falls with the frequency; the same for the same length."""
    spectrum = np.fft.rfft(np.random.default_rng(samples).standard_normal(samples))
    noise = np.fft.irfft(spectrum / np.sqrt(np.maximum(1, np.arange(len(spectrum)))), samples)
    return noise / np.sqrt(np.mean(noise**2))
