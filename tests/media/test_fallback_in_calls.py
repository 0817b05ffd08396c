"""When an engine stops answering during a call, the fallback takes over, and no silence exceeds the deadline."""

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
from tests.media.scripted_call import CallResult, run_call

DEADLINE = 0.6
QUESTION = "What time do you open?"
AGAIN = "And what time do you close?"
TWICE = [(0.5, QUESTION), (9.5, AGAIN)]


class Outage:
    """The kinds of engines that no longer answer."""

    kinds: ClassVar[set[str]] = set()

    @classmethod
    async def wait(cls, kind: str) -> None:
        """Never return if this kind of engine has an outage."""
        if kind in cls.kinds:
            await asyncio.Event().wait()


class FailingSpeechToText(ScriptedSpeechToText):
    def open(self, **options: Any) -> Any:
        utterance = super().open(**options)

        def until_outage(ask: Any) -> Any:
            async def asked() -> Transcript:
                await Outage.wait("stt")
                return await ask()

            return asked

        utterance.snapshot, utterance.finish = until_outage(utterance.snapshot), until_outage(utterance.finish)
        return utterance


class FailingLanguageModel(ScriptedLanguageModel):
    async def stream(self, *request: Any, **options: Any) -> AsyncGenerator[TextDelta, None]:
        await Outage.wait("llm")
        async for delta in super().stream(*request, **options):
            yield delta


class FailingTextToSpeech(ScriptedTextToSpeech):
    def open(self, **options: Any) -> Any:
        speech = super().open(**options)
        speak = speech.speak

        async def speak_until_outage(text: AsyncIterator[str]) -> AsyncGenerator[AudioChunk, None]:
            async for chunk in speak(text):
                await Outage.wait("tts")
                yield chunk

        speech.speak = speak_until_outage
        return speech


def engines_with_fallback() -> Engines:
    def pair(kind: str, first: dict[str, Any], second: dict[str, Any]) -> list[dict[str, Any]]:
        failing = {"BACKEND": f"{__name__}.Failing{kind}", "OPTIONS": first}
        return [failing, {"BACKEND": f"inference.engines.scripted.Scripted{kind}", "OPTIONS": second}]

    # The voice is made no faster than it is heard, so that no audio is left to play when it stops.
    voice, answer = {"chunk_delay": 0.1}, {"replies": ["Another one tells you."]}
    return Engines(
        FallbackSpeechToText(engines=pair("SpeechToText", {}, {}), deadline=DEADLINE),
        FallbackLanguageModel(engines=pair("LanguageModel", {}, answer), deadline=DEADLINE),
        FallbackTextToSpeech(engines=pair("TextToSpeech", voice, voice), deadline=DEADLINE),
    )


@pytest.fixture
def outage(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Callable[[Session], None]]:
    """Starts an outage of the preferred engines of these kinds."""
    monkeypatch.setattr(Outage, "kinds", set())
    return lambda *kinds: lambda session: Outage.kinds.update(kinds)


def silences(result: CallResult, begin: float) -> list[float]:
    """The seconds of each silence that the caller hears, from this second on to the agent's last word."""
    quiet_since, found = begin, []
    for when, message in result.sent:
        if message["event"] == "media" and when >= begin:
            found.append(max(0.0, when - quiet_since))
            seconds = len(base64.b64decode(message["media"]["payload"])) / 8000
            quiet_since = max(when, quiet_since) + seconds
    return found


def apologised(result: CallResult) -> bool:
    return any(event.kind == "engine-failed" for event in result.facts.of(EventNoted))


def test_a_call_goes_on_when_its_voice_stops_in_mid_sentence(outage):
    result = run_call([(0.5, QUESTION)], seconds=11.0, served_by=engines_with_fallback(), during=outage("tts"), at=4.0)
    assert result.turns == [("caller", QUESTION), ("agent", DEFAULT_REPLY)]
    assert not apologised(result)
    assert 0.2 < max(silences(result, result.times("media")[0])) <= DEADLINE + 0.1
    assert result.tasks_left == 0


@pytest.mark.parametrize("kind", ["stt", "llm", "tts"])
def test_a_call_goes_on_when_an_engine_stops_between_two_questions(outage, kind):
    result = run_call(TWICE, seconds=18.0, served_by=engines_with_fallback(), during=outage(kind), at=8.0)
    first, second = (text for speaker, text in result.turns if speaker == "agent")
    assert first == DEFAULT_REPLY
    assert second == ("Another one tells you." if kind == "llm" else DEFAULT_REPLY)
    assert result.turns[2] == ("caller", QUESTION)
    assert not apologised(result)
    usual = result.times("media")[0] - result.caller_stopped[QUESTION]
    assert usual < max(silences(result, result.caller_stopped[AGAIN])) <= usual + DEADLINE + 0.1
    assert result.tasks_left == 0


def test_a_filler_in_the_preferred_voice_bridges_the_wait_when_all_engines_stop_at_once(outage):
    result = run_call(
        TWICE, seconds=18.0, served_by=engines_with_fallback(), during=outage("stt", "llm", "tts"), at=8.0
    )
    options = ConversationOptions()
    assert result.turns[-1] == ("agent", f"{options.fillers[0]} Another one tells you.")
    assert not apologised(result)
    assert max(silences(result, result.caller_stopped[AGAIN])) <= options.longest_silence + 0.1
    assert result.tasks_left == 0


@pytest.mark.parametrize(("stall", "listed", "filler"), [(99.0, True, False), (1.0, False, False), (2.0, False, True)])
def test_a_language_model_that_stalls_in_mid_reply_is_bridged_by_a_filler_at_most(stall, listed, filler):
    slow = {"token_delay": 0.12, "stalls": [{"rate": 1.0, "at": "middle", "seconds": stall}]}
    models = [
        {"BACKEND": "inference.engines.scripted.ScriptedLanguageModel", "OPTIONS": options} for options in (slow, {})
    ]
    model = FallbackLanguageModel(engines=models) if listed else ScriptedLanguageModel(**slow)
    engines = Engines(ScriptedSpeechToText(), model, ScriptedTextToSpeech())
    result, options = run_call([(0.5, QUESTION)], seconds=15.0, served_by=engines), ConversationOptions()
    # On record the filler stands behind the reply that it has interrupted.
    expected = f"{DEFAULT_REPLY} {options.fillers[0]}" if filler else DEFAULT_REPLY
    assert result.turns == [("caller", QUESTION), ("agent", expected)]
    assert not apologised(result)
    assert max(silences(result, result.times("media")[0])) <= options.filler_after + 0.1
    assert result.tasks_left == 0
