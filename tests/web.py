"""A web server on this machine for the length of a test."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from media.phone.serving import stop_server


@asynccontextmanager
async def serving(answer: Any) -> AsyncIterator[str]:
    """Serve every request with ``answer``. The server's URL."""
    server = web.Application()
    server.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(server, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield "http://{}:{}".format(*runner.addresses[0][:2])
    await stop_server(runner)
