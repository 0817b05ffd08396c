"""Engines that die in mid-call: the call goes on with the next ones, and no silence is longer than the deadline."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any, ClassVar

import pytest

from calls.services.facts import EventNoted
from inference.backends import Engines
from inference.engines.fallback import FallbackLanguageModel, FallbackSpeechToText, FallbackTextToSpeech
from inference.engines.scripted import DEFAULT_REPLY, ScriptedLanguageModel, ScriptedSpeechToText, ScriptedTextToSpeech
from inference.types import AudioChunk, TextDelta, Transcript
from media.session import Session
from media.turns.options import ConversationOptions
from tests.media.test_session import Line, call

DEADLINE = 0.6
QUESTION = "What time do you open?"
AGAIN = "And what time do you close?"
TWICE = [(0.5, QUESTION), (9.5, AGAIN)]


class Mortal:
    """Of engines that answer nothing any more once they are dead."""

    dead: ClassVar[set[str]] = set()

    @classmethod
    async def live(cls, kind: str) -> None:
        if kind in cls.dead:
            await asyncio.Event().wait()


class MortalSpeechToText(ScriptedSpeechToText):
    def open(self, **options: Any) -> Any:
        utterance = super().open(**options)

        def while_alive(ask: Any) -> Any:
            async def asked() -> Transcript:
                await Mortal.live("stt")
                return await ask()

            return asked

        utterance.snapshot, utterance.finish = while_alive(utterance.snapshot), while_alive(utterance.finish)
        return utterance


class MortalLanguageModel(ScriptedLanguageModel):
    async def stream(self, *request: Any, **options: Any) -> AsyncGenerator[TextDelta, None]:
        await Mortal.live("llm")
        async for delta in super().stream(*request, **options):
            yield delta


class MortalTextToSpeech(ScriptedTextToSpeech):
    def open(self, **options: Any) -> Any:
        speech = super().open(**options)
        speak = speech.speak

        async def speak_while_alive(text: AsyncIterator[str]) -> AsyncGenerator[AudioChunk, None]:
            async for chunk in speak(text):
                await Mortal.live("tts")
                yield chunk

        speech.speak = speak_while_alive
        return speech


def engines_that_may_die() -> Engines:
    def pair(kind: str, first: dict[str, Any], second: dict[str, Any]) -> list[dict[str, Any]]:
        mortal = {"BACKEND": f"{__name__}.Mortal{kind}", "OPTIONS": first}
        return [mortal, {"BACKEND": f"inference.engines.scripted.Scripted{kind}", "OPTIONS": second}]

    # The voice is no faster than it is heard, so that nothing is in store when it dies.
    voice, answer = {"chunk_delay": 0.1}, {"replies": ["Another one tells you."]}
    return Engines(
        FallbackSpeechToText(engines=pair("SpeechToText", {}, {}), deadline=DEADLINE),
        FallbackLanguageModel(engines=pair("LanguageModel", {}, answer), deadline=DEADLINE),
        FallbackTextToSpeech(engines=pair("TextToSpeech", voice, voice), deadline=DEADLINE),
    )


@pytest.fixture
def die(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Callable[[Session], None]]:
    """What kills the preferred engines of these kinds."""
    monkeypatch.setattr(Mortal, "dead", set())
    return lambda *kinds: lambda session: Mortal.dead.update(kinds)


def silences(line: Line, begin: float) -> list[float]:
    """What the caller hears of nothing, from this second on to the agent's last word."""
    quiet_since, found = begin, []
    for when, message in line.sent:
        if message["event"] == "media" and when >= begin:
            found.append(max(0.0, when - quiet_since))
            seconds = len(base64.b64decode(message["media"]["payload"])) / 8000
            quiet_since = max(when, quiet_since) + seconds
    return found


def apologised(line: Line) -> bool:
    return any(event.kind == "engine-failed" for event in line.facts.of(EventNoted))


def test_a_call_goes_on_when_its_voice_dies_in_mid_sentence(die):
    line = call([(0.5, QUESTION)], seconds=11.0, served_by=engines_that_may_die(), during=die("tts"), at=4.0)
    assert line.turns == [("caller", QUESTION), ("agent", DEFAULT_REPLY)]
    assert not apologised(line)
    assert 0.2 < max(silences(line, line.times("media")[0])) <= DEADLINE + 0.1
    assert line.tasks_left == 0


@pytest.mark.parametrize("kind", ["stt", "llm", "tts"])
def test_a_call_goes_on_when_an_engine_dies_between_two_questions(die, kind):
    line = call(TWICE, seconds=18.0, served_by=engines_that_may_die(), during=die(kind), at=8.0)
    first, second = (text for speaker, text in line.turns if speaker == "agent")
    assert first == DEFAULT_REPLY
    assert second == ("Another one tells you." if kind == "llm" else DEFAULT_REPLY)
    assert line.turns[2] == ("caller", QUESTION)
    assert not apologised(line)
    usual = line.times("media")[0] - line.caller_stopped[QUESTION]
    assert usual < max(silences(line, line.caller_stopped[AGAIN])) <= usual + DEADLINE + 0.1
    assert line.tasks_left == 0


def test_if_all_of_them_die_at_once_a_filler_in_the_old_voice_bridges_the_wait(die):
    line = call(TWICE, seconds=18.0, served_by=engines_that_may_die(), during=die("stt", "llm", "tts"), at=8.0)
    options = ConversationOptions()
    assert line.turns[-1] == ("agent", f"{options.fillers[0]} Another one tells you.")
    assert not apologised(line)
    assert max(silences(line, line.caller_stopped[AGAIN])) <= options.longest_silence + 0.1
    assert line.tasks_left == 0
