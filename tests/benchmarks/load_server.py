"""
The server under load: the application, and at ``/benchmark`` what a benchmark must know of its process.

That is the number of tasks by the name of what they run, and the sockets to hosted services that were lost in use.
"""

from __future__ import annotations

import asyncio
import gc
import json
from collections import Counter
from typing import Any

from clientcaller.asgi import application as served
from inference.hosted.sockets import SocketPool


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http" or scope["path"] != "/benchmark":
        await served(scope, receive, send)
        return
    body = json.dumps(observe()).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": body})


def observe() -> dict[str, Any]:
    tasks = Counter(getattr(task.get_coro(), "__qualname__", "?") for task in asyncio.all_tasks())
    lost = sum(each.lost for each in gc.get_objects() if isinstance(each, SocketPool))
    return {"tasks": tasks, "lost": lost}
