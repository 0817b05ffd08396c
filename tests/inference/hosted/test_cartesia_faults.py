"""Cartesia when its sockets fail, and when it sends messages of any kind."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import numpy as np
import pytest

from inference.fallback.tts import FallbackTextToSpeech
from inference.mulaw import encode_mulaw
from inference.types import EngineError, EngineFull, EngineTimeout, QuotaExhausted
from tests.inference.hosted.cartesia_service import CHARACTER, KEY, CartesiaService, tone
from tests.inference.hosted.service import Socket
from tests.inference.hosted.speaking import Lines, ends, samples, say, say_until_error, sound
from tests.inference.hosted.test_cartesia import (
    FIRST,
    SECOND,
    abort,
    break_at,
    fail_with,
    stall,
    started,
)


@pytest.fixture
async def service() -> AsyncIterator[CartesiaService]:
    async with CartesiaService().serving() as serving:
        yield serving


@pytest.mark.parametrize("text", [FIRST, SECOND])
async def test_a_socket_that_dies_before_any_audio_of_a_clause_is_replaced(service, text):
    service.hooks.append(break_at(text, abort))
    async with started(service) as engine:
        lines, said = Lines(FIRST), []
        async with aclosing(engine.open().speak(lines)) as chunks:
            async for chunk in chunks:
                said.append(chunk)
                if samples(said) == len(FIRST) * CHARACTER and chunk.text_end == len(FIRST):
                    lines.add(SECOND)
                    lines.end()
    assert samples(said) == len(FIRST + SECOND) * CHARACTER
    assert ends(said) == sorted(ends(said))
    assert ends(said)[-1] == len(FIRST + SECOND)


async def test_a_second_socket_that_dies_is_an_error(service):
    service.hooks.append(break_at(FIRST, abort, times=2))
    async with started(service) as engine:
        said, error = await say_until_error(engine, FIRST)
    assert said == []
    assert isinstance(error, EngineError)
    assert not error.permanent


async def test_a_socket_that_dies_within_a_clause_is_an_error_after_what_was_received(service):
    service.hooks.append(break_at(SECOND, abort, pieces=2))
    async with started(service) as engine:
        said, error = await say_until_error(engine, FIRST, SECOND)
    assert isinstance(error, EngineError)
    assert len(FIRST) * CHARACTER < samples(said) < len(FIRST + SECOND) * CHARACTER
    assert len(FIRST) <= ends(said)[-1] < len(FIRST + SECOND)


async def test_the_next_engine_continues_with_the_next_word(service):
    async with CartesiaService().serving() as other:
        service.hooks.append(break_at(SECOND, abort, pieces=2))
        path = "inference.engines.cartesia.CartesiaTextToSpeech"
        common = {"api_key": KEY, "voice": "voice-a", "check": False}
        engines = [{"BACKEND": path, "OPTIONS": {"base_url": each.base_url, **common}} for each in (service, other)]
        engine = FallbackTextToSpeech(engines=engines)
        await engine.start()
        try:
            said = await say(engine, FIRST, SECOND)
        finally:
            await engine.close()
        assert "".join(other.said()).strip() in ("We shut at six.", "shut at six.", "at six.")
        assert ends(said)[-1] == len(FIRST + SECOND)


async def test_a_service_that_stalls_before_the_first_audio_is_noticed(service):
    service.hooks.append(break_at(FIRST, stall))
    async with started(service, first_audio_timeout=0.2) as engine:
        said, error = await say_until_error(engine, FIRST)
    assert said == []
    assert isinstance(error, EngineTimeout)


async def test_a_service_that_stalls_in_a_clause_is_noticed(service):
    service.hooks.append(break_at(FIRST, stall, pieces=2))
    async with started(service, stall_timeout=0.2) as engine:
        said, error = await say_until_error(engine, FIRST)
    assert samples(said) > 0
    assert isinstance(error, EngineTimeout)


async def test_messages_that_carry_no_audio_do_not_hide_a_stall(service):
    async def chatter(service: CartesiaService, socket: Socket, context: Any) -> None:
        context.stalled = True
        for _ in range(40):
            await socket.send({"type": "news", "context_id": context.fields["context_id"]})
            await asyncio.sleep(0.02)

    service.hooks.append(break_at(FIRST, chatter, pieces=1))
    async with started(service, stall_timeout=0.1) as engine:
        _, error = await say_until_error(engine, FIRST)
    assert isinstance(error, EngineTimeout)


async def test_a_language_model_that_pauses_is_not_taken_for_a_stall(service):
    async with started(service, first_audio_timeout=0.5, stall_timeout=0.5) as engine:
        lines, said = Lines(FIRST), []
        async with aclosing(engine.open().speak(lines)) as chunks:
            async for chunk in chunks:
                said.append(chunk)
                if samples(said) == len(FIRST) * CHARACTER:
                    asyncio.get_running_loop().call_later(1.2, lines.end)
    assert ends(said)[-1] == len(FIRST)


async def test_without_marks_of_clauses_their_word_times_say_that_nothing_is_owed(service):
    service.flush_done = False
    async with started(service, first_audio_timeout=0.5, stall_timeout=0.5) as engine:
        lines, said = Lines(FIRST), []
        async with aclosing(engine.open().speak(lines)) as chunks:
            async for chunk in chunks:
                said.append(chunk)
                if samples(said) >= len(FIRST) * CHARACTER - 80:
                    asyncio.get_running_loop().call_later(1.2, lines.end)
    assert samples(said) == len(FIRST) * CHARACTER
    assert ends(said)[-1] == len(FIRST)


async def test_a_connection_that_takes_too_long_is_a_timeout(service):
    async with started(service, warm=0, limit=1, first_audio_timeout=0.2) as engine:
        service.handshake.clear()
        for socket in service.open_sockets:
            socket.abort()
        await asyncio.sleep(0.05)
        _, error = await say_until_error(engine, FIRST)
        service.handshake.set()
    assert isinstance(error, EngineTimeout)


async def test_audio_with_an_error_behind_it_is_heard_first(service):
    service.hooks.append(break_at(FIRST, fail_with(500, "Internal error"), pieces=2))
    async with started(service) as engine:
        said, error = await say_until_error(engine, FIRST)
    assert samples(said) == 2 * 1601
    assert "Internal error" in str(error)


@pytest.mark.parametrize(
    ("status", "said", "kind", "permanent"),
    [
        (429, "too many contexts", EngineFull, False),
        (402, "out of credits", QuotaExhausted, False),
        (401, "Invalid API key", EngineError, True),
        (404, "Model not found", EngineError, True),
        (400, "Bad transcript", EngineError, True),
        (500, "Internal error", EngineError, False),
    ],
)
@pytest.mark.parametrize("with_context", [True, False])
async def test_errors_of_the_service_are_errors_of_the_engine(service, status, said, kind, permanent, with_context):
    failing = fail_with(status, said, said, with_context=with_context)
    service.hooks.append(break_at(FIRST, failing, times=9))
    async with started(service) as engine:
        _, error = await say_until_error(engine, FIRST)
        assert type(error) is kind
        assert error.permanent is permanent
        if status == 401:
            assert "CARTESIA_API_KEY" in str(error)
        service.hooks.clear()
        assert ends(await say(engine, FIRST))[-1] == len(FIRST)


async def test_an_error_does_not_quote_the_text_of_a_call(service):
    service.hooks.append(break_at(FIRST, fail_with(400, "Bad request", f"cannot say {FIRST!r}"), times=9))
    async with started(service) as engine:
        _, error = await say_until_error(engine, FIRST)
    assert FIRST.strip() not in str(error)
    assert "Bad request" in str(error)


async def test_more_contexts_than_the_plan_allows_are_refused_as_full(service):
    service.most_contexts = 1
    async with started(service) as engine:
        lines = Lines(FIRST)
        async with aclosing(engine.open().speak(lines)) as chunks:
            await anext(chunks)
            _, error = await say_until_error(engine, SECOND)
            assert isinstance(error, EngineFull)
            lines.end()
            assert [chunk async for chunk in chunks][-1].text_end == len(FIRST)


async def test_more_speech_than_there_are_sockets_is_refused_as_full(service):
    async with (
        started(service, warm=0, limit=1, contexts_per_socket=1) as engine,
        aclosing(engine.open().speak(Lines(FIRST))) as chunks,
    ):
        await anext(chunks)
        _, error = await say_until_error(engine, SECOND)
        assert isinstance(error, EngineFull)


async def test_calls_share_a_socket(service):
    async with started(service, warm=0, limit=1, contexts_per_socket=3) as engine:
        together = await asyncio.gather(*(say(engine, text) for text in (FIRST, SECOND, FIRST)))
    assert len(service.sockets) == 1
    assert [samples(said) for said in together] == [len(text) * CHARACTER for text in (FIRST, SECOND, FIRST)]


# --- Messages of any kind ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 5, 1601, 100_000])
async def test_audio_may_be_cut_anywhere_and_come_without_padding(service, size):
    async def speak(socket, context, key, text, *, pieces=None):
        audio = tone(len(text))
        for start in range(0, min(len(audio), size * 200), size):
            data = base64.b64encode(audio[start : start + size]).decode().rstrip("=")
            await socket.send({"type": "chunk", "context_id": key, "data": data})

    service.speak = speak
    async with started(service, gain_db=0.0) as engine:
        said = await say(engine, FIRST)
    expected = tone(len(FIRST))[: size * 200]
    assert encode_mulaw(sound(said).astype(np.int16)) == expected


STRANGE = [
    {"type": "chunk"},
    {"type": "chunk", "data": None},
    {"type": "chunk", "data": 7},
    {"type": "chunk", "data": "not base64!"},
    {"type": "chunk", "data": ""},
    {"type": "timestamps"},
    {"type": "timestamps", "word_timestamps": None},
    {"type": "timestamps", "word_timestamps": {"words": None, "end": None}},
    {"type": "timestamps", "word_timestamps": {"words": ["We", None], "start": [], "end": ["x"]}},
    {"type": "timestamps", "word_timestamps": {"words": ["We"], "end": [1e300]}},
    {"type": "timestamps", "word_timestamps": {"words": ["open"], "end": [-5]}},
    {"type": "phoneme_timestamps", "phoneme_timestamps": {"phonemes": ["w"], "start": [0.0], "end": [0.1]}},
    {"type": "flush_done"},
    {"type": "flush_done", "flush_id": None},
    {"type": "flush_done", "flush_id": -3},
    {"type": "weather", "is": "fine"},
    {"type": None},
    {},
]


@pytest.mark.parametrize("message", STRANGE)
async def test_strange_messages_are_ignored(service, message):
    async def strange(service: CartesiaService, socket: Socket, context: Any, text: str) -> bool:
        for extra in ({}, {"context_id": context.fields["context_id"]}, {"context_id": None}, {"context_id": "c99"}):
            await socket.send({**message, **extra})
        await socket.send("no JSON")
        await socket.send("[1, 2]")
        await socket.send(b"\x00\xff")
        return False

    service.hooks.append(strange)
    async with started(service) as engine:
        said = await say(engine, FIRST, SECOND)
    assert samples(said) == len(FIRST + SECOND) * CHARACTER
    assert ends(said) == sorted(ends(said))
    assert ends(said)[-1] == len(FIRST + SECOND)


async def test_a_clause_without_any_audio_is_an_error(service):
    async def silent(service: CartesiaService, socket: Socket, context: Any, text: str) -> bool:
        return True

    service.hooks.append(silent)
    async with started(service) as engine:
        _, error = await say_until_error(engine, FIRST)
    assert "no sound" in str(error)


async def test_messages_without_audio_that_come_twice_count_once(service):
    send = Socket.send

    async def send_twice(socket: Socket, message: Any) -> None:
        await send(socket, message)
        if isinstance(message, dict) and message.get("type") != "chunk":
            await send(socket, message)

    async with started(service) as engine:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Socket, "send", send_twice)
            for _ in range(2):
                said = await say(engine, FIRST, SECOND, FIRST)
                assert samples(said) == len(FIRST + SECOND + FIRST) * CHARACTER
                assert ends(said) == sorted(ends(said))
