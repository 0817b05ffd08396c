"""Flite, and the laptop's choice of a voice; the contract of every synthesiser is in ``test_contract.py``."""

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

needs_flite = pytest.mark.skipif(not flite.is_installed(), reason="Flite (Debian's libflite1) is not installed")

TEXT = ("Hello there, this is the “front desk”. ", "What can I do for you?")


@pytest_asyncio.fixture
async def engine():
    engine = FliteTextToSpeech()
    await engine.start()
    yield engine
    await engine.close()


async def _clauses(*clauses):
    for clause in clauses:
        yield clause


async def _said(engine, *clauses, voice=""):
    return [chunk async for chunk in engine.open(voice=voice).speak(_clauses(*clauses))]


@pytest.fixture
def no_flite(monkeypatch):
    """A machine without the library."""

    def missing(name, **options):
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    for cached in (flite._load_library, flite._load_voice):
        monkeypatch.setattr(flite, cached.__name__, cached.__wrapped__)


@needs_flite
async def test_the_library_s_silence_is_cut_to_30_ms_before_and_150_behind(engine):
    sound = np.concatenate([chunk.pcm for chunk in await _said(engine, TEXT[0])])
    loud = np.flatnonzero(np.abs(sound.astype(np.int32)) > 160)
    assert loud[0] / engine.rate_hz == pytest.approx(0.03, abs=0.002)
    assert (len(sound) - loud[-1]) / engine.rate_hz == pytest.approx(0.15, abs=0.01)


@needs_flite
async def test_chunks_say_exactly_which_words_were_spoken_by_their_end(engine):
    text = "".join(TEXT)
    chunks = await _said(engine, *TEXT)
    assert all(chunk.exact for chunk in chunks)
    assert max(len(chunk.pcm) for chunk in chunks) <= 0.061 * engine.rate_hz
    ends = [0, *(chunk.text_end for chunk in chunks)]
    steps = [text[a:b].strip(" ,.?“”") for a, b in pairwise(ends) if b > a]
    assert [step for step in steps if step] == "Hello there this is the front desk What can I do for you".split()


@needs_flite
@pytest.mark.parametrize("voice", ["slt", "rms", "awb"])
async def test_every_voice_is_as_loud_as_a_telephone_likes_it_and_does_not_clip(engine, voice):
    sound = np.concatenate([chunk.pcm for chunk in await _said(engine, *TEXT, voice=voice)]).astype(float)
    frames = sound[: len(sound) // 320 * 320].reshape(-1, 320)
    power = (frames**2).mean(axis=1)
    level = 10 * np.log10(power[power > 300**2].mean() / 32768**2)
    assert -23 < level < -17
    assert np.abs(sound).max() < 0.95 * 32768


@needs_flite
async def test_text_of_any_kind_is_spoken(engine):
    text = "Naïve café – 12 €\0 😀 <b>[[bold]]</b>"
    assert (await _said(engine, text))[-1].text_end == len(text)


async def test_an_unknown_default_voice_is_refused_for_good():
    with pytest.raises(EngineError) as refusal:
        FliteTextToSpeech(voice="nobody")
    assert refusal.value.permanent


async def test_a_missing_library_is_said_with_what_to_install(no_flite):
    with pytest.raises(EngineError, match="libflite1") as refusal:
        await FliteTextToSpeech().start()
    assert refusal.value.permanent


@needs_flite
def test_a_laptop_with_flite_speaks_with_it():
    voice = LaptopTextToSpeech()
    assert (voice.name, voice.rate_hz) == ("flite", FliteTextToSpeech.rate_hz)


def test_a_laptop_without_flite_speaks_with_espeak(no_flite):
    voice = LaptopTextToSpeech()
    assert (voice.name, voice.rate_hz) == ("espeak", EspeakTextToSpeech.rate_hz)
