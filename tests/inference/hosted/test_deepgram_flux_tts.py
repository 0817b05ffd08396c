"""Deepgram's Flux TTS, against a service that answers as Deepgram does, and against one that does not."""

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

from inference.deepgram.flux_session import FluxSession
from inference.deepgram.voices import read
from inference.engines import deepgram_flux_tts
from inference.engines.deepgram_flux_tts import FluxContext, FluxOptions, FluxSpeech, FluxTextToSpeech
from inference.types import EngineError, EngineTimeout
from inference.usage import UsageMeter, metering
from tests.inference.contract import TextToSpeechContract, leaving_no_task
from tests.inference.hosted.deepgram_voice import (
    KEY,
    loudness_of,
    loudnesses,
    pcm_of,
    says,
    tone_of,
    until_it_fails,
)
from tests.inference.hosted.flux_tts_service import FluxService
from tests.inference.hosted.service import Socket
from tests.inference.hosted.speaking import text_of

FIRST, SECOND, OTHER = "We open at ten. ", "And we shut at six.", "Goodbye then!"
FLUSH = {"type": "Flush"}
SAMPLES_PER_MS = 8


@asynccontextmanager
async def engine_of(service: FluxService, **options: Any) -> AsyncIterator[FluxTextToSpeech]:
    engine = FluxTextToSpeech(FluxOptions(**{"api_key": KEY, "base_url": service.base_url, "gain_db": 0.0, **options}))
    try:
        await engine.start()
        yield engine
    finally:
        await engine.close()


@pytest.fixture
async def service() -> AsyncIterator[FluxService]:
    async with FluxService().serving() as serving:
        yield serving


def used(service: FluxService) -> list[Socket]:
    """The sockets on which something was said."""
    return [socket for socket in service.sockets if socket.received]


def interrupts(service: FluxService) -> list[dict[str, Any]]:
    return [
        message
        for socket in service.sockets
        for message in socket.received
        if isinstance(message, dict) and message["type"] == "Interrupt"
    ]


def let_pass(service: FluxService, frames: int) -> Callable[[Socket, int], Any]:
    """Sound stops after so many frames of a socket."""

    async def before(socket: Socket, number: int) -> None:
        if number >= frames:
            await asyncio.Event().wait()

    return before


async def hear(speech: FluxSpeech, service: FluxService, frames: int, *clauses: str, tell: bool = True) -> int:
    """Hear so many frames of the reply, interrupt it there, and return the samples."""
    number = service.frames.get(used(service)[-1], 0) if used(service) else 0
    service.before_frame = let_pass(service, number + frames)
    samples = 0
    async with aclosing(speech.speak(text_of(*clauses))) as chunks:
        async for chunk in chunks:
            samples += len(chunk.pcm)
            if samples >= frames * 160 - 80:  # 10 ms are held back
                break
        if tell:
            speech.heard(samples)
    service.before_frame = None
    return samples


async def answered(service: FluxService, interruptions: int) -> None:
    """Wait until so many interruptions were answered and the answers have come."""
    while len(service.interruptions) < interruptions:
        await asyncio.wait([asyncio.ensure_future(asyncio.sleep(0.01))])
    await asyncio.sleep(0.05)


class TestFlux(TextToSpeechContract):
    @pytest_asyncio.fixture(scope="class", loop_scope="class")
    @classmethod
    async def make(cls):
        async with FluxService().serving_elsewhere() as service:
            yield partial(FluxTextToSpeech, FluxOptions(api_key=KEY, base_url=service.base_url))


# --- What is sent ------------------------------------------------------------------------------------------------


async def test_the_handshake_names_the_voice_and_the_format_and_has_the_key_in_a_header(service):
    async with engine_of(service, voice="kit"):
        handshake = service.sockets[0].request
        assert handshake.path == "/v2/speak"
        assert dict(handshake.query) == {"model": "flux-kit-en", "encoding": "mulaw", "sample_rate": "8000"}
        assert handshake.headers["Authorization"] == f"Token {KEY}"


async def test_a_reply_is_one_turn_that_is_flushed_at_its_end(service):
    async with engine_of(service) as engine:
        chunks = await says(engine.open(), FIRST, SECOND)
        (socket,) = used(service)
        assert socket.received == [
            {"type": "Speak", "text": "We open at ten. "},
            {"type": "Speak", "text": "And we shut at six. "},
            FLUSH,
        ]
    assert chunks[-1].text_end == len(FIRST + SECOND)
    assert len(pcm_of(chunks)) == len(tone_of(FIRST) + tone_of(SECOND))
    assert max(len(chunk.pcm) for chunk in chunks) <= 480


