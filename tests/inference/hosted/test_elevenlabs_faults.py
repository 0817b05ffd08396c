"""ElevenLabs when its sockets fail, and when it sends messages of any kind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from inference.types import AudioChunk, EngineError, EngineFull, EngineTimeout, QuotaExhausted
from tests.inference.hosted.cartesia_service import RATE_HZ, tone
from tests.inference.hosted.elevenlabs_service import CHARACTER, PIECE, ElevenLabsService
from tests.inference.hosted.service import Socket
from tests.inference.hosted.speaking import Lines, ends, samples, say, say_until_error
from tests.inference.hosted.test_elevenlabs import FIRST, SECOND, started


@pytest.fixture
async def service() -> AsyncIterator[ElevenLabsService]:
    async with ElevenLabsService().serving() as serving:
        yield serving


def break_at(text: str, break_off: Any, *, pieces: int = 0, times: int = 1) -> Any:
    """A hook: at the clause with this text, so many times, send ``pieces`` of its audio and then do something."""
    left = [times]

    async def hook(service: ElevenLabsService, socket: Socket, key: str, context: Any, said: str) -> bool:
        if text.strip() not in said or not left[0]:
            return False
        left[0] -= 1
        if pieces:
            await service.speak(socket, key, context, said, pieces=pieces)
        await break_off(service, socket, key, context)
        return True

    return hook


async def abort(service: ElevenLabsService, socket: Socket, key: str, context: Any) -> None:
    socket.abort()


async def stall(service: ElevenLabsService, socket: Socket, key: str, context: Any) -> None:
    context.stalled = True
    service.finals = False


def fail_with(error: str, said: str = "", *, with_context: bool = True, close: bool = True) -> Any:
    async def fail(service: ElevenLabsService, socket: Socket, key: str, context: Any) -> None:
        await service.fail(socket, error, said, key=key if with_context else None, close=close)

    return fail


@pytest.mark.parametrize("text", [FIRST, SECOND])
async def test_a_socket_that_dies_before_any_audio_of_a_clause_is_replaced(service, text):
    service.hooks.append(break_at(text, abort))
    async with started(service) as engine:
        lines, said = Lines(FIRST), []
        async with aclosing(engine.open().speak(lines)) as chunks:
            async for chunk in chunks:
                said.append(chunk)
                if samples(said) == len(FIRST) * CHARACTER:
                    lines.add(SECOND)
                    lines.end()
    assert samples(said) == len(FIRST + SECOND) * CHARACTER
    assert ends(said) == sorted(ends(said))
    assert ends(said)[-1] == len(FIRST + SECOND)


async def test_a_socket_that_dies_within_a_clause_is_an_error_after_what_was_received(service):
    service.hooks.append(break_at(SECOND, abort, pieces=1))
    async with started(service) as engine:
        said, error = await say_until_error(engine, FIRST, SECOND)
    assert isinstance(error, EngineError)
    assert samples(said) == (len(FIRST) + PIECE) * CHARACTER
    assert len(FIRST) <= ends(said)[-1] < len(FIRST + SECOND)


async def test_a_service_that_stalls_before_the_first_audio_is_noticed(service):
    service.hooks.append(break_at(FIRST, stall))
    async with started(service, first_audio_timeout=0.2) as engine:
        said, error = await say_until_error(engine, FIRST)
    assert said == []
    assert isinstance(error, EngineTimeout)


async def test_a_service_that_stalls_in_a_clause_is_noticed(service):
    service.hooks.append(break_at(FIRST, stall, pieces=1))
    async with started(service, stall_timeout=0.2) as engine:
        said, error = await say_until_error(engine, FIRST)
    assert samples(said) > 0
    assert isinstance(error, EngineTimeout)


async def rest_of(chunks: AsyncIterator[AudioChunk]) -> list[AudioChunk]:
    return [chunk async for chunk in chunks]


def with_times_that_run_ahead(excess: float, *, in_advance: bool = False) -> Any:
    """A hook: the time of the clause's last letter is so many seconds too late. The times may come before the audio."""

    async def hook(service: ElevenLabsService, socket: Socket, key: str, context: Any, said: str) -> bool:
        step = CHARACTER * 1000 / RATE_HZ
        starts, lengths = [number * step for number in range(len(said))], [step] * len(said)
        lengths[len(said.rstrip(" .")) - 1] += excess * 1000
        sound = tone(len(said), level=service.level)
        if in_advance:
            await service.audio(socket, key, None, list(said), starts, lengths)
            await service.audio(socket, key, sound, [], [], [])
        else:
            await service.audio(socket, key, sound, list(said), starts, lengths)
        context.text += said
        return True

    return hook


@pytest.mark.parametrize("in_advance", [False, True])
@pytest.mark.parametrize("excess", [0.5, 1.5, 60.0])
async def test_times_that_run_ahead_of_the_audio_cost_nothing_while_the_text_pauses(service, excess, in_advance):
    service.hooks.append(with_times_that_run_ahead(excess, in_advance=in_advance))
    async with started(service, first_audio_timeout=20.0, stall_timeout=0.1) as engine:
        lines, said = Lines(FIRST), []
        async with aclosing(engine.open().speak(lines)) as chunks:
            async for chunk in chunks:
                said.append(chunk)
                if samples(said) == len(FIRST) * CHARACTER and len(service.said()[0]) == len(FIRST):
                    assert ends(said)[-1] == len(FIRST)
                    lines.add(SECOND)
                    lines.end()
    assert samples(said) == len(FIRST + SECOND) * CHARACTER
    assert ends(said) == sorted(ends(said))
    assert ends(said)[-1] == len(FIRST + SECOND)


