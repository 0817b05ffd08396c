"""The channel layer of open sessions recovers when its connection to Redis is lost."""

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
    """Report what the kernel reports when keepalive gets no answer."""
    transport._fatal_error(OSError(errno.ETIMEDOUT, "Connection timed out"))


@pytest.mark.parametrize("ends", [vanishes, lambda transport: transport.abort()], ids=["vanished", "reset"])
async def test_a_lost_connection_is_replaced_and_does_not_block_the_process(redis, ends):
    layer = PubSubChannelLayer(hosts=[redis.url])
    channel = await layer.new_channel()
    await layer.send(channel, {"type": "before"})
    assert await layer.receive(channel) == {"type": "before"}

    ends(layer._get_layer()._shards[0]._pubsub.connection._writer.transport)

    received = asyncio.ensure_future(layer.receive(channel))
    async with asyncio.timeout(60):
        while not received.done():
            # The layer delivers at most once, so a message that is sent before the reconnection is lost.
            with suppress(OSError):
                await layer.send(channel, {"type": "after"})
            await asyncio.wait([received], timeout=0.05)
    assert received.result() == {"type": "after"}
    await layer.flush()