async def test_texts_that_join_without_a_blank_get_one(service):
    async with engine_of(service) as engine:
        await says(engine.open(), "We open at ten.", "And we shut at six.")
    assert service.said == ["We open at ten. And we shut at six. "]


async def test_what_the_service_holds_back_while_the_text_pauses_is_flushed(service):
    service.holds_text = True
    sounded = asyncio.Event()

    async def text() -> AsyncIterator[str]:
        yield FIRST
        await asyncio.wait_for(sounded.wait(), 30)
        yield SECOND

    ends = []
    async with engine_of(service) as engine:
        async for chunk in engine.open().speak(text()):
            ends.append(chunk.text_end)
            sounded.set()
        assert used(service)[0].received == [
            {"type": "Speak", "text": "We open at ten. "},
            FLUSH,
            {"type": "Speak", "text": "And we shut at six. "},
            FLUSH,
        ]
    assert ends[-1] == len(FIRST + SECOND)
    assert "NO_ACTIVE_SPEECH" not in service.warnings


async def test_a_reply_whose_turn_was_flushed_before_its_text_ended_ends(service):
    flushed = asyncio.Event()

    async def text() -> AsyncIterator[str]:
        yield FIRST
        while not any(FLUSH in socket.received for socket in service.sockets):
            await asyncio.wait([asyncio.ensure_future(asyncio.sleep(0.01))])
        flushed.set()

    async with engine_of(service) as engine:
        chunks = [chunk async for chunk in engine.open().speak(text())]
    assert flushed.is_set()
    assert sum(len(chunk.pcm) for chunk in chunks) == len(tone_of(FIRST))
    assert chunks[-1].text_end == len(FIRST)


async def test_text_that_says_nothing_is_not_sent_and_counts_as_spoken(service):
    async with engine_of(service) as engine:
        assert await says(engine.open(), " ", "...") == []
        assert used(service) == []
        chunks = await says(engine.open(), " ", FIRST, " - ")
        assert chunks[-1].text_end == len(" " + FIRST + " - ")


async def test_inline_controls_are_not_sent_because_a_pause_would_end_the_connection(service):
    async with engine_of(service) as engine:
        text = "One moment \\{pause:500ms\\} please."
        assert (await says(engine.open(), text))[-1].text_end == len(text)


async def test_what_was_sent_is_counted(service):
    meter = UsageMeter()
    async with engine_of(service) as engine:
        with metering(meter):
            speech = engine.open()
        await says(speech, FIRST, SECOND)
    assert meter.as_json() == {"tts": {"deepgram/flux-tts": {"characters": len(FIRST + SECOND)}}}


# --- A call and its socket ---------------------------------------------------------------------------------------


async def test_a_call_keeps_its_socket_and_no_other_call_gets_it(service):
    async with engine_of(service) as engine:
        speech = engine.open()
        await says(speech, FIRST)
        await says(speech, SECOND)
        (socket,) = used(service)
        another = engine.open()
        await says(another, OTHER)
        assert len(used(service)) == 2
        await speech.close()
        await asyncio.wait_for(socket.gone.wait(), 30)
        await another.close()
        await another.close()


async def test_a_call_that_says_nothing_takes_no_socket(service):
    async with engine_of(service, warm=1, limit=1) as engine:
        silent = engine.open()
        speech = engine.open()
        assert await says(speech, FIRST)
        await silent.close()
        await speech.close()


async def test_a_session_is_not_used_for_an_hour(service, monkeypatch):
    async with engine_of(service) as engine:
        speech = engine.open()
        await says(speech, FIRST)
        monkeypatch.setattr(deepgram_flux_tts, "LONGEST_CALL", 0.0)
        await says(speech, SECOND)
        first, _ = used(service)
        await asyncio.wait_for(first.gone.wait(), 30)


def test_no_socket_is_an_hour_old_before_a_call_gives_it_up():
    plan = FluxTextToSpeech().plan("flux-haley-en")
    assert plan.renew_after + deepgram_flux_tts.LONGEST_CALL < 3600


# --- Interruptions -----------------------------------------------------------------------------------------------


