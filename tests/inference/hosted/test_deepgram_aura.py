"""Deepgram Aura, against a service that answers as Deepgram does, and against one that does not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from functools import partial
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inference.deepgram.voices import read
from inference.engines import deepgram_aura
from inference.engines.deepgram_aura import AuraContext, AuraOptions, AuraSpeech, AuraTextToSpeech, Budget
from inference.hosted.lease import Lease
from inference.types import AudioChunk, EngineError, EngineFull, EngineTimeout
from inference.usage import UsageMeter, metering
from tests.inference.contract import TextToSpeechContract, leaving_no_task
from tests.inference.hosted.aura_service import AuraService
from tests.inference.hosted.deepgram_voice import (
    KEY,
    loudness_of,
    loudnesses,
    pcm_of,
    says,
    tone_of,
    until_it_fails,
)
from tests.inference.hosted.service import Socket
from tests.inference.hosted.speaking import text_of

FIRST, SECOND, OTHER = "We open at ten. ", "And we shut at six.", "Goodbye then!"
FLUSH, CLEAR = {"type": "Flush"}, {"type": "Clear"}


def speak_message(text: str) -> dict[str, str]:
    return {"type": "Speak", "text": text}


@asynccontextmanager
async def engine_of(service: AuraService, **options: Any) -> AsyncIterator[AuraTextToSpeech]:
    engine = AuraTextToSpeech(AuraOptions(**{"api_key": KEY, "base_url": service.base_url, "gain_db": 0.0, **options}))
    try:
        await engine.start()
        yield engine
    finally:
        await engine.close()


@pytest.fixture
async def service() -> AsyncIterator[AuraService]:
    async with AuraService().serving() as serving:
        yield serving


def used(service: AuraService) -> list[Socket]:
    """The sockets on which something was said."""
    return [socket for socket in service.sockets if socket.received]


async def begin(speech: AuraSpeech, *clauses: str) -> Any:
    """Return a reply of which one chunk was heard."""
    chunks = speech.speak(text_of(*clauses))
    await anext(chunks)
    return chunks


class TestAura(TextToSpeechContract):
    @pytest_asyncio.fixture(scope="class", loop_scope="class")
    @classmethod
    async def make(cls):
        async with AuraService().serving_elsewhere() as service:
            yield partial(AuraTextToSpeech, AuraOptions(api_key=KEY, base_url=service.base_url))


# --- What is sent ------------------------------------------------------------------------------------------------


async def test_the_handshake_names_the_voice_and_the_format_and_has_the_key_in_a_header(service):
    async with engine_of(service, voice="apollo"):
        handshake = service.sockets[0].request
        assert handshake.path == "/v1/speak"
        assert dict(handshake.query) == {"model": "aura-2-apollo-en", "encoding": "mulaw", "sample_rate": "8000"}
        assert handshake.headers["Authorization"] == f"Token {KEY}"


async def test_each_clause_is_sent_when_it_comes_and_flushed(service):
    async with engine_of(service) as engine:
        await says(engine.open(), FIRST, SECOND)
        (socket,) = used(service)
        assert socket.received == [speak_message(FIRST), FLUSH, speak_message(SECOND), FLUSH]


async def test_a_reply_is_the_sound_of_its_clauses_and_the_end_of_each_is_known(service):
    async with engine_of(service) as engine:
        chunks = await says(engine.open(), FIRST, SECOND)
    lengths = [len(tone_of(text)) for text in (FIRST, SECOND)]
    assert len(pcm_of(chunks)) == sum(lengths)
    assert max(len(chunk.pcm) for chunk in chunks) <= 480
    position = 0
    for chunk in chunks:
        position += len(chunk.pcm)
        if position == lengths[0]:
            assert chunk.text_end == len(FIRST)
        assert chunk.text_end <= len(FIRST) or position > lengths[0]
    assert chunks[-1].text_end == len(FIRST + SECOND)


async def test_text_that_says_nothing_is_not_sent_and_counts_as_spoken(service):
    async with engine_of(service) as engine:
        assert await says(engine.open(), " ", "...") == []
        chunks = await says(engine.open(), " ", FIRST, " - ")
        assert chunks[-1].text_end == len(" " + FIRST + " - ")
        assert [message for message in used(service)[0].received if message != FLUSH] == [speak_message(FIRST)]


async def test_a_long_text_is_divided_at_blanks_and_spread_over_sockets(service):
    line = "This sentence is repeated until it is too long for one message. " * 60
    async with engine_of(service) as engine:
        chunks = await says(engine.open(), line)
    assert chunks[-1].text_end == len(line)
    assert sum(map(len, service.said)) == len(line)
    assert len(pcm_of(chunks)) == sum(len(tone_of(part)) for part in service.said)
    assert max(map(len, service.said)) <= 500
    assert all(state.characters <= 2400 for state in service.states.values())


async def test_inline_controls_are_not_sent(service):
    async with engine_of(service) as engine:
        text = 'Say \\{"word":"x","pronounce":"y"\\} now.'
        assert (await says(engine.open(), text))[-1].text_end == len(text)
        assert "\\" not in service.said[0]


async def test_what_was_sent_is_counted(service):
    meter = UsageMeter()
    async with engine_of(service) as engine:
        with metering(meter):
            speech = engine.open()
        await says(speech, FIRST, SECOND)
    assert meter.as_json() == {"tts": {"deepgram/aura-2": {"characters": len(FIRST + SECOND)}}}


# --- Interruptions -----------------------------------------------------------------------------------------------


async def test_an_interrupted_reply_is_cleared_and_its_socket_serves_the_next_one(service):
    async with engine_of(service, warm=1, limit=1) as engine:
        service.sounding.clear()
        service.before_frame = let_pass(service, 5)
        chunks = await begin(engine.open(), FIRST, SECOND)
        await chunks.aclose()
        (socket,) = used(service)
        service.before_frame = None
        service.sounding.set()
        assert loudnesses(pcm_of(await settled(engine, OTHER))) == {loudness_of(OTHER)}
        assert CLEAR in socket.received
        assert used(service) == [socket]


def let_pass(service: AuraService, frames: int) -> Callable[[Socket, int], Any]:
    """Sound stops after so many frames of a socket, as long as ``sounding`` is clear."""

    async def before(socket: Socket, number: int) -> None:
        if number < frames:
            service.sounding.set()
        else:
            service.sounding.clear()

    return before


async def settled(engine: AuraTextToSpeech, text: str) -> list[AudioChunk]:
    """Say it as soon as a socket is free."""
    while True:
        try:
            return await says(engine.open(), text)
        except EngineFull:
            await asyncio.sleep(0)


async def test_sound_that_still_comes_after_clear_is_never_heard(service):
    service.after_clear = [tone_of(FIRST), {"type": "Flushed", "sequence_id": 0}, tone_of(SECOND)]
    async with engine_of(service, warm=1, limit=1) as engine:
        service.before_frame = let_pass(service, 5)
        await (await begin(engine.open(), FIRST, SECOND)).aclose()
        service.before_frame = None
        service.sounding.set()
        said = await settled(engine, OTHER)
        assert loudnesses(pcm_of(said)) == {loudness_of(OTHER)}
        assert len(pcm_of(said)) == len(tone_of(OTHER))


async def test_a_socket_is_given_up_if_clear_is_not_answered(service):
    service.clears = False
    async with leaving_no_task(), engine_of(service, warm=1, limit=2) as engine:
        service.before_frame = let_pass(service, 5)
        await (await begin(engine.open(), FIRST)).aclose()
        service.before_frame = None
        service.sounding.set()
        assert loudnesses(pcm_of(await says(engine.open(), OTHER))) == {loudness_of(OTHER)}
        await asyncio.wait_for(service.sockets[0].gone.wait(), 30)


async def test_a_reply_of_which_everything_has_come_needs_no_clear(service):
    async with engine_of(service) as engine:
        async with aclosing(engine.open().speak(text_of(FIRST))) as chunks:
            await anext(chunks)
            async for chunk in chunks:
                if chunk.text_end == len(FIRST):
                    break
        await says(engine.open(), OTHER)
        assert not any(CLEAR in socket.received for socket in service.sockets)


async def test_closing_the_call_in_mid_reply_stops_the_reply(service):
    async with leaving_no_task(), engine_of(service) as engine:
        service.before_frame = let_pass(service, 5)
        speech = engine.open()
        chunks = await begin(speech, FIRST, SECOND)
        await speech.close()
        with pytest.raises(EngineError, match="closed"):
            [chunk async for chunk in chunks]
        service.sounding.set()


# --- Limits ------------------------------------------------------------------------------------------------------


async def test_a_reply_of_many_clauses_goes_on_over_another_socket_before_the_limit(service):
    clauses = [f"Number {number} is here. " for number in range(45)]
    async with engine_of(service) as engine:
        chunks = await says(engine.open(), *clauses)
    assert chunks[-1].text_end == len("".join(clauses))
    assert sorted(service.said) == sorted(clauses)
    assert service.warned == 0
    assert len(used(service)) == 3


async def test_many_replies_on_one_socket_keep_to_the_limit(service):
    async with engine_of(service, warm=1) as engine:
        for number in range(45):
            await says(engine.open(), f"Number {number}.")
    assert len(service.said) == 45
    assert service.warned == 0


async def test_what_deepgram_refuses_to_flush_is_said_once_on_another_socket(service):
    service.flush_limit = 5
    clauses = [f"Number {number} is here. " for number in range(8)]
    async with engine_of(service) as engine:
        chunks = await says(engine.open(), *clauses)
    assert sorted(service.said) == sorted(clauses)
    assert service.warned > 0
    assert len(pcm_of(chunks)) == sum(len(tone_of(clause)) for clause in clauses)


def test_the_budget_of_a_socket_is_that_of_the_last_minute():
    budget = Budget()
    for second in range(20):
        budget.add(float(second), 10)
    assert not budget.has_room(60.0, 1, 10)
    assert budget.has_room(60.1, 1, 10)
    assert not budget.has_room(60.1, 2, 10)
    assert budget.has_room(90.0, 5, 2400)
    assert not budget.has_room(90.0, 5, 2401)


async def test_all_sockets_in_use_and_a_rate_limit_are_full(service):
    async with engine_of(service, warm=1, limit=1) as engine:
        service.before_frame = let_pass(service, 5)
        async with aclosing(await begin(engine.open(), FIRST)):
            with pytest.raises(EngineFull, match="all 1 connections"):
                await says(engine.open(), OTHER)
        service.before_frame = None
        service.sounding.set()
    async with engine_of(service, warm=0) as engine:
        service.refusal = (429, "", {"Retry-After": "7", "dg-error": "Too many requests"})
        await says(engine.open(), FIRST)
        service.sockets[-1].abort()
        await asyncio.wait_for(service.sockets[-1].gone.wait(), 30)
        with pytest.raises(EngineFull) as full:
            await says(engine.open(), FIRST)
        assert full.value.retry_after == 7


# --- Faults ------------------------------------------------------------------------------------------------------

NOISE: list[Any] = [
    b"",
    "",
    "null",
    "[1]",
    "no JSON",
    '"Flushed"',
    {},
    {"type": None},
    {"type": 7},
    {"type": "SomethingNew", "sequence_id": 1},
    {"type": "Metadata", "request_id": None, "model_name": None, "additional_model_uuids": None},
    {"type": "Warning", "code": None, "description": None},
    {"type": "Warning", "code": "SOMETHING_ROUTINE", "description": "The text was odd."},
    {"type": "Cleared", "sequence_id": None},
]


async def test_messages_that_mean_nothing_change_nothing(service):
    async def before(socket: Socket, number: int) -> None:
        await socket.send(NOISE[number % len(NOISE)])

    service.before_frame = before
    async with engine_of(service) as engine:
        chunks = await says(engine.open(), FIRST, SECOND)
    assert len(pcm_of(chunks)) == len(tone_of(FIRST) + tone_of(SECOND))


async def test_messages_that_come_twice_count_once(service):
    send = Socket.send

    async def send_twice(socket: Socket, message: Any) -> None:
        await send(socket, message)
        if isinstance(message, dict):
            await send(socket, message)

    async with engine_of(service) as engine:
        speech = engine.open()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Socket, "send", send_twice)
            for _ in range(2):
                chunks = await says(speech, FIRST, SECOND, OTHER)
                assert len(pcm_of(chunks)) == sum(len(tone_of(text)) for text in (FIRST, SECOND, OTHER))
                assert chunks[-1].text_end == len(FIRST + SECOND + OTHER)
        assert len(used(service)) == 1


@pytest.mark.parametrize("frame_bytes", [1, 7, 161, 100_000])
async def test_the_size_of_the_frames_makes_no_difference(service, frame_bytes):
    service.frame_bytes = frame_bytes
    async with engine_of(service) as engine:
        chunks = await says(engine.open(), OTHER)
    assert len(pcm_of(chunks)) == len(tone_of(OTHER))
    assert chunks[-1].text_end == len(OTHER)


async def test_an_error_in_mid_speech_is_raised_after_the_sound_before_it_and_the_next_reply_works(service):
    async def before(socket: Socket, number: int) -> None:
        if number == 10:
            await socket.send({"type": "Error", "code": "NET-0000", "description": "Something broke."})

    service.before_frame = before
    async with leaving_no_task(), engine_of(service) as engine:
        heard, error = await until_it_fails(engine.open(), text_of(FIRST, SECOND))
        assert str(error) == "Deepgram Aura has failed: NET-0000: Something broke."
        assert 0 < len(pcm_of(heard)) <= 10 * 160
        service.before_frame = None
        assert await says(engine.open(), OTHER)


@pytest.mark.parametrize("ending", ["abort", "1011", "1008"])
async def test_a_socket_that_dies_before_any_sound_is_replaced_once(service, ending):
    dying = 1

    async def before(socket: Socket, number: int) -> None:
        nonlocal dying
        if dying:
            dying -= 1
            socket.abort() if ending == "abort" else await socket.close(int(ending), "NET-0000")
            await asyncio.Event().wait()

    service.before_frame = before
    async with engine_of(service) as engine:
        chunks = await says(engine.open(), FIRST, SECOND)
        assert chunks[-1].text_end == len(FIRST + SECOND)
        assert len(pcm_of(chunks)) == len(tone_of(FIRST) + tone_of(SECOND))
        dying = 2
        with pytest.raises(EngineError):
            await says(engine.open(), OTHER)
        assert await says(engine.open(), OTHER)


async def test_a_socket_that_dies_in_mid_clause_is_an_error_and_nothing_is_said_twice(service):
    async def before(socket: Socket, number: int) -> None:
        if number == 10 and len(used(service)) == 1:
            socket.abort()
            await asyncio.Event().wait()

    service.before_frame = before
    async with engine_of(service) as engine:
        with pytest.raises(EngineError):
            await says(engine.open(), FIRST, SECOND)
        assert await says(engine.open(), OTHER)


@pytest.mark.parametrize("frames", [0, 10])
async def test_a_stall_is_a_timeout(service, frames):
    service.before_frame = let_pass(service, frames)
    async with leaving_no_task(), engine_of(service, first_audio_timeout=0.3, stall_timeout=0.3) as engine:
        with pytest.raises(EngineTimeout):
            await says(engine.open(), FIRST)
        service.before_frame = None
        service.sounding.set()
        assert await says(engine.open(), OTHER)


async def test_a_clause_waits_for_a_slow_handshake(service):
    async with engine_of(service, warm=0, limit=3) as engine:
        service.before_frame = let_pass(service, 5)
        async with aclosing(await begin(engine.open(), FIRST)):
            service.handshake.clear()
            saying = asyncio.ensure_future(says(engine.open(), OTHER))
            await asyncio.sleep(0.1)
            service.handshake.set()
            service.before_frame = None
            service.sounding.set()
            assert loudnesses(pcm_of(await saying)) == {loudness_of(OTHER)}


async def test_a_key_that_expires_ends_later_calls_with_a_sentence_that_says_what_to_do(service):
    async with engine_of(service, warm=1) as engine:
        service.key = "another"
        for socket in service.open_sockets:
            socket.abort()
        await asyncio.gather(*(socket.gone.wait() for socket in service.sockets))
        with pytest.raises(EngineError, match=r"401.*Check the key in DEEPGRAM_API_KEY"):
            await says(engine.open(), OTHER)


async def test_an_error_of_the_text_comes_after_the_sound_before_it(service):
    async def text() -> AsyncIterator[str]:
        yield FIRST
        raise EngineError("the language model is gone")

    async with engine_of(service) as engine:
        heard, error = await until_it_fails(engine.open(), text())
    assert str(error) == "the language model is gone"
    assert len(pcm_of(heard)) == len(tone_of(FIRST))


# --- Fuzzing -----------------------------------------------------------------------------------------------------

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)
# ``Flushed`` is believed: it is the only sign that a clause is complete.
TYPES = st.sampled_from(["Metadata", "Cleared", "Warning", "Close", "New", "", None, 1])
MESSAGES = st.builds(
    lambda kind, more: {**more, "type": kind},
    TYPES,
    st.dictionaries(st.sampled_from(["sequence_id", "code", "description", "request_id"]), VALUES, max_size=3),
)
FRAMES = st.binary(max_size=400) | st.text(max_size=20) | MESSAGES.map(json.dumps) | VALUES.map(json.dumps)


@given(st.lists(FRAMES | st.sampled_from(["say", "cancel", "end"]), max_size=20))
def test_a_context_takes_whatever_comes(steps):
    async def take_all() -> None:
        context = AuraContext(Lease(lambda *_: None, None, "c"))  # type: ignore[arg-type]
        for step in steps:
            if step in ("say", "cancel", "end"):
                context.say(OTHER) if step == "say" else getattr(context, str(step))()
                continue
            try:
                received = read(step)
            except ValueError:
                continue
            if received is not None:
                context.hear(received.message)

    asyncio.run(take_all())


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(FRAMES, max_size=6), st.integers(0, 12))
def test_after_any_messages_the_next_reply_is_said(frames, position):
    async def disturb() -> None:
        service = AuraService()
        disturbed = False

        async def before(socket: Socket, number: int) -> None:
            nonlocal disturbed
            if number == position and not disturbed:
                disturbed = True
                for frame in frames:
                    await socket.send(frame)

        service.before_frame = before
        async with service.serving(), leaving_no_task(), engine_of(service, warm=1) as engine:
            with suppress(EngineError):
                await says(engine.open(), OTHER)
            said = await says(engine.open(), FIRST)
            assert loudness_of(FIRST) in loudnesses(pcm_of(said))
            assert said[-1].text_end == len(FIRST)

    asyncio.run(disturb())


def test_the_limits_are_those_of_deepgram():
    assert (deepgram_aura.FLUSHES, deepgram_aura.CHARACTERS, deepgram_aura.WINDOW) == (20, 2400, 60)
    assert deepgram_aura.LONGEST <= 2000
