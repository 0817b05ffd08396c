"""OpenAI's audio requests over real sockets on this machine, message for message."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
from aiohttp import web

from inference.types import Pcm
from tests.inference.hosted.service import Service

RATE_HZ = 24_000
SECONDS_PER_CHARACTER = 0.02
SILENCE = 0.2
"""Seconds of silence before and after the voice."""
PIECES = (4095, 1, 8192, 3107)
"""The lengths in bytes in which sound is sent, over and over."""

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def voice_of(text: str, *, level: float = 0.1, rate_hz: int = RATE_HZ) -> Pcm:
    """The sound of a text, with silence around it."""
    samples = round(len(text) * SECONDS_PER_CHARACTER * rate_hz)
    wave = level * 2**0.5 * 32768 * np.sin(2 * np.pi * (200 + 7 * len(text)) / rate_hz * np.arange(samples))
    silence = np.zeros(round(SILENCE * rate_hz))
    return np.concatenate([silence, wave, silence]).astype(np.int16)


class OpenAIService(Service):
    """Speaks as OpenAI does. A test replaces ``speak`` to have it fail."""

    def __init__(self) -> None:
        super().__init__()
        self.bodies: list[dict[str, Any]] = []
        """The JSON of every request for speech, in order."""
        self.models: Any = {
            "object": "list",
            "data": [
                {"id": name, "object": "model", "created": 1, "owned_by": "openai", "shutdown_date": end}
                for name, end in (("gpt-4o-mini-tts", "2027-01-06"), ("gpt-transcribe", None), ("kokoro", None))
            ],
        }
        self.voices: Any = None
        """What ``GET /audio/voices`` answers; None: there is no such address."""
        self.closes = False
        """Whether each response ends its connection, and so the task that serves it."""
        self.level = 0.1
        """The active level of the voice, 1 being full scale."""
        self.speak: Answer = self.speak_well
        self.begun = asyncio.Event()
        """Set when the first piece of a sound was sent."""
        self.ended: list[str] = []
        """How each request for speech ended: ``sent`` or ``left``."""
        self.end = asyncio.Event()
        """Set whenever one has ended."""

    @property
    def url(self) -> str:
        return self.base_url + "/v1"

    def routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/v1/models", self._models)
        router.add_get("/v1/audio/voices", self._voices)
        router.add_post("/v1/audio/speech", self._speech)

    async def _models(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        if self.refusal is not None:
            status, body, headers = self.refusal
            return web.Response(status=status, text=body, headers=headers)
        return self._json(self.models)

    async def _voices(self, request: web.Request) -> web.StreamResponse:
        return self._json(self.voices)

    def _json(self, content: Any) -> web.Response:
        response = web.json_response(content) if content is not None else web.Response(status=404)
        if self.closes:
            response.force_close()
        return response

    async def _speech(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        self.bodies.append(await request.json())
        how = "left"
        try:
            answer = await self.speak(request)
            how = "sent"
            return answer
        except (ConnectionError, asyncio.CancelledError):
            raise
        finally:
            self.ended.append(how)
            self.end.set()

    async def speak_well(self, request: web.Request) -> web.StreamResponse:
        body = self.bodies[-1]
        return await self.send(request, voice_of(body["input"], level=self.level).tobytes())

    async def send(
        self,
        request: web.Request,
        content: bytes,
        *,
        content_type: str = "audio/pcm",
        pieces: tuple[int, ...] = PIECES,
        hold: asyncio.Event | None = None,
    ) -> web.StreamResponse:
        """Send the content in pieces. With ``hold``, all but the first piece wait for it."""
        response = web.StreamResponse(headers={"Content-Type": content_type} if content_type else {})
        if self.closes:
            response.force_close()
        await response.prepare(request)
        at = number = 0
        while at < len(content):
            size = pieces[number % len(pieces)]
            await response.write(content[at : at + size])
            await asyncio.sleep(0)
            self.begun.set()
            at, number = at + size, number + 1
            if hold is not None:
                await hold.wait()
        await response.write_eof()
        return response


def error(message: str, code: str, kind: str = "invalid_request_error") -> dict[str, Any]:
    """The body of an error, in OpenAI's form."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}
