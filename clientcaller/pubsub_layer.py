"""Channels' layer on Redis' pub/sub, without its way of hanging."""

import asyncio
from typing import Any

from channels_redis import pubsub


class _Connection(pubsub.RedisSingleShardConnection):
    def _ensure_redis(self) -> None:
        fresh = self._redis is None
        super()._ensure_redis()
        if fresh:
            self._pubsub.get_message = _unless_dead(self._pubsub)


def _unless_dead(subscriber: Any) -> Any:
    """
    A connection that ended with ETIMEDOUT (its network or its Redis has vanished) answers every read at once with what
    redis-py takes for "nothing came in time": Channels would read it for ever, and nothing else would run any more.
    """
    get_message, now = subscriber.get_message, asyncio.get_running_loop().time

    async def get(*, timeout: float, **options: Any) -> Any:  # noqa: ASYNC109 (as redis-py has it)
        begun = now()
        message = await get_message(timeout=timeout, **options)
        connection = subscriber.connection
        if message is None and now() < begun + timeout / 2 and connection is not None:
            reader = connection._reader
            if reader is not None and reader.exception() is not None:
                await connection.disconnect()  # the next read connects again
                await asyncio.sleep(timeout)
        return message

    return get


class _LoopLayer(pubsub.RedisPubSubLoopLayer):
    def __init__(self, hosts: Any = None, **options: Any) -> None:
        super().__init__(hosts, **options)
        self._shards = [_Connection(host, self) for host in pubsub.decode_hosts(hosts)]


class PubSubChannelLayer(pubsub.RedisPubSubChannelLayer):
    """Channels' own, whose readers end with their connection."""

    def _get_layer(self) -> Any:
        loop = asyncio.get_running_loop()
        if loop not in self._layers:
            self._layers[loop] = _LoopLayer(*self._args, **self._kwargs, channel_layer=self)
            pubsub._wrap_close(self, loop)
        return self._layers[loop]
