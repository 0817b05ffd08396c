"""Flite, and the laptop's choice between it and eSpeak NG. ``test_contract.py`` holds both to the contract."""

import ctypes
from itertools import pairwise

import numpy as np
import pytest
import pytest_asyncio

from inference.engines import flite
from inference.engines.espeak import EspeakTextToSpeech
from inference.engines.flite import FliteTextToSpeech
from inference.engines.laptop_voice import LaptopTextToSpeech
from inference.types import EngineError
from tests.inference.speaking import loud_samples, sound_of, speak, speech_level

needs_flite = pytest.mark.skipif(not flite.is_installed(), reason="Flite (Debian's libflite1) is not installed")

TEXT = ("Hello there, this is the “front desk”. ", "What can I do for you?")


@pytest_asyncio.fixture
async def engine():
    engine = FliteTextToSpeech()
    await engine.start()
    yield engine
    await engine.close()


@pytest.fixture
def without_flite(monkeypatch):
    """The library cannot be loaded."""

    def fail(name, **options):
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", fail)
    for cached in (flite._load_library, flite._load_voice):
        monkeypatch.setattr(flite, cached.__name__, cached.__wrapped__)


@needs_flite
async def test_the_silence_of_the_library_is_cut_to_30_ms_before_a_sentence_and_180_after_it(engine):
    sound = await sound_of(engine, TEXT[0])
    loud = loud_samples(sound)
    assert loud[0] / engine.rate_hz == pytest.approx(0.03, abs=0.002)
    assert (len(sound) - loud[-1]) / engine.rate_hz == pytest.approx(0.18, abs=0.01)


@needs_flite
async def test_each_chunk_says_exactly_which_words_were_spoken_by_its_end(engine):
    text = "".join(TEXT)
    chunks = await speak(engine, *TEXT)
    assert all(chunk.exact for chunk in chunks)
    assert max(len(chunk.pcm) for chunk in chunks) <= 0.061 * engine.rate_hz
    ends = [0, *(chunk.text_end for chunk in chunks)]
    steps = [text[a:b].strip(" ,.?“”") for a, b in pairwise(ends) if b > a]
    assert [step for step in steps if step] == "Hello there this is the front desk What can I do for you".split()


@needs_flite
@pytest.mark.parametrize("voice", ["slt", "rms", "awb"])
async def test_every_voice_is_loud_enough_for_a_telephone_and_does_not_clip(engine, voice):
    sound = await sound_of(engine, *TEXT, voice=voice)
    assert -23 < speech_level(sound, engine.rate_hz) < -17
    assert np.abs(sound.astype(float)).max() < 0.95 * 32768


@needs_flite
async def test_text_of_any_kind_is_spoken(engine):
    text = "Naïve café – 12 €\0 😀 <b>[[bold]]</b>"
    assert (await speak(engine, text))[-1].text_end == len(text)


async def test_an_unknown_default_voice_is_a_permanent_error():
    with pytest.raises(EngineError) as refusal:
        FliteTextToSpeech(voice="nobody")
    assert refusal.value.permanent


async def test_the_error_about_a_missing_library_says_what_to_install(without_flite):
    with pytest.raises(EngineError, match="libflite1") as refusal:
        await FliteTextToSpeech().start()
    assert refusal.value.permanent


@needs_flite
def test_a_laptop_with_flite_speaks_with_flite():
    voice = LaptopTextToSpeech()
    assert (voice.name, voice.rate_hz) == ("flite", FliteTextToSpeech.rate_hz)


def test_a_laptop_without_flite_speaks_with_espeak(without_flite):
    voice = LaptopTextToSpeech()
    assert (voice.name, voice.rate_hz) == ("espeak", EspeakTextToSpeech.rate_hz)