async def test_a_clause_that_follows_times_which_run_ahead_is_waited_for_as_usual(service):
    """It comes before it is known that they were wrong."""
    service.hooks += [break_at(SECOND, stall), with_times_that_run_ahead(5.0)]
    async with started(service, first_audio_timeout=0.3, stall_timeout=20.0) as engine:
        lines = Lines(FIRST)
        async with aclosing(engine.open().speak(lines)) as chunks:
            await anext(chunks)
            lines.add(SECOND)
            with pytest.raises(EngineTimeout):
                await rest_of(chunks)


async def test_an_end_that_follows_times_which_run_ahead_is_waited_for_as_usual(service):
    service.hooks.append(with_times_that_run_ahead(5.0))
    service.finals = False
    async with started(service, first_audio_timeout=0.3, stall_timeout=20.0) as engine:
        lines = Lines(FIRST)
        async with aclosing(engine.open().speak(lines)) as chunks:
            await anext(chunks)
            lines.end()
            with pytest.raises(EngineTimeout):
                await rest_of(chunks)


async def test_audio_that_the_times_promise_may_come_late(service):
    async def slowly(service: ElevenLabsService, socket: Socket, key: str, context: Any, said: str) -> bool:
        step = CHARACTER * 1000 // RATE_HZ
        starts, lengths = [number * step for number in range(len(said))], [step] * len(said)
        await service.audio(socket, key, tone(len(said) - 4), list(said), starts, lengths)
        await asyncio.sleep(0.3)
        await service.audio(socket, key, tone(4), [], [], [])
        return True

    service.hooks.append(slowly)
    async with started(service, stall_timeout=20.0) as engine:
        said = await say(engine, FIRST, SECOND)
    assert samples(said) == len(FIRST + SECOND) * CHARACTER
    assert ends(said)[-1] == len(FIRST + SECOND)


@pytest.mark.parametrize(
    ("error", "kind", "permanent"),
    [
        ("max_active_conversations", EngineFull, False),
        ("too_many_concurrent_requests", EngineFull, False),
        ("system_busy", EngineFull, False),
        ("quota_exceeded", QuotaExhausted, False),
        ("invalid_api_key", EngineError, True),
        ("voice_not_found", EngineError, True),
        ("input_timeout_exceeded", EngineError, False),
        ("something_new", EngineError, False),
    ],
)
@pytest.mark.parametrize("with_context", [True, False])
@pytest.mark.parametrize("close", [True, False])
async def test_errors_of_the_service_are_errors_of_the_engine(service, error, kind, permanent, with_context, close):
    failing = fail_with(error, "It went wrong.", with_context=with_context, close=close)
    service.hooks.append(break_at(FIRST, failing, times=9))
    async with started(service) as engine:
        _, raised = await say_until_error(engine, FIRST)
        assert type(raised) is kind
        assert raised.permanent is permanent
        if error == "invalid_api_key":
            assert "ELEVENLABS_API_KEY" in str(raised)
        service.hooks.clear()
        assert ends(await say(engine, FIRST))[-1] == len(FIRST)


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [(1008, "too many contexts", EngineFull), (1008, "quota exceeded", QuotaExhausted), (1011, "", EngineError)],
)
async def test_a_socket_that_the_service_closes_says_why(service, code, reason, kind):
    async def close(service: ElevenLabsService, socket: Socket, key: str, context: Any) -> None:
        await socket.close(code, reason)

    service.hooks.append(break_at(FIRST, close, pieces=1))
    async with started(service) as engine:
        _, error = await say_until_error(engine, FIRST)
    assert type(error) is kind


async def test_an_error_does_not_quote_the_text_of_a_call(service):
    service.hooks.append(break_at(FIRST, fail_with("bad_text", f"cannot say {FIRST!r}"), times=9))
    async with started(service) as engine:
        _, error = await say_until_error(engine, FIRST)
    assert "open at ten" not in str(error)
    assert "bad_text" in str(error)


STRANGE = [
    {"audio": None},
    {"audio": 7},
    {"audio": "!", "alignment": 3},
    {"audio": None, "alignment": {"chars": None}},
    {"audio": None, "alignment": {"chars": ["W", None], "charStartTimesMs": ["x"], "charDurationsMs": [1e400]}},
    {"audio": None, "alignment": {"chars": ["x"] * 3, "charStartTimesMs": [0], "charDurationsMs": []}},
    {"isFinal": None},
    {"isFinal": False},
    {"type": "flush_done"},
    {"error": None, "message": None, "code": None},
    {"weather": "fine"},
]


@pytest.mark.parametrize("message", STRANGE)
async def test_strange_messages_are_ignored(service, message):
    async def strange(service: ElevenLabsService, socket: Socket, key: str, context: Any, text: str) -> bool:
        for extra in ({}, {"contextId": key}, {"context_id": key}, {"contextId": None}, {"contextId": "c99"}):
            await socket.send({**message, **extra})
        for frame in ("no JSON", "[1, 2]", b"\x00\xff"):
            await socket.send(frame)
        return False

    service.hooks.append(strange)
    async with started(service) as engine:
        said = await say(engine, FIRST, SECOND)
    assert samples(said) == len(FIRST + SECOND) * CHARACTER
    assert ends(said) == sorted(ends(said))
    assert ends(said)[-1] == len(FIRST + SECOND)
