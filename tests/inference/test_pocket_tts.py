"""Pocket TTS in real worker processes, with a stand-in for its package. ``test_contract.py`` has the contract."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from inference.engines.pocket_tts import PocketOptions, PocketTextToSpeech
from inference.types import EngineError, EngineTimeout
from inference.voices.loudness import active_level
from tests.inference.speaking import clauses, loud_samples, sound_of, speak

STAND_INS = Path(__file__).parent / "stand_ins"


@pytest.fixture(autouse=True)
def _package(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(STAND_INS))


async def started(**options) -> PocketTextToSpeech:
    engine = PocketTextToSpeech(PocketOptions(**options))
    await engine.start()
    return engine


@pytest_asyncio.fixture
async def engine(_package):
    engine = await started(voices={"marius": "marius"})
    yield engine
    await engine.close()


def wait_for(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.01)


@pytest.mark.parametrize("voice", ["", "alba", "marius"])
async def test_each_voice_is_as_loud_as_all_others(engine, voice):
    sound = await sound_of(engine, "one two three four", voice=voice)
    assert active_level(sound, engine.rate_hz) == pytest.approx(-20, abs=1)
    loud = loud_samples(sound)
    assert loud[0] / engine.rate_hz <= 0.031


async def test_words_are_estimated_and_the_end_is_certain(engine):
    chunks = await speak(engine, "one two three four five. ")
    assert not any(chunk.exact for chunk in chunks[:-1])
    assert 4 < chunks[len(chunks) // 2].text_end < 25
    assert (chunks[-1].text_end, chunks[-1].exact) == (25, True)


async def test_cancelling_stops_the_model(engine):
    chunks = engine.open().speak(clauses("forever"))
    await anext(chunks)
    await chunks.aclose()
    assert len(await speak(engine, "Okay.")) > 1  # the only worker speaks "forever" until it is stopped


async def test_a_worker_that_dies_fails_its_clause_and_is_replaced(engine):
    with pytest.raises(EngineError, match="the process of Pocket TTS has ended"):
        await speak(engine, "die")
    assert len(await speak(engine, "Okay.")) > 1


async def test_a_worker_that_hangs_fails_its_clause_and_is_replaced():
    engine = await started(stall_timeout=1.0)
    with pytest.raises(EngineTimeout, match=r"sent nothing for 1 s; its process is replaced"):
        await speak(engine, "one hang")
    assert len(await speak(engine, "Okay.")) > 1
    await engine.close()


async def test_closing_ends_a_worker_that_hangs_while_it_loads(engine, monkeypatch):
    monkeypatch.setenv("POCKET_HANGS", "1")
    with pytest.raises(EngineError, match="has ended"):
        await speak(engine, "die")
    speaking = asyncio.create_task(speak(engine, "Okay."))
    await asyncio.to_thread(wait_for, lambda: len(engine._all) == 1)
    async with asyncio.timeout(30):
        await engine.close()
        with pytest.raises(EngineError):
            await speaking


async def test_two_slots_speak_at_the_same_time():
    engine = await started(slots=2)
    endless = engine.open().speak(clauses("forever"))
    await anext(endless)
    assert len(await speak(engine, "Okay.")) > 1
    await endless.aclose()
    assert engine.describe().capacity == 2
    await engine.close()


async def test_closing_the_engine_ends_a_clause_that_is_spoken(engine):
    endless = engine.open().speak(clauses("forever"))
    await anext(endless)
    await engine.close()
    with pytest.raises(EngineError):
        async for _ in endless:
            pass


async def test_it_can_be_started_again(engine):
    await engine.close()
    await engine.start()
    assert len(await sound_of(engine, "one two")) > 1000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"voice": "nobody"}, "unknown voice nobody"),
        ({"config": "/no/such.yaml"}, "FileNotFoundError"),
    ],
)
async def test_what_the_package_refuses_is_a_permanent_error(options, message):
    with pytest.raises(EngineError, match=message) as refusal:
        await started(**options)
    assert refusal.value.permanent


async def test_the_error_about_a_missing_package_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(EngineError, match=r"pip install -r requirements/pocket\.txt") as refusal:
        await started()
    assert refusal.value.permanent


async def test_other_languages_and_voices_are_refused_permanently(engine):
    assert engine.languages == {"en"}
    assert PocketTextToSpeech(PocketOptions(language="german_24l")).languages == {"de"}
    for given in ({"language": "de"}, {"voice": "nobody"}):
        with pytest.raises(EngineError) as refusal:
            engine.open(**given)
        assert refusal.value.permanent


@pytest.mark.parametrize("options", [{"language": "klingon"}, {"slots": 0}])
def test_options_that_cannot_work_are_refused(options):
    with pytest.raises(EngineError) as refusal:
        PocketOptions(**options)
    assert refusal.value.permanent


async def test_sound_that_is_too_loud_does_not_clip(engine):
    sound = await sound_of(engine, "one two three", voice="marius")
    assert np.abs(sound.astype(int)).max() < 0.95 * 32768
