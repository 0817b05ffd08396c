"""``OpenAIRealtimeSpeechToText`` against a Realtime service on this machine that answers, and fails, as OpenAI does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from inference import usage
from inference.engines.openai_realtime import OpenAIRealtimeOptions, OpenAIRealtimeSpeechToText
from inference.hosted.openai_realtime import LONGEST_ITEM, RealtimeExchange, failure
from inference.mulaw import encode_mulaw
from inference.types import AUTO, EngineError, EngineFull, EngineTimeout, Pcm, QuotaExhausted, Transcript
from tests.inference.contract import SpeechToTextContract, band_noise, leaving_no_task
from tests.inference.hosted.openai_service import OpenAIService, error
from tests.inference.hosted.service import Socket

RATE_HZ = 8000
DELTA = "conversation.item.input_audio_transcription.delta"
COMPLETED = "conversation.item.input_audio_transcription.completed"
COMMITTED = "input_audio_buffer.committed"
FAILED = "conversation.item.input_audio_transcription.failed"


def low(seconds: float) -> Pcm:
    return band_noise(100, 1500, seconds, RATE_HZ)


def high(seconds: float) -> Pcm:
    return band_noise(2200, 3900, seconds, RATE_HZ)


def silence(seconds: float) -> Pcm:
    return np.zeros(round(seconds * RATE_HZ), np.int16)


def options(service: OpenAIService, **given_options: Any) -> OpenAIRealtimeOptions:
    return OpenAIRealtimeOptions(**{"base_url": service.url, "api_key": "k", **given_options})


@asynccontextmanager
async def engine_of(service: OpenAIService, **given_options: Any) -> AsyncIterator[OpenAIRealtimeSpeechToText]:
    engine = OpenAIRealtimeSpeechToText(options(service, **given_options))
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


@pytest.fixture
async def service() -> AsyncIterator[OpenAIService]:
    service = OpenAIService()
    service.models["data"].append({"id": "gpt-live-transcribe"})
    async with service.serving():
        yield service
    assert service.violations == []


@pytest.fixture
async def engine(service: OpenAIService) -> AsyncIterator[OpenAIRealtimeSpeechToText]:
    async with engine_of(service) as started:
        yield started


async def recognise(engine: OpenAIRealtimeSpeechToText, *sounds: Pcm, **given_options: Any) -> Transcript:
    utterance = engine.open(**given_options)
    for sound in sounds:
        utterance.push(sound)
    return await utterance.finish()


def sent(service: OpenAIService, kind: str) -> list[dict[str, Any]]:
    """The messages of this type that the service received, from all sockets in order."""
    return [message for socket in service.sockets for message in socket.received if message["type"] == kind]


COMMIT = "input_audio_buffer.commit"


class TestOpenAIRealtimeSpeechToText(SpeechToTextContract):
    @pytest_asyncio.fixture(scope="class", loop_scope="class")
    @classmethod
    async def make(cls):
        async with OpenAIService().serving_elsewhere() as service:
            yield lambda: OpenAIRealtimeSpeechToText(options(service))
            assert service.violations == []


# -- what is sent


async def test_a_session_for_transcription_is_set_up_before_it_is_needed(service, engine):
    await service.until(2)
    request = next(request for request in service.requests if request.path == "/v1/realtime")
    assert dict(request.query) == {"intent": "transcription"}
    assert request.headers["Authorization"] == "Bearer k"
    update = sent(service, "session.update")[0]
    assert update["session"] == {
        "type": "transcription",
        "audio": {
            "input": {
                "format": {"type": "audio/pcmu"},
                "transcription": {"model": "gpt-live-transcribe", "language": "en"},
                "turn_detection": None,
                "noise_reduction": None,
            }
        },
    }


async def test_a_call_snapshots_at_pauses_goes_on_and_is_cancelled(service, engine):
    utterance = engine.open()
    utterance.push(low(0.6))
    utterance.push(silence(0.2))
    first = await utterance.snapshot()
    assert (first.text, first.samples, first.stop_counts) == ("low low", round(0.8 * RATE_HZ), False)
    utterance.push(silence(0.1))
    utterance.push(high(0.6))
    utterance.push(silence(0.2))
    second = await utterance.snapshot()
    assert second.text == "low low high high"
    utterance.cancel()
    assert len(sent(service, COMMIT)) == 2


async def test_a_snapshot_after_silence_commits_nothing(service, engine):
    utterance = engine.open()
    utterance.push(low(0.6))
    await utterance.snapshot()
    utterance.push(silence(0.5))
    again = await utterance.snapshot()
    assert (again.text, again.samples) == ("low low", round(1.1 * RATE_HZ))
    assert (await utterance.finish()).text == "low low"
    assert len(sent(service, COMMIT)) == 1


async def test_silence_alone_is_answered_at_once_and_nothing_is_committed(service, engine):
    assert (await recognise(engine, silence(1.0))).text == ""
    assert sent(service, COMMIT) == []


async def test_less_than_100_ms_is_filled_up_with_silence(service, engine):
    utterance = engine.open()
    utterance.push(low(0.3))
    await utterance.snapshot()
    utterance.push(silence(0.02)[:0])
    utterance.push(low(0.099))
    final = await utterance.finish()
    assert final.samples == round(0.399 * RATE_HZ)
    assert len(service.sessions) >= 1


async def test_language_and_key_terms_of_an_utterance_are_set_where_they_differ(service):
    async with engine_of(service, keyterms=["Hotel Adler"]) as engine:
        await recognise(engine, low(0.6))
        await recognise(engine, low(0.6), language="de-AT", others=["en", "xx"], keyterms=["Sölden"])
        await recognise(engine, low(0.6), language=AUTO)
    told = [session.updates for session in service.sessions if session.sound]
    plain = {"model": "gpt-live-transcribe", "language": "en", "keywords": ["Hotel Adler"]}
    assert told == [
        [plain],
        [plain, {"model": "gpt-live-transcribe", "languages": ["de", "en"], "keywords": ["Sölden", "Hotel Adler"]}],
        [plain, {"model": "gpt-live-transcribe", "keywords": ["Hotel Adler"]}],
    ]


async def test_other_models_get_a_prompt_or_nothing(service):
    for model, told in (
        ("gpt-4o-transcribe", {"language": "en", "prompt": "A hotel. Sölden."}),
        ("gpt-realtime-whisper", {"language": "en", "delay": "low"}),
    ):
        service.sessions.clear()
        delay = "low" if "whisper" in model else ""
        async with engine_of(service, model=model, prompt="A hotel.", keyterms=["Sölden"], delay=delay):
            assert service.sessions[0].updates == [{"model": model, **told}]


# -- what is received


async def test_deltas_are_partials_also_before_the_item_is_known(service, engine):
    partials: list[str] = []
    news = asyncio.Event()

    def on_partial(partial: Transcript) -> None:
        partials.append(partial.text)
        news.set()

    utterance = engine.open(on_partial=on_partial)
    utterance.push(low(0.6))
    while "low low" not in partials:
        news.clear()
        await news.wait()
    assert sent(service, COMMIT) == []
    assert partials == ["low", "low low"]
    utterance.cancel()


async def test_items_that_are_complete_in_another_order_are_joined_in_that_of_the_commits(service, engine):
    held: list[dict[str, Any]] = []
    committed = asyncio.Event()

    def hold_the_first(message: dict[str, Any]) -> list[Any]:
        if message["type"] == COMPLETED and not held:
            held.append(message)
            committed.set()
            return []
        return [message, *held] if message["type"] == COMPLETED else [message]

    service.edit = hold_the_first
    utterance = engine.open()
    utterance.push(low(0.6))
    first = asyncio.ensure_future(utterance.snapshot())
    await committed.wait()
    utterance.push(high(0.6))
    second = await utterance.snapshot()
    assert second.text == (await first).text == "low low high high"
    utterance.cancel()


async def test_words_that_come_whole_before_their_item_is_named_belong_to_it(service, engine):
    held: list[dict[str, Any]] = []

    def name_it_last(message: dict[str, Any]) -> list[Any]:
        if message["type"] == "input_audio_buffer.committed":
            held.append(message)
            return []
        return [message, held.pop()] if message["type"] == COMPLETED else [message]

    service.edit = name_it_last
    assert (await recognise(engine, low(0.6), high(0.6))).text == "low low high high"


STRANGE = [
    {"type": "rate_limits.updated", "rate_limits": None},
    {"type": "conversation.item.added", "item": {"id": "item_0"}},
    {"type": "input_audio_buffer.speech_started", "audio_start_ms": 1, "item_id": "x"},
    {"type": "error", "error": {"type": "server_error", "code": None, "message": "a hiccup", "event_id": None}},
    {"type": "error", "error": None},
    {"type": "error"},
    {"type": DELTA},
    {"type": DELTA, "item_id": None, "delta": None},
    {"type": "input_audio_buffer.committed", "item_id": None},
    {"type": None},
    {},
    [1],
    "no JSON",
    b"\x00\x01",
]


@pytest.mark.parametrize("strange", STRANGE, ids=str)
async def test_what_is_unknown_or_null_or_an_error_that_passes_changes_nothing(service, engine, strange):
    service.edit = lambda message: [strange, message, strange]
    assert (await recognise(engine, low(0.6), high(0.6))).text == "low low high high"
    assert len(sent(service, COMMIT)) == 1


async def test_fields_that_are_null_leave_the_words_of_the_deltas(service, engine):
    nulls = {"transcript": None, "usage": None, "languages": None, "logprobs": None, "content_index": None}
    service.edit = lambda message: [{**message, **nulls} if message["type"] == COMPLETED else message]
    assert (await recognise(engine, low(0.6))).text == "low low"


async def test_a_commit_that_openai_finds_empty_has_no_words(service, engine):
    def refuse(message: dict[str, Any]) -> list[Any]:
        if message["type"] == COMPLETED:
            return []
        if message["type"] == "input_audio_buffer.committed":
            return [{"type": "error", "error": {"code": "input_audio_buffer_commit_empty", "event_id": None}}]
        return [] if message["type"] == DELTA else [message]

    service.edit = refuse
    assert (await recognise(engine, low(0.6))).text == ""
    assert len(sent(service, COMMIT)) == 1


async def test_a_server_that_commits_by_itself_is_understood():
    exchange = RealtimeExchange()
    exchange.push(encode_mulaw(low(0.6)))
    exchange.receive({"type": "input_audio_buffer.committed", "item_id": "a"})
    exchange.receive({"type": COMPLETED, "item_id": "a", "transcript": "Hello. "})
    exchange.push(encode_mulaw(high(0.6)))
    assert len(exchange.flush()) == 1
    exchange.receive({"type": "input_audio_buffer.committed", "item_id": "b"})
    exchange.receive({"type": COMPLETED, "item_id": "b", "transcript": " Two of us."})
    assert exchange.heard.text == "Hello. Two of us."
    assert exchange.answered == round(1.2 * RATE_HZ)


async def test_sound_that_the_model_cannot_understand_has_no_words(service, engine):
    def fail(message: dict[str, Any]) -> list[Any]:
        failed = {"type": FAILED, "item_id": message.get("item_id"), "error": {"code": "audio_unintelligible"}}
        return [failed if message["type"] == COMPLETED else message]

    service.edit = fail
    utterance = engine.open()
    utterance.push(low(0.6))
    assert (await utterance.snapshot()).text == ""
    service.edit = lambda message: [message]
    utterance.push(high(0.6))
    assert (await utterance.finish()).text == "high high"


async def test_what_the_model_invents_is_dropped(service):
    service.edit = lambda message: [
        {**message, "transcript": "Thanks for watching!"} if message["type"] == COMPLETED else message
    ]
    async with engine_of(service) as engine:
        assert (await recognise(engine, low(0.4))).text == ""
        assert engine.counts == {"stock_phrase": 1}


def test_sound_without_a_pause_is_committed_before_it_is_too_long():
    exchange = RealtimeExchange()
    piece, frames = encode_mulaw(low(1.0)), 0
    for _ in range(LONGEST_ITEM // RATE_HZ + 1):
        frames += len(exchange.push(piece))
    assert frames == LONGEST_ITEM // RATE_HZ + 2


async def test_what_is_acknowledged_or_complete_twice_counts_once(service, engine):
    service.edit = lambda message: [message, message] if message["type"] in (COMMITTED, COMPLETED) else [message]
    utterance = engine.open()
    utterance.push(low(0.6))
    assert (await utterance.snapshot()).text == "low low"
    utterance.push(high(0.6))
    assert (await utterance.finish()).text == "low low high high"


async def test_the_language_that_was_found_is_named(service, engine):
    service.edit = lambda message: [
        {**message, "languages": [{"code": "de"}]} if message["type"] == COMPLETED else message
    ]
    assert (await recognise(engine, low(0.6), others=["de"])).language == "de"


# -- faults


def is_update(message: Any) -> bool:
    return message["type"] == "session.update"


def is_sound(message: Any) -> bool:
    return message["type"] == "input_audio_buffer.append"


def is_commit(message: Any) -> bool:
    return message["type"] == COMMIT


async def dies(socket: Socket) -> bool:
    socket.abort()
    return True


async def closes(socket: Socket) -> bool:
    await socket.close(1011, "server error")
    return True


async def is_silent(socket: Socket) -> bool:
    socket.request.transport.pause_reading()
    return True


async def fails_the_item(socket: Socket) -> bool:
    await socket.send({"type": "input_audio_buffer.committed", "item_id": "f"})
    await socket.send({"type": FAILED, "item_id": "f", "content_index": 0, "error": {"code": "server_error"}})
    return True


async def expires(socket: Socket) -> bool:
    await socket.send({"type": "error", "error": {"code": "session_expired", "message": "60 minutes"}})
    return True


def once(fault: Callable[[Socket], Awaitable[bool]], *, when: Callable[[Any], bool], after: int = 0) -> Any:
    """Do something to the first socket that gets such a message, and has got so many others like it."""
    done: list[Socket] = []
    seen = 0

    async def intercept(socket: Socket, message: Any) -> bool:
        nonlocal seen
        if done or not when(message):
            return socket in done
        seen += 1
        if seen <= after:
            return False
        done.append(socket)
        return await fault(socket)

    return intercept


@pytest.mark.parametrize("fault", [dies, closes, is_silent, fails_the_item, expires])
@pytest.mark.parametrize(("when", "after"), [(is_sound, 0), (is_sound, 3), (is_commit, 0)])
async def test_the_utterance_goes_on_without_a_lost_word_whatever_happens_to_its_socket(service, fault, when, after):
    async with engine_of(service, patience=1.0, answer_timeout=15.0) as engine:
        service.intercept = once(fault, when=when, after=after)
        utterance = engine.open()
        for piece in np.array_split(np.concatenate([low(0.6), high(0.6)]), 12):
            utterance.push(piece)
        assert (await utterance.snapshot()).text == "low low high high"
        utterance.push(low(0.6))
        assert (await utterance.finish()).text == "low low high high low low"


async def test_only_what_is_not_settled_is_sent_again(service):
    async with engine_of(service, patience=1.0, answer_timeout=15.0) as engine:
        utterance = engine.open()
        utterance.push(low(0.6))
        await utterance.snapshot()
        service.intercept = once(dies, when=is_sound)
        utterance.push(high(0.6))
        assert (await utterance.finish()).text == "low low high high"
    assert {len(session.sound) for session in service.sessions} - {0} == {4800}


async def test_a_service_that_never_answers_is_a_timeout(service):
    async def nothing(socket: Socket, message: Any) -> bool:
        return not is_update(message)

    async with leaving_no_task(), engine_of(service, patience=0.2, answer_timeout=0.5) as engine:
        service.intercept = nothing
        with pytest.raises(EngineTimeout):
            await recognise(engine, low(0.6))


async def test_a_slow_handshake_costs_no_word(service):
    async with engine_of(service, warm=1) as engine:
        service.handshake.clear()
        engine.open()
        utterance = engine.open()
        utterance.push(low(0.6))
        words = asyncio.ensure_future(utterance.finish())
        await asyncio.sleep(0)
        service.handshake.set()
        assert (await words).text == "low low"


async def test_nothing_of_a_cancelled_utterance_reaches_the_next(service):
    async with engine_of(service, warm=0, limit=1) as engine:
        utterance = engine.open()
        utterance.push(low(0.6))
        cancelled = asyncio.ensure_future(utterance.snapshot())
        await asyncio.sleep(0)
        utterance.cancel()
        utterance.push(low(0.6))
        with suppress(EngineError):
            await cancelled
        assert (await recognise(engine, high(0.6))).text == "high high"


async def test_terms_that_are_refused_are_left_out(service, engine):
    async def refuse(socket: Socket, message: Any) -> bool:
        if not is_update(message) or "keywords" not in str(message):
            return False
        refused = {"type": "invalid_request_error", "code": "unknown_parameter", "event_id": message["event_id"]}
        await socket.send({"type": "error", "error": {**refused, "message": "keywords"}})
        return True

    service.intercept = refuse
    assert (await recognise(engine, low(0.6), keyterms=["Sölden"])).text == "low low"


# -- refusals


@pytest.mark.parametrize(
    ("message", "kind", "permanent"),
    [
        ({"code": "insufficient_quota"}, QuotaExhausted, False),
        ({"code": "rate_limit_exceeded"}, EngineFull, False),
        ({"code": "invalid_api_key"}, EngineError, True),
        ({"code": "model_not_found"}, EngineError, True),
        ({"code": "unknown_parameter", "event_id": "hello"}, EngineError, True),
        ({"code": "unknown_parameter", "event_id": "terms"}, EngineError, False),
        ({"code": "server_error", "event_id": "commit3"}, EngineError, False),
        ({"code": "session_expired"}, EngineError, False),
        ({"code": "input_audio_buffer_commit_empty", "event_id": "commit3"}, None, False),
        ({"type": "server_error", "code": None}, None, False),
        ({"code": 7, "event_id": [], "message": None}, None, False),
        (None, None, False),
    ],
)
def test_which_errors_end_a_socket(message, kind, permanent):
    found = failure({"type": "error", "error": message})
    assert type(found) is (kind or type(None))
    assert found is None or found.permanent == permanent


@pytest.mark.parametrize(
    ("at", "words"),
    [
        ("models", "Check the key in STT_API_KEY"),
        ("handshake", "Check the key in STT_API_KEY"),
        ("session", "STT_MODEL"),
    ],
)
async def test_a_key_or_a_model_that_is_refused_stops_the_start(service, at, words):
    async def refuse(socket: Socket, message: Any) -> bool:
        problem = {"type": "invalid_request_error", "code": "invalid_value", "event_id": message["event_id"]}
        await socket.send({"type": "error", "error": {**problem, "message": "no such model"}})
        return True

    if at == "session":
        service.intercept = refuse
    else:
        service.refusal = (401, str(error("Incorrect API key", "invalid_api_key")), {})
    if at == "handshake":
        service.models = None
    async with leaving_no_task():
        with pytest.raises(EngineError, match=words) as raised:
            await OpenAIRealtimeSpeechToText(options(service)).start()
        assert raised.value.permanent


async def test_a_service_that_is_away_at_the_start_is_used_when_it_comes_back(service):
    service.refusal = (503, "", {})
    async with engine_of(service) as engine:
        service.refusal = None
        assert (await recognise(engine, low(0.6))).text == "low low"


async def test_the_seconds_of_sound_are_counted(service, engine):
    meter = usage.UsageMeter()
    with usage.metering(meter):
        await recognise(engine, low(0.6), silence(0.4))
    assert meter.as_json() == {"stt": {"127.0.0.1/gpt-live-transcribe": {"seconds": 1.0}}}


async def test_a_language_that_is_not_recognised_is_refused(engine):
    with pytest.raises(EngineError, match="does not recognise 'xx'") as raised:
        engine.open(language="xx")
    assert raised.value.permanent


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"base_url": "openai"},
        {"api_key": "k", "warm": -1},
        {"api_key": "k", "patience": 0},
        {"api_key": "k", "keyterms": "a"},
    ],
)
def test_options_that_cannot_work_are_refused(wrong):
    with pytest.raises(EngineError) as raised:
        OpenAIRealtimeOptions(**wrong)
    assert raised.value.permanent


# -- fuzzing

IDS = st.sampled_from(["a", "b", "c", None, 3])
KINDS = st.sampled_from(
    [DELTA, COMPLETED, FAILED, "input_audio_buffer.committed", "error", "session.updated", None, "?"]
)
VALUES = st.none() | st.text(max_size=5) | st.integers() | st.lists(st.none() | st.dictionaries(st.just("code"), IDS))
ERRORS = VALUES | st.fixed_dictionaries(
    {
        "code": st.sampled_from(["input_audio_buffer_commit_empty", None, 1]),
        "event_id": st.sampled_from(["commit1", "commit99", "commit", None, 1]),
    }
)
MESSAGES = st.fixed_dictionaries(
    {"type": KINDS},
    optional={"item_id": IDS, "delta": VALUES, "transcript": VALUES, "languages": VALUES, "error": ERRORS},
)


@settings(max_examples=200)
@given(st.lists(st.sampled_from(["push", "flush", "quiet"]) | MESSAGES, max_size=30))
def test_whatever_comes_the_words_stay_words_and_nothing_runs_back(steps):
    exchange = RealtimeExchange()
    pushed = answered = settled = 0
    for step in steps:
        if step in ("push", "quiet"):
            exchange.push(encode_mulaw(low(0.2) if step == "push" else silence(0.2)))
            pushed += 1600
        elif step == "flush":
            exchange.flush()
        else:
            failure(step)
            exchange.receive(step)
        assert answered <= exchange.answered <= pushed
        assert settled <= exchange.settled.samples <= pushed
        answered, settled = exchange.answered, exchange.settled.samples
        assert isinstance(exchange.heard.text, str)
        assert 0 <= exchange.heard.samples <= pushed
