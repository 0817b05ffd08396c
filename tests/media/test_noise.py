"""Noise is taken out of what is recognised, and out of nothing else; the words keep their time."""

import sys

import numpy as np
import pytest
from django.conf import settings
from django.test import override_settings

from inference.resampling import resample
from media.errors import MediaError
from media.hearing import Ear
from media.noise import LEVELS, NoiseSuppressor, level_of
from media.runtime import Runtime
from media.turns import commands as cmd
from tests.media.test_hearing import RecordedSpeechToText, stream_claim
from tests.sounds import RATE_HZ, pink_noise

NOISE = (300 * pink_noise(3 * RATE_HZ, seed=1)).astype(np.int16)


def voice(seconds: float) -> np.ndarray:
    """Harmonics of a pitch that glides up and down, in syllables."""
    time = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    phase = 2 * np.pi * np.cumsum(140 + 40 * np.sin(2 * np.pi * time)) / RATE_HZ
    harmonics = sum(np.sin(number * phase) / number for number in range(1, 15))
    return 3000 * harmonics * np.maximum(0, np.sin(2 * np.pi * 3 * time))


def rms(sound: np.ndarray) -> float:
    return float(np.sqrt(np.mean(sound.astype(float) ** 2)))


@pytest.mark.parametrize("level", [1, 2, 3, 4])
def test_steady_noise_becomes_softer_from_the_first_sample_on(level):
    suppressor = NoiseSuppressor(RATE_HZ, 16000, level, before=NOISE[:RATE_HZ])
    quiet = suppressor.push(NOISE[RATE_HZ:])
    assert rms(quiet[:4800]) < rms(NOISE) / 1.4
    assert rms(quiet) < rms(NOISE) / 1.4


@pytest.mark.parametrize("rate_hz", [8000, 16000])
def test_the_words_keep_their_time_and_their_loudness(rate_hz):
    sound = (voice(2.0) + NOISE[: 2 * RATE_HZ]).astype(np.int16)
    suppressor = NoiseSuppressor(RATE_HZ, rate_hz, LEVELS["moderate"], before=NOISE[-RATE_HZ:])
    quiet = suppressor.push(sound).astype(float)
    assert 0 <= 2 * rate_hz - len(quiet) <= 0.02 * rate_hz
    clean = resample(voice(2.0).astype(np.int16), RATE_HZ, rate_hz)[: len(quiet)].astype(float)
    lags = range(-rate_hz // 100, rate_hz // 100 + 1)
    likeness = [float(np.roll(clean, lag) @ quiet) for lag in lags]
    assert abs(lags[int(np.argmax(likeness))]) <= rate_hz // 2000
    assert rms(quiet) == pytest.approx(rms(clean), rel=0.4)


def test_the_sound_may_come_in_pieces_of_any_length():
    sound = (voice(2.0) + NOISE[: 2 * RATE_HZ]).astype(np.int16)
    whole = NoiseSuppressor(RATE_HZ, 16000, 2, before=NOISE[:1000]).push(sound)
    suppressor = NoiseSuppressor(RATE_HZ, 16000, 2, before=NOISE[:1000])
    pieces = [suppressor.push(piece) for piece in np.split(sound, [0, 1, 81, 160, 1000, 9001])]
    assert np.array_equal(np.concatenate(pieces), whole)


@pytest.mark.parametrize("level", [0, 3])
async def test_only_recognition_gets_the_sound_without_its_noise(level):
    stt = RecordedSpeechToText()
    ear = Ear(stream_claim(), stt, keep=5.0, tasks=None, emit=lambda event: None, noise_suppression=level)
    for start in range(0, len(NOISE), 160):
        ear.push(start + 160, NOISE[start : start + 160])
        if start == RATE_HZ:
            ear.open(cmd.OpenUtterance(1, RATE_HZ))
    assert np.array_equal(ear.sound_between(0, len(NOISE)), NOISE)
    heard = np.array(stt.opened[0].sound, np.int16)
    assert len(heard) == pytest.approx(len(NOISE) - int(0.7 * RATE_HZ), abs=0.12 * RATE_HZ)
    assert (rms(heard) < rms(NOISE) / 1.4) == bool(level)


def test_noise_is_suppressed_only_if_the_setting_says_so():
    assert settings.NOISE_SUPPRESSION == "off"
    assert Runtime().noise_suppression == 0
    with override_settings(NOISE_SUPPRESSION="high"):
        assert Runtime().noise_suppression == 3


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "webrtc_noise_gain", None)
    assert level_of("off") == 0
    with pytest.raises(MediaError, match=r"NOISE_SUPPRESSION is 'low'.*requirements/noise.txt"):
        level_of("low")
