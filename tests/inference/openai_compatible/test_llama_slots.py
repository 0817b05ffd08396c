"""At a llama.cpp server each call stays in its slot, and no more requests run than there are slots."""

import asyncio

import pytest

from inference.types import Message
from tests.inference.model_server import replying
from tests.inference.openai_compatible.helpers import HELLO, SYSTEM, deltas_of

_OPEN = asyncio.Event()
_OPEN.set()
SLOTS = {"total_slots": 2, "default_generation_settings": {"n_ctx": 2048}}


async def test_two_calls_by_turns_stay_in_their_slots(server, connect):
    server.properties = SLOTS
    server.answer = lambda body: replying("To ", body["messages"][-1]["content"])
    engine = connect(server="llama.cpp")
    await engine.start()
    calls = [[SYSTEM, Message("user", f"This is caller {number}.")] for number in range(2)]
    for call in calls:
        await engine.warm(call[:1])
    server.bodies.clear()
    for turn in range(3):
        for number, call in enumerate(calls):
            reply = "".join(delta.text for delta in await deltas_of(engine, *call))
            call += [Message("assistant", reply), Message("user", f"Caller {number} in turn {turn}.")]
    slots = [body["id_slot"] for body in server.bodies]
    assert slots == slots[:2] * 3
    assert {*slots} == {0, 1}
    assert all(body["cache_prompt"] for body in server.bodies)


async def test_the_context_is_that_of_one_slot(server, connect):
    server.properties = SLOTS
    engine = connect(server="llama.cpp")
    await engine.start()
    assert engine._context.tokens == 2048
    given = connect(server="llama.cpp", context_tokens=1024)
    await given.start()
    assert given._context.tokens == 1024


async def test_no_more_requests_run_than_there_are_slots(server, connect):
    server.properties = SLOTS
    running, most, go = 0, 0, asyncio.Event()

    async def answer(body):
        nonlocal running, most
        running, most = running + 1, max(most, running + 1)
        await go.wait()
        running -= 1
        async for part in replying("Hello."):
            yield part

    engine = connect(server="llama.cpp")
    await engine.start()
    server.answer = answer
    server.requested.clear()
    replies = [asyncio.create_task(deltas_of(engine)) for _ in range(5)]
    await server.requested.wait()
    go.set()
    await asyncio.gather(*replies)
    assert most <= 2


async def test_requests_go_on_that_have_waited_for_a_slot_since_before_the_slots_were_known(server, connect):
    """The server was away at the start, and tells its slots while replies are made and others wait."""
    engine = connect(server="llama.cpp", max_concurrent=2)
    gates = {name: asyncio.Event() for name in ("first", "waiting", "late")}

    async def answer(body):
        await gates.get(body["messages"][-1]["content"], _OPEN).wait()
        async for part in replying("Hello."):
            yield part

    def ask(name: str, count: int = 2) -> list[asyncio.Task]:
        return [asyncio.create_task(deltas_of(engine, SYSTEM, Message("user", name))) for _ in range(count)]

    async def arrived(count: int) -> None:
        while len(server.bodies) < count:
            server.requested.clear()
            await server.requested.wait()

    server.answer = answer
    first = ask("first")
    await arrived(2)
    waiting = ask("waiting", 1)
    await asyncio.sleep(0)
    server.properties = SLOTS
    await asyncio.gather(engine.warm([SYSTEM]), engine.warm([SYSTEM]))
    late = ask("late")
    await arrived(len(server.bodies) + 2)
    gates["first"].set()
    await asyncio.gather(*first)
    for gate in gates.values():
        gate.set()
    assert all(await asyncio.gather(*waiting, *late))


@pytest.mark.parametrize("properties", [None, {"total_slots": 0}, {"total_slots": "two"}, {"total_slots": None}])
async def test_a_server_that_does_not_tell_its_slots_is_used_without(server, connect, properties):
    server.properties = properties
    engine = connect(server="llama.cpp")
    await engine.start()
    await deltas_of(engine, SYSTEM, HELLO)
    assert "id_slot" not in server.bodies[-1]


async def test_other_servers_are_not_asked_for_slots(server, connect):
    server.properties = SLOTS
    engine = connect()
    await engine.start()
    await deltas_of(engine)
    assert "id_slot" not in server.bodies[-1]
