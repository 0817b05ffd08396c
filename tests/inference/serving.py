"""Workers in the process of the test, on a Redis or in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from channels.layers import InMemoryChannelLayer, channel_layers
from channels_redis.core import RedisChannelLayer
from channels_redis.pubsub import RedisPubSubChannelLayer

from inference.remote.server import Server


@contextmanager
def layers(redis_url: str = "") -> Iterator[tuple[Any, Any]]:
    """The two of the project, for as long as the block lasts: for placements, and for open sessions."""
    made = (
        (RedisChannelLayer(hosts=[redis_url]), RedisPubSubChannelLayer(hosts=[redis_url]))
        if redis_url
        else (InMemoryChannelLayer(capacity=1000), InMemoryChannelLayer(capacity=1000))
    )
    before = [channel_layers.set(alias, layer) for alias, layer in zip(("default", "stream"), made, strict=True)]
    try:
        yield made
    finally:
        for alias, layer in zip(("default", "stream"), before, strict=True):
            del channel_layers.backends[alias]
            if layer is not None:
                channel_layers.set(alias, layer)


async def until(true: Callable[[], object], *, within: float = 10.0) -> None:
    """For what has no event to await, such as what another process does."""
    async with asyncio.timeout(within):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@asynccontextmanager
async def serving(alias: str, engine: Any, *, slots: int = 0) -> AsyncIterator[Server]:
    """A worker on the layers of the project."""
    server = Server(alias, engine, placements=channel_layers["default"], stream=channel_layers["stream"], slots=slots)
    task = asyncio.ensure_future(server.serve())
    try:
        await until(lambda: server.state == "ready" and server.links.channel)
        yield server
    finally:
        await server.close()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
