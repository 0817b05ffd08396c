"""The level that all voices share."""

import numpy as np
import pytest

from inference.voices.loudness import ACTIVE_DBFS, active_level, gain_for, limit_and_quantise

RATE_HZ = 16_000


def tone(dbfs: float, seconds: float = 1.0) -> np.ndarray:
    """A sine with this RMS, from -1 to 1."""
    time = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    return (np.sqrt(2) * 10 ** (dbfs / 20) * np.sin(2 * np.pi * 440 * time)).astype(np.float32)


def test_the_level_is_that_of_the_louder_half():
    pcm = limit_and_quantise(tone(-20), 1.0)
    assert active_level(pcm, RATE_HZ) == pytest.approx(-20, abs=0.1)
    assert active_level(np.concatenate((pcm, np.zeros_like(pcm))), RATE_HZ) == pytest.approx(-20, abs=0.1)
    assert active_level(np.zeros(RATE_HZ, np.int16), RATE_HZ) == -np.inf


@pytest.mark.parametrize("level", [-45, -20, -6])
def test_the_gain_brings_a_voice_to_the_level(level):
    pcm = np.rint(tone(level) * 32767).astype(np.int16)
    assert active_level(limit_and_quantise(pcm / np.float32(32768), gain_for(pcm, RATE_HZ)), RATE_HZ) == pytest.approx(
        ACTIVE_DBFS, abs=0.1
    )


def test_silence_is_not_amplified():
    assert gain_for(np.zeros(RATE_HZ, np.int16), RATE_HZ) == 1.0
    assert gain_for(np.ones(RATE_HZ, np.int16), RATE_HZ) == 1.0


def test_peaks_are_bent_below_the_ceiling_and_the_rest_is_unchanged():
    sound = np.array([0.5, -0.5, 0.8, 3.0, -3.0, np.nan, np.inf], np.float32)
    pcm = limit_and_quantise(sound, 1.0) / 32768
    assert list(pcm[:2]) == [0.5, -0.5]
    assert np.abs(pcm).max() <= 10 ** (-1 / 20) + 1e-4
    assert pcm[3] > pcm[2] > 0.7
    assert list(pcm[5:]) == [0, 0]
