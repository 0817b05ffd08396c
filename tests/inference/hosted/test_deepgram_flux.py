"""Recognition by Flux, against a Deepgram on this machine."""

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
from inference.deepgram.account import DeepgramOptions
from inference.engines.deepgram_flux import DeepgramFluxSpeechToText
from inference.mulaw import encode_mulaw
from inference.types import AUTO, EngineError, Transcript
from tests.inference.contract import SpeechToTextContract, leaving_no_task
from tests.inference.hosted.deepgram_faults import closes, dies, falls_silent, ignores_it, is_sound, once
from tests.inference.hosted.deepgram_service import KEY, DeepgramService, Turns, say

A_TABLE = say("one", "two", "three")
FOR_TWO = say("four", "five")
PAUSE = say("")


class TestFlux(SpeechToTextContract):
    @pytest_asyncio.fixture(scope="class", loop_scope="class")
    @classmethod
    async def make(cls):
        async with DeepgramService().serving_elsewhere() as service:
            yield partial(DeepgramFluxSpeechToText, DeepgramOptions(api_key=KEY, base_url=service.base_url))
            assert service.violations == []


@pytest.fixture
async def service() -> AsyncIterator[DeepgramService]:
    async with DeepgramService().serving() as service:
        yield service
        assert service.violations == []


@asynccontextmanager
async def started(service: DeepgramService, **options: Any) -> AsyncIterator[DeepgramFluxSpeechToText]:
    engine = DeepgramFluxSpeechToText(DeepgramOptions(**{"api_key": KEY, "base_url": service.base_url, **options}))
    async with leaving_no_task():
        await engine.start()
        try:
            yield engine
        finally:
            await engine.close()


async def recognise(engine: DeepgramFluxSpeechToText, *sounds: np.ndarray, **options: Any) -> Transcript:
    utterance = engine.open(**options)
    for sound in sounds:
        utterance.push(sound)
    return await utterance.finish()


def is_flush(message: Any) -> bool:
    return message == {"type": "ForceEndTurn"}


async def test_a_snapshot_has_all_words_that_were_pushed_before_it_and_the_utterance_goes_on(service):
    async with started(service) as engine:
        utterance = engine.open()
        utterance.push(A_TABLE)
        first = await utterance.snapshot()
        assert (first.text, first.samples) == ("one two three", len(A_TABLE))
        assert first.confidence == pytest.approx(0.8)
        assert not first.stop_counts
        utterance.push(PAUSE)
        utterance.push(FOR_TWO)
        second = await utterance.finish()
        assert (second.text, second.samples) == ("one two three four five", len(A_TABLE) + len(PAUSE) + len(FOR_TWO))


async def test_the_service_is_asked_for_what_it_is_known_to_take(service):
    async with started(service, keyterms=["Aachen", "Weiß"]) as engine:
        await recognise(engine, A_TABLE, keyterms=["Köln"])
    handshake = next(request for request in service.requests if request.path == "/v2/listen")
    assert handshake.query.getall("keyterm") == ["Aachen", "Weiß"]
    assert {name: value for name, value in handshake.query.items() if name != "keyterm"} == {
        "model": "flux-general-en",
        "encoding": "mulaw",
        "sample_rate": "8000",
        "eot_threshold": "1.0",
        "eot_timeout_ms": "60000",
    }
    assert {"type": "Configure", "keyterms": ["Aachen", "Weiß", "Köln"]} in service.sockets[0].received


async def test_short_words_are_heard_although_no_turn_was_active_when_it_was_ended(service):
    """The window has not reached the word when the turn is ended: silence moves it on."""
    service_window, Turns.window = Turns.window, 8000
    try:
        async with started(service) as engine:
            assert (await recognise(engine, say("one"))).text == "one"
        assert service.sockets[0].received.count({"type": "ForceEndTurn"}) > 1
    finally:
        Turns.window = service_window


async def test_silence_has_no_words(service):
    async with started(service) as engine:
        assert (await recognise(engine, PAUSE)).text == ""


async def test_turns_that_flux_ends_in_a_pause_are_joined(service):
    async with started(service, parameters={"eot_timeout_ms": "500"}) as engine:
        heard = await recognise(engine, A_TABLE, say(*[""] * 4), FOR_TWO)
        assert heard.text == "one two three four five"


