"""The channel layer of open sessions recovers when its connection to Redis is lost."""

import asyncio
import errno
import subprocess
import sys
from contextlib import suppress

import pytest
from redis import Redis

from clientcaller.pubsub_layer import PubSubChannelLayer
from tests.real_services import ROOT, RedisServer, process_env


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


def published(server: RedisServer) -> int:
    with Redis.from_url(server.url) as client:
        return client.info("commandstats").get("cmdstat_publish", {}).get("calls", 0)


async def test_channels_are_divided_among_several_servers(redis, redis_server):
    before = published(redis_server)
    layers = [PubSubChannelLayer(hosts=[redis.url, redis_server.url]) for _ in range(2)]
    channels = [await layers[0].new_channel() for _ in range(20)]
    for number, channel in enumerate(channels):
        await layers[1].send(channel, {"type": "one", "number": number})
    async with asyncio.timeout(60):
        assert [(await layers[0].receive(channel))["number"] for channel in channels] == [*range(20)]
    on_each = published(redis), published(redis_server) - before
    assert sum(on_each) == 20
    assert min(on_each) > 0
    for layer in layers:
        await layer.flush()


def test_celery_sends_its_messages_to_its_own_server(redis, redis_server, tmp_path):
    """REDIS_URL names the other one."""
    command = "shell", "-c", "from calls.tasks import dial_due; dial_due.delay()"
    environment = process_env(tmp_path, redis_url=redis_server.url, CELERY_BROKER_URL=redis.url)
    with Redis.from_url(redis.url) as broker, Redis.from_url(redis_server.url) as other:
        before = other.llen("celery")
        subprocess.run([sys.executable, "manage.py", *command], env=environment, cwd=ROOT, check=True)
        assert (broker.llen("celery"), other.llen("celery")) == (1, before)
