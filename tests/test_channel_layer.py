"""The layer that open sessions travel on lives through what happens to its connection to Redis."""

import asyncio
import errno
from contextlib import suppress

import pytest

from clientcaller.pubsub_layer import PubSubChannelLayer
from tests.real_services import RedisServer


@pytest.fixture
def redis():
    server = RedisServer()
    yield server
    server.stop()


def vanishes(transport):
    """What the kernel reports when keepalive has given up on the other side."""
    transport._fatal_error(OSError(errno.ETIMEDOUT, "Connection timed out"))


@pytest.mark.parametrize("ends", [vanishes, lambda transport: transport.abort()], ids=["vanished", "reset"])
async def test_a_connection_that_ends_is_made_again_and_holds_nobody_up(redis, ends):
    layer = PubSubChannelLayer(hosts=[redis.url])
    channel = await layer.new_channel()
    await layer.send(channel, {"type": "before"})
    assert await layer.receive(channel) == {"type": "before"}

    ends(layer._get_layer()._shards[0]._pubsub.connection._writer.transport)

    received = asyncio.ensure_future(layer.receive(channel))
    async with asyncio.timeout(10):
        while not received.done():
            # Whoever is not listening just then misses it: at most once is all that such a layer promises.
            with suppress(OSError):
                await layer.send(channel, {"type": "after"})
            await asyncio.wait([received], timeout=0.05)
    assert received.result() == {"type": "after"}
    await layer.flush()
