"""Cartesia's voice, against a service on this machine that speaks in tones."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from inference.engines.cartesia import CartesiaOptions, CartesiaTextToSpeech
from inference.types import EngineError
from inference.usage import UsageMeter, metering
from tests.inference.contract import TextToSpeechContract, leaving_no_task
from tests.inference.hosted.cartesia_service import CHARACTER, KEY, RATE_HZ, CartesiaService, tone
from tests.inference.hosted.service import Socket
from tests.inference.hosted.speaking import Lines, ends, samples, say, say_until_error, sound, text_of, until
from tests.sounds import active_level

FIRST, SECOND = "We open at ten. ", "And shut at six."


PATIENT = {"first_audio_timeout": 20.0, "stall_timeout": 20.0}
"""For a machine that is busy with other things."""


def options(service: CartesiaService, **changes: Any) -> CartesiaOptions:
    return CartesiaOptions(
        **{
            "base_url": service.base_url,
            "api_key": KEY,
            "voice": "voice-a",
            "check": False,
            "warm": 1,
            "limit": 3,
            **PATIENT,
        }
        | changes
    )


@asynccontextmanager
async def started(service: CartesiaService, **changes: Any) -> AsyncIterator[CartesiaTextToSpeech]:
    engine = CartesiaTextToSpeech(options(service, **changes))
    async with leaving_no_task():
        await engine.start()
        try:
            yield engine
        finally:
            await engine.close()


@pytest.fixture
async def service() -> AsyncIterator[CartesiaService]:
    async with CartesiaService().serving() as serving:
        yield serving


class TestCartesia(TextToSpeechContract):
    @pytest_asyncio.fixture(scope="class", loop_scope="class")
    @classmethod
    async def make(cls):
        async with CartesiaService().serving() as service:
            yield lambda: CartesiaTextToSpeech(options(service, check=True))


def break_at(text: str, break_off: Any, *, pieces: int = 0, times: int = 1) -> Any:
    """A hook: at the clause with this text, so many times, send ``pieces`` of its audio and then do something."""
    left = [times]

    async def hook(service: CartesiaService, socket: Socket, context: Any, said: str) -> bool:
        if text not in said or not left[0]:
            return False
        left[0] -= 1
        if pieces:
            await service.speak(socket, context, context.fields["context_id"], said, pieces=pieces)
        await break_off(service, socket, context)
        return True

    return hook


async def abort(service: CartesiaService, socket: Socket, context: Any) -> None:
    socket.abort()


async def stall(service: CartesiaService, socket: Socket, context: Any) -> None:
    context.stalled = True


def fail_with(status: int, title: str = "Trouble", said: str = "", *, with_context: bool = True) -> Any:
    async def fail(service: CartesiaService, socket: Socket, context: Any) -> None:
        key = context.fields["context_id"] if with_context else None
        await service.error(socket, key, status, title, said, "some_code")

    return fail


# --- What is sent -----------------------------------------------------------------------------------------------


async def test_a_speak_is_one_context_whose_texts_join_verbatim(service):
    async with started(service) as engine:
        said = await say(engine, FIRST, SECOND)
    assert service.said() == [FIRST + SECOND]
    assert samples(said) == len(FIRST + SECOND) * CHARACTER
    sent = [message for socket in service.sockets for message in socket.received]
    assert [message["transcript"] for message in sent] == [FIRST, "", SECOND, "", ""]
    assert [message["continue"] for message in sent] == [True, True, True, True, False]
    assert {message["context_id"] for message in sent} == {"c0"}
    assert sent[0] == {
        "model_id": "sonic-3.5",
        "voice": "voice-a",
        "language": "en",
        "context_id": "c0",
        "output_format": {"container": "raw", "encoding": "pcm_mulaw", "sample_rate": 8000},
        "add_timestamps": True,
        "max_buffer_delay_ms": 0,
        "transcript": FIRST,
        "continue": True,
    }


async def test_the_key_is_sent_in_a_header_and_never_in_the_address(service):
    async with started(service) as engine:
        await say(engine, FIRST)
    for request in service.requests:
        assert request.headers["Authorization"] == f"Bearer {KEY}"
        assert request.headers["Cartesia-Version"] == "2026-08-14"
        assert KEY not in str(request.url)
    assert KEY not in repr(options(service))


async def test_text_that_says_nothing_is_not_sent_and_counts_as_spoken(service):
    async with started(service) as engine:
        said = await say(engine, "… ", FIRST, " — ", SECOND, " ...")
        assert await say(engine, "… ", " !") == []
    assert service.said() == [FIRST + SECOND]
    assert ends(said)[-1] == len("… " + FIRST + " — " + SECOND + " ...")


async def test_a_clause_is_sent_when_it_comes_and_not_when_audio_is_asked_for(service):
    async with started(service) as engine:
        lines = Lines(FIRST)
        async with aclosing(engine.open().speak(lines)) as chunks:
            await anext(chunks)
            lines.add(SECOND)
            lines.end()
            await until(lambda: service.said() == [FIRST + SECOND])


async def test_speed_and_emotion_are_sent_if_they_are_set(service):
    async with started(service, speed=1.1, emotion="calm") as engine:
        await say(engine, FIRST)
    (context,) = service.contexts.values()
    assert context.fields["generation_config"] == {"speed": 1.1, "emotion": "calm"}


async def test_the_voice_and_the_language_of_a_call_are_sent(service):
    async with started(service) as engine:
        await say(engine, FIRST, voice="voice-b", language="de-AT")
    (context,) = service.contexts.values()
    assert (context.fields["voice"], context.fields["language"]) == ("voice-b", "de")


async def test_characters_are_counted_for_the_call_that_speaks(service):
    meter = UsageMeter()
    async with started(service) as engine:
        with metering(meter):
            speech = engine.open()
        async with aclosing(speech.speak(text_of(FIRST, "… ", SECOND))) as chunks:
            assert [chunk async for chunk in chunks]
        await say(engine, FIRST)
    assert meter.as_json() == {"tts": {"cartesia/sonic-3.5": {"characters": len(FIRST + SECOND)}}}


async def test_what_reached_no_socket_is_not_counted(service):
    meter = UsageMeter()
    async with started(service, warm=0) as engine:
        for socket in service.open_sockets:
            await socket.close()
        service.refusal = (503, "", {})
        with metering(meter):
            _, error = await say_until_error(engine, FIRST)
            assert "503" in str(error)
            assert meter.is_empty
            service.refusal = None
            await say(engine, FIRST)
    assert meter.as_json() == {"tts": {"cartesia/sonic-3.5": {"characters": len(FIRST)}}}


# --- When words are spoken --------------------------------------------------------------------------------------


async def test_word_times_say_how_much_was_spoken(service):
    async with started(service) as engine:
        said = await say(engine, FIRST, SECOND)
    position = 0
    for chunk in said[:-1]:
        position += len(chunk.pcm)
        spoken = position / CHARACTER  # a word counts when its end has come
        assert chunk.text_end <= spoken + 1
        assert spoken - chunk.text_end <= len("We open ")
    assert sum(chunk.exact for chunk in said) >= len(said) / 2
    assert any(chunk.text_end == len("We open") for chunk in said)


async def test_without_word_times_the_text_is_estimated_and_the_end_of_a_clause_is_known(service):
    service.timestamps = False
    async with started(service) as engine:
        said = await say(engine, FIRST, SECOND)
    assert ends(said) == sorted(ends(said))
    position = 0
    for chunk in said:
        position += len(chunk.pcm)
        if position < len(FIRST) * CHARACTER:
            assert chunk.text_end < len(FIRST)
    assert ends(said)[-1] == len(FIRST + SECOND)
    assert len(set(ends(said))) > 5


async def test_words_that_are_not_those_of_the_text_are_not_followed(service):
    async def words(socket, key, text, begin):
        await CartesiaService.words(service, socket, key, "Something else entirely. ", begin)

    service.words = words
    async with started(service) as engine:
        said = await say(engine, FIRST, SECOND)
    assert not any(chunk.exact for chunk in said if chunk.text_end not in (len(FIRST), len(FIRST + SECOND)))
    assert ends(said) == sorted(ends(said))
    assert ends(said)[-1] == len(FIRST + SECOND)


async def test_the_end_of_a_clause_is_passed_on_before_the_next_one_comes(service):
    async with started(service) as engine:
        lines, said = Lines(FIRST), []
        async with aclosing(engine.open().speak(lines)) as chunks:
            async for chunk in chunks:
                said.append(chunk)
                if samples(said) == len(FIRST) * CHARACTER and chunk.text_end == len(FIRST):
                    lines.end()
    assert ends(said)[-1] == len(FIRST)


# --- Contexts that the service forgets ---------------------------------------------------------------------------


async def test_after_a_pause_of_the_language_model_a_new_context_with_its_own_clock_is_used(service, monkeypatch):
    monkeypatch.setattr("inference.engines.cartesia.LIFE", 0.0)
    async with started(service) as engine:
        lines, said = Lines(FIRST), []
        async with aclosing(engine.open().speak(lines)) as chunks:
            async for chunk in chunks:
                said.append(chunk)
                if samples(said) == len(FIRST) * CHARACTER:
                    lines.add(SECOND)
                    lines.end()
    assert service.said() == [FIRST, SECOND]
    assert samples(said) == len(FIRST + SECOND) * CHARACTER
    assert ends(said) == sorted(ends(said))
    assert any(chunk.text_end == len(FIRST + "And shut") for chunk in said)


async def test_a_context_that_was_forgotten_sooner_is_replaced(service):
    expired = fail_with(400, "Context expired", "The context has expired.")
    service.hooks.append(break_at(SECOND, expired))
    async with started(service) as engine:
        said = await say(engine, FIRST, SECOND)
    assert service.said() == [FIRST, SECOND]
    assert samples(said) == len(FIRST + SECOND) * CHARACTER
    assert ends(said)[-1] == len(FIRST + SECOND)


async def test_a_context_that_the_service_ends_by_itself_is_replaced(service):
    async with started(service) as engine:
        lines, said = Lines(FIRST), []
        async with aclosing(engine.open().speak(lines)) as chunks:
            async for chunk in chunks:
                said.append(chunk)
                if samples(said) == len(FIRST) * CHARACTER and service.said() == [FIRST]:
                    done = {"type": "done", "context_id": "c0", "done": True, "status_code": 200}
                    await service.open_sockets[0].send(done)
                    await service.open_sockets[0].send({"type": "other", "context_id": "c0"})
                    await asyncio.sleep(0.05)
                    lines.add(SECOND)
                    lines.end()
    assert service.said() == [FIRST, SECOND]
    assert ends(said)[-1] == len(FIRST + SECOND)


# --- Cancelling ------------------------------------------------------------------------------------------------


async def test_closing_cancels_at_the_service_and_nothing_of_it_is_heard_later(service):
    async with started(service, warm=1, limit=1) as engine:
        speech = engine.open()
        chunks = speech.speak(text_of(FIRST * 10))
        first = await anext(chunks)
        await chunks.aclose()
        speech.heard(len(first.pcm))
        # The service still speaks the old context: of another tone, so that it would be noticed.
        await until(lambda: service.cancels)
        stale = base64.b64encode(tone(20, hz=1500.0)).decode()
        for socket in service.open_sockets:
            await socket.send({"type": "chunk", "context_id": "c0", "data": stale, "done": False, "status_code": 206})
        async with aclosing(speech.speak(text_of(SECOND))) as chunks:
            said = [chunk async for chunk in chunks]
    assert service.cancels == ["c0"]
    assert list(service.contexts) == ["c0", "c1"]
    assert samples(said) == len(SECOND) * CHARACTER
    spectrum = np.abs(np.fft.rfft(sound(said)))
    assert abs(spectrum.argmax() * RATE_HZ / samples(said) - 300) < 10


async def test_what_was_said_to_its_end_is_not_cancelled(service):
    async with started(service) as engine:
        await say(engine, FIRST)
        await say(engine, SECOND)
    assert service.cancels == []


async def test_closing_the_voice_of_a_call_cancels_what_it_says(service):
    service.hooks.append(break_at(FIRST, stall))
    async with started(service) as engine:
        speech = engine.open()
        saying = asyncio.ensure_future(anext(speech.speak(text_of(FIRST))))
        await until(lambda: service.contexts)
        await speech.close()
        with pytest.raises(EngineError, match="closed"):
            await saying
        await until(lambda: service.cancels)


async def test_a_clause_that_waits_for_a_socket_is_never_sent_if_it_was_closed(service):
    async with started(service, warm=0, limit=1) as engine:
        first, second = engine.open(), engine.open()
        service.handshake.clear()
        for socket in service.open_sockets:
            socket.abort()
        await asyncio.sleep(0.05)
        saying = asyncio.ensure_future(anext(first.speak(text_of(FIRST))))
        await asyncio.sleep(0.05)
        saying.cancel()
        await asyncio.wait([saying])
        service.handshake.set()
        async with aclosing(second.speak(text_of(SECOND))) as chunks:
            assert [chunk async for chunk in chunks]
    assert service.said() == [SECOND]


# --- Loudness ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [1200.0, 12000.0])
async def test_a_voice_is_brought_to_the_house_level_and_stays_there(service, level):
    service.level = level
    async with started(service) as engine:
        for _ in range(4):
            await say(engine, FIRST * 6)
        said = sound(await say(engine, FIRST * 6))
    assert 20 * np.log10(active_level(said) / 32768) == pytest.approx(-20, abs=0.3)
    beginning, end = np.array_split(said, 2)
    assert active_level(beginning) == pytest.approx(active_level(end), rel=0.01)


async def test_the_gain_may_be_given(service):
    async with started(service, gain_db=6.0) as engine:
        said = sound(await say(engine, FIRST))
    assert active_level(said) == pytest.approx(2 * 3000 / np.sqrt(2), rel=0.02)


# --- What the start finds ---------------------------------------------------------------------------------------


async def refusal(service: CartesiaService, **changes: Any) -> str:
    engine = CartesiaTextToSpeech(options(service, **changes))
    async with leaving_no_task():
        with pytest.raises(EngineError) as caught:
            await engine.start()
    assert caught.value.permanent
    return str(caught.value)


async def test_a_missing_or_wrong_key_is_found_at_the_start(service):
    assert "CARTESIA_API_KEY" in await refusal(service, api_key="")
    said = await refusal(service, api_key="wrong-secret")
    assert "CARTESIA_API_KEY" in said
    assert "wrong-secret" not in said


async def test_an_unknown_voice_is_found_at_the_start_and_when_a_call_begins(service):
    assert "no voice" in await refusal(service, voice="nobody")
    assert "no voice" in await refusal(service, voices=["voice-b", "nobody"])
    assert "voice-c" in await refusal(service, voice="Cleo")  # its id is on the second page
    async with started(service, voices="voice-b, voice-c") as engine:
        with pytest.raises(EngineError, match="no voice") as caught:
            engine.open(voice="nobody")
        assert caught.value.permanent
        engine.open(voice="voice-c")


async def test_a_model_that_does_not_exist_is_found_at_the_start(service):
    assert "Model not found" in await refusal(service, model="sonic-1", check=True)


async def test_a_language_that_the_model_does_not_speak_is_refused(service):
    async with started(service) as engine:
        assert "de" in engine.languages
        with pytest.raises(EngineError, match="does not speak 'tlh'") as caught:
            engine.open(language="tlh")
        assert caught.value.permanent
    async with started(service, languages=["de"]) as engine:
        with pytest.raises(EngineError):
            engine.open(language="en")


async def test_a_service_that_is_away_at_the_start_may_come_back(service, caplog):
    service.refusal = (503, "", {})
    async with started(service, check=True) as engine:
        service.refusal = None
        service.handshake.set()
        assert ends(await say(engine, FIRST))[-1] == len(FIRST)
    assert "Cartesia" in caplog.text


async def test_the_check_at_the_start_says_one_word_however_often_it_is_started(service):
    async with started(service, check=True) as engine:
        await engine.start()
        assert service.said() == ["Hello."]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"speed": 2.0}, "speed"),
        ({"warm": 16}, "warm"),
        ({"limit": 0}, "limit"),
        ({"contexts_per_socket": 0}, "contexts"),
    ],
)
def test_options_that_cannot_work_are_refused(changes, said):
    with pytest.raises(EngineError, match=said) as caught:
        CartesiaOptions(**changes)
    assert caught.value.permanent


def test_a_speech_is_never_begun_on_words_that_may_change():
    assert CartesiaTextToSpeech().may_speculate is False
