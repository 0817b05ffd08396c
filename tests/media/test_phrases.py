"""Phrases are ready before they are needed, in memory: those that are in use, and not more than fit."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from inference.engines.fallback import FallbackTextToSpeech
from inference.engines.scripted import ScriptedTextToSpeech
from inference.mulaw import decode_mulaw, encode_mulaw
from inference.voices.loudness import ACTIVE_DBFS, active_level
from media import phrases
from media.messages import RATE_HZ
from media.phrases import Phrases, at_house_level
from media.reply import render
from tests.virtual_time import run


def test_a_phrase_is_made_once():
    async def work():
        ready = Phrases(ScriptedTextToSpeech())
        assert ready.get("Hello.", voice="", language="en") == b""
        await ready.prepare(["Hello.", ""], voice="", language="en")
        audio = ready.get("Hello.", voice="", language="en")
        await ready.prepare(["Hello."], voice="", language="en")
        assert ready.get("Hello.", voice="", language="en") is audio
        assert len(audio) > 1000

    run(work())


def test_the_phrase_that_was_not_used_for_longest_makes_room(monkeypatch):
    monkeypatch.setattr(phrases, "MAX_PHRASES", 3)

    async def work():
        ready = Phrases(ScriptedTextToSpeech())
        for name in ("Ann", "Bob", "Cleo", "Dan"):
            await ready.prepare(["One moment.", f"Hello {name}."], voice="", language="en")
        there = ("One moment.", "Hello Ann.", "Hello Bob.", "Hello Cleo.", "Hello Dan.")
        assert [bool(ready.get(text, voice="", language="en")) for text in there] == [True, False, False, True, True]

    run(work())


def test_a_voice_that_fails_is_tried_again_next_time(caplog):
    async def work():
        ready = Phrases(ScriptedTextToSpeech(failures=[{"on": 1}]))
        await ready.prepare(["Hello."], voice="", language="en")
        assert ready.get("Hello.", voice="", language="en") == b""
        await ready.prepare(["Hello."], voice="", language="en")
        assert ready.get("Hello.", voice="", language="en")

    run(work())
    assert "could not be made ready" in caplog.text


def test_a_voice_that_is_away_is_not_asked_for_every_phrase():
    async def work():
        tts = ScriptedTextToSpeech(failures=[{"rate": 1.0}])
        await Phrases(tts).prepare(["One.", "Two.", "Three.", "Four."], voice="", language="en")
        return tts.troubles.draw_for_next_request().name

    assert run(work()) == "scripted speech 3"


def test_a_phrase_that_cannot_be_made_does_not_delay_the_others(caplog):
    async def work():
        ready = Phrases(ScriptedTextToSpeech(failures=[{"on": 1}, {"on": 3}]))
        await ready.prepare(["One.", "Two.", "Three.", "Four."], voice="", language="en")
        return [bool(ready.get(text, voice="", language="en")) for text in ("One.", "Two.", "Three.", "Four.")]

    assert run(work()) == [False, True, False, True]


def test_a_voice_that_hangs_counts_as_away(caplog):
    async def work():
        ready = Phrases(ScriptedTextToSpeech(stalls=[{"rate": 1.0, "seconds": 3600.0}]))
        await ready.prepare(["One.", "Two.", "Three."], voice="", language="en")
        return asyncio.get_running_loop().time()

    assert run(work()) == phrases.MAX_FAILURES * phrases.RENDER_TIMEOUT
    assert "no phrase in 20 s" in caplog.text


def test_a_call_that_ends_while_a_phrase_is_made_does_not_cancel_it_for_another_call():
    async def work():
        ready = Phrases(ScriptedTextToSpeech())
        one, other = (asyncio.ensure_future(ready.prepare(["Hello."], voice="", language="en")) for _ in range(2))
        await asyncio.sleep(0.01)
        one.cancel()
        await other
        assert ready.get("Hello.", voice="", language="en")
        before = len(asyncio.all_tasks())
        hanging = asyncio.ensure_future(ready.prepare(["Goodbye."], voice="", language="en"))
        await asyncio.sleep(0.01)
        await ready.close()
        await hanging
        assert len(asyncio.all_tasks()) == before

    run(work())


# -- a voice with a fallback ----------------------------------------------------------------------------

SCRIPTED = "inference.engines.scripted.ScriptedTextToSpeech"


async def voice_with_a_fallback(**first) -> FallbackTextToSpeech:
    engines = [{"BACKEND": SCRIPTED, "OPTIONS": first}, {"BACKEND": SCRIPTED, "OPTIONS": {"tone_hz": 440}}]
    tts = FallbackTextToSpeech(engines=engines)
    await tts.start()
    return tts


def test_a_phrase_is_made_by_the_preferred_voice_or_by_none():
    async def work():
        tts = await voice_with_a_fallback(failures=[{"on": 1}])
        ready = Phrases(tts)
        await ready.prepare(["Hello."], voice="", language="en")
        assert ready.get("Hello.", voice="", language="en") == b""
        await ready.prepare(["Hello."], voice="", language="en")
        alone = await render("Hello.", tts=ScriptedTextToSpeech(), voice="", language="en")
        assert ready.get("Hello.", voice="", language="en") == at_house_level(alone)

    run(work())


@pytest.mark.parametrize("gain_db", [-5.0, 0.0, 5.0])
def test_a_phrase_is_as_loud_as_all_voices(gain_db):
    time = np.arange(RATE_HZ) / RATE_HZ
    words = np.sin(2 * np.pi * 200 * time) * (np.sin(2 * np.pi * 3 * time) > 0)
    loud = words * 32768 * 10 ** ((ACTIVE_DBFS + 3 + gain_db) / 20)
    phrase = at_house_level(encode_mulaw(loud.astype(np.int16)))
    assert active_level(decode_mulaw(phrase), RATE_HZ) == pytest.approx(ACTIVE_DBFS, abs=0.3)
    assert len(phrase) == RATE_HZ


@pytest.mark.parametrize("amplitude", [0, 20, 30_000])
def test_a_sound_that_is_far_from_the_level_of_a_voice_is_left_as_it_is(amplitude):
    sound = encode_mulaw((amplitude * np.sin(np.arange(RATE_HZ))).astype(np.int16))
    assert at_house_level(sound) == sound
