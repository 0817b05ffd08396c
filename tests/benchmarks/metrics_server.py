"""
The server under load with its metrics exposed, as a benchmark needs it.

At ``/benchmark?counting=0`` it stops counting, and at ``=1`` it goes on. The answer has how often something was counted
since the last one, and the processor time in milliseconds that the text of a scrape takes.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

from prometheus_client import REGISTRY, Counter, Histogram, generate_latest

from clientcaller import metrics
from clientcaller.asgi import application as served
from clientcaller.web.server import SWITCH_INTERVAL

METHODS = ((Counter, "inc"), (Histogram, "observe"))
_originals = {kind: getattr(kind, name) for kind, name in METHODS}
_counted = 0


def _counting(kind: type) -> Any:
    original = _originals[kind]

    def count(self: Any, *arguments: Any) -> None:
        global _counted
        _counted += 1
        original(self, *arguments)

    return count


def switch(*, on: bool) -> None:
    for kind, name in METHODS:
        setattr(kind, name, _counting(kind) if on else lambda self, *arguments: None)


def scrape_ms() -> float:
    began = time.thread_time()
    generate_latest(REGISTRY)
    return (time.thread_time() - began) * 1000


sys.setswitchinterval(SWITCH_INTERVAL)
metrics.expose("web")
switch(on=True)


async def application(scope: Any, receive: Any, send: Any) -> None:
    global _counted
    if scope["type"] != "http" or scope["path"] != "/benchmark":
        await served(scope, receive, send)
        return
    switch(on=scope["query_string"] == b"counting=1")
    counted, _counted = _counted, 0
    body = json.dumps({"counted": counted, "scrape_ms": await asyncio.to_thread(scrape_ms)}).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": body})