async def test_the_service_learns_what_was_heard_and_says_which_text_that_was(service):
    async with engine_of(service) as engine:
        speech = engine.open()
        frames = len(tone_of(FIRST)) // 160 + 10
        samples = await hear(speech, service, frames, FIRST, SECOND)
        await answered(service, 1)
        (interrupt,) = interrupts(service)
        assert interrupt["playback_offset"] == {"type": "time_ms", "value": samples // SAMPLES_PER_MS}
        assert service.interruptions[0]["text_spoken"] == FIRST
        assert loudnesses(pcm_of(await says(speech, OTHER))) == {loudness_of(OTHER)}
        assert len(used(service)) == 1


async def test_the_position_counts_from_the_start_of_the_session_and_rises(service):
    async with engine_of(service) as engine:
        speech = engine.open()
        said = len(pcm_of(await says(speech, OTHER)))
        once = await hear(speech, service, 20, FIRST, SECOND)
        await answered(service, 1)
        again = await hear(speech, service, 30, FIRST, SECOND)
        await answered(service, 2)
        first, second = (interrupt["playback_offset"]["value"] for interrupt in interrupts(service))
        assert first == (said + once) // SAMPLES_PER_MS
        assert second == first + again // SAMPLES_PER_MS
        assert service.warnings == []
        assert len(used(service)) == 1


async def test_without_a_position_the_service_counts_on_from_what_it_has_made(service):
    async with engine_of(service) as engine:
        speech = engine.open()
        await hear(speech, service, 20, FIRST, tell=False)
        await answered(service, 1)
        samples = await hear(speech, service, 30, FIRST)
        await answered(service, 2)
        without, with_position = interrupts(service)
        assert "playback_offset" not in without
        played = service.interruptions[0]["audio_played_ms"]
        assert with_position["playback_offset"]["value"] == played + samples // SAMPLES_PER_MS
        assert service.warnings == []


async def test_a_position_that_does_not_rise_is_left_out(service):
    async with engine_of(service) as engine:
        speech = engine.open()
        await hear(speech, service, 20, FIRST)
        await answered(service, 1)
        service.before_frame = let_pass(service, service.frames[used(service)[0]] + 5)
        async with aclosing(speech.speak(text_of(SECOND))) as chunks:
            await anext(chunks)
            speech.heard(0)
        await answered(service, 2)
        assert "playback_offset" not in interrupts(service)[1]
        assert service.warnings == []


async def test_nothing_is_interrupted_once_the_turn_is_over(service):
    async with engine_of(service) as engine:
        speech = engine.open()
        await says(speech, FIRST)
        speech.heard(100)
        await says(speech, SECOND)
        assert interrupts(service) == []


async def test_sound_that_still_comes_after_an_interruption_is_never_heard(service):
    service.after_interrupt = [tone_of(FIRST), {"type": "Flushed", "speech_id": None}, tone_of(SECOND)]
    async with engine_of(service) as engine:
        speech = engine.open()
        await hear(speech, service, 10, FIRST, SECOND)
        await answered(service, 1)
        said = await says(speech, OTHER)
        assert loudnesses(pcm_of(said)) == {loudness_of(OTHER)}
        assert len(pcm_of(said)) == len(tone_of(OTHER))
        assert len(used(service)) == 1


async def test_a_reply_that_begins_before_the_answer_takes_another_socket(service):
    service.answers_interrupts = False
    async with leaving_no_task(), engine_of(service) as engine:
        speech = engine.open()
        await hear(speech, service, 10, FIRST, SECOND)
        assert loudnesses(pcm_of(await says(speech, OTHER))) == {loudness_of(OTHER)}
        first, _ = used(service)
        await asyncio.wait_for(first.gone.wait(), 30)


async def test_a_socket_is_given_up_if_an_interruption_is_not_answered(service):
    service.answers_interrupts = False
    async with leaving_no_task(), engine_of(service) as engine:
        speech = engine.open()
        await hear(speech, service, 10, FIRST, SECOND)
        await asyncio.wait_for(used(service)[0].gone.wait(), 30)
        assert loudnesses(pcm_of(await says(speech, OTHER))) == {loudness_of(OTHER)}


@pytest.mark.parametrize("code", sorted(deepgram_flux_tts.IGNORED))
async def test_a_socket_is_given_up_if_the_service_ignores_the_interruption(service, code):
    service.answers_interrupts = False
    async with engine_of(service) as engine:
        speech = engine.open()
        await hear(speech, service, 10, FIRST, SECOND)
        (socket,) = used(service)
        await service.warn(socket, code)
        await asyncio.wait_for(socket.gone.wait(), 30)
        assert loudnesses(pcm_of(await says(speech, OTHER))) == {loudness_of(OTHER)}


async def test_an_interruption_before_any_sound_leaves_nothing_behind(service):
    service.before_frame = let_pass(service, 0)
    async with leaving_no_task(), engine_of(service) as engine:
        speech = engine.open()
        chunks = speech.speak(text_of(FIRST))
        waiting = asyncio.ensure_future(anext(chunks))
        await asyncio.sleep(0.1)
        waiting.cancel()
        with suppress(asyncio.CancelledError):
            await waiting
        service.before_frame = None
        assert loudnesses(pcm_of(await says(speech, OTHER))) == {loudness_of(OTHER)}


async def test_an_interruption_that_comes_too_late_is_answered_by_a_warning_and_the_socket_stays(service):
    service.answers_interrupts = False
    async with engine_of(service) as engine:
        speech = engine.open()
        await hear(speech, service, 10, FIRST)
        (socket,) = used(service)
        speech_id = service.states[socket].turns[0].speech_id
        await socket.send({"type": "SpeechMetadata", "speech_id": speech_id, "audio_duration_ms": 900})
        await service.warn(socket, "NO_ACTIVE_SPEECH")
        await asyncio.sleep(0.1)
        for task in socket.tasks:
            task.cancel()
        service.states[socket].turns.clear()
        socket.tasks[:] = [asyncio.create_task(service._say(socket, service.states[socket]))]
        assert loudnesses(pcm_of(await says(speech, OTHER))) == {loudness_of(OTHER)}
        assert len(used(service)) == 1


async def test_closing_the_call_in_mid_reply_stops_the_reply(service):
    service.before_frame = let_pass(service, 5)
    async with leaving_no_task(), engine_of(service) as engine:
        speech = engine.open()
        chunks = speech.speak(text_of(FIRST, SECOND))
        await anext(chunks)
        await speech.close()
        with pytest.raises(EngineError, match="closed"):
            [chunk async for chunk in chunks]
        await asyncio.wait_for(used(service)[0].gone.wait(), 30)


# --- Faults ------------------------------------------------------------------------------------------------------

NOISE: list[Any] = [
    b"",
    "",
    "null",
    "[1]",
    "no JSON",
    {},
    {"type": None},
    {"type": 7},
    {"type": "SomethingNew", "speech_id": 1},
    {"type": "Connected", "request_id": None, "model_uuids": None},
    {"type": "Warning", "code": None, "description": None},
    {"type": "Warning", "code": "SYNTHESIS_RETRYING", "description": "A request failed and is repeated."},
    {"type": "Warning", "code": "NO_ACTIVE_SPEECH", "description": "There is no active turn."},
    {"type": "Warning", "code": "NO_SYNTHESIZABLE_TEXT", "description": "Nothing to say."},
    {"type": "ConfigureFailure", "code": "SPEED_OUT_OF_RANGE", "field": None, "value": None},
    {"type": "SpeechInterrupted", "audio_played_ms": None, "text_spoken": None, "metadata": None},
    {"type": "SpeechMetadata", "speech_id": "dg_sp_of_another", "audio_duration_ms": None},
    {"type": "Flushed", "speech_id": None},
    {"type": "SessionMetadata"},
]


async def test_messages_that_mean_nothing_change_nothing(service):
    async def before(socket: Socket, number: int) -> None:
        await socket.send(NOISE[number % len(NOISE)])

    service.before_frame = before
    async with engine_of(service) as engine:
        chunks = await says(engine.open(), FIRST, SECOND)
        assert len(used(service)) == 1
    assert len(pcm_of(chunks)) == len(tone_of(FIRST) + tone_of(SECOND))


async def test_null_in_the_messages_of_a_turn_is_understood(service):
    send = Socket.send

    async def without_values(socket: Socket, message: Any) -> None:
        if isinstance(message, dict):
            message = {name: value if name == "type" else None for name, value in message.items()}
        await send(socket, message)

    async with engine_of(service) as engine:
        speech = engine.open()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Socket, "send", without_values)
            assert len(pcm_of(await says(speech, FIRST, SECOND))) == len(tone_of(FIRST) + tone_of(SECOND))
            await hear(speech, service, 10, FIRST)
            await answered(service, 1)
        await says(speech, OTHER)
        samples = await hear(speech, service, 20, FIRST, SECOND)
        await answered(service, 2)
        position = interrupts(service)[1]["playback_offset"]["value"]
        assert position > interrupts(service)[0]["playback_offset"]["value"]
        assert samples
        assert service.warnings == []


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
            await service.fail(socket, "NET-0000")

    service.before_frame = before
    async with leaving_no_task(), engine_of(service) as engine:
        speech = engine.open()
        heard, error = await until_it_fails(speech, text_of(FIRST, SECOND))
        assert "Deepgram Flux TTS has failed: NET-0000: A fatal error." in str(error)
        assert 0 < len(pcm_of(heard)) <= 10 * 160
        service.before_frame = None
        assert await says(speech, OTHER)


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
        speech = engine.open()
        chunks = await says(speech, FIRST, SECOND)
        assert chunks[-1].text_end == len(FIRST + SECOND)
        assert len(pcm_of(chunks)) == len(tone_of(FIRST) + tone_of(SECOND))
        dying = 2
        with pytest.raises(EngineError):
            await says(speech, OTHER)
        assert await says(speech, OTHER)


