"""Which request goes first, and that a cancelled one stops the server."""

import asyncio
from contextlib import closing

import pytest
from aiohttp import web

from inference.types import EngineFull, EngineTimeout, Message, TextDelta
from tests.inference.model_server import DONE, event, replying
from tests.inference.openai_compatible.helpers import HELLO, SYSTEM, deltas_of, hanging_after


async def test_closing_the_stream_stops_the_server_at_once(server, connect):
    server.answer = lambda body: hanging_after(event("We "), event("open "))
    deltas = connect().stream([HELLO])
    await anext(deltas)
    await deltas.aclose()
    await asyncio.wait_for(server.disconnected.wait(), 60)


async def test_cancelling_before_the_first_token_stops_the_server_at_once(server, connect):
    server.answer = lambda body: hanging_after(event("", role="assistant"))
    reading = asyncio.ensure_future(deltas_of(connect()))
    await server.requested.wait()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await asyncio.wait_for(server.disconnected.wait(), 60)


@pytest.fixture
async def silent():
    """A port that accepts connections and never answers; yields its number and the connections."""
    came: asyncio.Queue[asyncio.StreamReader] = asyncio.Queue()

    async def hold(reader, writer):
        came.put_nowait(reader)
        with closing(writer):
            await released.wait()

    released = asyncio.Event()
    async with await asyncio.start_server(hold, "127.0.0.1", 0) as listening:
        yield listening.sockets[0].getsockname()[1], came
        released.set()


async def read_to_its_end(came):
    """All bytes of one connection, once it is closed."""
    return await asyncio.wait_for((await came.get()).read(), 60)


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_cancelling_while_connecting_or_waiting_leaves_no_connection(connect, silent, scheme):
    port, came = silent
    reading = asyncio.ensure_future(deltas_of(connect(base_url=f"{scheme}://127.0.0.1:{port}/v1")))
    reader = await came.get()
    came.put_nowait(reader)
    await reader.read(1)  # under TLS: in the middle of the handshake
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await read_to_its_end(came)


async def test_a_tls_handshake_that_hangs_times_out(connect, silent):
    port, came = silent
    engine = connect(base_url=f"https://127.0.0.1:{port}/v1", connect_timeout=0.1)
    with pytest.raises(EngineTimeout, match="cannot reach"):
        await deltas_of(engine)
    await read_to_its_end(came)


async def test_a_reply_that_turns_into_the_callers_turn_is_cancelled(server, connect):
    server.answer = lambda body: hanging_after(event("We open at nine."), event("<end_of_turn>\nuser"))
    assert [delta.text for delta in await deltas_of(connect())] == ["We open at nine."]
    await asyncio.wait_for(server.disconnected.wait(), 60)


async def test_a_real_turn_takes_the_slot_of_a_speculative_one_which_is_sent_again(server, connect):
    server.answer = lambda body: hanging_after()
    engine = connect(max_concurrent=1)
    guess = asyncio.ensure_future(deltas_of(engine, Message("user", "guess"), speculative=True))
    await server.requested.wait()
    server.answer = lambda body: replying(body["messages"][-1]["content"])
    assert await asyncio.wait_for(deltas_of(engine, Message("user", "real")), 60) == [TextDelta("real")]
    await asyncio.wait_for(server.disconnected.wait(), 60)
    assert await asyncio.wait_for(guess, 60) == [TextDelta("guess")]
    assert [body["messages"][-1]["content"] for body in server.bodies] == ["guess", "real", "guess"]


async def test_a_reply_that_has_begun_keeps_its_slot(server, connect):
    released = asyncio.Event()

    async def answer():
        yield event("We open ")
        await released.wait()
        yield event("at nine.") + DONE

    server.answer = lambda body: answer()
    engine = connect(max_concurrent=1)
    guess = engine.stream([HELLO], speculative=True)
    assert (await anext(guess)).text == "We open "
    real = asyncio.ensure_future(deltas_of(engine, Message("user", "real")))
    await asyncio.sleep(0)
    released.set()
    assert [delta.text async for delta in guess] == ["at nine."]
    assert "".join(delta.text for delta in await asyncio.wait_for(real, 60)) == "We open at nine."


async def test_warming_gives_way_and_does_not_wait_for_a_slot(server, connect):
    server.answer = lambda body: hanging_after()
    engine = connect(max_concurrent=1)
    warming = asyncio.ensure_future(engine.warm([SYSTEM]))
    await server.requested.wait()
    server.answer = lambda body: hanging_after(event("We "))
    real = engine.stream([HELLO])
    assert (await asyncio.wait_for(anext(real), 60)).text == "We "
    await asyncio.wait_for(warming, 60)
    await engine.warm([SYSTEM])
    assert len(server.bodies) == 2
    await real.aclose()


async def test_no_free_slot_in_time_is_an_error(server, connect):
    server.answer = lambda body: hanging_after(event("We "))
    # The time-out is for the second request: the server answers the first at once.
    engine = connect(max_concurrent=1, first_token_timeout=2.0)
    first = engine.stream([HELLO])
    await anext(first)
    with pytest.raises(EngineFull, match="all 1 slots"):
        await deltas_of(engine)
    await first.aclose()
    server.answer = lambda body: replying("Yes.")
    assert await deltas_of(engine) == [TextDelta("Yes.")]


async def test_a_full_server_gets_only_real_turns_until_it_can_serve_again(server, connect):
    server.answer = lambda body: web.Response(status=429, headers={"Retry-After": "30"}, text="slow down")
    engine = connect()
    with pytest.raises(EngineFull, match="slow down"):
        await deltas_of(engine)
    with pytest.raises(EngineFull, match="no request"):
        await deltas_of(engine, speculative=True)
    await engine.warm([SYSTEM])
    assert len(server.bodies) == 1
    server.answer = lambda body: replying("Yes.")
    assert await deltas_of(engine) == [TextDelta("Yes.")]
