"""Workers in the process of the test, on channel layers in memory or on a Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from channels.layers import InMemoryChannelLayer, channel_layers
from channels_redis.core import RedisChannelLayer
from channels_redis.pubsub import RedisPubSubChannelLayer

from inference.remote.server import Server
from inference.remote.worker import Worker


@contextmanager
def layers(redis_url: str = "") -> Iterator[tuple[Any, Any]]:
    """Replace the project's two channel layers in the block: the one for placements, and the one for open sessions."""
    made = (
        (RedisChannelLayer(hosts=[redis_url]), RedisPubSubChannelLayer(hosts=[redis_url]))
        if redis_url
        else (InMemoryChannelLayer(capacity=1000), InMemoryChannelLayer(capacity=1000))
    )
    with replaced(*made):
        yield made


@contextmanager
def replaced(*made: Any) -> Iterator[None]:
    """Replace the layers by these in the block."""
    before = [channel_layers.set(alias, layer) for alias, layer in zip(("default", "stream"), made, strict=True)]
    try:
        yield
    finally:
        for alias, layer in zip(("default", "stream"), before, strict=True):
            del channel_layers.backends[alias]
            if layer is not None:
                channel_layers.set(alias, layer)


async def wait_until(condition: Callable[[], object], *, within: float = 10.0) -> None:
    """Wait for what has no event to await, such as what another process does."""
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def make_server(alias: str, engine: Any, *, slots: int = 0) -> Server:
    """The server of a worker on the project's channel layers."""
    return Server(alias, engine, placements=channel_layers["default"], stream=channel_layers["stream"], slots=slots)


@asynccontextmanager
async def serving(alias: str, engine: Any, *, slots: int = 0) -> AsyncIterator[Server]:
    """A server that is ready."""
    server = make_server(alias, engine, slots=slots)
    task = asyncio.ensure_future(server.serve())
    try:
        await wait_until(lambda: server.state == "ready" and server.links.channel)
        yield server
    finally:
        await server.close()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def running_worker(engine: Any, *, drain: float = 5.0) -> AsyncIterator[tuple[Worker, asyncio.Task[None]]]:
    """``Worker`` as the command runs it; yields it with the task that runs it."""
    server = make_server("tts", engine)
    worker = Worker([server], drain=drain)
    task = asyncio.ensure_future(worker.run())
    await wait_until(lambda: server.state == "ready")
    yield worker, task
    worker.stop()
    worker.stop()
    await task
