"""The sound and the timing of eSpeak NG. ``test_contract.py`` holds it to the contract of all speech engines."""

import asyncio
import sys
from itertools import accumulate, pairwise

import numpy as np
import pytest
import pytest_asyncio

from inference.engines.espeak import EspeakTextToSpeech
from inference.types import EngineError
from inference.voices import espeak_library
from tests.inference.speaking import clauses, loud_samples, sound_of, speak, speech_level

TEXT = ("Hello there, this is the front desk. ", "What can I do for you?")


@pytest_asyncio.fixture
async def engine():
    engine = EspeakTextToSpeech()
    await engine.start()
    yield engine
    await engine.close()


async def test_chunks_are_20_to_60_ms_long(engine):
    sizes = [len(chunk.pcm) / engine.rate_hz for chunk in await speak(engine, TEXT[0])]
    assert max(sizes) <= 0.061
    assert min(sizes[:-1]) >= 0.019


async def test_30_ms_of_silence_precede_a_sentence_and_180_follow_it(engine):
    sound = await sound_of(engine, TEXT[0])
    loud = loud_samples(sound)
    assert loud[0] / engine.rate_hz <= 0.031
    assert (len(sound) - loud[-1]) / engine.rate_hz == pytest.approx(0.18, abs=0.01)


async def test_each_chunk_says_exactly_which_words_were_spoken_by_its_end(engine):
    text = "".join(TEXT)
    chunks = await speak(engine, *TEXT)
    assert all(chunk.exact for chunk in chunks)
    ends = [0, *(chunk.text_end for chunk in chunks)]
    steps = [text[a:b] for a, b in pairwise(ends) if b > a]
    assert [step.strip(" ,") for step in steps] == [
        *("Hello there this is the front desk.".split()),
        *("What can I do for you?".split()),
    ]
    # The words are spread over the sound, not all at its end.
    positions = list(accumulate(len(chunk.pcm) for chunk in chunks))
    half = next(position for position, chunk in zip(positions, chunks, strict=True) if chunk.text_end >= len(text) / 2)
    assert 0.35 < half / positions[-1] < 0.75


@pytest.mark.parametrize("voice", ["en-us", "en-us+f3", "en-us+adam"])
async def test_the_speech_is_loud_enough_for_a_telephone_and_does_not_clip(engine, voice):
    sound = await sound_of(engine, *TEXT, voice=voice)
    assert -25 < speech_level(sound, engine.rate_hz) < -17
    assert np.abs(sound.astype(float)).max() < 0.95 * 32768


async def test_closing_the_iterator_stops_the_library_within_a_chunk(engine):
    long = "one two three four five six seven eight nine ten " * 40
    chunks = engine.open().speak(clauses(long))
    await anext(chunks)
    await chunks.aclose()
    # One thread serves all calls: if it were not stopped, a minute of speech would come before this word.
    assert len(await speak(engine, "Okay.")) < 30


async def test_a_clause_without_words_is_silent_but_its_characters_count(engine):
    chunks = await speak(engine, "Hello. ", "... ", "Bye.")
    assert chunks[-1].text_end == len("Hello. ... Bye.")
    assert await speak(engine, " ", "?!") == []


async def test_text_of_any_kind_is_spoken(engine):
    text = "Naïve café – 12 €\0 😀 <b>[[bold]]</b>"
    assert (await speak(engine, text))[-1].text_end == len(text)


async def test_several_engines_share_one_library():
    engines = [EspeakTextToSpeech(voice=voice) for voice in ("en-us", "en-us+f3", "de")]
    await asyncio.gather(*(engine.start() for engine in engines))
    spoken = await asyncio.gather(*(speak(engine, *TEXT) for engine in engines * 5))
    assert all(len(chunks) > 20 for chunks in spoken)
    await asyncio.gather(*(engine.close() for engine in engines))


async def test_another_language_has_its_own_voice(engine):
    assert engine.open(language="de")
    with pytest.raises(EngineError):
        engine.open(language="klingon")


async def test_a_faster_rate_takes_less_time(engine):
    fast = EspeakTextToSpeech(rate=260)
    await fast.start()
    slow_samples, fast_samples = [sum(len(chunk.pcm) for chunk in await speak(e, *TEXT)) for e in (engine, fast)]
    assert fast_samples < 0.8 * slow_samples
    await fast.close()


async def test_open_before_start_is_refused():
    with pytest.raises(EngineError, match="not started"):
        EspeakTextToSpeech().open()


async def test_the_error_about_a_missing_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    espeak_library._load_library.cache_clear()  # only for this test, which never initialises the library
    with pytest.raises(EngineError, match="pip install") as refusal:
        await EspeakTextToSpeech().start()
    assert refusal.value.permanent
