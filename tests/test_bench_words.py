"""The parts of the measurement of word errors that need no models."""

import json

import numpy as np
import pytest

from tests.benchmarks.words import SETTINGS, Heard, Stock, difference, equal_parts, sounds_of
from tests.inference.human_speech import SILENCE, Recording, by_telephone
from tests.inference.word_errors import NO_ERRORS, Errors, difference_interval, word_errors
from tests.sounds import RATE_HZ, pink_noise

TONE = (8000 * np.sin(2 * np.pi * 300 * np.arange(RATE_HZ) / RATE_HZ)).astype(np.int16)
"""In place of a voice; 1 s."""
CALLER = Recording("a caller", "one two", "digit", TONE)


class Segment:
    def __init__(self, text: str, temperature: float) -> None:
        self.text, self.temperature = text, temperature


class Whisper:
    """Doubts its text if it is told so."""

    def __init__(self, *, doubtful: bool) -> None:
        self.calls = 0
        self._temperature = 0.4 if doubtful else 0.0

    def transcribe(self, sound, **options):
        self.calls += 1
        return iter([Segment(f"text {self.calls}", self._temperature)]), None


@pytest.mark.parametrize(("doubtful", "calls"), [(False, 1), (True, 3)])
def test_only_a_text_that_was_drawn_at_random_is_made_with_each_seed(tmp_path, doubtful, calls):
    whisper, kept = Whisper(doubtful=doubtful), tmp_path / "stock.jsonl"
    texts, _ = Stock(whisper, model="m", seeds=3, kept=kept).texts(TONE)
    assert whisper.calls == calls
    assert len(texts) == 3
    assert len(set(texts)) == calls
    assert json.loads(kept.read_text())[1] == texts
    assert Stock(whisper, model="m", seeds=3, kept=kept).texts(TONE)[0] == texts
    assert whisper.calls == calls  # these were in the file


def test_the_noises_of_a_recording_differ_and_are_the_same_in_each_run():
    pink = next(setting for setting in SETTINGS if setting.noise is not None)
    first, second = (sound for _, sound in sounds_of(pink, CALLER, [CALLER], 2))
    again, _ = (sound for _, sound in sounds_of(pink, CALLER, [CALLER], 2))
    assert not np.array_equal(first, second)
    assert np.array_equal(first, again)


def test_noise_is_so_many_decibels_below_the_voice():
    clean = by_telephone(TONE)
    noisy = by_telephone(TONE, noise=lambda length: pink_noise(length, seed=1), snr_db=20)
    edge, rate_hz = len(SILENCE) * 2, 16000
    voice = np.sqrt(np.mean(clean[edge : edge + rate_hz].astype(float) ** 2))
    noise = np.sqrt(np.mean(noisy[: edge - 200].astype(float) ** 2))
    assert 20 * np.log10(voice / noise) == pytest.approx(20, abs=1.5)


def test_the_difference_is_that_to_the_mean_over_the_seeds():
    heard = [
        Heard("a", ours=word_errors("one two", "one"), theirs=(NO_ERRORS + Errors(2, 0, 0, 0), Errors(2, 1, 0, 0))),
        Heard("b", ours=word_errors("one two", "one two"), theirs=(Errors(2, 0, 1, 0), Errors(2, 1, 1, 0))),
    ]
    assert difference(heard) == pytest.approx(100 * (1 / 4 - (0.5 + 1.5) / 4))
    low, high = difference_interval(*zip(*map(equal_parts, heard), strict=True))
    assert low <= difference(heard) <= high
    assert (low, high) == pytest.approx((-75, 25))  # of two recordings, each is drawn twice now and then
