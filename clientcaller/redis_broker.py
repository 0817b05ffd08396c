"""Celery's messages in Redis, with a bound."""

from typing import Any

from kombu.transport import redis

LONGEST = 10_000
"""Messages of one queue that wait at most; the oldest give way. A day of them is 130,000, and 150 MB."""


class Channel(redis.Channel):
    """Kombu's. A wake-up that is dropped costs nothing: a later one says the same, and the database knows the work."""

    def _put(self, queue: str, message: dict[str, Any], **kwargs: Any) -> None:
        super()._put(queue, message, **kwargs)
        with self.conn_or_acquire() as client:
            client.ltrim(self._q_for_pri(queue, self._get_message_priority(message, reverse=False)), 0, LONGEST - 1)


class Transport(redis.Transport):
    """``redis://`` and ``rediss://``."""

    Channel = Channel
