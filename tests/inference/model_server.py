"""An OpenAI-compatible model server over real HTTP that gives the answers of a test."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from media.phone.serving import stop_server

Answer = Callable[[dict[str, Any]], "AsyncIterator[bytes] | web.StreamResponse | Awaitable[web.StreamResponse]"]


def event(content: str | None = None, *, finish_reason: str | None = None, **delta: Any) -> bytes:
    """Encode one server-sent event of a streamed chat completion."""
    choice = {"index": 0, "delta": {"content": content, **delta}, "finish_reason": finish_reason}
    payload = {"id": "1", "object": "chat.completion.chunk", "choices": [choice]}
    return b"data: " + json.dumps(payload, ensure_ascii=False).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"


async def replying(*texts: str) -> AsyncIterator[bytes]:
    """Yield a whole reply in these pieces, as a server sends it."""
    yield event("", role="assistant")
    for text in texts:
        yield event(text)
    yield event(finish_reason="stop")
    yield DONE


def repeat_the_caller(body: dict[str, Any]) -> AsyncIterator[bytes]:
    """Reply with the last message of the conversation."""
    return replying(*re.findall(r"\s*\S+", f"You said: {body['messages'][-1]['content']}"))


class ModelServer:
    def __init__(self) -> None:
        self.answer: Answer = repeat_the_caller
        """Returns the reply to a request for a completion, given its body. A test may replace it."""
        self.bodies: list[dict[str, Any]] = []
        """The bodies of the requests for completions, in order."""
        self.headers: list[dict[str, str]] = []
        """The headers of all requests, in order."""
        self.requests: list[web.Request] = []
        """The requests for completions, in order."""
        self.connections: set[Any] = set()
        """The transports of all requests: as many as there were connections."""
        self.models_status = 200
        """The status of the answer to a request for the list of models."""
        self.models: Any = {"object": "list", "data": []}
        """The list of models."""
        self.single_models: set[str] = set()
        """Models that are not in the list and nevertheless found by their names."""
        self.properties: dict[str, Any] | None = None
        """The answer to a request for the properties of the server, which only llama.cpp has."""
        self.models_requests = 0
        """How often the list of models was requested."""
        self.requested = asyncio.Event()
        """Set with the first request for a completion."""
        self.disconnected = asyncio.Event()
        """Set when a client has disconnected before the end of its reply."""
        self.base_url = ""
        """Set while it is ``serving``."""

    @asynccontextmanager
    async def serving(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[ModelServer]:
        """Serve at a free port while the block runs."""
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._complete)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/v1/models/{name:.+}", self._model)
        app.router.add_get("/props", self._properties)
        runner = web.AppRunner(app, handler_cancellation=True, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        self.base_url = f"http{'s' if tls else ''}://127.0.0.1:{runner.addresses[0][1]}/v1"
        try:
            yield self
        finally:
            await stop_server(runner)

    async def _models(self, request: web.Request) -> web.Response:
        self.models_requests += 1
        self.headers.append(dict(request.headers))
        self.connections.add(request.transport)
        return web.json_response(self.models, status=self.models_status, headers={"Location": str(request.url)})

    async def _model(self, request: web.Request) -> web.Response:
        found = request.match_info["name"] in self.single_models
        return web.json_response({"object": "model"} if found else {"error": {}}, status=200 if found else 404)

    async def _properties(self, request: web.Request) -> web.Response:
        return web.json_response(self.properties or {"error": "not found"}, status=200 if self.properties else 404)

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        self.bodies.append(await request.json())
        self.headers.append(dict(request.headers))
        self.connections.add(request.transport)
        self.requested.set()
        self.requests.append(request)
        answer = self.answer(self.bodies[-1])
        if isinstance(answer, Awaitable):
            answer = await answer
        if isinstance(answer, web.StreamResponse):
            return answer
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        try:
            async for data in answer:
                await response.write(data)
        except (asyncio.CancelledError, ConnectionError):
            self.disconnected.set()
            raise
        return response
