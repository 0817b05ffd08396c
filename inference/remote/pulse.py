"""
Shows that a worker lives while its event loop is held up, from a thread of its own.

A loop may be held up for a second by a computation, or by reading a large file. Its sessions are late then, but its
clients would be worse off elsewhere, where they have to begin again.
"""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import suppress

from msgspec import structs

from inference.remote import wire
from inference.remote.links import BEAT, Layer

LATE = 1.5 * BEAT
"""Seconds since the last announcement after which the loop counts as held up."""
STUCK = 3.0
"""Seconds after which it counts as stuck for good: the worker then falls silent, and is left."""
_SEND_TIMEOUT = 1.0
"""Seconds for sending an announcement."""
_JOIN_TIMEOUT = 2.0
"""Seconds in which the thread must have ended."""


class Pulse:
    """Repeats the last announcement of a worker to ``group`` while no new one comes."""

    def __init__(self, layer: Layer, group: str) -> None:
        self._layer = layer
        self._group = group
        self._noted: tuple[float, wire.Announcement] | None = None
        """The last announcement, and when it was noted on the clock of the system."""
        self._thread: threading.Thread | None = None
        self._stopped = False

    def start(self) -> None:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._beat()), name="pulse", daemon=True)
        self._thread.start()

    def note(self, news: wire.Announcement, now: float) -> None:
        """The worker announces itself, at this time of ``time.monotonic``."""
        self._noted = now, news

    async def stop(self) -> None:
        """Repeat nothing any more. Idempotent."""
        self._stopped = True
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, _JOIN_TIMEOUT)

    async def _beat(self) -> None:
        while not self._stopped:
            await asyncio.sleep(BEAT)
            if (news := self.due(time.monotonic())) is None:
                continue
            with suppress(Exception):  # the worker itself reports that the layer does not work
                async with asyncio.timeout(_SEND_TIMEOUT):
                    await self._layer.group_send(self._group, wire.pack(news))

    def due(self, now: float) -> wire.Announcement | None:
        """What is to be repeated now, if anything."""
        if self._noted is None or self._stopped:
            return None
        noted_at, news = self._noted
        if not LATE < now - noted_at < STUCK:
            return None
        return structs.replace(news, at=news.at + now - noted_at)
