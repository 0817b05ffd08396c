"""Recognition by Nova-3, against a Deepgram on this machine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from inference import usage
from inference.deepgram.account import DeepgramOptions, fitting, report_terms
from inference.engines.deepgram import DeepgramSpeechToText
from inference.types import AUTO, EngineError, EngineFull, QuotaExhausted, Transcript
from tests.inference.contract import SpeechToTextContract, leaving_no_task
from tests.inference.hosted.deepgram_faults import reports_an_error, words_in
from tests.inference.hosted.deepgram_service import KEY, DeepgramService, say

A_TABLE = say("one", "two", "three")
FOR_TWO = say("four", "five")
PAUSE = say("")


class TestNova3(SpeechToTextContract):
    @pytest_asyncio.fixture(scope="class", loop_scope="class")
    @classmethod
    async def make(cls):
        async with DeepgramService().serving_elsewhere() as service:
            yield partial(DeepgramSpeechToText, DeepgramOptions(api_key=KEY, base_url=service.base_url))
            assert service.violations == []


@pytest.fixture
async def service() -> AsyncIterator[DeepgramService]:
    async with DeepgramService().serving() as service:
        yield service
        assert service.violations == []


def engine_at(service: DeepgramService, **options: Any) -> DeepgramSpeechToText:
    return DeepgramSpeechToText(DeepgramOptions(**{"api_key": KEY, "base_url": service.base_url, **options}))


@asynccontextmanager
async def started(service: DeepgramService, **options: Any) -> AsyncIterator[DeepgramSpeechToText]:
    engine = engine_at(service, **options)
    async with leaving_no_task():
        await engine.start()
        try:
            yield engine
        finally:
            await engine.close()


async def recognise(engine: DeepgramSpeechToText, *sounds: np.ndarray, **options: Any) -> Transcript:
    utterance = engine.open(**options)
    for sound in sounds:
        utterance.push(sound)
    return await utterance.finish()


# -- an utterance ---------------------------------------------------------------------------------------------


async def test_a_snapshot_has_all_words_that_were_pushed_before_it_and_the_utterance_goes_on(service):
    async with started(service) as engine:
        utterance = engine.open()
        utterance.push(A_TABLE)
        first = await utterance.snapshot()
        assert (first.text, first.samples) == ("one two three", len(A_TABLE))
        utterance.push(PAUSE)
        utterance.push(FOR_TWO)
        second = await utterance.snapshot()
        assert (second.text, second.samples) == ("one two three four five", len(A_TABLE) + len(PAUSE) + len(FOR_TWO))
        assert not second.stop_counts
        assert second.confidence == pytest.approx(0.9)
        utterance.cancel()


async def test_the_service_is_asked_for_what_it_is_known_to_take(service):
    async with started(service, keyterms=["Aachen", "Dr. Weiß & Söhne"], parameters={"mip_opt_out": "true"}) as engine:
        await recognise(engine, A_TABLE)
    handshake = next(request for request in service.requests if request.path == "/v1/listen")
    assert handshake.headers["Authorization"] == f"Token {KEY}"
    assert handshake.query.getall("keyterm") == ["Aachen", "Dr. Weiß & Söhne"]
    query = {name: value for name, value in handshake.query.items() if name != "keyterm"}
    assert query == {
        "model": "nova-3",
        "language": "en",
        "encoding": "mulaw",
        "sample_rate": "8000",
        "interim_results": "true",
        "punctuate": "true",
        "endpointing": "false",
        "mip_opt_out": "true",
    }


async def test_sound_is_sent_at_once_but_never_as_an_empty_frame(service):
    async with started(service) as engine:
        utterance = engine.open()
        for piece in (A_TABLE[:0], A_TABLE[:100], A_TABLE[100:800], A_TABLE[:0]):
            utterance.push(piece)
        utterance.push(A_TABLE[800:])
        await utterance.snapshot()
        utterance.cancel()
    frames = [each for each in service.sockets[0].received if isinstance(each, bytes)]
    assert [len(frame) for frame in frames] == [160, 800, len(A_TABLE) - 800]
    assert service.sockets[0].received[-1] == {"type": "Finalize"}


async def test_an_utterance_without_sound_spends_no_socket(service):
    async with started(service, warm=1) as engine:
        for _ in range(3):
            assert await engine.open().finish() == Transcript("", stop_counts=False)
            engine.open().cancel()
        await service.until(2)
        assert len(service.sockets) == 2


async def test_each_utterance_has_a_socket_of_its_own(service):
    """So that nothing of it reaches the next one, which may be that of another caller."""
    async with started(service) as engine:
        cancelled = engine.open()
        cancelled.push(A_TABLE)
        cancelled.cancel()
        assert (await recognise(engine, FOR_TWO)).text == "four five"
    assert len(service.sound_of_each) in (1, 2)  # the cancelled sound may not have left
    assert all(len(sound) <= 160 + len(A_TABLE) for sound in service.sound_of_each)


async def test_a_snapshot_of_what_is_known_asks_for_nothing(service):
    async with started(service) as engine:
        utterance = engine.open()
        utterance.push(A_TABLE)
        assert await utterance.snapshot() == await utterance.snapshot()
        utterance.cancel()
    assert service.sockets[0].received.count({"type": "Finalize"}) == 1


async def test_partials_say_when_words_were_found_twice(service):
    service.interim_every = 4000
    partials: list[Transcript] = []
    async with started(service) as engine:
        utterance = engine.open(on_partial=partials.append)
        for piece in np.array_split(np.concatenate([A_TABLE, say(*[""] * 5)]), 20):
            utterance.push(piece)
        await utterance.snapshot()
        utterance.cancel()
    assert [partial.text for partial in partials if not partial.settled] == ["one two", "one two three"]
    assert [partial.text for partial in partials if partial.settled] == ["one two three"]


async def test_what_is_sent_is_counted_as_used(service):
    meter = usage.UsageMeter()
    async with started(service) as engine:
        with usage.metering(meter):
            utterance = engine.open()
        utterance.push(A_TABLE)
        await utterance.snapshot()
        utterance.push(PAUSE)
        utterance.cancel()
        await recognise(engine, A_TABLE)
    assert meter.as_json() == {"stt": {"deepgram/nova-3": {"seconds": 1.2}}}


# -- refusals -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"api_key": "wrong"}, "Check the key in DEEPGRAM_API_KEY"),
        ({"model": "nova-33"}, "no model 'nova-33' for streams. Choose one of: flux-general-en"),
        ({"model": "whisper-large"}, "no model 'whisper-large' for streams"),
        ({"language": "ja"}, "'nova-3' has no language 'ja'. Choose one of: de, en, en-US, fr"),
        ({"parameters": {"utterance_end_ms": "500"}}, "utterance_end_ms must be at least 1000"),
    ],
)
async def test_a_wrong_setting_is_named_at_the_start(service, options, words):
    engine = engine_at(service, **options)
    async with leaving_no_task():
        with pytest.raises(EngineError) as raised:
            await engine.start()
    assert words in str(raised.value)
    assert raised.value.permanent
    assert KEY not in str(raised.value)


async def test_a_missing_key_is_named_before_the_start():
    with pytest.raises(EngineError, match="Set DEEPGRAM_API_KEY"):
        DeepgramOptions(api_key=" ")
    with pytest.raises(EngineError, match="a list of terms"):
        DeepgramOptions(api_key=KEY, keyterms="Aachen")
    assert KEY not in repr(DeepgramOptions(api_key=KEY))


@pytest.mark.parametrize("models", [404, {"stt": None}, ["?"]])
async def test_a_server_without_a_list_of_models_is_used_without_it(service, models):
    service.models = models
    async with started(service) as engine:
        assert (await recognise(engine, A_TABLE)).text == "one two three"
        assert "ja" in engine.languages
        assert AUTO in engine.languages


@pytest.mark.parametrize(
    ("refusal", "kind"),
    [((429, "", {"Retry-After": "7"}), EngineFull), ((402, "", {}), QuotaExhausted), ((503, "", {}), EngineError)],
)
async def test_a_refusal_during_operation_is_an_error_of_its_kind(service, refusal, kind):
    async with started(service, warm=1) as engine:
        service.refusal = refusal
        used, waiting = engine.open(), engine.open()
        waiting.push(A_TABLE)
        with pytest.raises(kind):
            await waiting.snapshot()
        used.cancel()
        service.refusal = None
        waiting.cancel()


async def test_more_utterances_than_connections_are_refused_as_full(service):
    async with started(service, limit=2) as engine:
        utterances = [engine.open(), engine.open()]
        with pytest.raises(EngineFull):
            engine.open()
        for utterance in utterances:
            utterance.cancel()


# -- languages and terms --------------------------------------------------------------------------------------


async def test_another_language_is_connected_when_a_call_needs_it(service):
    async with started(service) as engine:
        assert engine.languages >= {"en", "de", "fr"}
        assert (await recognise(engine, A_TABLE, language="de-AT")).text == "one two three"
        assert (await recognise(engine, A_TABLE, language="en_US")).text == "one two three"
        with pytest.raises(EngineError, match="does not recognise 'tlh'") as raised:
            engine.open(language="tlh")
        assert raised.value.permanent
    asked = [request.query["language"] for request in service.requests if request.path == "/v1/listen"]
    assert {"en", "de", "en-US"} == set(asked)


async def test_languages_are_told_apart_if_the_caller_may_speak_another(service):
    def in_german(message):
        for word in words_in(message):
            word["language"] = "de"
        return [message]

    service.edit = in_german
    async with started(service) as engine:
        meter = usage.UsageMeter()
        with usage.metering(meter):
            heard = await recognise(engine, A_TABLE, language="en", others=["de", "tlh"])
        assert (heard.language, heard.language_probability) == ("de", 1.0)
        assert (await recognise(engine, A_TABLE, language=AUTO)).language == "de"
        assert "deepgram/nova-3-multi" in meter.as_json()["stt"]
    queries = [request.query for request in service.requests if request.query.get("language") == "multi"]
    assert ["en", "de"] in [query.getall("language_hint", []) for query in queries]
    assert [] in [query.getall("language_hint", []) for query in queries]


async def test_the_terms_of_a_call_are_added_to_those_of_the_options(service):
    async with started(service, keyterms=["Aachen"]) as engine:
        heard = await recognise(engine, A_TABLE, keyterms=["Aachen", "Weiß"])
        assert heard.text == "one two three"
    configure = next(each for each in service.sockets[0].received if isinstance(each, dict))
    assert configure == {"type": "Configure", "keyterms": ["Aachen", "Weiß"]}


async def test_the_terms_of_an_utterance_without_sound_are_not_those_of_the_next(service):
    told, used = [], []
    was_told = asyncio.Event()

    async def note(socket, message):
        if "Aachen" in str(message):
            told.append(socket)
            was_told.set()
        elif isinstance(message, bytes) and len(message) > 160:
            used.append(socket)
        return False

    service.intercept = note
    async with started(service, warm=1, limit=1) as engine:
        silent = engine.open(keyterms=["Aachen"])
        await was_told.wait()
        await silent.finish()
        assert (await recognise(engine, A_TABLE)).text == "one two three"
        assert used[0] not in told


async def test_a_server_that_does_not_know_the_change_of_terms_hears_the_utterance_without_it(service):
    async def refuses(socket, message):
        if isinstance(message, dict) and message.get("type") == "Configure":
            return await reports_an_error(socket)
        return False

    service.intercept = refuses
    async with started(service) as engine:
        assert (await recognise(engine, A_TABLE, keyterms=["Weiß"])).text == "one two three"


async def test_terms_that_are_not_taken_cost_no_words_and_are_logged_once(service, caplog):
    failure = {"type": "ConfigureFailure", "request_id": "r", "code": "CONFIGURE_KEYTERM_LIMIT_EXCEEDED"}
    service.edit = lambda message: [failure] if message["type"] == "ConfigureSuccess" else [message]
    report_terms.cache_clear()
    async with started(service) as engine:
        for _ in range(2):
            assert (await recognise(engine, A_TABLE, keyterms=["Weiß"])).text == "one two three"
    assert caplog.text.count("CONFIGURE_KEYTERM_LIMIT_EXCEEDED") == 1


def test_terms_are_cut_to_what_deepgram_takes():
    assert fitting(["Aachen", " ", "Aachen", "Dr.  Weiß"]) == ["Aachen", "Dr. Weiß"]
    many = fitting([f"term number {number}" for number in range(1000)])
    assert 50 < len(many) < 150
    assert fitting(["x" * 5000, "Smith", "Jones"]) == ["Smith", "Jones"]
