"""Celery's message transport through Redis, with queues of limited length."""

from typing import Any

from kombu.transport import redis

MAX_QUEUE_MESSAGES = 10_000
"""
Messages that may wait in one queue; the oldest are dropped. While no worker reads, a day adds 130,000 of them, which
take 150 MB.
"""


class Channel(redis.Channel):
    """
    Kombu's channel, which drops what is above the limit. A dropped message loses nothing: it only starts a task that
    a later message starts as well, and the work itself is in the database.
    """

    def _put(self, queue: str, message: dict[str, Any], **kwargs: Any) -> None:
        super()._put(queue, message, **kwargs)
        priority = self._get_message_priority(message, reverse=False)
        key = self._q_for_pri(queue, priority)  # type: ignore[attr-defined]  # missing in the stubs
        with self.conn_or_acquire() as client:
            client.ltrim(key, 0, MAX_QUEUE_MESSAGES - 1)


class Transport(redis.Transport):
    """The transport of ``redis://`` and ``rediss://``."""

    Channel = Channel
