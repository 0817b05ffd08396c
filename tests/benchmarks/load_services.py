"""
Imitations of hosted services that cost little processor time and answer after set delays, for the load benchmark.

Their delays are those of the scripted engines, and so is what they say: 50 ms to the words of an utterance, 50 ms to
the first token and 10 ms to each further one, 50 ms to the first audio of a clause. Audio comes in pieces of 0.1 s
every 30 ms. All messages are made beforehand or by putting a few numbers into a text.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from math import ceil
from typing import Any

import numpy as np
from aiohttp import web

from inference.engines.cartesia import CartesiaOptions
from inference.engines.elevenlabs import ElevenLabsOptions
from inference.engines.scripted import DEFAULT_REPLY, DEFAULT_TRANSCRIPT
from inference.mulaw import decode_mulaw, encode_mulaw
from tests.inference.hosted.service import Service, Socket
from tests.inference.model_server import DONE, ModelServer, event

RATE_HZ = 8000
VOICE_PEAK = 500
"""A block of sound whose peak is above this has voice."""
QUIET_BYTES = np.arange(256, dtype=np.uint8)[
    np.abs(decode_mulaw(np.arange(256, dtype=np.uint8).tobytes())) <= VOICE_PEAK
].tobytes()
"""The bytes of mu-law that are no voice."""
BLOCK = 160
"""Samples: 20 ms."""
BACKCHANNEL, BACKCHANNEL_BELOW = "mm-hm", 0.45
"""An utterance with less voice than this many seconds gets these words, as from the scripted engine."""


@dataclass(kw_only=True)
class Delays:
    """How long the services take, in seconds."""

    words: float = 0.05
    """From a request for the words of an utterance to them."""
    first_token: float = 0.05
    token: float = 0.01
    """From one token to the next one."""
    audio: float = 0.05
    """From a clause to its first audio."""
    piece: float = 0.03
    """From one piece of audio, of 0.1 s, to the next one."""
    lateness: list[float] = field(default_factory=list)
    """How much later than that each answer was: the load of the machine."""

    async def until(self, due: float) -> None:
        """Wait until this time on the loop's clock."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, due - loop.time()))
        self.lateness.append(loop.time() - due)


# -- recognition ------------------------------------------------------------------------------------


class _Utterance:
    """What one socket has heard."""

    def __init__(self) -> None:
        self.samples = 0
        self.voiced = 0
        """Samples in blocks with voice."""
        self.interim_at = RATE_HZ
        """The sample with which the next interim result is due."""
        self.final_end = 0
        self.said = ""
        """The words of all final results."""


class PacedDeepgram(Service):
    """
    ``/v1/listen``: one question in each utterance, or a backchannel in a short one.

    An interim result comes with each second of sound, and all words ``Delays.words`` after ``Finalize``.
    """

    results = (
        '{{"type":"Results","channel_index":[0,1],"start":{:.3f},"duration":{:.3f},"is_final":{},"speech_final":false,'
        '"from_finalize":{},"channel":{{"alternatives":[{{"transcript":{},"confidence":0.99,"words":{}}}]}},'
        '"metadata":{{"request_id":"r","model_info":{{"name":"general-nova-3","version":"v","arch":"nova-3"}},'
        '"model_uuid":"u"}}}}'
    )

    def __init__(self, delays: Delays) -> None:
        super().__init__()
        self.delays = delays
        self._heard: dict[int, _Utterance] = {}

    def routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/v1/models", self._list_models)

    async def _list_models(self, request: web.Request) -> web.Response:
        return web.json_response({"stt": [], "tts": []})

    async def opened(self, socket: Socket) -> None:
        self._heard[id(socket)] = _Utterance()

    async def handle(self, socket: Socket, message: Any) -> None:
        utterance = self._heard[id(socket)]
        socket.received.clear()
        if isinstance(message, bytes):
            utterance.samples += len(message)
            for start in range(0, len(message), BLOCK):
                if message[start : start + BLOCK].translate(None, QUIET_BYTES):
                    utterance.voiced += BLOCK
            if utterance.samples >= utterance.interim_at:
                utterance.interim_at += RATE_HZ
                await socket.send(self._result(utterance, is_final=False))
        elif message.get("type") == "Finalize":
            due = asyncio.get_running_loop().time() + self.delays.words
            socket.tasks.append(asyncio.create_task(self._finalize(socket, utterance, due)))

    async def _finalize(self, socket: Socket, utterance: _Utterance, due: float) -> None:
        answer = self._result(utterance, is_final=True)
        await self.delays.until(due)
        await socket.send(answer)

    def _result(self, utterance: _Utterance, *, is_final: bool) -> str:
        text = DEFAULT_TRANSCRIPT if utterance.voiced >= BACKCHANNEL_BELOW * RATE_HZ else BACKCHANNEL
        if not utterance.voiced or text == utterance.said:
            text = ""
        begin, end = utterance.final_end / RATE_HZ, utterance.samples / RATE_HZ
        words = [
            {"word": word, "start": begin, "end": end, "confidence": 0.99, "punctuated_word": word}
            for word in text.split()
        ]
        if is_final:
            utterance.final_end, utterance.said = utterance.samples, text or utterance.said
        flag = str(is_final).lower()
        return self.results.format(begin, end - begin, flag, flag, json.dumps(text), json.dumps(words))

    @property
    def running(self) -> int:
        """Sockets that have got more sound than the silence with which each begins."""
        return sum(self._heard[id(socket)].samples > BLOCK for socket in self.open_sockets)


