"""What engines use in a call is counted by its meter, whichever task or callback asks them, and goes on record."""

from collections.abc import AsyncGenerator, Sequence
from typing import Any

import pytest

from calls.services import facts
from inference import usage
from inference.backends import Engines
from inference.engines.scripted import ScriptedLanguageModel, ScriptedSpeechToText, ScriptedTextToSpeech
from inference.types import Message, TextDelta
from inference.usage import UsageMeter
from media.session import Session
from tests.media.scripted_call import run_call


class Asked:
    """The meters of all requests to an engine."""

    meters: list[UsageMeter | None]


class BillingSpeechToText(Asked, ScriptedSpeechToText):
    def open(self, **options: Any) -> Any:
        self.meters = [*getattr(self, "meters", []), usage.current()]
        if meter := usage.current():
            meter.add("stt", "acme/ear", seconds=1.5)
        return super().open(**options)


class BillingLanguageModel(Asked, ScriptedLanguageModel):
    async def stream(self, messages: Sequence[Message], **options: Any) -> AsyncGenerator[TextDelta, None]:
        self.meters = [*getattr(self, "meters", []), usage.current()]
        if meter := usage.current():
            meter.add("llm", "acme/brain", output_tokens=7)
        async for delta in super().stream(messages, **options):
            yield delta


class BillingTextToSpeech(Asked, ScriptedTextToSpeech):
    def open(self, **options: Any) -> Any:
        self.meters = [*getattr(self, "meters", []), usage.current()]
        return super().open(**options)


def test_all_requests_of_a_call_are_counted_by_its_meter_and_recorded_at_its_end():
    engines = Engines(BillingSpeechToText(partials=True), BillingLanguageModel(), BillingTextToSpeech())
    call = run_call([(0.5, "What time do you open?"), (7.0, "And tomorrow?")], seconds=14.0, served_by=engines)
    (counted,) = call.facts.of(facts.UsageCounted)
    opened, asked = len(engines.stt.meters), len(engines.llm.meters)
    assert opened >= 2
    assert asked >= 2
    assert counted.usage == {
        "stt": {"acme/ear": {"seconds": 1.5 * opened}},
        "llm": {"acme/brain": {"output_tokens": 7 * asked}},
    }
    # The voice of the stock phrases, which are made before the call, belongs to no call.
    *before, of_call = engines.tts.meters
    assert {*before} <= {None}
    assert of_call is not None
    assert {*engines.stt.meters, *engines.llm.meters} == {of_call}


class StubbornSpeech:
    def __init__(self, speech: Any) -> None:
        self._speech = speech

    def __getattr__(self, name: str) -> Any:
        return getattr(self._speech, name)

    async def close(self) -> None:
        raise RuntimeError("a bug of this voice")


class StubbornTextToSpeech(ScriptedTextToSpeech):
    def open(self, **options: Any) -> Any:
        speech = super().open(**options)
        return StubbornSpeech(speech) if usage.current() else speech


def test_a_voice_that_does_not_close_costs_no_usage_on_record():
    engines = Engines(BillingSpeechToText(), ScriptedLanguageModel(), StubbornTextToSpeech())
    sessions: list[Session] = []
    with pytest.raises(RuntimeError, match="a bug of this voice"):
        run_call([(0.5, "What time do you open?")], seconds=6.0, served_by=engines, during=sessions.append)
    assert len(sessions[0]._journal._recorder.of(facts.UsageCounted)) == 1


def test_a_call_that_used_nothing_has_no_usage_on_record():
    call = run_call([(0.5, "What time do you open?")], seconds=6.0)
    assert call.facts.of(facts.UsageCounted) == []
