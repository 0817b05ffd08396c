"""``OpenAITranscribeSpeechToText`` against a server on this machine that answers, and fails, as OpenAI and others."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from inference import usage
from inference.engines.openai_transcribe import OpenAITranscribeOptions, OpenAITranscribeSpeechToText
from inference.types import AUTO, EngineError, EngineFull, EngineTimeout, Pcm, QuotaExhausted, Transcript
from tests.inference.contract import SpeechToTextContract, band_noise, leaving_no_task
from tests.inference.hosted.openai_service import OpenAIService, error

RATE_HZ = 16_000


def low(seconds: float) -> Pcm:
    return band_noise(100, 1500, seconds, RATE_HZ)


def high(seconds: float) -> Pcm:
    return band_noise(2200, 3900, seconds, RATE_HZ)


def silence(seconds: float) -> Pcm:
    return np.zeros(round(seconds * RATE_HZ), np.int16)


def options(service: OpenAIService, **given_options: Any) -> OpenAITranscribeOptions:
    return OpenAITranscribeOptions(**{"base_url": service.url, "paid": True, **given_options})


@asynccontextmanager
async def engine_of(service: OpenAIService, **given_options: Any) -> AsyncIterator[OpenAITranscribeSpeechToText]:
    engine = OpenAITranscribeSpeechToText(options(service, **given_options))
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
async def engine(service: OpenAIService) -> AsyncIterator[OpenAITranscribeSpeechToText]:
    async with engine_of(service) as started:
        yield started


async def recognise(engine: OpenAITranscribeSpeechToText, *sounds: Pcm, **given_options: Any) -> Transcript:
    utterance = engine.open(**given_options)
    for sound in sounds:
        utterance.push(sound)
    return await utterance.finish()


class Contract(SpeechToTextContract):
    given_options: dict[str, Any] = {}

    @pytest_asyncio.fixture(scope="class", loop_scope="class")
    @classmethod
    async def make(cls):
        async with OpenAIService().serving_elsewhere() as service:
            yield lambda: OpenAITranscribeSpeechToText(options(service, **cls.given_options))


class TestOpenAITranscribeSpeechToText(Contract):
    pass


class TestOpenAITranscribeSpeechToTextAsAStream(Contract):
    given_options = {"stream": True, "rate_hz": 8000}


# -- the request


async def test_a_recording_with_a_name_and_the_fields_of_openai_are_sent(service, engine):
    transcript = await recognise(engine, low(0.6), high(0.3), keyterms=["Harrington", "Rue de la Paix"])
    assert transcript.text == "low low high"
    (recording,) = service.recordings
    assert recording.fields == [
        ("model", "gpt-transcribe"),
        ("response_format", "json"),
        ("language", "en"),
        ("keywords[]", "Harrington"),
        ("keywords[]", "Rue de la Paix"),
    ]
    assert (recording.filename, recording.content_type, recording.rate_hz) == ("utterance.wav", "audio/wav", RATE_HZ)
    assert recording.pcm == np.concatenate([low(0.6), high(0.3)]).tobytes()


async def test_other_models_get_key_terms_in_the_prompt_and_one_language(service):
    async with engine_of(
        service, model="whisper-1", prompt="A hotel.", extra_fields={"temperature": "0"}, api_key="k"
    ) as engine:
        await recognise(engine, low(0.6), language="de-AT", others=["en"], keyterms=["Sölden", "Ötztal"])
    assert service.recordings[0].fields == [
        ("model", "whisper-1"),
        ("response_format", "json"),
        ("prompt", "A hotel. Sölden, Ötztal."),
        ("language", "de"),
        ("temperature", "0"),
    ]
    assert service.requests[-1].headers["Authorization"] == "Bearer k"


async def test_the_language_is_found_among_several_or_all(service, engine):
    service.languages = [{"code": "de"}]
    transcript = await recognise(engine, low(0.6), language="en", others=["de-DE", "xx"])
    assert (transcript.language, transcript.language_probability) == ("de", 1.0)
    assert service.recordings[0].fields[2:] == [("languages[]", "en"), ("languages[]", "de")]
    service.languages = [{"code": "de"}, {"code": "nl"}]
    assert (await recognise(engine, low(0.6), language=AUTO)).language == ""
    assert service.recordings[1].fields[2:] == []
    with pytest.raises(EngineError, match="does not recognise 'xx'"):
        engine.open(language="xx")


# -- how many requests


async def test_a_snapshot_after_which_only_silence_came_shares_its_answer(service, engine):
    utterance = engine.open()
    utterance.push(low(0.6))
    utterance.push(silence(0.2))
    first = await utterance.snapshot()
    utterance.push(silence(0.5))
    second, third = await asyncio.gather(utterance.snapshot(), utterance.snapshot())
    final = await utterance.finish()
    assert {first.text, second.text, third.text, final.text} == {"low low"}
    assert final.samples == round(1.3 * RATE_HZ)
    assert len(service.recordings) == 1


async def test_snapshots_at_the_same_moment_share_one_request(service, engine):
    utterance = engine.open()
    utterance.push(low(0.6))
    texts = [answer.text for answer in await asyncio.gather(*(utterance.snapshot() for _ in range(4)))]
    assert texts == ["low low"] * 4
    assert len(service.recordings) == 1
    utterance.cancel()


async def test_new_voice_makes_a_new_request_with_all_of_the_utterance(service, engine):
    utterance = engine.open()
    utterance.push(low(0.6))
    await utterance.snapshot()
    utterance.push(high(0.6))
    assert (await utterance.finish()).text == "low low high high"
    assert [recording.seconds for recording in service.recordings] == [pytest.approx(0.6), pytest.approx(1.2)]


async def test_a_long_utterance_is_kept_in_parts_that_end_in_pauses(service):
    async with engine_of(service, longest=2.0) as engine:
        utterance = engine.open()
        for _ in range(4):
            for sound in (low(1.5), silence(0.3)):
                utterance.push(sound)
            transcript = await utterance.snapshot()
        assert transcript.text == " ".join(["low"] * 20)
        assert transcript.samples == round(7.2 * RATE_HZ)
        assert max(recording.seconds for recording in service.recordings) < 3.7
        utterance.push(high(0.6))
        assert (await utterance.finish()).text == " ".join(["low"] * 20 + ["high"] * 2)


async def test_a_long_utterance_is_not_divided_within_a_word(service):
    async with engine_of(service, longest=0.5) as engine:
        utterance = engine.open()
        utterance.push(low(0.9))
        await utterance.snapshot()
        utterance.push(low(0.6))
        await utterance.finish()
    assert service.recordings[1].seconds == pytest.approx(1.5)


@pytest.mark.parametrize("is_asked", [False, True])
async def test_words_after_a_long_quiet_are_heard(service, engine, is_asked):
    utterance = engine.open()
    for _ in range(13):
        utterance.push(silence(10.0))
        if is_asked:
            assert (await utterance.snapshot()).text == ""
    utterance.push(low(0.6))
    heard = await utterance.finish()
    assert (heard.text, heard.samples) == ("low low", 130 * RATE_HZ + len(low(0.6)))


async def test_words_that_were_recognised_stay_known_through_a_long_quiet(service, engine):
    utterance = engine.open()
    utterance.push(low(0.6))
    utterance.push(silence(0.3))
    assert (await utterance.snapshot()).text == "low low"
    for _ in range(26):
        utterance.push(silence(10.0))
    utterance.push(high(0.6))
    assert (await utterance.snapshot()).text == "low low high high"
    utterance.push(low(0.3))
    assert (await utterance.finish()).text == "low low high high low"


async def test_of_sound_for_which_nobody_asks_the_last_two_minutes_are_heard(service, engine):
    utterance = engine.open()
    utterance.push(high(3.0))
    utterance.push(silence(120.0))
    utterance.push(low(0.6))
    assert (await utterance.finish()).text == "low low"


async def test_sound_without_speech_makes_no_request(service, engine):
    assert (await recognise(engine, silence(1.0))).text == ""
    assert (await recognise(engine, low(0.04))).text == ""
    assert service.recordings == []
    assert engine.counts["too_short"] == 2


async def test_a_request_that_nobody_waits_for_is_closed(service, engine):
    received = asyncio.Event()

    async def hang(request: web.Request) -> web.StreamResponse:
        received.set()
        await asyncio.Event().wait()
        raise AssertionError

    service.hear = hang
    async with leaving_no_task():
        utterance = engine.open()
        utterance.push(low(0.6))
        snapshot = asyncio.ensure_future(utterance.snapshot())
        await received.wait()
        utterance.cancel()
        assert (await snapshot).text == ""
        await service.end.wait()
        assert service.ended == ["left"]
        received.clear()
        service.end.clear()
        utterance = engine.open()
        utterance.push(low(0.6))
        snapshot = asyncio.ensure_future(utterance.snapshot())
        await received.wait()
        snapshot.cancel()
        await service.end.wait()
        utterance.cancel()
    service.hear = service.hear_well
    assert (await recognise(engine, low(0.6))).text == "low low"


# -- invented words


@pytest.mark.parametrize(
    ("text", "seconds", "reason"),
    [
        ("Thanks for watching!", 0.4, "stock_phrase"),
        ("I am going to the shop to buy a lot of bread and milk for the weekend.", 0.4, "too_fast"),
        ("Calls to a hotel in the mountains.", 2.0, "echo"),
        ("la la la la la " * 10, 12.0, "repetition"),
        ("♪♪", 1.0, "no_words"),
        ("Thank you.", 0.4, ""),
        ("Yes.", 0.2, ""),
        ("A hotel.", 0.6, ""),
    ],
)
async def test_what_such_models_invent_is_dropped_and_what_callers_say_is_not(service, text, seconds, reason):
    async def invent(request: web.Request) -> web.StreamResponse:
        return web.json_response({"text": f" {text} "})

    service.hear = invent
    async with engine_of(service, prompt="These are calls to a hotel in the mountains.") as engine:
        transcript = await recognise(engine, low(seconds))
        assert transcript.text == ("" if reason else text)
        assert dict(engine.counts) == ({reason: 1} if reason else {})


async def test_digits_that_were_said_one_by_one_are_one_number(service, engine):
    async def spell(request: web.Request) -> web.StreamResponse:
        return web.json_response({"text": "It is 5, 5, 5, 0, 1 4 2."})

    service.hear = spell
    assert (await recognise(engine, low(3.0))).text == "It is 5550142."


# -- faults


@pytest.mark.parametrize(
    ("status", "content", "headers", "kind", "words"),
    [
        (401, error("Incorrect API key", "invalid_api_key"), {}, EngineError, "STT_API_KEY"),
        (404, error("no such model", "model_not_found"), {}, EngineError, "STT_MODEL"),
        (429, error("slow down", "rate_limit_exceeded"), {"Retry-After": "7"}, EngineFull, "slow down"),
        (429, error("no credit", "insufficient_quota"), {}, QuotaExhausted, "add credit"),
        (503, error("oops", "server_error"), {}, EngineError, "503"),
        (200, error("no credit", "insufficient_quota"), {}, QuotaExhausted, "add credit"),
        (200, {"detail": "worker died"}, {}, EngineError, "worker died"),
        (200, {"words": "x"}, {}, EngineError, "has no text"),
        (200, None, {}, EngineError, "is not JSON"),
        (200, {"text": 7}, {}, EngineError, "has no text"),
    ],
)
async def test_a_refusal_with_whatever_status_says_what_to_do(service, engine, status, content, headers, kind, words):
    async def refuse(request: web.Request) -> web.StreamResponse:
        return web.json_response(content, status=status, headers=headers)

    service.hear = refuse
    async with leaving_no_task():
        with pytest.raises(EngineError, match=words) as raised:
            await recognise(engine, low(0.6))
    assert type(raised.value) is kind
    assert raised.value.permanent == (status in (401, 404))


async def test_a_page_instead_of_words_is_an_error_and_null_is_none(service, engine):
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(text="<html>", content_type="text/html")

    service.hear = answer
    with pytest.raises(EngineError):
        await recognise(engine, low(0.6))

    async def null(request: web.Request) -> web.StreamResponse:
        return web.json_response({"text": None, "usage": None, "languages": None, "more": {}})

    service.hear = null
    assert (await recognise(engine, low(0.6))).text == ""


@pytest.mark.parametrize("kind", ["text/plain", "application/json"])
async def test_an_answer_that_is_bare_words_is_an_error_that_does_not_quote_them(service, engine, kind):
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(text="my number is four two", content_type=kind)

    service.hear = answer
    with pytest.raises(EngineError, match=f"{kind} that is not JSON with words") as raised:
        await recognise(engine, low(0.6))
    assert "number" not in str(raised.value)


@pytest.mark.parametrize("at", ["before", "headers", "words"])
@pytest.mark.parametrize("how", ["dies", "stalls"])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_connection_that_dies_or_stalls_at_any_point_is_an_error_and_the_next_one_works(
    service, at, how, stream
):
    async def fail(request: web.Request) -> web.StreamResponse:
        kind = "text/event-stream" if stream else "application/json"
        response = web.StreamResponse(headers={"Content-Type": kind})
        if at != "before":
            await response.prepare(request)
        if at == "words":
            await response.write(b'data: {"type": "transcript.text.delta", "del' if stream else b'{"text": "lo')
        if how == "dies":
            assert request.transport is not None
            request.transport.abort()
        await asyncio.Event().wait()
        return response

    async with engine_of(service, timeout=1.0, stream=stream) as engine:
        service.hear = fail
        async with leaving_no_task():
            utterance = engine.open()
            utterance.push(low(0.6))
            with pytest.raises(EngineError) as raised:
                await utterance.snapshot()
        assert isinstance(raised.value, EngineTimeout) == (how == "stalls")
        service.hear = service.hear_well
        assert (await utterance.finish()).text == "low low"


@pytest.mark.parametrize(
    ("events", "text"),
    [
        (
            ['{"type":"transcript.text.delta","delta":"a "}', '{"type":"transcript.text.delta","delta":"b"}', "[DONE]"],
            "a b",
        ),
        (
            [
                '{"type":"transcript.text.delta","delta":null}',
                "null",
                "[]",
                '{"type":"new"}',
                '{"type":"transcript.text.done","text":"x"}',
            ],
            "x",
        ),
        (['{"type":"transcript.text.delta","delta":"a"}'], None),
        (['{"error":{"code":"insufficient_quota"}}'], None),
        ([], None),
    ],
)
async def test_events_of_any_kind_are_read(service, events, text):
    async def answer(request: web.Request) -> web.StreamResponse:
        content = "".join(f": ping\r\ndata: {event}\r\n\r\n" for event in events)
        return await service.send(request, content.encode(), content_type="text/event-stream", pieces=(3, 1))

    service.hear = answer
    async with engine_of(service, stream=True) as engine:
        if text is None:
            with pytest.raises(EngineError):
                await recognise(engine, low(0.6))
        else:
            assert (await recognise(engine, low(0.6))).text == text


NAMES = st.sampled_from(["text", "type", "delta", "error", "detail", "languages", "code", "transcript.text.done"])
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | NAMES,
    lambda each: st.lists(each, max_size=3) | st.dictionaries(NAMES, each, max_size=4),
)


@settings(max_examples=25)
@given(st.lists(ANYTHING, min_size=1, max_size=4), st.booleans())
def test_whatever_a_server_answers_is_words_or_an_error_and_the_next_request_works(contents, as_events):
    async def talk() -> None:
        async with OpenAIService().serving() as service, engine_of(service) as engine:

            async def answer(request: web.Request) -> web.StreamResponse:
                if not as_events:
                    return web.json_response(contents[0])
                events = "".join(f"data: {json.dumps(content)}\n\n" for content in contents)
                return web.Response(body=events.encode(), content_type="text/event-stream")

            service.hear = answer
            utterance = engine.open()
            utterance.push(low(0.6))
            (outcome,) = await asyncio.gather(utterance.snapshot(), return_exceptions=True)
            assert isinstance(outcome, Transcript | EngineError)
            service.hear = service.hear_well
            utterance.push(high(0.3))
            assert (await utterance.finish()).text == "low low high"

    asyncio.run(talk())


# -- the start, money, limits


async def test_an_own_server_is_warmed_up_and_is_free(service):
    meter = usage.UsageMeter()
    with usage.metering(meter):
        async with engine_of(service, paid=None) as engine:
            assert engine.may_speculate
            assert dict(service.recordings[0].fields)["language"] == "en"
            await recognise(engine, low(0.6))
    assert meter.is_empty


async def test_a_model_that_an_own_server_does_not_have_stops_the_start(service):
    async def refuse(request: web.Request) -> web.StreamResponse:
        return web.json_response(error("no such model", "model_not_found"), status=404)

    service.hear = refuse
    async with leaving_no_task():
        with pytest.raises(EngineError, match="STT_MODEL"):
            await OpenAITranscribeSpeechToText(options(service, paid=False)).start()


async def test_seconds_are_counted_also_of_requests_that_are_given_up_but_not_of_refused_ones(service):
    meter = usage.UsageMeter()
    with usage.metering(meter):
        async with engine_of(service, timeout=1.0) as engine:
            await recognise(engine, low(0.6))
            used = {"stt": {"127.0.0.1/gpt-transcribe": {"seconds": 0.6}}}
            assert meter.as_json() == used

            async def refuse(request: web.Request) -> web.StreamResponse:
                return web.Response(status=500)

            service.hear = refuse
            with pytest.raises(EngineError):
                await recognise(engine, low(0.6))
            assert meter.as_json() == used

            async def hang(request: web.Request) -> web.StreamResponse:
                await asyncio.Event().wait()
                raise AssertionError

            service.hear = hang
            with pytest.raises(EngineTimeout):
                await recognise(engine, low(0.6))
    assert meter.as_json()["stt"]["127.0.0.1/gpt-transcribe"]["seconds"] == pytest.approx(1.2)


async def test_a_server_that_is_full_is_asked_nothing_and_no_more_utterances_than_the_limit_are_open(service):
    async with engine_of(service, limit=1) as engine:
        utterance = engine.open()
        with pytest.raises(EngineFull, match="limit"):
            engine.open()
        utterance.cancel()

        async def refuse(request: web.Request) -> web.StreamResponse:
            return web.json_response({}, status=429, headers={"Retry-After": "30"})

        service.hear = refuse
        with pytest.raises(EngineFull):
            await recognise(engine, low(0.6))
        with pytest.raises(EngineFull):
            engine.open()


@pytest.mark.parametrize(
    "wrong",
    [{}, {"base_url": "speaches:8000"}, {"api_key": "k", "rate_hz": 24_000}, {"api_key": "k", "timeout": 0}],
)
def test_options_that_cannot_work_are_refused(wrong):
    with pytest.raises(EngineError) as raised:
        OpenAITranscribeOptions(**wrong)
    assert raised.value.permanent