# -- the language model -----------------------------------------------------------------------------


class PacedOpenAI(ModelServer):
    """Streams one reply, token by token."""

    def __init__(self, delays: Delays) -> None:
        super().__init__()
        self.delays = delays
        self.answer = self._reply
        self.running = 0
        """Replies that are being sent."""
        self._tokens = [event(token) for token in re.findall(r"\s*\S+", DEFAULT_REPLY)]
        usage = {"prompt_tokens": 300, "completion_tokens": len(self._tokens)}
        counted = json.dumps({"id": "1", "object": "chat.completion.chunk", "choices": [], "usage": usage})
        self._end = event(finish_reason="stop") + b"data: " + counted.encode() + b"\n\n" + DONE

    async def _reply(self, body: dict[str, Any]) -> AsyncIterator[bytes]:
        for kept in (self.bodies, self.headers, self.requests):
            kept.clear()
        due = asyncio.get_running_loop().time() + self.delays.first_token
        self.running += 1
        try:
            for token in self._tokens:
                await self.delays.until(due)
                yield token
                due += self.delays.token
            yield self._end
        finally:
            self.running -= 1


# -- the voice --------------------------------------------------------------------------------------

PIECE = RATE_HZ // 10
"""Samples of one piece of audio: 22 periods of the tone, so that the tone goes on without a step."""
TONE = encode_mulaw(np.rint(3000 * np.sin(2 * np.pi * 220 * np.arange(PIECE) / RATE_HZ)).astype(np.int16))
PER_CHARACTER = 0.04
"""Seconds that a character lasts."""


def samples_of(text: str) -> int:
    return round(len(text) * PER_CHARACTER * RATE_HZ)


class _PacedVoice(Service):
    """Speaks in contexts, each of which has a task of its own."""

    def __init__(self, delays: Delays) -> None:
        super().__init__()
        self.delays = delays
        self._contexts: dict[str, asyncio.Queue[dict[str, Any]]] = {}
        """What contexts are still to say."""
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def tell(self, socket: Socket, key: str, message: dict[str, Any]) -> None:
        """Give a message to a context, after all others. The first one opens it."""
        if key not in self._contexts:
            self._contexts[key] = asyncio.Queue()
            self._tasks[key] = task = asyncio.create_task(self.speak(socket, key, self._contexts[key]))
            task.add_done_callback(lambda _: (self._tasks.pop(key, None), self._contexts.pop(key, None)))
            socket.tasks = [each for each in socket.tasks if not each.done()] + [task]
        self._contexts[key].put_nowait(message | {"at": asyncio.get_running_loop().time()})

    def cancel(self, key: str) -> None:
        if task := self._tasks.get(key):
            task.cancel()

    async def speak(self, socket: Socket, key: str, messages: asyncio.Queue[dict[str, Any]]) -> None:
        """Answer the messages of a context until its end."""
        raise NotImplementedError

    @property
    def running(self) -> int:
        """Contexts that were neither ended nor cancelled."""
        return len(self._contexts)


