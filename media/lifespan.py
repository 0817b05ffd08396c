"""Starting and stopping the runtime with the server."""

from __future__ import annotations

from asgiref.typing import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, Scope

from inference.garbage import freeze_loaded
from inference.types import EngineError
from media.runtime import close_runtime, get_runtime


async def lifespan(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    """ASGI's lifespan protocol. Servers that have it (uvicorn) load the engines before the first request."""
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            try:
                get_runtime().begin(ready=freeze_loaded)
                await get_runtime().start()
            except EngineError as error:
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                return
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            await close_runtime()
            await send({"type": "lifespan.shutdown.complete"})
            return


def beginning_runtime(application: ASGI3Application) -> ASGI3Application:
    """Begin to load the engines at the first request, without delaying it: for servers without a lifespan (daphne)."""

    async def begin_and_serve(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        get_runtime().begin(ready=freeze_loaded)
        await application(scope, receive, send)

    return begin_and_serve
