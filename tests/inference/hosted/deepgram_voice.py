"""What the fakes of Deepgram's two voices share: keys, models, refusals, and a tone for each text."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import Any

import numpy as np
from aiohttp import web

from inference.interfaces import Speech
from inference.mulaw import decode_mulaw
from inference.types import AudioChunk, EngineError, Pcm
from tests.inference.hosted.service import Service, Socket
from tests.inference.hosted.speaking import text_of

FRAME = 160
"""Bytes of one binary frame: 20 ms."""
SAMPLES_PER_CHARACTER = 480
"""60 ms of tone for each character."""
KEY = "dg-key"


def tone_of(text: str) -> bytes:
    """A tone in mu-law. Its length goes with that of the text, and its loudness is different for different texts."""
    text = text.strip()
    code = 0x80 + sum(text.encode()) % 24
    period = bytes([code] * 4 + [code ^ 0x80] * 4)
    return period * (len(text) * SAMPLES_PER_CHARACTER // len(period))


def loudness_of(text: str) -> int:
    """The size of each sample in the tone of this text."""
    return abs(int(decode_mulaw(tone_of(text)[:1])[0]))


def loudnesses(pcm: Any) -> set[int]:
    """The loudnesses of which some sound consists, without silence."""
    return set(np.abs(np.asarray(pcm, np.int32)).tolist()) - {0}


def pcm_of(chunks: Sequence[AudioChunk]) -> Pcm:
    return np.concatenate([np.zeros(0, np.int16), *(chunk.pcm for chunk in chunks)])


async def says(speech: Speech, *clauses: str) -> list[AudioChunk]:
    """Say the clauses to their end."""
    async with aclosing(speech.speak(text_of(*clauses))) as chunks:
        return [chunk async for chunk in chunks]


async def until_it_fails(speech: Speech, text: AsyncIterator[str]) -> tuple[list[AudioChunk], EngineError]:
    """Return what was heard before the error, and the error."""
    heard: list[AudioChunk] = []
    try:
        async for chunk in speech.speak(text):
            heard.append(chunk)
    except EngineError as error:
        return heard, error
    raise AssertionError("it has not failed")


class DeepgramVoice(Service):
    """Checks handshakes as Deepgram does, lists its models, and sends sound in frames."""

    path = "/v1/speak"
    parameters = frozenset({"model", "encoding", "sample_rate"})
    models: tuple[str, ...] = ()
    """The models that the handshake takes."""
    listed: tuple[str, ...] = ()
    """The models that ``GET /v1/models`` lists."""

    def __init__(self) -> None:
        super().__init__()
        self.key = KEY
        self.sounding = asyncio.Event()
        """Sound is sent while it is set."""
        self.sounding.set()
        self.frame_bytes = FRAME
        self.before_frame: Callable[[Socket, int], Any] | None = None
        """Awaited before each frame with its number on this socket: a test lets it fail there."""
        self.frames: dict[Socket, int] = {}
        """How many frames each socket was sent."""
        self.models_status = 200

    def routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/v1/models", self._list)

    async def _list(self, request: web.Request) -> web.Response:
        self.requests.append(request)
        if self.models_status != 200:
            return web.Response(status=self.models_status)
        if request.headers.get("Authorization") != f"Token {self.key}":
            return web.json_response({"err_code": "INVALID_AUTH", "err_msg": "Invalid credentials."}, status=401)
        tts = [
            {
                "name": name.split("-")[-2],
                "canonical_name": name,
                "architecture": name.rsplit("-", 2)[0],
                "languages": [name.rsplit("-", 1)[-1]],
                "version": "2025-04-07.0",
                "uuid": "u",
                "metadata": None,
            }
            for name in self.listed
        ]
        return web.json_response({"stt": [], "tts": tts, "languages": {}})

    def refuse(self, request: web.Request) -> tuple[int, str, dict[str, str]] | None:
        if self.refusal is not None:
            return self.refusal
        query = request.query
        if request.headers.get("Authorization") != f"Token {self.key}":
            return 401, "Invalid credentials.", {"dg-error": "Invalid credentials."}
        if request.path != self.path:
            return 404, "", {}
        if unknown := set(query) - self.parameters:
            return 400, "", {"dg-error": f"unknown parameter {sorted(unknown)[0]}"}
        if query.get("model") not in self.models:
            return 400, "", {"dg-error": "Bad Request: No such model/language/tier combination found."}
        if (query.get("encoding"), query.get("sample_rate")) != ("mulaw", "8000"):
            return 400, "", {"dg-error": "unsupported audio format"}
        return None

    async def send_sound(self, socket: Socket, sound: bytes) -> None:
        for start in range(0, len(sound), self.frame_bytes):
            number = self.frames.get(socket, 0)
            if self.before_frame is not None:
                await self.before_frame(socket, number)
            await self.sounding.wait()
            self.frames[socket] = number + 1
            await socket.send(sound[start : start + self.frame_bytes])
            if number % 8 == 7:
                await asyncio.sleep(0)  # what the client sends meanwhile is read
