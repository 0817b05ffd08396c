"""Web processes and workers of two versions work together, or say why not; in virtual time."""

import asyncio

import msgspec
import pytest
from channels.layers import channel_layers

from inference.engines.remote import RemoteLanguageModel, RemoteSpeechToText, RemoteTextToSpeech
from inference.engines.scripted import (
    DEFAULT_REPLY,
    DEFAULT_TRANSCRIPT,
    ScriptedLanguageModel,
    ScriptedSpeechToText,
    ScriptedTextToSpeech,
)
from inference.remote import wire
from inference.types import NoWorker
from tests.inference.remote.clients import (
    MESSAGES,
    QUICK,
    SAMPLES_PER_CHARACTER,
    SECOND,
    SENTENCE,
    LossyLayer,
    lose_one,
    spoken_samples,
    started,
    text_of,
)
from tests.inference.remote.serving import serving, wait_until
from tests.virtual_time import in_virtual_time

pytestmark = pytest.mark.usefixtures("memory_layers")


class EarlierLayer(LossyLayer):
    """Between two processes, one of which neither sends nor reads what packets have beside their messages."""

    async def send(self, channel: str, message: wire.LayerMessage) -> None:
        body = msgspec.msgpack.decode(message["body"])
        await super().send(channel, {**message, "body": msgspec.msgpack.encode(body[:5])})


@pytest.fixture
def earlier_layer(memory_layers) -> EarlierLayer:
    layer = EarlierLayer(memory_layers[1])
    channel_layers.set("stream", layer)
    return layer


@in_virtual_time
async def test_all_engines_of_a_worker_of_the_version_before_are_used(earlier_layer):
    async with (
        serving("stt", ScriptedSpeechToText(final_delay=0.001)),
        serving("llm", ScriptedLanguageModel(first_delay=0.0)),
        serving("tts", ScriptedTextToSpeech(**QUICK)),
        started(RemoteSpeechToText()) as stt,
        started(RemoteLanguageModel()) as llm,
        started(RemoteTextToSpeech()) as tts,
    ):
        speech = tts.open()
        for _ in range(3):
            utterance = stt.open()
            utterance.push(SECOND)
            assert (await utterance.finish()).text == DEFAULT_TRANSCRIPT
            assert "".join([delta.text async for delta in llm.stream(MESSAGES)]) == DEFAULT_REPLY
            assert await spoken_samples(speech, SENTENCE) == len(SENTENCE) * SAMPLES_PER_CHARACTER
            await asyncio.sleep(5)


@in_virtual_time
async def test_what_such_a_worker_loses_on_the_way_ends_its_session_and_the_voice_begins_another(earlier_layer):
    async with (
        serving("tts", ScriptedTextToSpeech(first_delay=0.0, chunk_delay=0.05)),
        started(RemoteTextToSpeech()) as tts,
    ):
        speech = tts.open()
        earlier_layer.loses = lose_one(wire.Piece, number=3)
        lost, chunks = speech._session, []
        async for chunk in speech.speak(text_of(SENTENCE)):
            chunks.append(chunk)
        assert speech._session is not lost
        assert chunks[-1].text_end == len(SENTENCE)


@in_virtual_time
async def test_a_worker_of_another_protocol_is_refused_with_the_reason(memory_layers):
    _, stream = memory_layers
    async with started(RemoteTextToSpeech(rate_hz=8000)) as tts:
        news = wire.pack(wire.Announcement("worker", "ready", 1, 1, 0.0, wire.Facts(8000)))
        await stream.group_send("inference.tts", {**news, "version": wire.VERSION + 1})
        await wait_until(lambda: tts.links.other_version)
        with pytest.raises(
            NoWorker, match=f"protocol version {wire.VERSION + 1} and this process has .*; update the older one"
        ):
            await spoken_samples(tts.open(), "Hello.")
