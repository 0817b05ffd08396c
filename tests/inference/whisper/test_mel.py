"""The incremental spectrum equals that of faster-whisper's own extractor."""

import numpy as np
import pytest
from faster_whisper.feature_extractor import FeatureExtractor

from inference.whisper.mel import RATE_HZ, LogMel, Spectrum


def noise(samples: int, *, seed: int = 1, level: float = 3000) -> np.ndarray:
    """Noise that swells and fades, so that frames differ."""
    swell = 0.05 + np.abs(np.sin(np.arange(samples) / 5000))
    return (level * swell * np.random.default_rng(seed).standard_normal(samples)).clip(-32768, 32767).astype(np.int16)


def stock(pcm: np.ndarray, mels: int, frames: int) -> np.ndarray:
    """The features of the sound, padded with silence to the window."""
    sound = np.zeros(frames * 160, np.float32)
    sound[: len(pcm)] = pcm
    return FeatureExtractor(feature_size=mels)(sound / 32768, padding=0)


def log_mel(mels: int = 80) -> LogMel:
    return LogMel(FeatureExtractor(feature_size=mels).mel_filters)


def features(spectrum: Spectrum, mels: int, frames: int) -> np.ndarray:
    out = np.empty((mels, frames), np.float32)
    spectrum.fill(out)
    return out


def difference(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one - other).max())


@pytest.mark.parametrize("mels", [80, 128])
@pytest.mark.parametrize(("samples", "step", "frames"), [(20800, 320, 1000), (80123, 5120, 1000), (448000, 7777, 3000)])
def test_features_of_sound_in_pieces_equal_the_stock_features_of_the_whole(mels, samples, step, frames):
    pcm, mel = noise(samples), log_mel(mels)
    for start in range(0, samples, step):
        mel.add(pcm[start : start + step])
    assert difference(features(mel.cut(), mels, frames), stock(pcm, mels, frames)) < 1e-6


@pytest.mark.parametrize("samples", [0, 1, 199, 200, 201, 399, 400, 401, 560, 4000])
def test_features_of_very_short_sound_equal_the_stock_ones(samples):
    pcm, mel = noise(samples), log_mel()
    for sample in pcm:
        mel.add(np.array([sample]))
    assert difference(features(mel.cut(), 80, 1000), stock(pcm, 80, 1000)) < 1e-6


@pytest.mark.parametrize("level", [1, 50, 30000])
def test_silence_has_the_floor_of_the_clip_at_any_level(level):
    pcm, mel = noise(RATE_HZ, level=level), log_mel()
    mel.add(pcm)
    made = features(mel.cut(), 80, 1000)
    assert difference(made, stock(pcm, 80, 1000)) < 1e-6
    assert (made[:, 200:] == made.min()).all()


def test_a_cut_changes_nothing_and_is_not_changed_afterwards():
    pcm, mel = noise(3 * RATE_HZ), log_mel()
    mel.add(pcm[:20000])
    first = mel.cut()
    before = features(first, 80, 1000)
    mel.add(pcm[20000:])
    assert (features(first, 80, 1000) == before).all()
    assert difference(features(mel.cut(), 80, 1000), stock(pcm, 80, 1000)) < 1e-6


def test_a_drop_removes_the_beginning_and_leaves_the_rest_unchanged():
    pcm, mel = noise(4 * RATE_HZ), log_mel()
    mel.add(pcm)
    beginning, whole = mel.beginning(150), mel.cut()
    mel.drop(150)
    mel.add(pcm[:RATE_HZ])
    rest = mel.cut()
    assert (beginning.rows == whole.rows[:150]).all()
    assert (rest.rows[:240] == whole.rows[150:390]).all()
    assert rest.peak == rest.rows.max()
    assert beginning.peak == beginning.rows.max()


def test_the_features_can_be_padded_as_faster_whisper_does_it():
    mel = log_mel()
    mel.add(noise(20800))
    spectrum, out = mel.cut(), np.empty((80, 1000), np.float32)
    spectrum.fill(out, silence=False)
    frames = len(spectrum.rows)
    assert np.array_equal(out[:, :frames], features(spectrum, 80, 1000)[:, :frames])
    assert not out[:, frames:].any()
