"""The features of the turn model equal those of the extractor on which it was trained."""

from __future__ import annotations

import numpy as np
import pytest
from transformers import WhisperFeatureExtractor

from inference.resampling import resample
from inference.turn_features import FRAMES, MELS, SAMPLES, features
from inference.types import Pcm


def sound(samples: int, level: float = 3000) -> Pcm:
    """Noise that swells and fades, so that frames differ."""
    swell = 0.05 + np.abs(np.sin(np.arange(samples) / 5000))
    return (level * swell * np.random.default_rng(1).standard_normal(samples)).clip(-32768, 32767).astype(np.int16)


def reference(pcm: Pcm) -> np.ndarray:
    """The features of 16 kHz, as Pipecat's example computes them: the last 8 s, padded in front, normalised."""
    last = pcm[-SAMPLES:].astype(np.float32) / 32768
    padded = np.pad(last, (SAMPLES - len(last), 0))
    extractor = WhisperFeatureExtractor(chunk_length=8)
    return extractor(
        padded, sampling_rate=16000, return_tensors="np", padding="max_length", max_length=SAMPLES, do_normalize=True
    ).input_features[0]


@pytest.mark.parametrize("samples", [0, 1, 8000, 33333, SAMPLES - 1, SAMPLES, SAMPLES + 16001])
def test_the_features_equal_the_reference_at_every_length(samples):
    pcm = sound(samples)
    made = features(pcm, 16000)
    assert made.shape == (MELS, FRAMES)
    assert made.dtype == np.float32
    assert np.abs(made - reference(pcm)).max() < 2e-4


@pytest.mark.parametrize("level", [3, 300, 30000])
def test_the_features_equal_the_reference_at_every_level(level):
    pcm = sound(48000, level)
    assert np.abs(features(pcm, 16000) - reference(pcm)).max() < 2e-4


def test_sound_of_the_telephone_is_resampled_first():
    pcm = sound(24000)
    assert np.abs(features(pcm, 8000) - reference(resample(pcm, 8000, 16000))).max() < 2e-4
