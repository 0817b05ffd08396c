"""
OpenAI's own client against the same fake service, so that somebody else's client agrees with what it answers.

The client is a dependency of this test only. Its part for Realtime wants ``websockets`` below 16, which the web server
cannot use, so of that part only the types are used: they must accept what the fake sends and what the engine sends.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import openai
import pytest
from aiohttp import web

from inference.engines.openai_speech import OpenAISpeechTextToSpeech
from inference.engines.openai_transcribe import OpenAITranscribeSpeechToText, wav
from tests.inference.contract import band_noise
from tests.inference.hosted import test_openai_speech, test_openai_transcribe
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
