"""What a worker's engine bills is counted by the call that asked: with each answer, and when it stops a turn."""

from contextlib import aclosing

import pytest

from inference import usage
from inference.engines.remote import RemoteLanguageModel, RemoteSpeechToText, RemoteTextToSpeech
from inference.engines.scripted import ScriptedLanguageModel, ScriptedSpeechToText, ScriptedTextToSpeech
from inference.types import EngineError, Message
from inference.usage import UsageMeter, metering
from tests.inference.remote.clients import SECOND, started
from tests.inference.remote.serving import serving, wait_until
from tests.virtual_time import in_virtual_time

pytestmark = pytest.mark.usefixtures("memory_layers")


def bill(kind: str, **amounts: float) -> None:
    meter = usage.current()
    assert meter is not None
    meter.add(kind, "acme/one", **amounts)


class BillingSpeechToText(ScriptedSpeechToText):
    def open(self, **options):
        bill("stt", seconds=1.0)
        return super().open(**options)


class BillingLanguageModel(ScriptedLanguageModel):
    async def stream(self, messages, **options):
        bill("llm", output_tokens=5)
        async for delta in super().stream(messages, **options):
            yield delta


class BillingTextToSpeech(ScriptedTextToSpeech):
    def open(self, **options):
        speech = super().open(**options)
        speak = speech.speak

        async def billed(text):
            bill("tts", characters=7)
            async for chunk in speak(text):
                yield chunk

        speech.speak = billed
        return speech


async def clauses(*texts):
    for text in texts:
        yield text


@in_virtual_time
async def test_the_words_of_an_utterance_come_with_what_they_cost():
    meter, other = UsageMeter(), UsageMeter()
    async with serving("stt", BillingSpeechToText(final_delay=0.001)), started(RemoteSpeechToText()) as stt:
        with metering(meter):
            utterance = stt.open()
        with metering(other):
            second = stt.open()
        utterance.push(SECOND)
        await utterance.snapshot()
        await utterance.finish()
        await second.finish()
    assert meter.as_json() == other.as_json() == {"stt": {"acme/one": {"seconds": 1.0}}}


@in_virtual_time
async def test_a_reply_comes_with_what_it_cost_even_if_it_fails():
    meter = UsageMeter()
    model = BillingLanguageModel(failures=[{"on": 2}], first_delay=0.001, token_delay=0.001)
    async with serving("llm", model), started(RemoteLanguageModel()) as llm:
        with metering(meter):
            async with aclosing(llm.stream([Message("user", "Hello?")])) as deltas:
                assert [delta async for delta in deltas]
            with pytest.raises(EngineError, match="as its script says"):
                async with aclosing(llm.stream([Message("user", "Hello?")])) as deltas:
                    assert [delta async for delta in deltas]
    assert meter.as_json() == {"llm": {"acme/one": {"output_tokens": 10}}}


@in_virtual_time
async def test_a_turn_that_is_stopped_is_counted_as_well():
    meter = UsageMeter()
    async with serving("tts", BillingTextToSpeech(first_delay=0.001)), started(RemoteTextToSpeech()) as tts:
        with metering(meter):
            speech = tts.open()
        async with aclosing(speech.speak(clauses("We open at ten."))) as chunks:
            assert [chunk async for chunk in chunks]
        assert meter.as_json() == {"tts": {"acme/one": {"characters": 7}}}
        async with aclosing(speech.speak(clauses("We open at ten. ", "And we close at six."))) as chunks:
            await anext(chunks)
        await wait_until(lambda: meter.as_json() == {"tts": {"acme/one": {"characters": 14}}})
        await speech.close()


@in_virtual_time
async def test_without_a_call_nothing_is_counted():
    async with serving("stt", BillingSpeechToText(final_delay=0.001)), started(RemoteSpeechToText()) as stt:
        assert (await stt.open().finish()).text


@in_virtual_time
async def test_a_worker_learns_which_call_asks_so_that_its_log_can_say_it(monkeypatch):
    told = []
    monkeypatch.setitem(globals(), "bill", lambda kind, **_: told.append((kind, usage.current_call())))
    engines = {"stt": BillingSpeechToText, "llm": BillingLanguageModel, "tts": BillingTextToSpeech}
    for kind, engine in engines.items():
        client = {"stt": RemoteSpeechToText, "llm": RemoteLanguageModel, "tts": RemoteTextToSpeech}[kind]()
        async with serving(kind, engine()), started(client):
            with metering(UsageMeter(f"call of {kind}")):
                if kind == "stt":
                    await client.open().finish()
                elif kind == "llm":
                    async with aclosing(client.stream([Message("user", "Hello?")])) as deltas:
                        assert [delta async for delta in deltas]
                else:
                    async with aclosing(client.open().speak(clauses("We open at ten."))) as chunks:
                        assert [chunk async for chunk in chunks]
    assert told == [(kind, f"call of {kind}") for kind in engines]
