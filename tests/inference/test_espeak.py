"""eSpeak NG; that it keeps the contract of every synthesiser is in ``test_contract.py``."""

import asyncio
import sys
from itertools import accumulate, pairwise

import numpy as np
import pytest
import pytest_asyncio

from inference.engines import espeak
from inference.engines.espeak import EspeakTextToSpeech
from inference.types import EngineError

TEXT = ("Hello there, this is the front desk. ", "What can I do for you?")


@pytest_asyncio.fixture
async def engine():
    engine = EspeakTextToSpeech()
    await engine.start()
    yield engine
    await engine.close()


async def _clauses(*clauses):
    for clause in clauses:
        yield clause


async def _said(engine, *clauses, voice=""):
    return [chunk async for chunk in engine.open(voice=voice).speak(_clauses(*clauses))]


def _loud(pcm) -> np.ndarray:
    return np.flatnonzero(np.abs(pcm.astype(np.int32)) > 160)


async def test_chunks_are_20_to_60_ms_long(engine):
    sizes = [len(chunk.pcm) / engine.rate_hz for chunk in await _said(engine, TEXT[0])]
    assert max(sizes) <= 0.061
    assert min(sizes[:-1]) >= 0.019


async def test_silence_around_a_clause_is_30_ms_before_and_150_behind(engine):
    sound = np.concatenate([chunk.pcm for chunk in await _said(engine, TEXT[0])])
    loud = _loud(sound)
    assert loud[0] / engine.rate_hz <= 0.031
    assert (len(sound) - loud[-1]) / engine.rate_hz == pytest.approx(0.15, abs=0.01)


async def test_chunks_say_exactly_which_words_were_spoken_by_their_end(engine):
    text = "".join(TEXT)
    chunks = await _said(engine, *TEXT)
    assert all(chunk.exact for chunk in chunks)
    ends = [0, *(chunk.text_end for chunk in chunks)]
    steps = [text[a:b] for a, b in pairwise(ends) if b > a]
    assert [step.strip(" ,") for step in steps] == [
        *("Hello there this is the front desk.".split()),
        *("What can I do for you?".split()),
    ]
    # The words come in the course of the sound, not all at its end.
    positions = list(accumulate(len(chunk.pcm) for chunk in chunks))
    half = next(position for position, chunk in zip(positions, chunks, strict=True) if chunk.text_end >= len(text) / 2)
    assert 0.35 < half / positions[-1] < 0.75


@pytest.mark.parametrize("voice", ["en-us", "en-us+f3", "en-us+adam"])
async def test_it_is_as_loud_as_a_telephone_likes_it_and_does_not_clip(engine, voice):
    sound = np.concatenate([chunk.pcm for chunk in await _said(engine, *TEXT, voice=voice)]).astype(float)
    frames = sound[: len(sound) // 441 * 441].reshape(-1, 441)
    power = (frames**2).mean(axis=1)
    level = 10 * np.log10(power[power > 300**2].mean() / 32768**2)
    assert -25 < level < -17
    assert np.abs(sound).max() < 0.95 * 32768


async def test_stopping_in_mid_clause_stops_the_library_within_a_chunk(engine):
    long = "one two three four five six seven eight nine ten " * 40
    chunks = engine.open().speak(_clauses(long))
    await anext(chunks)
    await chunks.aclose()
    # One thread serves all: had it gone on, a minute of speech would stand before this word.
    assert len(await _said(engine, "Okay.")) < 30


async def test_a_clause_without_a_word_is_silent_but_counts(engine):
    chunks = await _said(engine, "Hello. ", "... ", "Bye.")
    assert chunks[-1].text_end == len("Hello. ... Bye.")
    assert await _said(engine, " ", "?!") == []


async def test_text_of_any_kind_is_spoken(engine):
    text = "Naïve café – 12 €\0 😀 <b>[[bold]]</b>"
    assert (await _said(engine, text))[-1].text_end == len(text)


async def test_several_engines_share_the_one_library():
    engines = [EspeakTextToSpeech(voice=voice) for voice in ("en-us", "en-us+f3", "de")]
    await asyncio.gather(*(engine.start() for engine in engines))
    spoken = await asyncio.gather(*(_said(engine, *TEXT) for engine in engines * 5))
    assert all(len(chunks) > 20 for chunks in spoken)
    await asyncio.gather(*(engine.close() for engine in engines))


async def test_another_language_has_a_voice_of_its_own(engine):
    assert engine.open(language="de")
    with pytest.raises(EngineError):
        engine.open(language="klingon")


async def test_a_faster_rate_takes_less_time(engine):
    fast = EspeakTextToSpeech(rate=260)
    await fast.start()
    slow_samples, fast_samples = [sum(len(chunk.pcm) for chunk in await _said(e, *TEXT)) for e in (engine, fast)]
    assert fast_samples < 0.8 * slow_samples
    await fast.close()


async def test_a_voice_cannot_be_opened_before_the_start():
    with pytest.raises(EngineError, match="not started"):
        EspeakTextToSpeech().open()


async def test_a_missing_package_is_said_with_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    espeak._load_library.cache_clear()  # only this test must not share the library: it is never initialised here
    with pytest.raises(EngineError, match="pip install") as refusal:
        await EspeakTextToSpeech().start()
    assert refusal.value.permanent