async def test_a_socket_that_dies_in_mid_speech_is_an_error_and_nothing_is_said_twice(service):
    async def before(socket: Socket, number: int) -> None:
        if number == 10 and len(used(service)) == 1:
            socket.abort()
            await asyncio.Event().wait()

    service.before_frame = before
    async with engine_of(service) as engine:
        speech = engine.open()
        with pytest.raises(EngineError):
            await says(speech, FIRST, SECOND)
        assert await says(speech, OTHER)


async def test_a_socket_that_dies_between_two_replies_is_replaced(service):
    async with engine_of(service) as engine:
        speech = engine.open()
        await says(speech, FIRST)
        socket = used(service)[0]
        socket.abort()
        await asyncio.wait_for(socket.gone.wait(), 30)
        assert loudnesses(pcm_of(await says(speech, OTHER))) == {loudness_of(OTHER)}


@pytest.mark.parametrize("frames", [0, 10])
async def test_a_stall_is_a_timeout(service, frames):
    service.before_frame = let_pass(service, frames)
    async with leaving_no_task(), engine_of(service, first_audio_timeout=0.3, stall_timeout=0.3) as engine:
        speech = engine.open()
        with pytest.raises(EngineTimeout):
            await says(speech, FIRST)
        service.before_frame = None
        assert await says(speech, OTHER)


