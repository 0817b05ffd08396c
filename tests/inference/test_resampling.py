"""Resampling keeps pitch, level and timing, and the cuts between the pieces of a stream change nothing."""

from __future__ import annotations

from math import ceil, log10

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.resampling import Resampler, resample

RATES = [8000, 16000, 22050, 24000, 44100, 48000]
PAIRS = [(src, dst) for src in RATES for dst in RATES if 8000 in (src, dst)]


def tone(hz: float, rate_hz: int, seconds: float, peak: float = 10_000) -> np.ndarray:
    return (peak * np.sin(2 * np.pi * hz * np.arange(round(rate_hz * seconds)) / rate_hz)).astype(np.int16)


def resample_in_pieces(resampler: Resampler, pcm: np.ndarray, sizes: list[int]) -> np.ndarray:
    out, begin, turn = [], 0, 0
    while begin < len(pcm):
        size = sizes[turn % len(sizes)] if sizes else len(pcm)
        out.append(resampler.push(pcm[begin : begin + size]))
        begin, turn = begin + size, turn + 1
    return np.concatenate([*out, resampler.flush()])


def level_dbfs(samples: np.ndarray) -> float:
    return 10 * log10(np.mean(np.square(samples, dtype=float)) + 1e-12) - 20 * log10(32768)


@pytest.mark.parametrize(("src_hz", "dst_hz"), PAIRS)
def test_a_tone_keeps_its_pitch_level_and_timing(src_hz, dst_hz):
    out = resample_in_pieces(Resampler(src_hz, dst_hz), tone(1000, src_hz, 0.5), [src_hz // 50])
    expected = tone(1000, dst_hz, 0.5)
    assert len(out) == len(expected)
    middle = slice(dst_hz // 50, -dst_hz // 50)
    error = out[middle].astype(float) - expected[middle]
    assert level_dbfs(error) < level_dbfs(expected) - 60


@pytest.mark.parametrize("src_hz", [16000, 24000, 48000])
def test_frequencies_that_would_alias_are_removed(src_hz):
    out = resample_in_pieces(Resampler(src_hz, 8000), tone(5000, src_hz, 0.5), [src_hz // 50])
    assert level_dbfs(out[200:-200]) < level_dbfs(tone(5000, src_hz, 0.5)) - 70


@pytest.mark.parametrize("src_hz", [16000, 22050, 24000])
@pytest.mark.parametrize(("hz", "lowest", "highest"), [(300, -0.1, 0.1), (3400, -0.1, 0.1), (4100, -100, -35)])
def test_the_band_of_a_telephone_is_even_and_sibilants_above_it_do_not_fold_back(src_hz, hz, lowest, highest):
    sound = tone(hz, src_hz, 0.5)
    out = resample_in_pieces(Resampler(src_hz, 8000), sound, [src_hz // 50])
    assert lowest <= level_dbfs(out[200:-200]) - level_dbfs(sound) <= highest


@pytest.mark.parametrize(("src_hz", "dst_hz"), PAIRS)
@given(st.integers(0, 3000), st.lists(st.integers(1, 700), max_size=5))
def test_the_length_of_the_pieces_changes_nothing(src_hz, dst_hz, length, sizes):
    noise = np.random.default_rng(length).integers(-32768, 32767, length, dtype=np.int16)
    whole = resample_in_pieces(Resampler(src_hz, dst_hz), noise, [])
    assert len(whole) == ceil(length * dst_hz / src_hz)
    assert resample_in_pieces(Resampler(src_hz, dst_hz), noise, sizes).tolist() == whole.tolist()


@pytest.mark.parametrize(("src_hz", "dst_hz"), [pair for pair in PAIRS if pair != (8000, 8000)])
def test_three_milliseconds_are_held_back(src_hz, dst_hz):
    resampler = Resampler(src_hz, dst_hz)
    sent = received = 0
    for _ in range(50):
        received += len(resampler.push(np.zeros(src_hz // 50, np.int16)))
        sent += src_hz // 50
        assert 0.0029 <= sent / src_hz - received / dst_hz <= 0.0032


def test_loud_peaks_are_clipped_and_do_not_wrap():
    square = np.where(tone(700, 8000, 0.1) > 0, 32767, -32768).astype(np.int16)
    out = resample_in_pieces(Resampler(8000, 16000), square, [])
    assert out.max() == 32767
    assert out.min() == -32768
    assert np.abs(np.diff(out.astype(int))).max() < 60_000


def test_equal_rates_change_nothing_and_flush_begins_a_new_stream():
    pcm = tone(440, 8000, 0.1)
    assert resample_in_pieces(Resampler(8000, 8000), pcm, [77]).tolist() == pcm.tolist()
    resampler = Resampler(8000, 16000)
    assert resample_in_pieces(resampler, pcm, []).tolist() == resample_in_pieces(resampler, pcm, [33]).tolist()


def test_impossible_rates_are_refused():
    with pytest.raises(ValueError, match="0 Hz"):
        Resampler(0, 8000)


def test_a_recording_keeps_the_frequencies_that_fit_and_loses_those_that_would_alias():
    time = np.arange(48000) / 48000
    sound = 16000 * (np.sin(2 * np.pi * 9000 * time) + np.sin(2 * np.pi * 15000 * time))
    got = resample(sound.astype(np.int16), 48000, 24000)[1000:-1000] / 16000
    assert np.abs(got - np.sin(2 * np.pi * 9000 * np.arange(24000) / 24000)[1000:-1000]).max() < 1e-3
    assert len(resample(sound[:1001].astype(np.int16), 44100, 24000)) == 545


def test_the_end_of_a_recording_does_not_affect_its_beginning():
    sound = np.where(np.arange(24000) < 12000, 0.0, 0.5 * 32768).astype(np.int16)
    assert np.abs(resample(sound, 16000, 24000)[:1000] / 32768).max() < 1e-3
