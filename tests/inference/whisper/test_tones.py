"""Tones are no speech, and neither people nor music are tones."""

import json
import wave

import numpy as np
import pytest
from faster_whisper.feature_extractor import FeatureExtractor

from inference.mulaw import decode_mulaw, encode_mulaw
from inference.resampling import resample
from inference.whisper.hallucinations import SHORTEST_SPEECH
from inference.whisper.sound import RATE_HZ, Sound
from tests.inference import line_sounds
from tests.inference.contract import band_noise

FILTERS = FeatureExtractor().mel_filters
PAUSE = np.zeros(int(0.3 * line_sounds.RATE_HZ), np.int16)


def speech_in(pcm: np.ndarray) -> tuple[float, float]:
    """The seconds that may be speech in sound of 8 kHz, without and with tones."""
    sound = Sound(FILTERS)
    sound.push(resample(decode_mulaw(encode_mulaw(np.concatenate([PAUSE, pcm, PAUSE]))), 8000, RATE_HZ))
    return sound.cut()[1], sound.speech()


def loud(*frequencies: float, seconds: float = 1.0, dbfs: float = -20) -> np.ndarray:
    wave = line_sounds.tone(seconds, frequencies)
    return (wave * 32768 * 10 ** (dbfs / 20)).clip(-32768, 32767).astype(np.int16)


@pytest.mark.parametrize("dbfs", [-6, -20, -45])
@pytest.mark.parametrize("seconds", [0.2, 1.0, 9.0])
@pytest.mark.parametrize("frequencies", line_sounds.TONES.values(), ids=line_sounds.TONES)
def test_a_tone_is_no_speech(frequencies, seconds, dbfs):
    with_tones, without = speech_in(loud(*frequencies, seconds=seconds, dbfs=dbfs))
    assert with_tones < SHORTEST_SPEECH < without


@pytest.mark.parametrize("name", ["beeps", "busy signal", "ringing with pauses", "DTMF"])
def test_tones_that_come_and_go_are_no_speech(name):
    found = [pcm for label, pcm in line_sounds.sounds(lengths=(3.0,), levels=(-20,)) if label.startswith(name)]
    assert len(found) == 1
    assert speech_in(found[0])[0] < SHORTEST_SPEECH


def test_words_before_or_after_a_tone_are_speech():
    words = (band_noise(100, 1500, 1.2, 8000) // 2).astype(np.int16)
    beep = loud(1000)
    for parts in ((beep, words), (words, beep)):
        assert speech_in(np.concatenate(parts))[0] == pytest.approx(1.2, abs=0.2)


@pytest.mark.parametrize("name", ["white noise", "pink noise", "melody", "hold music"])
def test_noise_and_music_are_left_to_the_model(name):
    for label, pcm in line_sounds.sounds(lengths=(1.0, 3.0), levels=(-20,)):
        if label.startswith(name):
            with_tones, without = speech_in(pcm)
            assert with_tones == without > 0.5


@pytest.mark.human
def test_people_are_no_tones(speech_dir):
    for line in (speech_dir / "manifest.jsonl").read_text().splitlines():
        with wave.open(str(speech_dir / json.loads(line)["file"])) as file:
            pcm = np.frombuffer(file.readframes(file.getnframes()), np.int16)
        with_tones, without = speech_in(pcm)
        assert with_tones == without, line
