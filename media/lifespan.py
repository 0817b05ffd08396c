"""Start and stop with the server."""

from __future__ import annotations

from typing import Any

from inference.types import EngineError
from media.runtime import close_service, get_service


async def lifespan(scope: Any, receive: Any, send: Any) -> None:
    """ASGI's lifespan: servers that have it (uvicorn) load the engines before the first request."""
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            try:
                await get_service().start()
            except EngineError as error:
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                return
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            await close_service()
            await send({"type": "lifespan.shutdown.complete"})
            return


def starting_service(application: Any) -> Any:
    """Servers without a lifespan (daphne) load the engines at the first request, which need not wait for it."""

    async def start_and_go_on(scope: Any, receive: Any, send: Any) -> None:
        get_service().begin()
        await application(scope, receive, send)

    return start_and_go_on