class PacedCartesia(_PacedVoice):
    """Speaks each clause as a tone, with one message that has the times of its words."""

    piece = base64.b64encode(TONE).decode()

    def routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/voices", self._list_voices)

    async def _list_voices(self, request: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": CartesiaOptions().voice, "name": "Tone"}], "has_more": False})

    async def handle(self, socket: Socket, message: Any) -> None:
        socket.received.clear()
        if message.get("cancel"):
            self.cancel(message["context_id"])
        else:
            self.tell(socket, message["context_id"], message)

    async def speak(self, socket: Socket, key: str, messages: asyncio.Queue[dict[str, Any]]) -> None:
        due, sent, flushes = 0.0, 0, 0
        while True:
            message = await messages.get()
            if text := message["transcript"]:
                due = max(message["at"] + self.delays.audio, due)
                await self.delays.until(due)
                await self._send_words(socket, key, text, sent / RATE_HZ)
                for start in range(0, samples_of(text), PIECE):
                    await self.delays.until(due)
                    await self._send_piece(socket, key, min(PIECE, samples_of(text) - start), flushes + 1)
                    due += self.delays.piece
                sent += samples_of(text)
            if message.get("flush"):
                flushes += 1
                done = {"type": "flush_done", "context_id": key, "done": False, "status_code": 206}
                await socket.send(json.dumps(done | {"flush_done": True, "flush_id": flushes}))
            if not message.get("continue"):
                await socket.send(json.dumps({"type": "done", "context_id": key, "done": True, "status_code": 200}))
                return

    async def _send_piece(self, socket: Socket, key: str, samples: int, flush: int) -> None:
        data = self.piece if samples == PIECE else base64.b64encode(TONE[:samples]).decode()
        await socket.send(
            f'{{"type":"chunk","context_id":"{key}","data":"{data}","done":false,"status_code":206,"step_time":88.1,'
            f'"flush_id":{flush}}}'
        )

    async def _send_words(self, socket: Socket, key: str, text: str, begin: float) -> None:
        found = list(re.finditer(r"\S+", text))
        words = {
            "words": [word.group() for word in found],
            "start": [begin + PER_CHARACTER * word.start() for word in found],
            "end": [begin + PER_CHARACTER * word.end() for word in found],
        }
        await socket.send(
            json.dumps({"type": "timestamps", "context_id": key, "done": False, "word_timestamps": words})
        )


LETTERS = 5
"""Characters in a piece of ElevenLabs' audio, which thus lasts 0.2 s."""


class PacedElevenLabs(_PacedVoice):
    """Speaks each clause as a tone, in pieces with the times of their characters."""

    piece = base64.b64encode(TONE + TONE).decode()

    def routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/v1/voices", self._list_voices)
        router.add_get("/v1/models", self._list_models)

    async def _list_voices(self, request: web.Request) -> web.Response:
        return web.json_response({"voices": [{"voice_id": ElevenLabsOptions().voice, "name": "Tone"}]})

    async def _list_models(self, request: web.Request) -> web.Response:
        model = {"model_id": ElevenLabsOptions().model, "can_do_text_to_speech": True}
        return web.json_response([model | {"languages": [{"language_id": "en"}]}])

    async def handle(self, socket: Socket, message: Any) -> None:
        socket.received.clear()
        self.tell(socket, message["context_id"], message)

    async def speak(self, socket: Socket, key: str, messages: asyncio.Queue[dict[str, Any]]) -> None:
        due = 0.0
        while True:
            message = await messages.get()
            if message.get("close_context"):
                await socket.send(json.dumps({"audio": None, "isFinal": True, "contextId": key}))
                return
            text = message["text"] if message.get("flush") else ""
            due = max(message["at"] + self.delays.audio, due)
            for start in range(0, len(text), LETTERS):
                await self.delays.until(due)
                await socket.send(self._message(key, text[start : start + LETTERS]))
                due += self.delays.piece * LETTERS * PER_CHARACTER * RATE_HZ / PIECE

    def _message(self, key: str, letters: str) -> str:
        samples = samples_of(letters)
        data = self.piece if len(letters) == LETTERS else base64.b64encode((TONE + TONE)[:samples]).decode()
        length = round(1000 * PER_CHARACTER)
        times = {
            "chars": list(letters),
            "charStartTimesMs": [length * number for number in range(len(letters))],
            "charDurationsMs": [length] * len(letters),
        }
        return json.dumps({"audio": data, "alignment": times, "normalizedAlignment": times, "contextId": key})


Paced = PacedDeepgram | PacedOpenAI | PacedCartesia | PacedElevenLabs
SERVICES: dict[str, Callable[[Delays], Paced]] = {
    "deepgram": PacedDeepgram,
    "openai": PacedOpenAI,
    "cartesia": PacedCartesia,
    "elevenlabs": PacedElevenLabs,
}


@dataclass(frozen=True)
class Voice:
    """How a hosted voice is chosen for the server under load."""

    key: str
    """The variable with its key."""
    options: Callable[[str, int], dict[str, Any]]
    """Its options, by the address of its service and the number of calls."""


VOICES = {
    "cartesia": Voice(
        "CARTESIA_API_KEY",
        lambda url, calls: {"base_url": url, "limit": SPARE + ceil(calls / CartesiaOptions().contexts_per_socket)},
    ),
    "elevenlabs": Voice(
        "ELEVENLABS_API_KEY",
        lambda url, calls: {"base_url": url, "limit": SPARE + ceil(calls / ElevenLabsOptions().contexts_per_socket)},
    ),
}
SPARE = 5
"""Sockets beyond one for each call: those that are being closed, and those that are kept warm."""


def hosted_environment(urls: dict[str, str], voice: str, calls: int) -> dict[str, str]:
    """The environment that chooses the hosted engines, at these addresses, with room for so many calls."""
    options = {
        # Each utterance has a socket, and one that was used takes a moment to close.
        "deepgram": {"limit": SPARE + ceil(1.5 * calls)},
        voice: VOICES[voice].options(urls[voice], calls),
    }
    return {
        "ENGINES_PROFILE": "hosted",
        "STT_ENGINE": "deepgram",
        "DEEPGRAM_API_KEY": "k",
        "DEEPGRAM_BASE_URL": urls["deepgram"],
        "LLM_ENGINE": "openai",
        "LLM_SERVER": "openai",  # it is paid for, so that nothing is asked on suspicion
        "LLM_MODEL": "m",
        "OPENAI_API_KEY": "k",
        "OPENAI_BASE_URL": urls["openai"],
        "TTS_ENGINE": voice,
        VOICES[voice].key: "k",
        "ENGINES_OPTIONS": json.dumps(options),
    }
