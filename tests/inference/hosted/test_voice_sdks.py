"""
The services of the tests by the vendors' own SDKs, so that not only our engines say what the services are like.

Cartesia's client speaks with the imitation. That of ElevenLabs has no client for sockets with several contexts: its
types say whether both sides write what the vendor describes, and its client reads the lists over HTTP. Both clients
take any message for what they expect, so the messages are checked for fields that their types do not have.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from cartesia import AsyncCartesia
from cartesia.types.generation_request_param import GenerationRequestParam
from cartesia.types.websocket_client_event_param import CancelContextRequest
from elevenlabs import AsyncElevenLabs
from elevenlabs.types.final_output_multi import FinalOutputMulti
from elevenlabs.types.websocket_tts_client_message_multi import WebsocketTtsClientMessageMulti
from elevenlabs.types.websocket_tts_server_message_multi import WebsocketTtsServerMessageMulti
from pydantic import BaseModel, TypeAdapter

from inference.engines.cartesia import CartesiaContext, CartesiaOptions, CartesiaTextToSpeech
from inference.engines.elevenlabs import ElevenLabsContext
from inference.mulaw import encode_mulaw
from tests.inference.hosted import cartesia_service, elevenlabs_service
from tests.inference.hosted.cartesia_service import CHARACTER, CartesiaService, tone
from tests.inference.hosted.elevenlabs_service import ElevenLabsService
from tests.inference.hosted.speaking import say, sound

FIRST, SECOND = "We open at ten. ", "And shut at six. "
VOICE = {
    "model_id": "sonic-3.5",
    "voice": "voice-a",
    "language": "en",
    "output_format": {"container": "raw", "encoding": "pcm_mulaw", "sample_rate": 8000},
    "add_timestamps": True,
    "max_buffer_delay_ms": 0,
}


def unknown_fields(model: BaseModel, where: str = "") -> Iterator[str]:
    """The fields of a message that its type does not have."""
    yield from (f"{where}.{name}" for name in model.model_extra or {})
    for name in type(model).model_fields:
        if isinstance(value := getattr(model, name), BaseModel):
            yield from unknown_fields(value, f"{where}.{name}")


# --- Cartesia ---------------------------------------------------------------------------------------------------


async def test_cartesias_client_hears_what_our_engine_hears():
    async with CartesiaService().serving() as service:
        client = AsyncCartesia(
            api_key=cartesia_service.KEY, base_url=service.base_url, websocket_base_url=service.ws_url
        )
        heard: list[Any] = []
        async with client, client.tts.websocket_connect() as connection:
            context = connection.context(**VOICE)
            for text in (FIRST, SECOND):
                await context.send(**VOICE, transcript=text, continue_=True)
                await context.send(**VOICE, transcript="", continue_=True, flush=True)
            await context.no_more_inputs()
            heard = [message async for message in context.receive()]
        options = CartesiaOptions(
            base_url=service.base_url, api_key=cartesia_service.KEY, voice="voice-a", check=False, gain_db=0.0
        )
        engine = CartesiaTextToSpeech(options)
        await engine.start()
        ours = sound(await say(engine, FIRST, SECOND)).astype("int16")
        await engine.close()
    assert {message.type for message in heard} == {"chunk", "timestamps", "flush_done", "done"}
    assert [field for message in heard for field in unknown_fields(message)] == []
    audio = b"".join(message.audio or b"" for message in heard if message.type == "chunk")
    assert len(audio) == len(FIRST + SECOND) * CHARACTER
    assert encode_mulaw(ours) == audio
    words = [word for message in heard if message.type == "timestamps" for word in message.word_timestamps.words]
    assert words == (FIRST + SECOND).split()
    assert [message.flush_id for message in heard if message.type == "flush_done"] == [1, 2]


async def test_cartesias_client_reads_the_voices_page_by_page():
    async with CartesiaService().serving() as service:
        async with AsyncCartesia(api_key=cartesia_service.KEY, base_url=service.base_url) as client:
            voices = [voice.id async for voice in client.voices.list()]
        assert voices == ["voice-a", "voice-b", "voice-c"]
        versions = {request.headers["Cartesia-Version"] for request in service.requests}
        assert versions <= {"2026-08-14"}


async def test_cartesias_client_can_cancel_and_understands_the_errors():
    async with CartesiaService().serving() as service:
        client = AsyncCartesia(
            api_key=cartesia_service.KEY, base_url=service.base_url, websocket_base_url=service.ws_url
        )
        async with client, client.tts.websocket_connect() as connection:
            context = connection.context(**VOICE)
            await context.send(**{**VOICE, "model_id": "sonic-1"}, transcript=FIRST, continue_=True)
            (message,) = [message async for message in context.receive()]
            assert (message.type, message.status_code, message.error_code) == ("error", 404, "model_not_found")
            assert list(unknown_fields(message)) == []
            await context.cancel()
            other = connection.context(**VOICE)
            await other.send(**VOICE, transcript=SECOND, continue_=False)
            kinds = [message.type async for message in other.receive()]
            assert kinds[0] == "chunk"
            assert kinds[-1] == "done"
        assert len(service.cancels) == 1


def test_our_messages_are_those_that_cartesia_describes():
    context = CartesiaContext("c0", VOICE)
    frames = [json.loads(frame) for frame in (*context.begin(), *context.say(FIRST), *context.end())]
    for message in frames:
        parsed = TypeAdapter(GenerationRequestParam).validate_python(message)
        assert dict(parsed) == message
    (cancel,) = map(json.loads, context.cancel())
    assert dict(TypeAdapter(CancelContextRequest).validate_python(cancel)) == cancel


# --- ElevenLabs -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"stability": 0.5, "similarity_boost": 0.8, "speed": 1.1}])
def test_our_messages_are_those_that_elevenlabs_describes(settings):
    context = ElevenLabsContext("c0", settings)
    for frame in (*context.begin(), *context.say(FIRST), *context.end(), *context.cancel()):
        written = json.loads(frame)
        # The vendor's pages and servers take ``context_id``; its type writes ``contextId``.
        message = WebsocketTtsClientMessageMulti.model_validate({"contextId": written.pop("context_id"), **written})
        assert message.context_id == "c0"
        assert list(unknown_fields(message)) == []


async def test_the_messages_of_our_elevenlabs_are_those_that_it_describes():
    sent: list[Any] = []

    class Recorded:
        async def send(self, message: Any) -> None:
            sent.append(message)

    service, socket = ElevenLabsService(), Recorded()
    context = ElevenLabsContext("c0", {})
    for frame in (*context.begin(), *context.say(FIRST), *context.end()):
        await service.handle(socket, json.loads(frame))  # type: ignore[arg-type]
    final = FinalOutputMulti.model_validate(sent.pop())
    messages = [WebsocketTtsServerMessageMulti.model_validate(message) for message in sent]
    assert [field for message in messages for field in unknown_fields(message)] == []
    assert "".join("".join(message.alignment.chars) for message in messages if message.alignment) == FIRST
    assert all(message.context_id == "c0" for message in messages)
    assert final.is_final is True
    assert final.context_id == "c0"
    assert len(tone(len(FIRST))) == len(FIRST) * CHARACTER


async def test_elevenlabs_client_reads_the_voices_and_models():
    async with ElevenLabsService().serving() as service:
        client = AsyncElevenLabs(api_key=elevenlabs_service.KEY, base_url=service.base_url)
        voices = (await client.voices.get_all()).voices
        models = await client.models.list()
        await client._client_wrapper.httpx_client.httpx_client.aclose()
    assert [voice.voice_id for voice in voices] == ["voice-a", "voice-b"]
    flash = next(model for model in models if model.model_id == "eleven_flash_v2_5")
    assert {language.language_id for language in flash.languages or ()} == {"en", "de", "fr", "fil"}
