"""
OpenAI's own client against the same fake service, so that somebody else's client agrees with what it answers.

The client is a dependency of this test only. Its part for Realtime is installed without its extra, which wants
``websockets`` below 16; it works with the version that the web server has.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from aiohttp import web
from openai.types.realtime import RealtimeClientEvent, RealtimeServerEvent
from pydantic import TypeAdapter

from inference.engines.openai_realtime import OpenAIRealtimeSpeechToText
from inference.engines.openai_speech import OpenAISpeechTextToSpeech
from inference.engines.openai_transcribe import OpenAITranscribeSpeechToText, wav
from inference.mulaw import encode_mulaw
from tests.inference.contract import band_noise
from tests.inference.hosted import test_openai_realtime, test_openai_speech, test_openai_transcribe
from tests.inference.hosted.openai_service import OpenAIService, error, voice_of
from tests.inference.speaking import speak

TEXT = "We open at ten."


@pytest.fixture
async def service() -> AsyncIterator[OpenAIService]:
    async with OpenAIService().serving() as serving:
        yield serving


@pytest.fixture
async def client(service: OpenAIService) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(api_key="k", base_url=service.url, max_retries=0) as made:
        yield made


async def test_it_lists_the_models_with_their_ends(client):
    models = {model.id: model.shutdown_date async for model in client.models.list()}
    assert models == {"gpt-4o-mini-tts": "2027-01-06", "gpt-transcribe": None, "kokoro": None}


async def test_it_speaks_and_sends_what_the_engine_sends(service, client):
    async with client.audio.speech.with_streaming_response.create(
        model="gpt-4o-mini-tts", input=TEXT, voice="coral", response_format="pcm"
    ) as response:
        content = b"".join([piece async for piece in response.iter_bytes()])
    assert content == voice_of(TEXT).tobytes()
    engine = OpenAISpeechTextToSpeech(test_openai_speech.options(service, voice="coral"))
    await engine.start()
    await speak(engine, TEXT)
    await engine.close()
    assert service.bodies[0] == service.bodies[1]


async def test_it_transcribes_and_sends_what_the_engine_sends(service, client):
    sound = band_noise(100, 1500, 0.6, 16_000)
    service.languages = [{"code": "en"}]
    transcription = await client.audio.transcriptions.create(
        file=("utterance.wav", wav(sound.tobytes(), 16_000), "audio/wav"),
        model="gpt-transcribe",
        response_format="json",
        languages=["en", "de"],
        keywords=["Anna", "Sölden"],
    )
    assert transcription.text == "low low"
    assert transcription.usage is not None
    assert transcription.usage.type == "duration"
    assert [each.code for each in transcription.languages or []] == ["en"]
    engine = OpenAITranscribeSpeechToText(test_openai_transcribe.options(service))
    await engine.start()
    await test_openai_transcribe.recognise(engine, sound, others=["de"], keyterms=["Anna", "Sölden"])
    await engine.close()
    theirs, ours = service.recordings
    assert sorted(theirs.fields) == sorted(ours.fields)
    assert (theirs.pcm, theirs.filename) == (ours.pcm, ours.filename)


async def test_it_reads_the_words_as_events(client):
    events = await client.audio.transcriptions.create(
        file=("utterance.wav", wav(band_noise(100, 1500, 0.9, 16_000).tobytes(), 16_000)),
        model="gpt-transcribe",
        stream=True,
    )
    received = [event async for event in events]
    assert [event.type for event in received] == [*["transcript.text.delta"] * 3, "transcript.text.done"]
    assert received[-1].text == "low low low"


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (401, "invalid_api_key", openai.AuthenticationError),
        (404, "model_not_found", openai.NotFoundError),
        (429, "rate_limit_exceeded", openai.RateLimitError),
        (429, "insufficient_quota", openai.RateLimitError),
    ],
)
async def test_it_understands_the_errors(service, client, status, code, kind):
    async def refuse(request: web.Request) -> web.StreamResponse:
        return web.json_response(error("no", code), status=status)

    service.speak = refuse
    with pytest.raises(kind) as raised:
        await client.audio.speech.create(model="m", input=TEXT, voice="coral")
    assert raised.value.code == code


async def test_its_types_accept_every_message_of_a_realtime_session_in_both_directions(service):
    sent: list[Any] = []

    def keep(message: dict[str, Any]) -> list[Any]:
        sent.append(message)
        return [message]

    service.edit = keep
    engine = OpenAIRealtimeSpeechToText(test_openai_realtime.options(service))
    await engine.start()
    utterance = engine.open(language="de", others=["en"], keyterms=["Sölden"])
    for sound in (test_openai_realtime.low(0.6), test_openai_realtime.high(0.1)):
        utterance.push(sound)
        await utterance.snapshot()
    await utterance.finish()
    await engine.close()
    await service._commit(service.sockets[0], service.sessions[-1], "commit1")
    received = [message for socket in service.sockets for message in socket.received]
    assert {message["type"] for message in sent} == {
        "session.created",
        "session.updated",
        "input_audio_buffer.committed",
        "conversation.item.input_audio_transcription.delta",
        "conversation.item.input_audio_transcription.completed",
        "error",
    }
    for message in sent:
        TypeAdapter(RealtimeServerEvent).validate_python(message)
    for message in received:
        TypeAdapter(RealtimeClientEvent).validate_python(message)
    assert {message["type"] for message in received} == {
        "session.update",
        "input_audio_buffer.append",
        "input_audio_buffer.commit",
    }


async def test_it_transcribes_by_a_realtime_session(service, client):
    sound = encode_mulaw(test_openai_realtime.low(0.6))
    async with client.realtime.connect(extra_query={"intent": "transcription"}) as connection:
        await connection.session.update(
            session={
                "type": "transcription",
                "audio": {
                    "input": {
                        "format": {"type": "audio/pcmu"},
                        "transcription": {"model": "gpt-live-transcribe", "language": "en"},
                        "turn_detection": None,
                    }
                },
            }
        )
        await connection.input_audio_buffer.append(audio=b64encode(sound).decode())
        await connection.input_audio_buffer.commit()
        async for event in connection:
            if event.type == "conversation.item.input_audio_transcription.completed":
                assert event.transcript == "low low"
                break
    assert service.violations == []