async def test_what_is_sent_is_counted_as_used(service):
    meter = usage.UsageMeter()
    async with started(service) as engine:
        with usage.metering(meter):
            utterance = engine.open()
        utterance.push(A_TABLE)
        await utterance.snapshot()
        utterance.cancel()
    seconds = meter.as_json()["stt"]["deepgram/flux-general-en"]["seconds"]
    assert seconds * 8000 == sum(len(each) for each in service.sockets[0].received if isinstance(each, bytes))
    assert seconds > len(A_TABLE) / 8000  # with the silence that fills the window


async def test_no_message_is_sent_that_flux_does_not_know(service):
    async with started(service, warm=1) as engine:
        await recognise(engine, A_TABLE)
    kinds = {each["type"] for socket in service.sockets for each in socket.received if isinstance(each, dict)}
    assert kinds == {"ForceEndTurn"}


def surrounded(message: dict[str, Any]) -> list[Any]:
    """Between messages that are new, strange or broken."""
    strange = [
        {"type": "Warning", "code": "SOMETHING_NEW", "description": None},
        {"type": "Weather"},
        {"type": "TurnInfo"},
        {"type": "TurnInfo", "event": "Daydream", "turn_index": None, "transcript": None, "words": None},
        {"type": "TurnInfo", "event": None, "turn_index": "x", "audio_window_end": None, "words": [None, {}]},
        "[1]",
        "no JSON",
        b"\x00",
    ]
    if message["type"] == "Connected":
        return [*strange[:2], message]
    return [*strange[:2], {**message, "sequence_id": None, "languages": None, "new_field": [1]}, *strange[5:]]


def with_an_open_list_of_triggers(message: dict[str, Any]) -> list[Any]:
    return [{**message, "trigger": "telepathy"} if message.get("event") == "EndOfTurn" else message]


def without_word_times_and_confidence(message: dict[str, Any]) -> list[Any]:
    return [{**message, "words": None, "end_of_turn_confidence": None}]


def stale_updates_of_ended_turns(message: dict[str, Any]) -> list[Any]:
    if message.get("event") != "EndOfTurn":
        return [message]
    return [message, {**message, "event": "Update", "transcript": "stale", "trigger": None}]


def emptied_turns(message: dict[str, Any]) -> list[Any]:
    return [{**message, "transcript": "", "words": []} if message.get("event") == "EndOfTurn" else message]


def eager_turns(message: dict[str, Any]) -> list[Any]:
    if message.get("event") != "EndOfTurn":
        return [message]
    return [{**message, "event": "EagerEndOfTurn"}, {**message, "event": "TurnResumed"}, message]


def without_a_clock(message: dict[str, Any]) -> list[Any]:
    return [{**message, "audio_window_end": None}]


def twice(message: dict[str, Any]) -> list[Any]:
    return [message, message]


def without_numbers(message: dict[str, Any]) -> list[Any]:
    return [{**message, "turn_index": None}]


def twice_without_numbers(message: dict[str, Any]) -> list[Any]:
    return without_numbers(message) * 2


@pytest.mark.parametrize(
    "edit",
    [
        surrounded,
        with_an_open_list_of_triggers,
        without_word_times_and_confidence,
        stale_updates_of_ended_turns,
        emptied_turns,
        eager_turns,
        without_a_clock,
        twice,
        without_numbers,
        twice_without_numbers,
    ],
)
async def test_the_words_are_whole_however_the_turns_come(service, edit):
    service.edit = edit
    async with started(service) as engine:
        utterance = engine.open()
        utterance.push(A_TABLE)
        assert (await utterance.snapshot()).text == "one two three"
        utterance.push(np.concatenate([PAUSE, FOR_TWO]))
        assert (await utterance.finish()).text == "one two three four five"


async def reports_an_error(socket):
    await socket.send({"type": "Error", "request_id": "r", "sequence_id": 9, "code": "INTERNAL", "description": "?"})
    return True


@pytest.mark.parametrize("when", [is_sound, is_flush])
@pytest.mark.parametrize("fault", [dies, closes, reports_an_error, falls_silent])
async def test_an_utterance_is_heard_again_if_its_socket_fails(service, fault, when):
    service.intercept = once(fault, when=when)
    async with started(service, patience=0.3) as engine:
        utterance = engine.open()
        for piece in np.array_split(A_TABLE, 9):
            utterance.push(piece)
        assert (await utterance.snapshot()).text == "one two three"
        utterance.push(FOR_TWO)
        assert (await utterance.finish()).text == "one two three four five"


