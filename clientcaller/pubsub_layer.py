"""Channels' pub/sub layer on Redis, without its way of hanging when a connection is lost."""

import asyncio
import logging
from typing import Any

from channels_redis import pubsub

from inference.remote.outage import Outage

logger = logging.getLogger(__name__)

# channels_redis has no types, hence the exceptions from type checking below.


RETRY_AFTER = 0.1
"""Seconds between two attempts to reach Redis. Channels waits a second, and calls are silent meanwhile."""


class _Connection(pubsub.RedisSingleShardConnection):  # type: ignore[misc]
    async def _do_receiving(self) -> None:
        """Read messages, and reconnect when the connection is lost. One warning tells of each outage."""
        outage = Outage(logger)
        while True:
            try:
                if self._pubsub and self._pubsub.subscribed:
                    self._receive_message(
                        await self._pubsub.get_message(ignore_subscribe_messages=True, timeout=RETRY_AFTER)
                    )
                    outage.end()
                else:
                    await asyncio.sleep(RETRY_AFTER)
            except Exception as error:
                outage.report("The connection to Redis is lost, reconnecting: %s", str(error) or type(error).__name__)
                await asyncio.sleep(RETRY_AFTER)

    def _ensure_redis(self) -> None:
        is_new = self._redis is None
        super()._ensure_redis()
        if is_new:
            self._pubsub.get_message = _reconnecting_get_message(self._pubsub)


def _reconnecting_get_message(subscriber: Any) -> Any:
    """
    The ``get_message`` of a subscriber, which disconnects when the connection is lost so that the next read reconnects.

    After ETIMEDOUT (the network or Redis vanished) redis-py answers every read at once with None, which means "no
    message within the time-out". Channels would read it in a loop that never yields, and block the process for ever.
    """
    get_message, now = subscriber.get_message, asyncio.get_running_loop().time

    async def get(*, timeout: float, **options: Any) -> Any:  # noqa: ASYNC109 (the signature is redis-py's)
        started_at = now()
        message = await get_message(timeout=timeout, **options)
        connection = subscriber.connection
        # Half the time-out tells an answer at once from a wait that ended a little early.
        if message is None and now() < started_at + timeout / 2 and connection is not None:
            reader = connection._reader
            if reader is not None and reader.exception() is not None:
                await connection.disconnect()
                await asyncio.sleep(timeout)
        return message

    return get


class _LoopLayer(pubsub.RedisPubSubLoopLayer):  # type: ignore[misc]
    def __init__(self, hosts: Any = None, **options: Any) -> None:
        super().__init__(hosts, **options)
        self._shards = [_Connection(host, self) for host in pubsub.decode_hosts(hosts)]


class PubSubChannelLayer(pubsub.RedisPubSubChannelLayer):  # type: ignore[misc]
    """Channels' pub/sub layer with connections that reconnect."""

    def _get_layer(self) -> Any:
        loop = asyncio.get_running_loop()
        if loop not in self._layers:
            self._layers[loop] = _LoopLayer(*self._args, **self._kwargs, channel_layer=self)
            pubsub._wrap_close(self, loop)
        return self._layers[loop]
