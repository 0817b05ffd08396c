"""ElevenLabs' speech on sockets with several contexts, message for message, in tones as long as their text."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from typing import Any

from aiohttp import web

from tests.inference.hosted.cartesia_service import CHARACTER, LEVEL, RATE_HZ, tone
from tests.inference.hosted.service import Service, Socket

KEY = "elevenlabs-key"
VOICES = [{"voice_id": "voice-a", "name": "Anna"}, {"voice_id": "voice-b", "name": "Ben"}]
LANGUAGES = [{"language_id": code, "name": code} for code in ("en", "de", "fr", "fil")]
MODELS = [
    {"model_id": "eleven_flash_v2_5", "can_do_text_to_speech": True, "languages": LANGUAGES},
    {"model_id": "eleven_multilingual_v2", "can_do_text_to_speech": True, "languages": LANGUAGES[:2]},
    {"model_id": "eleven_v3", "can_do_text_to_speech": True, "languages": LANGUAGES},
    {"model_id": "scribe_v2", "can_do_text_to_speech": False, "languages": LANGUAGES},
]
PIECE = 7
"""Characters of one message."""
MOST_CONTEXTS = 5


class Context:
    """A context, as the service sees it."""

    def __init__(self, settings: dict[str, Any] | None) -> None:
        self.settings = settings
        self.text = ""
        """What it has said."""
        self.waiting = ""
        """What was not flushed."""
        self.closed = False
        self.stalled = False
        """It says nothing more."""


class ElevenLabsService(Service):
    """Speaks what it is asked to. A test sets what is wrong, or puts a hook before a clause."""

    def __init__(self) -> None:
        super().__init__()
        self.contexts: dict[str, Context] = {}
        """All contexts that there were, by their ids."""
        self.open_contexts: dict[Socket, set[str]] = {}
        """Those that are not final, by their socket."""
        self.most_at_once = 0
        self.closes: list[str] = []
        self.level = float(LEVEL)
        self.spelling = "camel"
        """``camel``, ``snake`` or ``wild``: how fields are spelt."""
        self.alignment = True
        self.finals = True
        """Whether it says that a context has ended."""
        self.may_read = True
        """Whether the key may list voices and models."""
        self.hooks: list[Any] = []
        """Coroutine functions of (service, socket, key, context, text), called before a clause is spoken. One that
        returns True has answered the clause itself."""

    def routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/v1/voices", self.list_voices)
        router.add_get("/v1/models", self.list_models)

    async def list_voices(self, request: web.Request) -> web.Response:
        return self.refused(request) or self.unreadable("voices_read") or web.json_response({"voices": VOICES})

    async def list_models(self, request: web.Request) -> web.Response:
        return self.refused(request) or self.unreadable("models_read") or web.json_response(MODELS)

    def refused(self, request: web.Request) -> web.Response | None:
        if request.headers.get("xi-api-key") == KEY:
            return None
        detail = {"status": "invalid_api_key", "message": "Invalid API key"}
        return web.json_response({"detail": detail}, status=401)

    def unreadable(self, permission: str) -> web.Response | None:
        if self.may_read:
            return None
        said = f"The API key you used is missing the permission {permission} to execute this operation."
        return web.json_response({"detail": {"status": "missing_permissions", "message": said}}, status=401)

    async def _accept(self, request: web.Request) -> web.StreamResponse:
        if not request.path.endswith("/multi-stream-input"):
            return web.Response(status=404)
        return self.refused(request) or await super()._accept(request)

    async def handle(self, socket: Socket, message: Any) -> None:
        key = message.get("context_id") or "default"
        is_open = self.open_contexts.setdefault(socket, set())
        if message.get("close_context"):
            self.closes.append(key)
            if key in self.contexts:
                self.contexts[key].closed = True
                await self.final(socket, key)
            return
        if key not in is_open:
            is_open.add(key)
            self.most_at_once = max(self.most_at_once, len(is_open))
            if len(is_open) > MOST_CONTEXTS:
                await self.fail(socket, "max_active_conversations", "Too many contexts", key=None)
                return
            self.contexts[key] = Context(message.get("voice_settings"))
        elif "voice_settings" in message:
            await self.fail(socket, "invalid_settings", "voice_settings may come only in the first message", key=None)
            return
        context = self.contexts[key]
        context.waiting += message.get("text") or ""
        if message.get("flush") and not context.stalled:
            text, context.waiting = context.waiting.removeprefix(" "), ""
            if text.strip():
                await self.say(socket, key, context, text)

    async def say(self, socket: Socket, key: str, context: Context, text: str) -> None:
        for hook in self.hooks:
            if await hook(self, socket, key, context, text):
                return
        await self.speak(socket, key, context, text)

    async def speak(self, socket: Socket, key: str, context: Context, text: str, *, pieces: int | None = None) -> None:
        """Send the audio of a clause with its alignment, or so many pieces of it."""
        for number, start in enumerate(range(0, len(text), PIECE)):
            if number == pieces:
                return
            await self.piece(socket, key, text[start : start + PIECE], begins_with_blank=number > 0)
            await asyncio.sleep(0)
        context.text += text

    async def piece(self, socket: Socket, key: str, chars: str, *, begins_with_blank: bool = False) -> None:
        times = [number * CHARACTER * 1000 // RATE_HZ for number in range(len(chars))]
        lengths = [CHARACTER * 1000 // RATE_HZ] * len(chars)
        await self.audio(socket, key, tone(len(chars), level=self.level), list(chars), times, lengths)

    async def audio(
        self, socket: Socket, key: str, audio: bytes | None, chars: Sequence[Any], times: Any, lengths: Any
    ) -> None:
        starts_name, lengths_name, context_name, normalized_name = {
            "camel": ("charStartTimesMs", "charDurationsMs", "contextId", "normalizedAlignment"),
            "snake": ("char_start_times_ms", "char_durations_ms", "context_id", "normalized_alignment"),
            "wild": ("charStartTimesMs", "charsDurationsMs", "context_id", "normalizedAlignment"),
        }[self.spelling]
        alignment = {"chars": chars, starts_name: times, lengths_name: lengths} if self.alignment else None
        data = base64.b64encode(audio).decode() if audio is not None else None
        await socket.send({"audio": data, "alignment": alignment, normalized_name: alignment, context_name: key})

    async def final(self, socket: Socket, key: str) -> None:
        if not self.finals:
            return
        self.open_contexts[socket].discard(key)
        final, context = ("isFinal", "contextId") if self.spelling == "camel" else ("is_final", "context_id")
        await socket.send({"audio": None, final: True, context: key})

    async def fail(self, socket: Socket, error: str, said: str, *, key: str | None, close: bool = True) -> None:
        context = {"contextId": key} if key else {}
        await socket.send({"message": said, "error": error, "code": 1008, **context})
        if close:
            await socket.close(1008, error)

    def said(self) -> list[str]:
        """The texts of all contexts, in the order in which they began."""
        return [context.text for context in self.contexts.values()]