async def test_only_the_sound_after_the_ended_turns_is_sent_again(service):
    async with started(service) as engine:
        utterance = engine.open()
        utterance.push(A_TABLE)
        await utterance.snapshot()
        service.intercept = once(dies, when=is_flush)
        utterance.push(FOR_TWO)
        heard = await utterance.finish()
        assert (heard.text, heard.samples) == ("one two three four five", len(A_TABLE) + len(FOR_TWO))
    assert service.sound_of_each[1].startswith(encode_mulaw(FOR_TWO))


def clock_runs_ahead(message: dict[str, Any]) -> list[Any]:
    return [{**message, "audio_window_end": message.get("audio_window_end", 0.0) + 100.0}]


def updates_without_a_clock(message: dict[str, Any]) -> list[Any]:
    return without_a_clock(message) if message.get("event") == "Update" else [message]


@pytest.mark.parametrize("edit", [without_a_clock, clock_runs_ahead, updates_without_a_clock])
async def test_words_that_were_settled_stay_known_if_later_messages_have_no_times(service, edit):
    async with started(service) as engine:
        utterance = engine.open()
        utterance.push(A_TABLE)
        assert (await utterance.snapshot()).text == "one two three"
        service.edit = edit
        utterance.push(FOR_TWO)
        assert (await utterance.snapshot()).text == "one two three four five"
        service.intercept = once(dies, when=is_flush)
        utterance.push(say("six"))
        assert (await utterance.finish()).text == "one two three four five six"
    assert not service.sound_of_each[1].startswith(encode_mulaw(A_TABLE))


async def test_a_lost_answer_is_not_waited_for_if_the_window_has_reached_the_sound(service):
    service.intercept = once(ignores_it, when=is_flush)
    async with started(service, patience=5.0, answer_timeout=5.0) as engine:
        assert (await recognise(engine, A_TABLE)).text == "one two three"
    assert len(service.sound_of_each) == 1


async def test_a_wrong_setting_that_is_answered_with_silence_is_named_at_the_start(service):
    service.edit = lambda message: [] if message["type"] == "Connected" else [message]
    service.refuse = lambda request: None  # type: ignore[method-assign]
    options = DeepgramOptions(api_key=KEY, base_url=service.base_url, model="flux-general-xx", connect_timeout=0.3)
    async with leaving_no_task():
        with pytest.raises(EngineError, match="no model 'flux-general-xx' for streams") as raised:
            await DeepgramFluxSpeechToText(options).start()
    assert raised.value.permanent


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"api_key": "wrong"}, "Check the key in DEEPGRAM_API_KEY"),
        ({"model": "flux-general-xx"}, "no model 'flux-general-xx' for streams"),
        ({"parameters": {"language": "en"}}, "unknown parameters"),
    ],
)
async def test_a_wrong_setting_is_named_at_the_start(service, options, words):
    engine = DeepgramFluxSpeechToText(DeepgramOptions(**{"api_key": KEY, "base_url": service.base_url, **options}))
    async with leaving_no_task():
        with pytest.raises(EngineError) as raised:
            await engine.start()
    assert words in str(raised.value)
    assert raised.value.permanent


async def test_the_english_model_recognises_english_and_the_other_one_tells_languages_apart(service):
    service.edit = lambda message: [{**message, "languages": ["de"]}]
    async with started(service) as engine:
        assert engine.languages == {"en"}
        assert (await recognise(engine, A_TABLE, language="en-GB", others=["de"])).text == "one two three"
        with pytest.raises(EngineError, match="does not recognise 'de'"):
            engine.open(language="de")
    async with started(service, model="flux-general-multi", language="de") as engine:
        assert AUTO in engine.languages
        heard = await recognise(engine, A_TABLE, language="de", others=["en"])
        assert (heard.text, heard.language) == ("one two three", "de")
    queries = [request.query for request in service.requests if "model" in request.query]
    assert all("language_hint" not in query for query in queries if query["model"] == "flux-general-en")
    hints = {tuple(query.getall("language_hint")) for query in queries if query["model"] == "flux-general-multi"}
    assert hints == {("de",), ("de", "en")}


async def test_idle_sockets_are_held_by_pings(service):
    async with started(service, warm=1) as engine:
        plan = engine._pool.plan
        assert plan.keep_alive is None
        assert plan.ping_every < 60
        await asyncio.sleep(0)
