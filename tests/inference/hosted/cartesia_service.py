"""Cartesia's speech, message for message, which speaks in tones as long as their text."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
from aiohttp import web

from inference.mulaw import encode_mulaw
from tests.inference.hosted.service import Service, Socket

RATE_HZ = 8000
CHARACTER = 400
"""Samples (50 ms) that a character lasts."""
LEVEL = 3000
"""The amplitude of the tones."""
KEY = "cartesia-key"
VOICES = [{"id": "voice-a", "name": "Anna"}, {"id": "voice-b", "name": "Ben"}, {"id": "voice-c", "name": "Cleo"}]
PIECE = 1601
"""Bytes of one chunk: an odd number."""


def tone(characters: int, *, hz: float = 300.0, level: float = LEVEL) -> bytes:
    """Mu-law for so many characters."""
    time = np.arange(characters * CHARACTER) / RATE_HZ
    return encode_mulaw((level * np.sin(2 * np.pi * hz * time)).astype(np.int16))


class Context:
    """A context, as the service sees it."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self.fields = fields
        self.text = ""
        self.flushes = 0
        self.sent = 0
        """Samples."""
        self.cancelled = False
        self.stalled = False
        """It says nothing more."""


class CartesiaService(Service):
    """Speaks what it is asked to. A test sets what is wrong, or puts a hook before a clause."""

    def __init__(self) -> None:
        super().__init__()
        self.contexts: dict[str, Context] = {}
        """All contexts that there were, by their ids."""
        self.open_contexts: set[str] = set()
        self.most_contexts = 100
        self.cancels: list[str] = []
        self.models = {"sonic-3.5", "sonic-3"}
        self.level = float(LEVEL)
        self.timestamps = True
        self.flush_done = True
        self.page = 2
        """Voices on a page."""
        self.voice_requests = 0
        self.hooks: list[Any] = []
        """Coroutine functions of (service, socket, context, text), called before a clause is spoken. One that returns
        True has answered the clause itself."""

    def routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/voices", self.list_voices)

    async def list_voices(self, request: web.Request) -> web.Response:
        self.voice_requests += 1
        if (refusal := self.refused(request)) is not None:
            return refusal
        after = request.query.get("starting_after", "")
        ids = [voice["id"] for voice in VOICES]
        begin = ids.index(after) + 1 if after else 0
        page = VOICES[begin : begin + self.page]
        return web.json_response({"data": page, "has_more": begin + self.page < len(VOICES), "next_page": None})

    def refused(self, request: web.Request) -> web.Response | None:
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            error = {"title": "Unauthorized", "message": "Invalid API key", "error_code": "unauthorized"}
            return web.json_response(error, status=401)
        if not request.headers.get("Cartesia-Version"):
            return web.json_response({"title": "Bad request", "message": "Cartesia-Version is missing"}, status=400)
        return None

    async def _accept(self, request: web.Request) -> web.StreamResponse:
        if request.path != "/tts/websocket":
            return web.Response(status=404)
        return self.refused(request) or await super()._accept(request)

    async def handle(self, socket: Socket, message: Any) -> None:
        key = message["context_id"]
        if message.get("cancel"):
            self.cancels.append(key)
            self.open_contexts.discard(key)
            if key in self.contexts:
                self.contexts[key].cancelled = True
            return
        missing = {"model_id", "voice", "transcript", "output_format"} - set(message)
        if missing:
            await self.error(socket, key, 400, "Bad request", f"missing {sorted(missing)}", "bad_request")
            return
        fields = {name: value for name, value in message.items() if name not in ("transcript", "continue", "flush")}
        context = self.contexts.setdefault(key, Context(fields))
        if context.fields != fields:
            await self.error(socket, key, 400, "Bad request", "fields changed within a context", "bad_request")
            return
        if message["model_id"] not in self.models:
            await self.error(socket, key, 404, "Model not found", "no such model", "model_not_found")
            return
        self.open_contexts.add(key)
        if len(self.open_contexts) > self.most_contexts:
            self.open_contexts.discard(key)
            await self.error(socket, key, 429, "Too many requests", "too many contexts", "concurrency_limited")
            return
        if context.stalled:
            return
        if message["transcript"]:
            await self.say(socket, context, key, message["transcript"])
        if message.get("flush") and not context.stalled:
            context.flushes += 1
            if self.flush_done and not context.cancelled:
                await socket.send(
                    {"type": "flush_done", "context_id": key, "done": False, "status_code": 206, "flush_done": True,
                     "flush_id": context.flushes}
                )  # fmt: skip
        if not message.get("continue"):
            self.open_contexts.discard(key)
            await socket.send({"type": "done", "context_id": key, "done": True, "status_code": 200})

    async def say(self, socket: Socket, context: Context, key: str, text: str) -> None:
        for hook in self.hooks:
            if await hook(self, socket, context, text):
                return
        await self.speak(socket, context, key, text)

    async def speak(self, socket: Socket, context: Context, key: str, text: str, *, pieces: int | None = None) -> None:
        """Send the audio and the times of a clause, or so many pieces of its audio."""
        begin = context.sent
        audio = tone(len(text), level=self.level)
        for number, start in enumerate(range(0, len(audio), PIECE)):
            if number == pieces or context.cancelled:
                return
            await self.chunk(socket, context, key, audio[start : start + PIECE])
            if number == 0 and self.timestamps and context.fields.get("add_timestamps"):
                await self.words(socket, key, text, begin)
        context.text += text

    async def chunk(self, socket: Socket, context: Context, key: str, audio: bytes) -> None:
        context.sent += len(audio)
        await socket.send(
            {"type": "chunk", "context_id": key, "data": base64.b64encode(audio).decode(), "done": False,
             "status_code": 206, "step_time": 88.1, "flush_id": context.flushes + 1}
        )  # fmt: skip
        await asyncio.sleep(0)

    async def words(self, socket: Socket, key: str, text: str, begin: int) -> None:
        words, start, end, position = text.split(), [], [], 0
        for word in words:
            position = text.index(word, position)
            start.append((begin + position * CHARACTER) / RATE_HZ)
            position += len(word)
            end.append((begin + position * CHARACTER) / RATE_HZ)
        await socket.send(
            {"type": "timestamps", "context_id": key, "done": False, "status_code": 206,
             "word_timestamps": {"words": words, "start": start, "end": end}}
        )  # fmt: skip

    async def error(self, socket: Socket, key: str | None, status: int, title: str, said: str, code: str) -> None:
        context = {"context_id": key} if key else {}
        await socket.send(
            {"type": "error", **context, "done": True, "status_code": status, "title": title, "message": said,
             "error_code": code, "doc_url": "https://docs.cartesia.ai", "request_id": "r1"}
        )  # fmt: skip

    def said(self) -> Sequence[str]:
        """The texts of all contexts, in the order in which they began."""
        return [context.text for context in self.contexts.values()]
