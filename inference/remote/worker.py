"""
Loads the engines of a worker process, serves them to clients elsewhere, and drains them when it is stopped.

Channels' own worker makes a consumer for any message that comes, reads without a limit and cannot stop in an
orderly way. This one loads its engines first, takes a placement only while a slot is free, and when it is stopped takes
no more sessions and lets the open ones end.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from inference.remote.server import Server
from inference.remote.waiting import cancel_and_wait

logger = logging.getLogger(__name__)


class Worker:
    """
    All engines of this process.

    ``drain`` is how many seconds open sessions may take to end. ``ready`` is called once all the engines are loaded.
    """

    def __init__(self, servers: list[Server], *, drain: float = 30.0, ready: Callable[[], None] = lambda: None) -> None:
        self.servers = servers
        self._drain = drain
        self._ready = ready
        self._stopping = asyncio.Event()
        self._stop_at_once = asyncio.Event()

    def stop(self) -> None:
        """The first call lets open sessions end; the second does not."""
        if self._stopping.is_set():
            self._stop_at_once.set()
        self._stopping.set()

    async def run(self) -> None:
        """Serve until ``stop``. Raises ``EngineError`` if an engine does not load, or breaks."""
        serving = [asyncio.create_task(server.serve()) for server in self.servers]
        stopping = asyncio.create_task(self._stopping.wait())
        loading = asyncio.create_task(self._tell_when_loaded())
        try:
            done, _ = await asyncio.wait((*serving, stopping), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                await task
            await self._drain_servers()
        finally:
            await cancel_and_wait(*serving, stopping, loading)
            await asyncio.gather(*(server.close() for server in self.servers))
            logger.info("Stopped")

    async def _tell_when_loaded(self) -> None:
        for server in self.servers:
            await server.loaded.wait()
        self._ready()

    async def _drain_servers(self) -> None:
        for server in self.servers:
            server.drain()
        if sessions := sum(len(server.links.sessions) for server in self.servers):
            logger.info("Stopping: %d open sessions have up to %g s to end", sessions, self._drain)
        idle = asyncio.create_task(self._wait_until_idle())
        at_once = asyncio.create_task(self._stop_at_once.wait())
        await asyncio.wait((idle, at_once), timeout=self._drain, return_when=asyncio.FIRST_COMPLETED)
        await cancel_and_wait(idle, at_once)

    async def _wait_until_idle(self) -> None:
        for server in self.servers:
            await server.idle.wait()
