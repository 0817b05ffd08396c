"""What the tests of the model server's client share."""

import asyncio
from contextlib import aclosing

import pytest

from inference.types import EngineError, Message, TextDelta

SYSTEM = Message("system", "You answer the telephone.")
HELLO = Message("user", "Hello?")


async def deltas_of(engine, *messages: Message, **options) -> list[TextDelta]:
    async with aclosing(engine.stream(messages or [SYSTEM, HELLO], **options)) as deltas:
        return [delta async for delta in deltas]


async def failure_of(engine) -> EngineError:
    with pytest.raises(EngineError) as failure:
        await deltas_of(engine)
    return failure.value


async def parts(*given: bytes):
    for part in given:
        yield part


async def hanging_after(*given: bytes):
    for part in given:
        yield part
    await asyncio.Event().wait()
