"""Hosted voices are brought to one level."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from inference.hosted.loudness import DB_PER_SECOND, Levelling, Loudness
from inference.types import Pcm
from inference.voices.loudness import active_level

RATE_HZ = 8000


def voice(seconds: float, dbfs: float, *, seed: int = 1) -> Pcm:
    """Noise in syllables: a third of it is silence."""
    noise = np.random.default_rng(seed).normal(size=round(seconds * RATE_HZ))
    syllables = (np.arange(len(noise)) // 800 % 3 < 2) * 1.0
    sound = noise * syllables
    unscaled = (sound * 2000).astype(np.int16)
    return (sound * 2000 * 10 ** ((dbfs - level(unscaled)) / 20)).clip(-32768, 32767).astype(np.int16)


def level(pcm: Pcm) -> float:
    return active_level(pcm, RATE_HZ)


def levelled(loudness: Loudness, pcm: Pcm) -> Pcm:
    levelling = Levelling(loudness)
    return np.concatenate([levelling.apply(piece) for piece in np.array_split(pcm, max(1, len(pcm) // 480))])


@pytest.mark.parametrize("dbfs", [-30.0, -26.0, -20.0, -14.0])
def test_a_voice_comes_to_the_house_level_after_its_first_seconds(dbfs):
    loudness = Loudness()
    levelled(loudness, voice(10, dbfs))
    assert level(levelled(loudness, voice(5, dbfs, seed=2))) == pytest.approx(-20, abs=1.0)


def test_the_gain_changes_slowly_and_then_not_at_all():
    loudness, pcm = Loudness(), voice(12, -28)
    said = levelled(loudness, pcm)
    pairs = zip(np.array_split(said, 12), np.array_split(pcm, 12), strict=True)
    gains = [level(after) - level(before) for after, before in pairs]
    assert all(-0.1 <= after - before <= DB_PER_SECOND + 0.1 for before, after in pairwise(gains))
    assert np.ptp(gains[8:]) < 0.1


def test_a_loud_passage_does_not_change_the_gain_of_a_voice_that_is_known():
    loudness = Loudness()
    levelled(loudness, voice(10, -26))
    gain = loudness.gain_db
    levelled(loudness, voice(10, -10))
    assert loudness.gain_db == gain


def test_a_gain_that_stays_is_that_of_each_sample():
    pcm = voice(0.5, -26)
    before = pcm.copy()
    expected = np.rint(pcm * np.float32(10 ** (6 / 20)))
    assert np.array_equal(Levelling(Loudness(6.0)).apply(pcm), expected)
    assert np.array_equal(pcm, before)


def test_silence_is_not_measured():
    loudness = Loudness()
    levelled(loudness, np.zeros(80_000, np.int16))
    assert loudness.gain_db == 0.0


def test_a_gain_that_is_given_is_used_at_once_and_kept():
    pcm = voice(3, -26)
    assert level(levelled(Loudness(6.0), pcm)) == pytest.approx(-20, abs=0.1)
    assert (levelled(Loudness(0.0), pcm) == pcm).all()


def test_between_loud_and_soft_pieces_nothing_jumps():
    """Loud pieces go through the limiter, and soft ones do not."""
    pcm = (20_000 * np.sin(np.arange(4800) / 8) * np.linspace(0, 1, 4800)).astype(np.int16)
    said = levelled(Loudness(2.0), pcm).astype(int)
    smooth = np.abs(np.diff(said)).max()
    assert smooth < 1.3 * 20_000 / 8
    assert levelled(Loudness(2.0), pcm[:480])[-100] == pytest.approx(pcm[380] * 10 ** (2 / 20), abs=1)


def test_peaks_are_bent_and_not_cut():
    said = levelled(Loudness(12.0), np.array([32767, -32768, 20000, 100], np.int16))
    assert np.abs(said.astype(int)).max() < 32768 * 10 ** (-1 / 20) + 1
    assert said[3] == round(100 * 10 ** (12 / 20))
