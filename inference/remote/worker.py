"""
Engines served to other processes through a channel layer; ``client.py`` is the other end.

Channels' own worker makes a consumer for whatever message comes first, reads without bound and cannot stop in an
orderly way. This one loads its engines first, takes a placement only while a place is free, and on SIGTERM takes no
more and lets what is open come to its end.
"""

from __future__ import annotations

import asyncio
import logging

from inference.remote.links import end
from inference.remote.server import Server

logger = logging.getLogger(__name__)


class Worker:
    """All engines of this process, from loading to the last session. ``drain`` is how long open ones may take."""

    def __init__(self, servers: list[Server], *, drain: float = 30.0) -> None:
        self._servers = servers
        self._drain = drain
        self._stopping = asyncio.Event()
        self._at_once = asyncio.Event()

    def stop(self) -> None:
        """Once: let what is open end. Twice: now."""
        if self._stopping.is_set():
            self._at_once.set()
        self._stopping.set()

    async def run(self) -> None:
        """Until ``stop``. Raises ``EngineError`` if an engine does not load, or breaks."""
        serving = [asyncio.create_task(server.serve()) for server in self._servers]
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            done, _ = await asyncio.wait((*serving, stopping), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                await task
            await self._end()
        finally:
            await end(*serving, stopping)
            await asyncio.gather(*(server.close() for server in self._servers))
            logger.info("Stopped")

    async def _end(self) -> None:
        for server in self._servers:
            server.drain()
        if busy := sum(len(server.links.sessions) for server in self._servers):
            logger.info("Stopping: %d sessions have up to %g s to end", busy, self._drain)
        idle = asyncio.create_task(self._wait_until_idle())
        at_once = asyncio.create_task(self._at_once.wait())
        await asyncio.wait((idle, at_once), timeout=self._drain, return_when=asyncio.FIRST_COMPLETED)
        await end(idle, at_once)

    async def _wait_until_idle(self) -> None:
        for server in self._servers:
            await server.wait_until_idle()
