"""An OpenAI-compatible model server over real HTTP, whose answers a test writes."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

Answer = Callable[[dict[str, Any]], "AsyncIterator[bytes] | web.Response"]


def event(content: str | None = None, *, finish_reason: str | None = None, **delta: Any) -> bytes:
    """One server-sent event of a streamed chat completion."""
    choice = {"index": 0, "delta": {"content": content, **delta}, "finish_reason": finish_reason}
    payload = {"id": "1", "object": "chat.completion.chunk", "choices": [choice]}
    return b"data: " + json.dumps(payload, ensure_ascii=False).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"


async def replying(*texts: str) -> AsyncIterator[bytes]:
    """A whole reply in these pieces, as servers send it."""
    yield event("", role="assistant")
    for text in texts:
        yield event(text)
    yield event(finish_reason="stop")
    yield DONE


def repeat_the_caller(body: dict[str, Any]) -> AsyncIterator[bytes]:
    return replying(*re.findall(r"\s*\S+", f"You said: {body['messages'][-1]['content']}"))


class ModelServer:
    def __init__(self) -> None:
        self.answer: Answer = repeat_the_caller
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.connections: set[Any] = set()
        self.asked = asyncio.Event()
        self.abandoned = asyncio.Event()
        self.base_url = ""

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[ModelServer]:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._complete)
        runner = web.AppRunner(app, handler_cancellation=True, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        self.bodies.append(await request.json())
        self.headers.append(dict(request.headers))
        self.connections.add(request.transport)
        self.asked.set()
        answer = self.answer(self.bodies[-1])
        if isinstance(answer, web.Response):
            return answer
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        try:
            async for data in answer:
                await response.write(data)
        except (asyncio.CancelledError, ConnectionError):
            self.abandoned.set()
            raise
        return response
