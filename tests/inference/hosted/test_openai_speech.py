"""``OpenAISpeechTextToSpeech`` against a server on this machine that behaves, and fails, as OpenAI and others do."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from datetime import date
from typing import Any

import aiohttp
import numpy as np
import pytest
import pytest_asyncio
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from inference import usage
from inference.engines.openai_speech import OpenAISpeechOptions, OpenAISpeechTextToSpeech
from inference.hosted.api import Api
from inference.hosted.audio_body import AudioBody
from inference.hosted.openai import check_model, is_openai, is_own, names_in
from inference.hosted.requested_speech import VoiceProfile, parts_of
from inference.types import EngineError, EngineFull, EngineTimeout, Pcm, QuotaExhausted
from inference.voices.clause import SENTENCE_PAUSE
from inference.voices.loudness import active_level
from tests.inference.contract import TextToSpeechContract, leaving_no_task
from tests.inference.hosted.openai_service import (
    RATE_HZ,
    SECONDS_PER_CHARACTER,
    OpenAIService,
    error,
    voice_of,
)
from tests.inference.speaking import clauses, loud_samples, sound_of, speak

FIRST, SECOND = "We open at ten in the morning. ", "And we shut at six."


def options(service: OpenAIService, **given_options: Any) -> OpenAISpeechOptions:
    return OpenAISpeechOptions(**{"base_url": service.url, "gain_db": 0.0, "paid": True, **given_options})


@asynccontextmanager
async def engine_of(service: OpenAIService, **given_options: Any) -> AsyncIterator[OpenAISpeechTextToSpeech]:
    engine = OpenAISpeechTextToSpeech(options(service, **given_options))
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


@pytest.fixture
async def service() -> AsyncIterator[OpenAIService]:
    async with OpenAIService().serving() as serving:
        yield serving


@pytest.fixture
async def engine(service: OpenAIService) -> AsyncIterator[OpenAISpeechTextToSpeech]:
    async with engine_of(service) as started:
        yield started


class TestOpenAISpeechTextToSpeech(TextToSpeechContract):
    @pytest_asyncio.fixture(scope="class", loop_scope="class")
    @classmethod
    async def make(cls):
        service = OpenAIService()
        service.voices = {"voices": ["alloy", "af_heart"]}
        async with service.serving_elsewhere():
            yield lambda: OpenAISpeechTextToSpeech(options(service))


# -- what is said, and how


async def test_a_clause_is_asked_for_as_samples_and_spoken_whatever_the_pieces(service, engine):
    sound = await sound_of(engine, FIRST)
    assert service.bodies == [{"model": "gpt-4o-mini-tts", "input": FIRST, "voice": "alloy", "response_format": "pcm"}]
    loud = loud_samples(sound)
    assert loud[0] / RATE_HZ <= 0.031  # the silence of the server is not heard
    assert (loud[-1] - loud[0]) / RATE_HZ == pytest.approx(len(FIRST) * SECONDS_PER_CHARACTER, abs=0.001)
    assert (len(sound) - loud[-1]) / RATE_HZ == pytest.approx(SENTENCE_PAUSE, abs=0.001)


async def test_options_are_fields_of_the_request_and_extra_ones_replace_them(service):
    async with engine_of(
        service,
        api_key=" k1 ",
        model="kokoro",
        instructions="Speak calmly.",
        speed=1.1,
        extra_body={"lang_code": "a", "response_format": "wav", "model": None},
    ) as engine:
        await speak(engine, FIRST, voice="af_heart")
    assert service.bodies[0] == {
        **{"input": FIRST, "voice": "af_heart", "response_format": "wav"},
        **{"instructions": "Speak calmly.", "speed": 1.1, "lang_code": "a"},
    }
    assert service.requests[-1].headers["Authorization"] == "Bearer k1"


async def test_how_far_the_text_was_spoken_is_estimated_in_a_clause_and_known_at_its_end(engine):
    chunks = await speak(engine, FIRST, SECOND)
    exact = [chunk.text_end for chunk in chunks if chunk.exact]
    assert exact == [len(FIRST), len(FIRST + SECOND)]
    ends = [chunk.text_end for chunk in chunks]
    assert ends == sorted(ends)
    assert len(set(ends)) > 10


async def test_what_says_nothing_is_not_sent_but_counts_as_spoken(service, engine):
    assert await speak(engine, " ", "…") == []
    chunks = await speak(engine, FIRST, "-- ", SECOND, " …")
    assert [body["input"] for body in service.bodies] == [FIRST, SECOND]
    assert chunks[-1].text_end == len(FIRST + "-- " + SECOND + " …")


async def test_the_next_clause_is_requested_while_one_is_spoken_and_no_other(service, engine):
    async with aclosing(engine.open().speak(clauses("One. ", "Two. ", "Three. ", "Four."))) as chunks:
        await anext(chunks)
        while len(service.ended) < 2:
            service.end.clear()
            await service.end.wait()
        assert [body["input"] for body in service.bodies] == ["One. ", "Two. "]
        assert [chunk.text_end async for chunk in chunks][-1] == len("One. Two. Three. Four.")


async def test_a_text_that_is_too_long_for_one_request_is_divided(service, engine):
    text = "We open at ten in the morning. " * 150
    chunks = await speak(engine, text)
    assert "".join(body["input"] for body in service.bodies) == text
    assert max(len(body["input"]) for body in service.bodies) <= 4096
    assert chunks[-1].text_end == len(text)


@given(st.text(alphabet="ab ", max_size=60), st.integers(1, 10))
def test_dividing_a_text_loses_nothing(text, longest):
    parts = parts_of(text, longest)
    assert "".join(parts) == text
    assert max(map(len, parts)) <= longest


# -- closing


async def test_closing_in_mid_clause_closes_the_response_at_once(service, engine):
    async def hang(request: web.Request) -> web.StreamResponse:
        return await service.send(request, voice_of(FIRST).tobytes(), pieces=(20_000,), hold=asyncio.Event())

    service.speak = hang
    async with leaving_no_task():
        chunks = engine.open().speak(clauses(FIRST, SECOND))
        await anext(chunks)
        await chunks.aclose()
        await service.end.wait()
        assert service.ended[0] == "left"
    service.speak = service.speak_well
    assert (await speak(engine, SECOND))[-1].text_end == len(SECOND)


# -- faults


@pytest.mark.parametrize(
    ("status", "content", "headers", "kind", "words"),
    [
        (401, error("Incorrect API key", "invalid_api_key"), {}, EngineError, "TTS_API_KEY"),
        (404, error("no such model", "model_not_found"), {}, EngineError, "TTS_MODEL"),
        (400, error("bad voice", "invalid_value"), {}, EngineError, "TTS_VOICE"),
        (429, error("slow down", "rate_limit_exceeded"), {"Retry-After": "7"}, EngineFull, "slow down"),
        (429, error("no credit", "insufficient_quota"), {}, QuotaExhausted, "add credit"),
        (500, error("oops", "server_error"), {}, EngineError, "500"),
        (200, error("slow down", "rate_limit_exceeded"), {}, EngineFull, "slow down"),
        (200, error("no credit", "insufficient_quota"), {}, QuotaExhausted, "add credit"),
        (200, error("bad key", "invalid_api_key"), {}, EngineError, "TTS_API_KEY"),
        (200, {"detail": "worker died"}, {}, EngineError, "worker died"),
        (200, ["?"], {}, EngineError, "200|500"),
    ],
)
async def test_a_refusal_with_whatever_status_says_what_to_do(service, engine, status, content, headers, kind, words):
    async def refuse(request: web.Request) -> web.StreamResponse:
        return web.json_response(content, status=status, headers=headers)

    service.speak = refuse
    async with leaving_no_task():
        with pytest.raises(EngineError, match=words) as raised:
            await speak(engine, FIRST)
    assert type(raised.value) is kind
    assert raised.value.permanent == (("key" in words.lower()) or words in ("TTS_MODEL", "TTS_VOICE"))
    if isinstance(raised.value, EngineFull) and headers:
        assert raised.value.retry_after == 7


async def test_a_server_that_is_full_is_asked_nothing_until_it_says(service, engine):
    async def refuse(request: web.Request) -> web.StreamResponse:
        return web.json_response({}, status=429, headers={"Retry-After": "30"})

    service.speak = refuse
    with pytest.raises(EngineFull):
        await speak(engine, FIRST)
    with pytest.raises(EngineFull) as raised:
        engine.open()
    assert 15 < raised.value.retry_after <= 30


async def test_an_error_does_not_quote_the_text_that_was_to_be_spoken(service, engine):
    async def quote(request: web.Request) -> web.StreamResponse:
        return web.json_response({"detail": [{"msg": "bad", "input": service.bodies[-1]["input"]}]}, status=422)

    service.speak = quote
    with pytest.raises(EngineError) as raised:
        await speak(engine, "Your PIN is one two three four, Mrs Harrington.")
    assert "Harrington" not in str(raised.value)


@pytest.mark.parametrize("at", ["before", "headers", "sound"])
@pytest.mark.parametrize("how", ["dies", "stalls"])
async def test_a_connection_that_dies_or_stalls_at_any_point_is_an_error_and_the_next_request_works(service, at, how):
    async def fail(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "audio/pcm"})
        if at != "before":
            await response.prepare(request)
        if at == "sound":
            await response.write(voice_of(FIRST).tobytes()[:16_001])
        if how == "dies":
            assert request.transport is not None
            request.transport.abort()
        await asyncio.Event().wait()
        return response

    async with engine_of(service, first_audio_timeout=1.0, stall_timeout=0.9) as engine:
        service.speak = fail
        async with leaving_no_task():
            with pytest.raises(EngineError) as raised:
                await speak(engine, FIRST, SECOND)
        assert isinstance(raised.value, EngineTimeout) == (how == "stalls")
        assert not raised.value.permanent
        service.speak = service.speak_well
        assert (await speak(engine, SECOND))[-1].text_end == len(SECOND)


async def test_a_pooled_connection_that_the_server_closes_is_replaced(service, engine):
    await speak(engine, FIRST)
    calls = 0

    async def die_once(request: web.Request) -> web.StreamResponse:
        nonlocal calls
        calls += 1
        if calls == 1:
            assert request.transport is not None
            request.transport.abort()
            await asyncio.Event().wait()
        return await service.speak_well(request)

    service.speak = die_once
    assert (await speak(engine, SECOND))[-1].text_end == len(SECOND)


async def test_a_clause_that_fails_is_heard_of_after_the_clause_before_it(service, engine):
    async def second_fails(request: web.Request) -> web.StreamResponse:
        return await service.speak_well(request) if len(service.bodies) == 1 else web.Response(status=500)

    service.speak = second_fails
    ends = []

    async def listen() -> None:
        async for chunk in engine.open().speak(clauses(FIRST, SECOND)):
            ends.append(chunk.text_end)

    with pytest.raises(EngineError, match="500"):
        await listen()
    assert ends[-1] == len(FIRST)


async def test_nothing_is_requested_after_a_clause_that_failed(service, engine):
    async def fail(request: web.Request) -> web.StreamResponse:
        return web.Response(status=500)

    service.speak = fail
    with pytest.raises(EngineError, match="500"):
        await speak(engine, FIRST, SECOND)
    assert [body["input"] for body in service.bodies] == [FIRST]


async def test_a_sound_without_end_or_without_samples_is_an_error(service, engine):
    async def never_end(request: web.Request) -> web.StreamResponse:
        return await service.send(request, bytes(48_000 * 60))

    async def say_nothing(request: web.Request) -> web.StreamResponse:
        return await service.send(request, b"\0")

    service.speak = never_end
    with pytest.raises(EngineError, match="does not come to an end"):
        await speak(engine, "Yes.")
    service.speak = say_nothing
    with pytest.raises(EngineError, match="no sound"):
        await speak(engine, "Yes.")


# -- formats


def wav(pcm: bytes, size: int, *, rate_hz: int = RATE_HZ, channels: int = 1, bits: int = 16, kind: int = 1) -> bytes:
    form = struct.pack("<HHIIHH", kind, channels, rate_hz, rate_hz * 2 * channels, 2 * channels, bits)
    junk = b"JUNK" + struct.pack("<I", 3) + b"abc\0"
    return b"RIFF" + struct.pack("<I", size) + b"WAVE" + junk + b"fmt " + struct.pack("<I", 16) + form + b"data"


def read(content_type: str, *pieces: bytes) -> Pcm:
    body = AudioBody(content_type, RATE_HZ)
    return np.concatenate([*(body.feed(piece) for piece in pieces), body.finish()])


PCM = voice_of("Hello there").tobytes()
TRAILER = b"LIST" + struct.pack("<I", 26) + b"INFOISFT\x0e\0\0\0Lavf61.1.100\0\0"


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, len(PCM)])
@pytest.mark.parametrize("trailer", [b"", TRAILER])
@pytest.mark.parametrize("piece", [1, 7, 4095, 1_000_000])
def test_a_wav_is_read_whatever_its_header_says_of_its_length(size, trailer, piece):
    content = wav(PCM, size) + struct.pack("<I", size) + PCM + trailer
    body = AudioBody("audio/wav", RATE_HZ)
    sound = [body.feed(content[at : at + piece]) for at in range(0, len(content), piece)]
    assert np.concatenate([*sound, body.finish()]).tobytes() == PCM


@pytest.mark.parametrize("content_type", ["audio/pcm;rate=48000", "audio/wav"])
def test_another_rate_is_resampled(content_type):
    content = b"" if "pcm" in content_type else wav(PCM, 0, rate_hz=48_000) + struct.pack("<I", 0)
    body = AudioBody(content_type, RATE_HZ)
    sound = np.concatenate([body.feed(content + PCM), body.finish()])
    assert len(sound) == -(-len(PCM) // 4)


@pytest.mark.parametrize(
    ("content_type", "content", "words"),
    [
        ("audio/mpeg", b"", "audio/mpeg"),
        ("application/octet-stream", b"ID3\x04rest", "MP3"),
        ("audio/pcm", b"OggSrest", "Ogg"),
        ("", b"fLaCrest", "FLAC"),
        ("audio/pcm", b'{"error": 1}', "a text"),
        ("audio/wav", wav(b"", 0, channels=2), "2 channels"),
        ("audio/wav", wav(b"", 0, kind=3, bits=32), "32 bits"),
        ("audio/wav", b"RIFF\0\0\0\0WAVEdata\0\0\0\0", "without a format"),
        ("audio/wav", b"RIFF\0\0", "within its header"),
        ("audio/wav", b"RIFX\0\0", "RIFF"),
        ("audio/pcm;rate=3", b"", "3 Hz"),
        ("audio/L16;rate=24000;channels=2", b"", "2 channels"),
    ],
)
def test_a_format_that_cannot_be_read_is_named_with_what_to_do(content_type, content, words):
    with pytest.raises(EngineError, match=words) as raised:
        read(content_type, content)
    assert raised.value.permanent
    assert '"response_format": "pcm"' in str(raised.value)


@given(st.sampled_from([b"", b"RIFF", b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0"]), st.lists(st.binary(max_size=40), max_size=8))
def test_whatever_a_server_sends_is_sound_or_an_error(start, pieces):
    with suppress(EngineError):
        assert read("audio/pcm", start, *pieces).dtype == np.int16


# -- voices, models, loudness, money


@pytest.mark.parametrize(
    "listing",
    [
        {"voices": ["af_heart", "am_adam"]},
        {"voices": [{"id": "af_heart", "name": "Heart"}, {"name": "am_adam"}]},
        {"data": [{"voice_id": "af_heart"}, {"id": "am_adam"}, {"id": None}, 7]},
        ["af_heart", "am_adam", None],
        {"voices": {"af_heart": {}, "am_adam": {}}},
    ],
)
async def test_another_server_names_its_voices_in_whichever_form(service, listing):
    service.voices = listing
    async with engine_of(service) as engine:
        await speak(engine, FIRST)
        assert service.bodies[0]["voice"] == "af_heart"
        engine.open(voice="am_adam")
        engine.open(voice="af_heart(2)+am_adam(1)")
        with pytest.raises(EngineError, match=r"no voice 'coral'.*: af_heart, am_adam") as raised:
            engine.open(voice="coral")
        assert raised.value.permanent


@given(
    st.recursive(
        st.none() | st.text() | st.integers(),
        lambda each: st.lists(each) | st.dictionaries(st.sampled_from(["voices", "data", "id"]), each),
    )
)
def test_a_list_of_voices_of_any_form_is_read(listing):
    assert all(isinstance(name, str) for name in names_in(listing))


async def test_a_server_without_a_list_of_voices_gets_any_name_unless_the_operator_lists_them(service):
    async with engine_of(service) as engine:
        engine.open(voice="whoever")
    async with engine_of(service, voices=["anna"], voice="bob") as engine:
        engine.open(), engine.open(voice="anna")
        with pytest.raises(EngineError, match="no voice 'whoever'"):
            engine.open(voice="whoever")


async def test_openai_has_a_list_of_voices_languages_and_no_speculation():
    engine = OpenAISpeechTextToSpeech(OpenAISpeechOptions(api_key="k"))
    assert not engine.may_speculate
    assert engine.languages is not None
    assert {"en", "de", "cy"} <= engine.languages
    assert "gpt-4o-mini-tts" in engine.describe().weights


async def test_a_key_that_is_refused_stops_the_start_and_leaves_nothing(service):
    service.refusal = (401, "Incorrect API key provided", {})
    async with leaving_no_task():
        with pytest.raises(EngineError, match="Check the key in TTS_API_KEY") as raised:
            await OpenAISpeechTextToSpeech(options(service)).start()
    assert raised.value.permanent


@pytest.mark.parametrize("models", [None, [], {"data": None}, {"data": [{"id": 3}, None, {"id": "other"}]}, "text"])
async def test_a_server_without_a_list_of_models_or_with_other_names_is_used(service, models):
    service.models = models
    async with engine_of(service) as engine:
        assert (await speak(engine, SECOND))[-1].text_end == len(SECOND)


async def test_a_server_that_is_away_at_the_start_is_used_when_it_is_back(service, caplog):
    service.refusal = (503, "", {})
    async with engine_of(service) as engine:
        assert "calls try it nevertheless" in caplog.text
        assert (await speak(engine, SECOND))[-1].text_end == len(SECOND)


@pytest.mark.parametrize(
    ("day", "words"),
    [
        (date(2026, 10, 1), ""),
        (date(2026, 11, 29), "ends on 2027-01-06, in 38 days; OpenAI has named no successor"),
        (date(2027, 1, 6), "has ended on 2027-01-06"),
    ],
)
async def test_the_end_of_a_model_is_announced(service, caplog, day, words):
    api = Api("OpenAI", service.url)
    await check_model(api, "gpt-4o-mini-tts", setting="TTS_MODEL", today=day)
    await api.close()
    assert words in caplog.text
    assert bool(words) == bool(caplog.records)


@pytest.mark.parametrize(
    ("url", "ours", "own"),
    [
        ("https://api.openai.com/v1", True, False),
        ("https://eu.api.openai.com/v1", True, False),
        ("https://openai.com.example.org/v1", False, False),
        ("http://127.0.0.1:8880/v1", False, True),
        ("http://[::1]:8880/v1", False, True),
        ("http://10.0.0.7/v1", False, True),
        ("http://kokoro:8880/v1", False, True),
        ("http://gpu.local/v1", False, True),
        ("https://api.groq.com/openai/v1", False, False),
    ],
)
def test_which_servers_are_openai_and_which_are_our_own(url, ours, own):
    assert is_openai(url) == ours
    assert is_own(url) == own


@pytest.mark.parametrize(
    ("base_url", "setting"),
    [("https://api.openai.com/v1", "OPENAI_API_KEY"), ("https://eu.api.openai.com/v1", "TTS_API_KEY")],
)
def test_a_key_that_is_missing_is_named_by_its_setting(base_url, setting):
    with pytest.raises(EngineError, match=f"Set {setting}"):
        OpenAISpeechOptions(base_url=base_url)


@pytest.mark.parametrize(
    "wrong",
    [
        {"api_key": ""},
        {"api_key": "k 1"},
        {"api_key": "clé"},
        {"base_url": "kokoro:8880/v1"},
        {"base_url": ""},
        {"api_key": "k", "rate_hz": 3},
        {"api_key": "k", "stall_timeout": 0},
        {"api_key": "k", "voices": "anna"},
    ],
)
def test_options_that_cannot_work_are_refused(wrong):
    with pytest.raises(EngineError) as raised:
        OpenAISpeechOptions(**wrong)
    assert raised.value.permanent


async def test_an_own_server_is_warmed_up_and_its_loudness_measured(service):
    service.level = 0.02
    async with engine_of(service, paid=None, gain_db=None) as engine:
        assert len(service.bodies) == 1
        assert engine.may_speculate
        sound = await sound_of(engine, FIRST)
    assert active_level(sound[1000:-4000], RATE_HZ) == pytest.approx(-22, abs=1)


def test_a_voice_comes_slowly_to_the_level_of_all_voices_and_not_beyond_a_gain_of_12_db():
    voice = VoiceProfile(RATE_HZ)

    def say(times: int, level: float) -> float:
        for _ in range(times):
            voice.learn(FIRST, voice_of(FIRST, level=level))
        return voice.gain_db

    assert say(3, 0.05) == pytest.approx(3)
    assert say(20, 0.05) == pytest.approx(6, abs=0.6)
    voice.learn(FIRST, np.zeros(RATE_HZ, np.int16))
    assert say(1, 0.05) == pytest.approx(6, abs=0.6)
    assert say(40, 0.005) == 12
    assert VoiceProfile(RATE_HZ, gain_db=-3).gain_db == -3
    assert voice.amplify(np.array([100, -32768], np.int16), 6.0).tolist() == [200, pytest.approx(-29_000, abs=300)]


async def test_characters_are_counted_where_they_cost_money_also_of_speech_that_is_left(service):
    meter = usage.UsageMeter()
    with usage.metering(meter):
        async with engine_of(service) as engine:
            await speak(engine, FIRST)
        async with engine_of(service, paid=False) as engine:
            await speak(engine, FIRST)
    assert meter.as_json() == {"tts": {"127.0.0.1/gpt-4o-mini-tts": {"characters": len(FIRST)}}}
    with usage.metering(meter):
        async with engine_of(service) as engine, aclosing(engine.open().speak(clauses(SECOND))) as chunks:
            await anext(chunks)
    assert meter.as_json()["tts"]["127.0.0.1/gpt-4o-mini-tts"] == {"characters": len(FIRST + SECOND)}


async def test_what_reaches_no_server_is_not_counted(service, monkeypatch):
    async def never(*_: Any, **__: Any) -> None:
        raise aiohttp.ConnectionTimeoutError

    meter = usage.UsageMeter()
    async with engine_of(service) as engine:
        monkeypatch.setattr(aiohttp.ClientSession, "request", never)
        with usage.metering(meter), pytest.raises(EngineTimeout, match="cannot reach"):
            await speak(engine, FIRST)
    assert meter.is_empty


async def test_no_more_calls_than_the_limit_use_it(service):
    async with engine_of(service, limit=1) as engine:
        speech = engine.open()
        with pytest.raises(EngineFull, match="limit"):
            engine.open()
        await speech.close()
        engine.open()


async def test_a_language_that_is_not_spoken_is_refused(service):
    async with engine_of(service, languages=["en", "de"]) as engine:
        engine.open(language="de-AT")
        with pytest.raises(EngineError, match="does not speak 'fr'"):
            engine.open(language="fr")
