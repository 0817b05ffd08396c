"""The imitations of hosted services under which the load benchmark holds calls."""

import json
from contextlib import aclosing

import numpy as np
import pytest

from clientcaller.named_engines import chosen
from inference.backends import make_engine
from inference.engines.cartesia import CartesiaTextToSpeech
from inference.engines.deepgram import DeepgramSpeechToText
from inference.engines.elevenlabs import ElevenLabsTextToSpeech
from inference.engines.openai_compatible import ModelServerOptions, OpenAICompatibleLanguageModel
from inference.engines.scripted import DEFAULT_REPLY, DEFAULT_TRANSCRIPT
from inference.types import Message
from tests.benchmarks.load_services import (
    BACKCHANNEL,
    SERVICES,
    VOICES,
    Delays,
    hosted_environment,
    samples_of,
)
from tests.inference.contract import band_noise


def delays() -> Delays:
    return Delays(words=0, first_token=0, token=0, audio=0, piece=0)


async def test_an_utterance_is_recognised_as_the_question_and_a_short_one_as_a_backchannel():
    async with SERVICES["deepgram"](delays()).serving() as service:
        engine = DeepgramSpeechToText(engine_options(DeepgramSpeechToText, service.base_url))
        await engine.start()
        try:
            question, murmur, silence = engine.open(), engine.open(), engine.open()
            sound = band_noise(300, 1500, 2.0, 8000)
            for start in range(0, len(sound), 160):
                question.push(sound[start : start + 160])
            murmur.push(sound[: int(0.3 * 8000)])
            silence.push(np.zeros(8000, np.int16))
            assert (await question.snapshot()).text == DEFAULT_TRANSCRIPT
            question.push(np.zeros(1600, np.int16))
            assert (await question.finish()).text == DEFAULT_TRANSCRIPT
            assert (await murmur.finish()).text == BACKCHANNEL
            assert (await silence.finish()).text == ""
        finally:
            await engine.close()


def engine_options(engine, url):
    return engine.options_class(api_key="k", base_url=url)


async def test_a_reply_is_that_of_the_scripted_engine_and_is_counted():
    service = SERVICES["openai"](delays())
    async with service.serving():
        engine = OpenAICompatibleLanguageModel(ModelServerOptions(base_url=service.base_url, server="openai"))
        async with aclosing(engine.stream([Message("user", "Hello.")])) as deltas:
            assert "".join([delta.text async for delta in deltas]) == DEFAULT_REPLY
        await engine.close()
        assert service.running == 0


@pytest.mark.parametrize(
    ("name", "engine_class"), [("cartesia", CartesiaTextToSpeech), ("elevenlabs", ElevenLabsTextToSpeech)]
)
async def test_a_clause_lasts_as_long_as_that_of_the_scripted_voice_and_no_context_stays(name, engine_class):
    async def text():
        yield "We open at ten. "
        yield "We shut at six."

    service = SERVICES[name](delays())
    async with service.serving():
        engine = engine_class(engine_options(engine_class, service.base_url))
        await engine.start()
        speech = engine.open()
        try:
            async with aclosing(speech.speak(text())) as spoken:
                chunks = [chunk async for chunk in spoken]
            expected = samples_of("We open at ten. ") + samples_of("We shut at six.")
            assert abs(sum(len(chunk.pcm) for chunk in chunks) - expected) <= samples_of(" ")
            assert chunks[-1].text_end == len("We open at ten. We shut at six.")
            assert service.running == 0
        finally:
            await speech.close()
            await engine.close()


@pytest.mark.parametrize("voice", VOICES)
def test_the_environment_has_room_for_all_calls(monkeypatch, voice):
    environment = hosted_environment(dict.fromkeys(SERVICES, "http://127.0.0.1:1"), voice, 60)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for kind in ("stt", "llm", "tts"):
        setting, missing = chosen(kind).setting(json.loads(environment["ENGINES_OPTIONS"]))
        assert not missing
        engine = make_engine(kind, setting)
        plan = engine._pool.plan if kind != "llm" else None
        assert plan is None or plan.limit * plan.shares >= 60
        assert kind != "llm" or not engine.may_speculate
