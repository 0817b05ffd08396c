"""ElevenLabs' voice, against a service on this machine that speaks in tones."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from inference.engines.elevenlabs import ElevenLabsOptions, ElevenLabsTextToSpeech
from inference.types import EngineError, EngineFull
from inference.usage import UsageMeter, metering
from tests.inference.contract import TextToSpeechContract, leaving_no_task
from tests.inference.hosted.elevenlabs_service import CHARACTER, KEY, RATE_HZ, ElevenLabsService, tone
from tests.inference.hosted.speaking import Lines, ends, samples, say, say_until_error, sound, text_of, until
from tests.sounds import active_level

FIRST, SECOND = "We open at ten. ", "And shut at six. "


PATIENT = {"first_audio_timeout": 20.0, "stall_timeout": 20.0}
"""For a machine that is busy with other things."""


def options(service: ElevenLabsService, **changes: Any) -> ElevenLabsOptions:
    given = {
        "base_url": service.base_url,
        "api_key": KEY,
        "voice": "voice-a",
        "warm": 1,
        "limit": 3,
        **PATIENT,
        **changes,
    }
    return ElevenLabsOptions(**given)


@asynccontextmanager
async def started(service: ElevenLabsService, **changes: Any) -> AsyncIterator[ElevenLabsTextToSpeech]:
    engine = ElevenLabsTextToSpeech(options(service, **changes))
    async with leaving_no_task():
        await engine.start()
        try:
            yield engine
        finally:
            await engine.close()


@pytest.fixture
async def service() -> AsyncIterator[ElevenLabsService]:
    async with ElevenLabsService().serving() as serving:
        yield serving


class TestElevenLabs(TextToSpeechContract):
    @pytest_asyncio.fixture(scope="class", loop_scope="class")
    @classmethod
    async def make(cls):
        async with ElevenLabsService().serving() as service:
            # One socket for all, so that none is connected, and served by a task of this service, during a test.
            yield lambda: ElevenLabsTextToSpeech(options(service, limit=1, contexts_per_socket=5))


def sent(service: ElevenLabsService) -> list[Any]:
    return [message for socket in service.sockets for message in socket.received]


# --- What is sent -----------------------------------------------------------------------------------------------


async def test_a_speak_is_one_context_with_a_flush_for_each_clause(service):
    async with started(service, stability=0.5, similarity_boost=0.8) as engine:
        said = await say(engine, FIRST, SECOND)
    assert sent(service) == [
        {"text": " ", "context_id": "c0", "voice_settings": {"stability": 0.5, "similarity_boost": 0.8}},
        {"text": FIRST, "context_id": "c0", "flush": True},
        {"text": SECOND, "context_id": "c0", "flush": True},
        {"context_id": "c0", "close_context": True},
    ]
    assert samples(said) == len(FIRST + SECOND) * CHARACTER


async def test_without_settings_the_voice_is_as_the_account_has_set_it(service):
    async with started(service) as engine:
        await say(engine, FIRST)
    assert sent(service)[0] == {"text": " ", "context_id": "c0"}


async def test_the_address_has_the_voice_the_model_and_the_language_and_never_the_key(service):
    async with started(service) as engine:
        await say(engine, FIRST)
    (spoken,) = [socket for socket in service.sockets if socket.received]
    assert spoken.request.path == "/v1/text-to-speech/voice-a/multi-stream-input"
    assert dict(spoken.request.query) == {
        "model_id": "eleven_flash_v2_5",
        "output_format": "ulaw_8000",
        "auto_mode": "true",
        "inactivity_timeout": "180",
        "sync_alignment": "true",
        "apply_text_normalization": "auto",
        "language_code": "en",
    }
    assert all(KEY not in str(request.url) for request in service.requests)
    assert KEY not in repr(options(service))


async def test_a_clause_ends_with_one_blank(service):
    async with started(service) as engine:
        said = await say(engine, "We open at ten.", " And shut at six.")
    assert [message["text"] for message in sent(service)[1:3]] == [FIRST, SECOND]
    assert ends(said)[-1] == len("We open at ten. And shut at six.")


async def test_text_that_says_nothing_is_not_sent_and_counts_as_spoken(service):
    async with started(service) as engine:
        said = await say(engine, "… ", FIRST, " — ", SECOND, " ...")
        assert await say(engine, "… ", " !") == []
    assert service.said() == [FIRST + SECOND]
    assert ends(said)[-1] == len("… " + FIRST + " — " + SECOND + " ...")


async def test_characters_are_counted_for_the_call_that_speaks(service):
    meter = UsageMeter()
    async with started(service) as engine:
        with metering(meter):
            speech = engine.open()
        async with aclosing(speech.speak(text_of(FIRST, SECOND))) as chunks:
            assert [chunk async for chunk in chunks]
    assert meter.as_json() == {"tts": {"elevenlabs/eleven_flash_v2_5": {"characters": len(FIRST + SECOND)}}}


# --- Voices and languages ---------------------------------------------------------------------------------------


async def test_the_sockets_of_a_voice_and_a_language_are_told_them(service):
    async with started(service) as engine:
        await say(engine, FIRST, voice="voice-b", language="de-AT")
        await say(engine, FIRST)
    spoken = [socket for socket in service.sockets if socket.received]
    assert [(socket.request.path.split("/")[3], socket.request.query["language_code"]) for socket in spoken] == [
        ("voice-a", "en"),
        ("voice-b", "de"),
    ]


async def test_an_unknown_voice_is_refused_and_a_name_is_answered_with_its_id(service):
    async with started(service) as engine:
        for voice, said in (("nobody", "no voice"), ("Ben", "voice-b")):
            with pytest.raises(EngineError, match=said) as caught:
                engine.open(voice=voice)
            assert caught.value.permanent


async def test_a_model_that_takes_no_language_is_told_none(service):
    async with started(service, model="eleven_multilingual_v2") as engine:
        await say(engine, FIRST)
    assert not any("language_code" in request.query for request in service.requests)


async def test_a_language_that_the_model_does_not_speak_is_refused(service):
    async with started(service) as engine:
        assert engine.languages == {"en", "de", "fr", "fil"}
        with pytest.raises(EngineError, match="does not speak 'tlh'") as caught:
            engine.open(language="tlh")
        assert caught.value.permanent


# --- When words are spoken --------------------------------------------------------------------------------------


@pytest.mark.parametrize("spelling", ["camel", "snake", "wild"])
async def test_character_times_say_how_much_was_spoken(service, spelling):
    service.spelling = spelling
    async with started(service) as engine:
        said = await say(engine, FIRST, SECOND)
    position = 0
    for chunk in said[:-1]:
        position += len(chunk.pcm)
        assert abs(chunk.text_end - position / CHARACTER) <= 2.1
        assert chunk.exact
    assert ends(said)[-1] == len(FIRST + SECOND)


async def test_without_alignment_the_text_is_estimated(service):
    service.alignment = False
    async with started(service) as engine:
        said = await say(engine, FIRST, SECOND)
    assert ends(said) == sorted(ends(said))
    assert len(set(ends(said))) > 5
    assert ends(said)[-1] == len(FIRST + SECOND)
    assert not any(chunk.exact for chunk in said[1:-1])


async def test_alignment_that_restarts_within_a_sentence_is_not_exact_and_never_falls(service):
    async def speak(socket, key, context, text, *, pieces=None):
        times = [number * 50 for number in range(16)]
        await service.audio(socket, key, tone(7), list(text[:7]), times[:7], [50] * 7)
        await service.audio(socket, key, tone(9), list(text[:16]), times, [25] * 16)
        context.text += text

    service.speak = speak
    async with started(service) as engine:
        said = await say(engine, FIRST)
    assert ends(said) == sorted(ends(said))
    assert ends(said)[-1] == len(FIRST)
    position = 0
    for chunk in said[:-1]:
        position += len(chunk.pcm)
        assert chunk.exact == (position <= 7 * CHARACTER)


async def test_alignment_of_other_words_is_not_followed(service):
    async def speak(socket, key, context, text, *, pieces=None):
        await service.audio(socket, key, tone(len(text)), list("Something else"), list(range(0, 700, 50)), [50] * 14)
        context.text += text

    service.speak = speak
    async with started(service) as engine:
        said = await say(engine, FIRST)
    assert ends(said) == sorted(ends(said))
    assert not any(chunk.exact for chunk in said[1:-1])
    assert ends(said)[-1] == len(FIRST)


async def test_alignment_may_come_without_audio_and_audio_without_alignment(service):
    async def speak(socket, key, context, text, *, pieces=None):
        await service.audio(socket, key, None, list(text), list(range(0, 50 * len(text), 50)), [50] * len(text))
        service.alignment = False
        await service.audio(socket, key, tone(len(text)), [], [], [])
        service.alignment = True
        context.text += text

    service.speak = speak
    async with started(service) as engine:
        said = await say(engine, FIRST, SECOND)
    assert samples(said) == len(FIRST + SECOND) * CHARACTER
    assert ends(said)[-1] == len(FIRST + SECOND)
    assert abs(ends(said)[len(said) // 2] - len(FIRST + SECOND) // 2) < 5


# --- Contexts that take room ------------------------------------------------------------------------------------


async def test_closing_closes_the_context_and_nothing_of_it_is_heard_later(service):
    async with started(service, warm=1, limit=1) as engine:
        speech = engine.open()
        chunks = speech.speak(text_of(FIRST * 20))
        first = await anext(chunks)
        await chunks.aclose()
        speech.heard(len(first.pcm))
        await until(lambda: service.closes)
        stale = {"audio": base64.b64encode(tone(20, hz=1500.0)).decode(), "contextId": "c0"}
        for socket in service.open_sockets:
            await socket.send(stale)
        async with aclosing(speech.speak(text_of(SECOND))) as chunks:
            said = [chunk async for chunk in chunks]
    assert list(dict.fromkeys(service.closes)) == ["c0", "c1"]
    assert samples(said) == len(SECOND) * CHARACTER
    spectrum = np.abs(np.fft.rfft(sound(said)))
    assert abs(spectrum.argmax() * RATE_HZ / samples(said) - 300) < 10


async def test_a_cancelled_context_keeps_its_place_until_the_service_has_ended_it(service):
    async with started(service, warm=0, limit=1, contexts_per_socket=2) as engine:
        service.finals = False
        keys = []
        for _ in range(2):
            chunks = engine.open().speak(text_of(FIRST))
            await anext(chunks)
            await chunks.aclose()
        await until(lambda: len(set(service.closes)) == 2)
        _, error = await say_until_error(engine, SECOND)
        assert isinstance(error, EngineFull)
        service.finals = True
        (socket,) = [socket for socket in service.open_sockets if socket.received]
        keys = list(service.open_contexts[socket])
        for key in keys:
            await service.final(socket, key)
        await asyncio.sleep(0.05)
        assert ends(await say(engine, SECOND))[-1] == len(SECOND)
    assert service.most_at_once <= 2


async def test_a_socket_whose_contexts_never_end_is_replaced(service, monkeypatch):
    monkeypatch.setattr("inference.engines.elevenlabs.DRAIN", 0.2)
    async with started(service, warm=0, limit=1, contexts_per_socket=1) as engine:
        service.finals = False
        chunks = engine.open().speak(text_of(FIRST))
        await anext(chunks)
        await chunks.aclose()
        await service.sockets[-1].gone.wait()
        service.finals = True
        assert ends(await say(engine, SECOND))[-1] == len(SECOND)


async def test_no_socket_ever_has_more_contexts_than_the_service_allows(service):
    async with started(service, warm=1, limit=2, contexts_per_socket=5) as engine:
        together = await asyncio.gather(*(say(engine, text) for text in (FIRST, SECOND) * 5))
        assert all(samples(said) > 0 for said in together)
        for _ in range(12):
            chunks = engine.open().speak(text_of(FIRST))
            await anext(chunks)
            await chunks.aclose()
    assert service.most_at_once <= 5


async def test_the_word_that_a_context_has_ended_may_be_missing(service):
    service.finals = False
    async with started(service, stall_timeout=0.3, first_audio_timeout=0.3) as engine:
        said = await say(engine, FIRST, SECOND)
    assert samples(said) == len(FIRST + SECOND) * CHARACTER
    assert ends(said)[-1] == len(FIRST + SECOND)


async def test_a_context_that_was_silent_for_long_is_replaced(service, monkeypatch):
    monkeypatch.setattr("inference.engines.elevenlabs.LIFE", 0.0)
    async with started(service) as engine:
        lines, said = Lines(FIRST), []
        async with aclosing(engine.open().speak(lines)) as chunks:
            async for chunk in chunks:
                said.append(chunk)
                if samples(said) == len(FIRST) * CHARACTER:
                    lines.add(SECOND)
                    lines.end()
    assert service.said() == [FIRST, SECOND]
    assert service.closes == ["c0", "c1"]
    assert ends(said)[-1] == len(FIRST + SECOND)


async def test_a_language_model_that_pauses_is_not_taken_for_a_stall(service):
    for alignment in (True, False):
        service.alignment = alignment
        async with started(service, first_audio_timeout=0.5, stall_timeout=0.5) as engine:
            lines, said = Lines(FIRST), []
            async with aclosing(engine.open().speak(lines)) as chunks:
                async for chunk in chunks:
                    if not said:
                        asyncio.get_running_loop().call_later(1.2, lines.end)
                    said.append(chunk)
        assert samples(said) == len(FIRST) * CHARACTER
        assert ends(said)[-1] == len(FIRST)


# --- Loudness ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [1200.0, 12000.0])
async def test_a_voice_is_brought_to_the_house_level_and_stays_there(service, level):
    service.level = level
    async with started(service) as engine:
        for _ in range(4):
            await say(engine, FIRST * 6)
        said = sound(await say(engine, FIRST * 6))
    assert 20 * np.log10(active_level(said) / 32768) == pytest.approx(-20, abs=0.3)


# --- What the start finds ---------------------------------------------------------------------------------------


async def refusal(service: ElevenLabsService, **changes: Any) -> str:
    engine = ElevenLabsTextToSpeech(options(service, **changes))
    async with leaving_no_task():
        with pytest.raises(EngineError) as caught:
            await engine.start()
    assert caught.value.permanent
    return str(caught.value)


async def test_a_missing_or_wrong_key_is_found_at_the_start(service):
    assert "ELEVENLABS_API_KEY" in await refusal(service, api_key="")
    said = await refusal(service, api_key="wrong-secret")
    assert "ELEVENLABS_API_KEY" in said
    assert "wrong-secret" not in said


async def test_unknown_voices_and_models_are_found_at_the_start(service):
    assert "no voice" in await refusal(service, voice="nobody")
    assert "no voice" in await refusal(service, voices=["nobody"])
    assert "eleven_flash_v2_5" in await refusal(service, model="eleven_flash_v1")


async def test_a_key_that_may_only_speak_is_enough(service, caplog):
    service.may_read = False
    async with started(service) as engine:
        assert engine.languages is None
        assert ends(await say(engine, FIRST))[-1] == len(FIRST)
    assert "cannot be checked" in caplog.text


async def test_a_service_that_is_away_at_the_start_may_come_back(service):
    service.refusal = (503, "", {})
    async with started(service) as engine:
        service.refusal = None
        assert ends(await say(engine, FIRST))[-1] == len(FIRST)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"speed": 2.0}, "speed"),
        ({"stability": -1.0}, "stability"),
        ({"contexts_per_socket": 6}, "contexts_per_socket"),
        ({"model": "eleven_v3"}, "TTS_MODEL"),
    ],
)
def test_options_that_cannot_work_are_refused(changes, said):
    with pytest.raises(EngineError, match=said) as caught:
        ElevenLabsOptions(**changes)
    assert caught.value.permanent


def test_a_speech_is_never_begun_on_words_that_may_change():
    assert ElevenLabsTextToSpeech().may_speculate is False
