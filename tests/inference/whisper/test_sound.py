"""What counts as speech, where a long utterance is cut, and when sound after the words is only silence."""

import wave

import numpy as np
import pytest
from faster_whisper.feature_extractor import FeatureExtractor

from inference.resampling import Resampler
from inference.whisper.hallucinations import SHORTEST_SPEECH
from inference.whisper.sound import LONGEST, MAX_HELD, RATE_HZ, Sound
from tests.inference.contract import band_noise

FILTERS = FeatureExtractor().mel_filters
WORDS = band_noise(100, 1500, 1.2, RATE_HZ)  # 2500 RMS
SILENCE = np.zeros(RATE_HZ, np.int16)


def rms(level: float, seconds: float = 0.5) -> np.ndarray:
    return (
        (level * np.random.default_rng(3).standard_normal(int(seconds * RATE_HZ))).clip(-32768, 32767).astype(np.int16)
    )


def sound(*parts: np.ndarray) -> Sound:
    made = Sound(FILTERS)
    for part in parts:
        made.push(part)
    return made


def test_only_loud_sound_is_speech():
    assert sound(SILENCE).speech() == 0
    assert sound(SILENCE, WORDS, WORDS // 60).speech() == pytest.approx(1.2, abs=0.05)
    assert sound(SILENCE[:7]).speech() == 0


@pytest.mark.parametrize("quieter", [1, 10, 30, 100])
def test_words_are_as_much_speech_however_loud_the_caller_is(quieter):
    assert sound(SILENCE, WORDS // quieter, SILENCE).speech() == pytest.approx(1.2, abs=0.05)


def test_the_noise_of_the_line_alone_is_no_speech():
    assert sound(rms(30)).speech() == 0
    assert sound(rms(18), WORDS // 30, rms(18)).speech() == pytest.approx(1.2, abs=0.05)


def test_more_words_of_a_quiet_caller_are_not_silence():
    words = WORDS // 60
    assert not sound(words, SILENCE, words).is_quiet(len(words), 2 * len(words) + len(SILENCE))


@pytest.mark.human
@pytest.mark.parametrize("peak", [16000, 4000, 2000, 200])
def test_a_single_digit_is_enough_speech(speech_dir, peak):
    paths = sorted(speech_dir.glob("fsdd__*.wav"))
    assert paths
    for path in paths:
        with wave.open(str(path)) as file:
            pcm = np.frombuffer(file.readframes(file.getnframes()), np.int16)
        loud = Resampler(file.getframerate(), RATE_HZ).push((pcm * (peak / np.abs(pcm).max())).astype(np.int16))
        assert sound(SILENCE[:4800], loud, SILENCE[:1600]).speech() >= SHORTEST_SPEECH, path.name


def test_words_after_a_clap_are_still_loud_enough_for_speech():
    assert sound(rms(20000, 0.02), WORDS // 5).speech() == pytest.approx(1.2, abs=0.05)


@pytest.mark.parametrize(
    ("words", "after"),
    [
        (WORDS, SILENCE),
        (WORDS, rms(50)),
        (WORDS, rms(70)),  # 30 dB below
        (WORDS // 3, SILENCE),
        (WORDS, SILENCE[:100]),
        (SILENCE, SILENCE),
        (WORDS // 60, rms(18)),  # the line at -65 dBFS behind a caller who is hard to hear
        (np.concatenate([rms(85, 1.0), WORDS // 2]), rms(85)),  # a noisy line
    ],
)
def test_silence_and_the_noise_of_the_line_are_quiet(words, after):
    assert sound(words, after).is_quiet(len(words), len(words) + len(after))


@pytest.mark.parametrize(
    "after",
    [
        WORDS,
        WORDS // 10,
        np.concatenate([SILENCE, WORDS[:640] // 8, SILENCE]),
        rms(250),
    ],
)
def test_sound_that_could_be_speech_is_not_quiet(after):
    assert not sound(WORDS, after).is_quiet(len(WORDS), len(WORDS) + len(after))


@pytest.mark.parametrize("times", [1, 2])
def test_the_soft_end_of_a_word_is_not_quiet(times):
    # 28 dB below the loudest, even where the noise of the line was rarely heard alone.
    begun, end = np.concatenate([SILENCE[:3200], np.tile(WORDS, times)]), rms(150, 0.1)
    assert not sound(begun, end).is_quiet(len(begun), len(begun) + len(end))


def test_quiet_speech_after_a_clap_is_not_quiet():
    clap, words = rms(20000, 0.1), WORDS // 10
    assert not sound(clap, words).is_quiet(len(clap), len(clap) + len(words))


def test_an_empty_range_is_quiet():
    assert sound().is_quiet(0, 0)
    assert sound(WORDS).is_quiet(len(WORDS), len(WORDS))


def test_sound_beyond_the_range_is_ignored():
    made = sound(WORDS, SILENCE, WORDS)
    assert made.is_quiet(len(WORDS), len(WORDS) + len(SILENCE))
    assert not made.is_quiet(len(WORDS), made.samples)


def test_a_long_utterance_is_cut_where_it_is_quietest():
    parts = np.tile(WORDS, 25).copy()
    parts[5 * RATE_HZ : 6 * RATE_HZ] = 0  # a pause, but too early to be the cut
    parts[23 * RATE_HZ : 23 * RATE_HZ + 8000] //= 10
    made = sound(parts)
    spectrum, speech, until = made.cut_first()
    assert 23 * RATE_HZ <= until <= 23 * RATE_HZ + 8000
    assert len(spectrum.rows) == until // 160
    assert speech == pytest.approx(until / RATE_HZ - 1, abs=0.5)
    made.drop(until)
    assert (made.start, made.held) == (until, len(parts) - until)


def test_positions_still_count_from_the_beginning_after_a_drop():
    made = sound(WORDS, SILENCE)
    made.drop(len(WORDS))
    assert made.start == len(WORDS)
    made.push(WORDS)
    assert made.is_quiet(len(WORDS), len(WORDS) + RATE_HZ)
    assert not made.is_quiet(len(WORDS), made.samples)
    assert made.speech() == pytest.approx(1.2, abs=0.05)
    spectrum, _ = made.cut()
    assert len(spectrum.rows) == pytest.approx(made.held / 160, abs=2)


@pytest.mark.parametrize("samples", [0, 1, 120, 121, 200, 201, 320, 19000, 19200, 127960, 127961, 128000])
def test_the_number_of_frames_of_a_cut_is_known_before(samples):
    made = sound(np.resize(WORDS, samples))
    assert made.frames == len(made.cut()[0].rows)
    made.push(WORDS)
    made.drop(samples)
    assert made.frames == len(made.cut()[0].rows)


def test_at_most_a_minute_is_held():
    made = sound(*[np.tile(WORDS, 7)] * 10)
    assert made.samples == made.held == MAX_HELD
    assert made.cut_first()[2] <= LONGEST