async def test_a_socket_that_is_never_ready_is_away(service):
    async def silent(socket: Socket) -> None:
        """Accept the handshake and say nothing."""

    service.opened = silent  # type: ignore[method-assign]
    async with engine_of(service, connect_timeout=0.3) as engine:
        with pytest.raises(EngineTimeout, match=r"did not accept a connection within 0\.3 s"):
            await says(engine.open(), OTHER)


# --- Fuzzing -----------------------------------------------------------------------------------------------------

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)
NAMES = ["speech_id", "audio_duration_ms", "audio_played_ms", "text_spoken", "metadata", "code", "description"]
KINDS = ["Connected", "SpeechStarted", "SpeechMetadata", "SpeechInterrupted", "Flushed", "Warning", "New", "", None, 1]
MESSAGES = st.builds(
    lambda kind, more: {**more, "type": kind},
    st.sampled_from(KINDS),
    st.dictionaries(
        st.sampled_from(NAMES),
        VALUES | st.sampled_from(["NO_ACTIVE_SPEECH", *sorted(deepgram_flux_tts.IGNORED)]),
        max_size=4,
    ),
)
FRAMES = st.binary(max_size=400) | st.text(max_size=20) | MESSAGES.map(json.dumps) | VALUES.map(json.dumps)


class InertPool:
    """Lends a lease that never gets a socket."""

    def take(self, listener: Any) -> Any:
        from inference.hosted.lease import Lease

        return Lease(lambda *_: None, listener, "c")


@given(st.lists(FRAMES | st.sampled_from(["say", "cancel", "end"]), max_size=20))
def test_a_context_takes_whatever_comes(steps):
    async def take_all() -> None:
        context = FluxContext(FluxSession(InertPool()))  # type: ignore[arg-type]
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
        service = FluxService()
        disturbed = False

        async def before(socket: Socket, number: int) -> None:
            nonlocal disturbed
            if number == position and not disturbed:
                disturbed = True
                for frame in frames:
                    await socket.send(frame)

        service.before_frame = before
        async with service.serving(), leaving_no_task(), engine_of(service, warm=1) as engine:
            speech = engine.open()
            with suppress(EngineError):
                await says(speech, OTHER)
            await speech.close()
            said = await says(engine.open(), FIRST)
            assert loudnesses(pcm_of(said)) == {loudness_of(FIRST)}
            assert said[-1].text_end == len(FIRST)

    asyncio.run(disturb())
