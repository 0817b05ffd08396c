"""A reply from the language model to speech: what is said of it, what is read of it, and that every stage is closed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import numpy as np
import pytest

from inference.engines.scripted import ScriptedLanguageModel, ScriptedTextToSpeech
from inference.mulaw import encode_mulaw
from inference.requests import ToolRequests
from inference.types import NO_SOUND, AudioChunk, EngineError, Message, TextDelta
from media.audio import first_audible
from media.reply import ONSET, READ_ON_CHARACTERS, answer, render
from media.reply import say as say_line
from media.turns import events as ev

END = ToolRequests(end_call=True)
LONG = "This is a long sentence with the name of the number {}. "
WORDS = "one two three four five six seven eight nine ten eleven twelve".split()
PIECES = [LONG.format(word) for word in WORDS]


class Model(ScriptedLanguageModel):
    """A model that gives these deltas. An error is raised, and an event is waited for."""

    def __init__(self, *script: TextDelta | str | EngineError | asyncio.Event) -> None:
        super().__init__()
        self._script = script
        self.given = 0
        self.closed = asyncio.Event()

    async def stream(self, *request: Any, **options: Any) -> AsyncGenerator[TextDelta, None]:
        try:
            for item in self._script:
                match item:
                    case EngineError():
                        raise item
                    case asyncio.Event():
                        await item.wait()
                    case _:
                        self.given += 1
                        yield TextDelta(item) if isinstance(item, str) else item
        finally:
            self.closed.set()


class Voice(ScriptedTextToSpeech):
    """A voice whose text is looked at, and that takes no time. ``complete`` is set when it has all of its text."""

    def __init__(self) -> None:
        super().__init__(first_delay=0.0, chunk_delay=0.0)
        self.complete = asyncio.Event()

    def open(self, **options: Any) -> Any:
        speech = super().open(**options)
        speak = speech.speak

        async def watched(text: AsyncIterator[str]) -> AsyncGenerator[str, None]:
            async for clause in text:
                yield clause
            self.complete.set()

        async def speak_watched(text: AsyncIterator[str]) -> AsyncGenerator[Any, None]:
            async with aclosing(watched(text)) as source, aclosing(speak(source)) as chunks:
                async for chunk in chunks:
                    yield chunk

        speech.speak = speak_watched
        return speech


async def say(model: Model, voice: Voice | None = None) -> tuple[str, ev.ReplyEnded]:
    """The text that is said, and how the reply ends."""
    voice = voice or Voice()
    events: list[ev.Event] = []
    await answer(
        ev.Revision(1, 1),
        [Message("user", "Hello?")],
        llm=model,
        tts=voice,
        speech=voice.open(),
        language="en",
        longest=25.0,
        speculative=False,
        emit=events.append,
    )
    assert model.closed.is_set()
    assert events.count(ev.ReplyToken(ev.Revision(1, 1))) == 1
    ended = events[-1]
    assert isinstance(ended, ev.ReplyEnded)
    return "".join(event.text for event in events if isinstance(event, ev.ReplyText)), ended


async def test_a_request_behind_many_sentences_is_read():
    """vocode-core#320, dograh#627."""
    text = "Thanks for calling today. Your table is booked. We look forward to seeing you. Goodbye."
    assert await say(Model(text, TextDelta(requests=END))) == (text, ev.ReplyEnded(ev.Revision(1, 1), END))


async def test_a_request_behind_more_than_is_said_is_read():
    said, ended = await say(Model(*PIECES, "Goodbye.", TextDelta(requests=END)))
    assert said.endswith("number eight.")
    assert ended.requests == END
    assert ended.unsaid == "".join(PIECES[8:]) + "Goodbye."


async def test_the_voice_does_not_wait_for_the_rest():
    rest = asyncio.Event()
    voice = Voice()
    model = Model(*PIECES[:11], rest, TextDelta(requests=END))
    task = asyncio.ensure_future(say(model, voice))
    await asyncio.wait_for(voice.complete.wait(), 60)
    assert not task.done()
    rest.set()
    assert (await asyncio.wait_for(task, 60))[1].requests == END


