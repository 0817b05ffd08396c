"""Phrases that are kept ready: all that are in use, and not without end."""

from __future__ import annotations

from inference.engines.scripted import ScriptedTextToSpeech
from media import phrases
from media.phrases import Phrases
from tests.media.virtual_time import run


def test_a_phrase_is_made_once_and_then_there():
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
