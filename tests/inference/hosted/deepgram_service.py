"""
A Deepgram for tests: ``/v1/listen`` (Nova), ``/v2/listen`` (Flux) and ``/v1/models``.

It "recognises" one word in each 0.3 s of sound, by its strongest frequency. A word counts once half of it was heard, so
the words do not depend on how the sound is cut. Faults are put in by ``edit`` (what is sent) and ``intercept`` (what is
received).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from functools import cache
from itertools import count
from typing import Any

import numpy as np
from aiohttp import web

from inference.mulaw import decode_mulaw
from inference.types import Pcm
from tests.inference.hosted.service import Service, Socket

KEY = "a-key-of-the-tests"
RATE_HZ = 8000
WORD = 2400
"""Samples of one word."""
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
"""By frequency: ``WORDS[n]`` is n * 400 Hz."""
SILENT = 200
"""The loudest sample of what is silence."""


def say(*words: str) -> Pcm:
    """The sound of these words; a blank is silence."""
    time = np.arange(WORD) / RATE_HZ
    tones = [
        8000 * np.sin(2 * np.pi * 400 * (WORDS.index(word) or 0.5) * time) if word else np.zeros(WORD) for word in words
    ]
    return np.concatenate([np.zeros(0), *tones]).astype(np.int16)


@cache
def word_of(mulaw: bytes) -> str:
    pcm = decode_mulaw(mulaw)
    if np.abs(pcm).max(initial=0) <= SILENT:
        return ""
    spectrum = np.abs(np.fft.rfft(pcm.astype(float) * np.hanning(len(pcm))))
    return WORDS[min(9, round(int(spectrum.argmax()) * RATE_HZ / len(pcm) / 400))]


_LANGUAGES = ["en", "en-US", "de", "fr"]
MODELS = {
    "stt": [
        {"name": "general", "canonical_name": "nova-3-general", "languages": _LANGUAGES, "streaming": True},
        {"name": "nova-3", "canonical_name": "nova-3", "languages": _LANGUAGES, "streaming": True},
        {"name": "flux-general-en", "canonical_name": "flux-general-en", "languages": ["en"], "streaming": True},
        {"name": "whisper", "canonical_name": "whisper-large", "languages": ["en"], "streaming": False},
        None,
    ],
    "tts": [],
}  # fmt: skip
V1_TYPES = {"KeepAlive", "Finalize", "CloseStream", "Configure"}


class Stream:
    """One socket of ``/v1/listen``: the sound, and what of it has gone into final results."""

    def __init__(self) -> None:
        self.sound = bytearray()
        self.final_end = 0
        """The sample at which the last final result ended."""
        self.counted = 0
        """Words that are in final results."""
        self.interim_end = 0
        self.origin = 0

    def words(self) -> list[dict[str, Any]]:
        """The words that are in no final result yet."""
        found = []
        number = self.counted
        while (begin := self.origin + number * WORD) + WORD // 2 <= len(self.sound):
            if word := word_of(bytes(self.sound[begin : begin + WORD // 2])):
                found.append(
                    {
                        "word": word,
                        "start": begin / RATE_HZ,
                        "end": (begin + WORD // 2) / RATE_HZ,
                        "confidence": 0.9,
                        "punctuated_word": word,
                    }
                )
            number += 1
        self.next = number
        return found

    def results(self, *, is_final: bool, marked: bool = False) -> dict[str, Any]:
        words, end = self.words(), len(self.sound)
        start = self.final_end
        if is_final:
            self.final_end, self.counted = end, self.next
        self.interim_end = end
        return results(words, start / RATE_HZ, (end - start) / RATE_HZ, is_final=is_final, marked=marked)


def results(
    words: Sequence[dict[str, Any]], start: float, duration: float, *, is_final: bool, marked: bool = False
) -> dict[str, Any]:
    return {
        "type": "Results",
        "channel_index": [0, 1],
        "start": start,
        "duration": duration,
        "is_final": is_final,
        "speech_final": False,
        "from_finalize": marked,
        "channel": {
            "alternatives": [
                {
                    "transcript": " ".join(word["punctuated_word"] for word in words),
                    "confidence": 0.9 if words else 0.0,
                    "words": list(words),
                }
            ]
        },
        "metadata": {
            "request_id": "r1",
            "model_info": {"name": "general-nova-3", "version": "v", "arch": "nova-3"},
            "model_uuid": "u",
        },
    }


class Turns:
    """One socket of ``/v2/listen``: the sound, and the turn that goes on."""

    window = 2000
    """Samples that are transcribed at once."""

    def __init__(self, timeout_ms: int) -> None:
        self.sound = bytearray()
        self.transcribed = 0
        """Samples that were transcribed."""
        self.index = 0
        self.counted = 0
        """Words that belong to earlier turns."""
        self.known = 0
        """Words that were transcribed."""
        self.is_active = False
        self.sequence = count()
        self.turn_begin = 0.0
        self.timeout = timeout_ms * RATE_HZ // 1000
        self.spoke_until = 0
        self.configures = 0

    def voiced(self) -> bytes:
        """What was transcribed without its silence, so that words do not depend on how much of it there is."""
        sound = np.frombuffer(bytes(self.sound[: self.transcribed]), np.uint8)
        edges = np.flatnonzero(np.diff(np.concatenate([[0], np.isin(sound, (0xFF, 0x7F)), [0]]).astype(np.int8)))
        keep = np.ones(len(sound), bool)
        for begin, end in edges.reshape(-1, 2):
            if end - begin >= 600 or (end == len(sound) and end - begin >= 50):
                keep[begin:end] = False
        return sound[keep].tobytes()

    def words(self) -> list[str]:
        """All words of the socket."""
        voiced = self.voiced()
        begins = range(0, max(0, len(voiced) - WORD // 2 + 1), WORD)
        return [word_of(voiced[begin : begin + WORD // 2]) for begin in begins]

    def message(self, kind: str, **fields: Any) -> dict[str, Any]:
        return {"type": kind, "request_id": "r", "sequence_id": next(self.sequence), **fields}

    def info(self, event: str, **fields: Any) -> dict[str, Any]:
        words = self.words()[self.counted :]
        return self.message(
            "TurnInfo",
            event=event,
            turn_index=self.index,
            audio_window_start=self.turn_begin,
            audio_window_end=self.transcribed / RATE_HZ,
            transcript=" ".join(words),
            words=[{"word": word, "confidence": 0.8} for word in words],
            end_of_turn_confidence=0.01,
            **fields,
        )

    def transcribe(self) -> list[dict[str, Any]]:
        """The messages about the sound that fills another window."""
        messages = []
        while self.transcribed + self.window <= len(self.sound):
            self.transcribed += self.window
            if (known := len(self.words())) > self.known:
                self.known, self.spoke_until = known, self.transcribed
            if self.known > self.counted and not self.is_active:
                self.is_active = True
                messages.append(self.info("StartOfTurn"))
            elif self.is_active and self.transcribed - self.spoke_until >= self.timeout:
                messages.append(self.end("timeout"))
            else:
                messages.append(self.info("Update"))
        return messages

    def end(self, trigger: str) -> dict[str, Any]:
        message = self.info("EndOfTurn", trigger=trigger)
        self.is_active, self.counted, self.index = False, len(self.words()), self.index + 1
        self.turn_begin = self.transcribed / RATE_HZ
        return message


Edit = Callable[[dict[str, Any]], Sequence[Any]]
Intercept = Callable[[Socket, Any], Awaitable[bool]]


async def let_through(socket: Socket, message: Any) -> bool:
    return False


class DeepgramService(Service):
    """``violations`` says what a client did that Deepgram does not take."""

    def __init__(self) -> None:
        super().__init__()
        self.key = KEY
        self.models: Any = MODELS
        self.violations: list[str] = []
        self.streams: dict[int, Any] = {}
        """By the ``id`` of the socket."""
        self.edit: Edit = lambda message: [message]
        """What is sent in place of a message."""
        self.intercept: Intercept = let_through
        """Whether a test has dealt with a message of the client."""
        self.little = 0
        """Samples that are too few to be worth an answer to ``Finalize``."""
        self.idle = 10.0
        """Seconds without sound or a message after which a socket of ``/v1/listen`` is closed."""
        self.interim_every = RATE_HZ
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self._closing: set[asyncio.Task[None]] = set()

    # -- HTTP ---------------------------------------------------------------------------------------------

    def routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/v1/models", self._list_models)

    async def _list_models(self, request: web.Request) -> web.Response:
        self.requests.append(request)
        if isinstance(self.models, int):
            return web.Response(status=self.models)
        return web.json_response(self.models)

    def refuse(self, request: web.Request) -> tuple[int, str, dict[str, str]] | None:
        if self.refusal is not None:
            return self.refusal
        query = request.query
        if request.headers.get("Authorization") != f"Token {self.key}":
            return 401, '{"err_code":"INVALID_AUTH","err_msg":"Invalid credentials."}', {}
        known = (
            {"nova-3", "nova-3-general"} if request.path == "/v1/listen" else {"flux-general-en", "flux-general-multi"}
        )
        if query.get("model") not in known:
            return 403, '{"err_code":"INSUFFICIENT_PERMISSIONS"}', {}
        if (reason := self._wrong_query(request)) is not None:
            return 400, reason, {"dg-error": reason}
        return None

    def _wrong_query(self, request: web.Request) -> str | None:
        query = request.query
        if query.get("encoding") not in {"linear16", "linear32", "mulaw", "alaw"} or not query.get("sample_rate"):
            return "raw sound needs encoding and sample_rate"
        if request.path == "/v1/listen":
            if query.get("language", "en") not in {"en", "en-US", "de", "fr", "multi"}:
                return "no such model/language combination"
            if int(query.get("utterance_end_ms", 1000)) < 1000:
                return "utterance_end_ms must be at least 1000"
            return (
                "language_hint needs multi" if query.get("language") != "multi" and "language_hint" in query else None
            )
        if wrong := {"language", "smart_format", "interim_results", "punctuate", "endpointing"} & set(query):
            return f"unknown parameters {sorted(wrong)}"
        if (
            not 0.5 <= float(query.get("eot_threshold", 0.7)) <= 1
            or not 500 <= int(query.get("eot_timeout_ms", 5000)) <= 60000
        ):
            return "the threshold or the timeout is out of range"
        return (
            "language_hint needs the multilingual model"
            if "language_hint" in query and query["model"] == "flux-general-en"
            else None
        )

    # -- sockets ------------------------------------------------------------------------------------------

    async def opened(self, socket: Socket) -> None:
        if socket.request.path == "/v2/listen":
            turns = self.streams[id(socket)] = Turns(int(socket.request.query.get("eot_timeout_ms", 5000)))
            await self.say(socket, turns.message("Connected"))
        else:
            self.streams[id(socket)] = Stream()
            self._wait_for_more(socket)

    async def say(self, socket: Socket, message: dict[str, Any]) -> None:
        for each in self.edit(message):
            await socket.send(each)

    async def handle(self, socket: Socket, message: Any) -> None:
        if await self.intercept(socket, message):
            return
        if socket.request.path == "/v2/listen":
            await self._handle_v2(socket, message)
        else:
            self._wait_for_more(socket)
            await self._handle_v1(socket, message)

    def _wait_for_more(self, socket: Socket) -> None:
        if (timer := self._timers.pop(id(socket), None)) is not None:
            timer.cancel()
        if not socket.gone.is_set():
            loop = asyncio.get_running_loop()
            self._timers[id(socket)] = loop.call_later(self.idle, self._close_idle, socket)

    def _close_idle(self, socket: Socket) -> None:
        if not socket.gone.is_set():
            task = asyncio.ensure_future(socket.close(1011, "NET-0001"))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def _handle_v1(self, socket: Socket, message: Any) -> None:
        stream = self.streams[id(socket)]
        if isinstance(message, bytes):
            await self._hear_v1(socket, stream, message)
            return
        kind = message.get("type") if isinstance(message, dict) else None
        if kind not in V1_TYPES:
            self.violations.append(f"an unknown message {message!r}")
            error = {
                "type": "Error",
                "variant": "SchemaError",
                "description": "no such message",
                "message": str(message),
            }
            await self.say(socket, error)
        elif kind == "KeepAlive" and not stream.sound:
            self.violations.append("KeepAlive before any sound")
        elif kind == "Finalize":
            if len(stream.sound) - stream.final_end > self.little:
                await self.say(socket, stream.results(is_final=True, marked=True))
        elif kind == "Configure":
            keyterms = message.get("keyterms")
            await self.say(socket, {"type": "ConfigureSuccess", "request_id": "r1", "keyterms": keyterms})
        elif kind == "CloseStream":
            if len(stream.sound) > stream.final_end:
                await self.say(socket, stream.results(is_final=True))
            duration = len(stream.sound) / RATE_HZ
            await self.say(
                socket,
                {
                    "type": "Metadata", "transaction_key": "deprecated", "request_id": "r1", "sha256": "0" * 64,
                    "created": "2026-11-29T00:00:00.000Z", "duration": duration, "channels": 1,
                },
            )  # fmt: skip
            await socket.close()

    async def _hear_v1(self, socket: Socket, stream: Stream, sound: bytes) -> None:
        if not sound:
            self.violations.append("an empty binary frame")
            await socket.close(1011, "empty")
            return
        if not stream.sound and word_of(sound) == "":
            stream.origin = len(sound)  # what wakes the socket is no part of an utterance
        stream.sound += sound
        if len(stream.sound) - stream.interim_end >= self.interim_every:
            await self.say(socket, stream.results(is_final=False))

    async def _handle_v2(self, socket: Socket, message: Any) -> None:
        turns = self.streams[id(socket)]
        kind = message.get("type") if isinstance(message, dict) else None
        if isinstance(message, bytes):
            turns.sound += message
            for each in turns.transcribe():
                await self.say(socket, each)
        elif kind == "ForceEndTurn":
            if turns.is_active:
                await self.say(socket, turns.end("manual"))
            else:
                no_turn = {"code": "FORCE_END_TURN_NO_ACTIVE_TURN", "description": "There is no active turn."}
                await self.say(socket, turns.message("Warning", **no_turn))
        elif kind == "Configure" and not set(message) - {
            "type",
            "thresholds",
            "keyterms",
            "language_hints",
            "numerals",
        }:
            now = {"thresholds": {"eot_threshold": 1.0}, "keyterms": message.get("keyterms") or []}
            await self.say(socket, turns.message("ConfigureSuccess", **now))
        elif kind == "CloseStream":
            await socket.close()
        else:
            self.violations.append(f"an unknown message {message!r}")
            code = {"code": "UNPARSABLE_CLIENT_MESSAGE", "description": "The message could not be understood."}
            await self.say(socket, {"type": "Error", "sequence_id": next(turns.sequence), **code})
            await socket.close(1008)

    @property
    def sound_of_each(self) -> list[bytes]:
        """What was heard on each socket that got more than silence, in order."""
        heard = [b"".join(each for each in socket.received if isinstance(each, bytes)) for socket in self.sockets]
        return [sound for sound in heard if np.abs(decode_mulaw(sound)).max(initial=0) > SILENT]


def as_json(message: Any) -> str:
    return json.dumps(message)