@pytest.mark.parametrize(
    ("late", "first"), [(0.0, "We are open on Saturdays"), (1000.0, "We are open on Saturdays from nine")]
)
async def test_the_first_clause_is_shorter_if_the_words_come_slowly(monkeypatch, late, first):
    monkeypatch.setattr("media.reply.LATE", late)
    clauses: list[str] = []
    speaking = Voice().open()
    speak = speaking.speak

    async def listened(text: AsyncIterator[str]) -> AsyncGenerator[Any, None]:
        async with aclosing(noted(text)) as source, aclosing(speak(source)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def noted(text: AsyncIterator[str]) -> AsyncGenerator[str, None]:
        async for clause in text:
            clauses.append(clause.strip())
            yield clause

    speaking.speak = listened
    words = [f"{word} " for word in "We are open on Saturdays from nine in the morning until one.".split()]
    await answer(
        ev.Revision(1, 1),
        [Message("user", "Hello?")],
        llm=Model(*words),
        tts=Voice(),
        speech=speaking,
        language="en",
        longest=25.0,
        speculative=False,
        emit=lambda event: None,
    )
    assert clauses[0] == first


async def test_a_rest_that_does_not_come_is_not_waited_for_long(monkeypatch):
    monkeypatch.setattr("media.reply.READ_ON_SECONDS", 0.02)
    model = Model(*PIECES, TextDelta(requests=END), asyncio.Event())
    said, ended = await say(model)
    assert said.endswith("number eight.")
    assert ended.requests == END


async def test_a_rest_without_an_end_is_not_read_for_ever():
    model = Model(*PIECES, *["and so on and on "] * 1000)
    await say(model)
    assert model.given < len(PIECES) + READ_ON_CHARACTERS / len("and so on and on ") + 2


async def test_a_rest_that_fails_does_not_spoil_what_was_said():
    said, ended = await say(Model(*PIECES, TextDelta(requests=END), EngineError("gone")))
    assert said.endswith("number eight.")
    assert ended.requests == END
    said, ended = await say(Model(*PIECES[:8], "And one thing", EngineError("gone")))
    assert said.endswith("number eight.")
    assert ended.unsaid == "And one thing ..."


async def test_a_reply_that_fails_before_it_is_long_raises():
    with pytest.raises(EngineError, match="gone"):
        await say(Model("We open at nine. On Sundays we", EngineError("gone")))


async def test_a_model_in_a_loop_is_stopped():
    model = Model(*["We open at nine. "] * 1000)
    said, ended = await say(model)
    assert said == "We open at nine."
    assert ended == ev.ReplyEnded(ev.Revision(1, 1))
    assert model.given < 10


async def test_half_a_sentence_that_the_server_cut_is_not_said():
    said, ended = await say(Model("We open at nine. On Sundays we op", TextDelta(is_cut=True)))
    assert said == "We open at nine."
    assert ended.unsaid == "On Sundays we op ..."
    assert (await say(Model("We op", TextDelta(is_cut=True))))[0] == ""


@pytest.mark.parametrize("given", [1, 12])
async def test_cancelling_closes_the_model_while_it_speaks_and_while_the_rest_is_read(given):
    voice = Voice()
    model = Model(*PIECES[:given], asyncio.Event())
    task = asyncio.ensure_future(say(model, voice))
    if given == 1:
        await asyncio.sleep(0)
    else:
        await asyncio.wait_for(voice.complete.wait(), 60)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    if model.given:
        await asyncio.wait_for(model.closed.wait(), 60)


# The beginning of the sound


class QuietVoice(Voice):
    """A voice that begins with silence, in chunks of these lengths, then is loud."""

    rate_hz = 8000

    def __init__(self, *silence: int) -> None:
        super().__init__()
        self._silence = silence

    def open(self, **options: Any) -> Any:
        speech = super().open(**options)

        async def speak(text: AsyncIterator[str]) -> AsyncGenerator[AudioChunk, None]:
            async for clause in text:
                for samples in self._silence:
                    yield AudioChunk(np.full(samples, 8, np.int16), 0)
                yield AudioChunk(np.full(800, 3000, np.int16), len(clause))

        speech.speak = speak
        return speech


@pytest.mark.parametrize("silence", [(), (40,), (400,), (400, 50), (20, 20, 20), (119, 1), (480, 480)])
async def test_15_ms_before_the_first_audible_sample_are_kept_however_the_sound_is_cut(silence):
    audio = await render("Hello.", tts=QuietVoice(*silence), voice="", language="en")
    assert len(audio) == 800 + min(sum(silence), ONSET)
    assert first_audible(audio) == min(sum(silence), ONSET)


class MovingVoice(ScriptedTextToSpeech):
    """A voice that breaks off after "Hel", and says the word again elsewhere."""

    def open(self, **options: Any) -> Any:
        speech = super().open(**options)

        async def speak(text: AsyncIterator[str]) -> AsyncGenerator[AudioChunk, None]:
            async for _ in text:
                yield AudioChunk(np.full(800, 3000, np.int16), 3)
                yield AudioChunk(NO_SOUND, 0, again_from=0)
                yield AudioChunk(np.full(1600, 2000, np.int16), 6)

        speech.speak = speak
        return speech


async def test_a_stored_phrase_has_no_sound_that_is_said_again():
    audio = await render("Hello.", tts=MovingVoice(), voice="", language="en")
    assert audio == encode_mulaw(np.full(1600, 2000, np.int16))


# Fixed words


async def line_events(line: str, language: str = "en") -> list[ev.Event]:
    """The events of saying a line."""
    voice = Voice()
    events: list[ev.Event] = []
    await say_line(ev.Revision(1, 1), line, tts=voice, speech=voice.open(), language=language, emit=events.append)
    return events


@pytest.mark.parametrize("line", ["", "  ", "こんにちは。", "😀", "---"])
async def test_a_line_without_a_word_that_the_voice_can_speak_is_left_out(line, caplog):
    assert await line_events(line) == [ev.ReplyEnded(ev.Revision(1, 1), unspeakable=True)]
    assert "can speak none of its words" in caplog.text
    assert await render(line, tts=Voice(), voice="", language="en") == b""


async def test_of_a_mixed_line_the_words_that_the_voice_can_speak_are_said():
    audio = [event for event in await line_events("Hello, 世界") if isinstance(event, ev.ReplyAudio)]
    assert audio[-1].text_end == len("Hello, 世界")


async def test_a_clause_of_a_reply_that_the_voice_cannot_speak_is_not_said():
    assert (await say(Model("We open at nine. こんにちは。 Goodbye.")))[0] == "We open at nine. Goodbye."
