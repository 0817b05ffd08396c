"""OpenAI's audio requests over real sockets on this machine, message for message."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import re
import wave
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
from aiohttp import BodyPartReader, web

from inference.mulaw import decode_mulaw
from inference.types import Pcm
from tests.inference.hosted.service import Service, Socket

RATE_HZ = 24_000
PHONE_HZ = 8000
SECONDS_PER_CHARACTER = 0.02
SILENCE = 0.2
"""Seconds of silence before and after the voice."""
PIECES = (4095, 1, 8192, 3107)
"""The lengths in bytes in which sound is sent, over and over."""

PIECE = 0.3
"""Seconds of sound that are one word, "low" or "high"."""

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def voice_of(text: str, *, level: float = 0.1, rate_hz: int = RATE_HZ) -> Pcm:
    """The sound of a text, with silence around it."""
    samples = round(len(text) * SECONDS_PER_CHARACTER * rate_hz)
    tone = level * 2**0.5 * 32768 * np.sin(2 * np.pi * (200 + 7 * len(text)) / rate_hz * np.arange(samples))
    silence = np.zeros(round(SILENCE * rate_hz))
    return np.concatenate([silence, tone, silence]).astype(np.int16)


def words_of(pcm: bytes | Pcm, rate_hz: int) -> str:
    """What is said in a sound: a word for each piece of it that is loud."""
    sound = np.frombuffer(pcm, "<i2") if isinstance(pcm, bytes) else pcm
    size = round(PIECE * rate_hz)
    words = []
    for start in range(0, len(sound), size):
        piece = sound[start : start + size].astype(float)
        if len(piece) >= size // 3 and np.sqrt(np.square(piece).mean()) > 100:
            power = np.square(np.abs(np.fft.rfft(piece)))
            centre = (power * np.fft.rfftfreq(len(piece), 1 / rate_hz)).sum() / power.sum()
            words.append("low" if centre < 1800 else "high")
    return " ".join(words)


@dataclass
class Recording:
    """One request for a transcription."""

    fields: list[tuple[str, str]]
    filename: str
    content_type: str
    rate_hz: int
    pcm: bytes

    @property
    def seconds(self) -> float:
        return len(self.pcm) / 2 / self.rate_hz


class Session:
    """One socket of ``/v1/realtime``: the sound in its buffer, and which words of it belong to which item."""

    def __init__(self) -> None:
        self.sound = bytearray()
        """Since the last clear, mu-law."""
        self.committed = 0
        """Samples of it that are in items."""
        self.counted = 0
        """Words that were sent."""
        self.items = 0
        self.texts: list[str] = []
        """The words of the item that is not committed yet."""
        self.updates: list[dict[str, Any]] = []
        """What the client has set the session to, in order."""

    @property
    def item(self) -> str:
        """The item that the sound in the buffer will be."""
        return f"item_{self.items}"

    def new_words(self) -> list[str]:
        """The words that are to be sent: each as soon as half of it was heard."""
        found, size = [], round(PIECE * PHONE_HZ)
        while (begin := self.counted * size) + size // 2 <= len(self.sound):
            found += words_of(decode_mulaw(bytes(self.sound[begin : begin + size // 2])), PHONE_HZ).split()
            self.counted += 1
        return found


Edit = Callable[[dict[str, Any]], Sequence[Any]]
Intercept = Callable[[Socket, Any], Awaitable[bool]]


async def let_through(socket: Socket, message: Any) -> bool:
    return False


class OpenAIService(Service):
    """
    Speaks and hears as OpenAI does. A test replaces ``speak`` or ``hear`` to have it fail; of a Realtime session,
    ``edit`` says what is sent in place of a message, and ``intercept`` deals with a message of the client.
    """

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
        self.languages: Any = None
        """The languages that are found in each recording."""
        self.level = 0.1
        """The active level of the voice, 1 being full scale."""
        self.speak: Answer = self.speak_well
        self.recordings: list[Recording] = []
        """Every request for a transcription, in order."""
        self.hear: Answer = self.hear_well
        self.sessions: list[Session] = []
        """Every Realtime session, in order."""
        self.edit: Edit = lambda message: [message]
        self.intercept: Intercept = let_through
        self.violations: list[str] = []
        """What a client of a Realtime session did that OpenAI does not take."""
        self._session_of: dict[int, Session] = {}
        """By the ``id`` of the socket."""
        self._events = count()
        self.begun = asyncio.Event()
        """Set when the first piece of a sound was sent."""
        self.ended: list[str] = []
        """How each request for speech or words ended: ``sent`` or ``left``."""
        self.end = asyncio.Event()
        """Set whenever one has ended."""

    @property
    def url(self) -> str:
        return self.base_url + "/v1"

    def routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/v1/models", self._models)
        router.add_get("/v1/audio/voices", self._voices)
        router.add_post("/v1/audio/speech", self._speech)
        router.add_post("/v1/audio/transcriptions", self._transcription)

    async def _models(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        if self.refusal is not None:
            status, body, headers = self.refusal
            return web.Response(status=status, text=body, headers=headers)
        return self._json(self.models)

    async def _voices(self, request: web.Request) -> web.StreamResponse:
        return self._json(self.voices)

    def _json(self, content: Any) -> web.Response:
        return web.json_response(content) if content is not None else web.Response(status=404)

    async def _speech(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        self.bodies.append(await request.json())
        return await self._answer(self.speak, request)

    async def _transcription(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        fields, file = [], None
        async for part in await request.multipart():
            assert isinstance(part, BodyPartReader)
            if part.name == "file":
                file = (part.filename or "", part.headers["Content-Type"], bytes(await part.read()))
            else:
                fields.append((part.name or "", await part.text()))
        if file is None or "." not in file[0]:
            return web.json_response(error("Unrecognized file format.", "invalid_value"), status=400)
        with wave.open(io.BytesIO(file[2])) as content:
            assert (content.getsampwidth(), content.getnchannels()) == (2, 1)
            pcm = content.readframes(content.getnframes())
            self.recordings.append(Recording(fields, file[0], file[1], content.getframerate(), pcm))
        return await self._answer(self.hear, request)

    async def hear_well(self, request: web.Request) -> web.StreamResponse:
        recording = self.recordings[-1]
        text = words_of(recording.pcm, recording.rate_hz)
        usage = {"type": "duration", "seconds": recording.seconds}
        if dict(recording.fields).get("stream") == "true":
            deltas = [{"type": "transcript.text.delta", "delta": part} for part in re.findall(r" ?\S+", text)]
            done = {"type": "transcript.text.done", "text": text, "usage": None}
            events = [f"event: {each['type']}\ndata: {json.dumps(each)}\n\n" for each in (*deltas, done)]
            return await self.send(
                request, "".join(events).encode(), content_type="text/event-stream", pieces=(7, 1, 40)
            )
        return self._json({"text": text, "usage": usage, "languages": self.languages})

    async def _answer(self, answer: Answer, request: web.Request) -> web.StreamResponse:
        how = "left"
        try:
            response = await answer(request)
            how = "sent"
            return response
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

    # -- Realtime

    async def opened(self, socket: Socket) -> None:
        query = socket.request.query
        if socket.request.path != "/v1/realtime" or query.get("intent") != "transcription" or "model" in query:
            self.violations.append(f"{socket.request.path_qs} is no address for a transcription")
        session = self._session_of[id(socket)] = Session()
        self.sessions.append(session)
        await self.say(socket, "session.created", session=self._described(session))

    async def say(self, socket: Socket, kind: str, **content: Any) -> None:
        for each in self.edit({"type": kind, "event_id": f"event_{next(self._events)}", **content}):
            await socket.send(each)

    async def handle(self, socket: Socket, message: Any) -> None:
        if await self.intercept(socket, message):
            return
        session = self._session_of[id(socket)]
        match message:
            case {"type": "session.update", "session": {"type": "transcription", "audio": {"input": settings}}}:
                if settings.get("format") != {"type": "audio/pcmu"} or settings.get("turn_detection", 0) is not None:
                    self.violations.append(f"settings {settings}")
                session.updates.append(settings["transcription"])
                await self.say(socket, "session.updated", session=self._described(session))
            case {"type": "input_audio_buffer.append", "audio": str(audio)}:
                session.sound += base64.b64decode(audio, validate=True)
                await self._send_deltas(socket, session)
            case {"type": "input_audio_buffer.commit"}:
                await self._commit(socket, session, message.get("event_id"))
            case {"type": "input_audio_buffer.clear"}:
                session.sound.clear()
                session.committed = session.counted = 0
                session.items, session.texts = session.items + 1, []
                await self.say(socket, "input_audio_buffer.cleared")
            case _:
                self.violations.append(f"unknown message {message}")

    async def _send_deltas(self, socket: Socket, session: Session) -> None:
        for word in session.new_words():
            delta = f" {word}" if session.texts else word
            session.texts.append(word)
            await self.say(socket, _DELTA, item_id=session.item, content_index=0, delta=delta)

    async def _commit(self, socket: Socket, session: Session, event_id: str | None) -> None:
        samples = len(session.sound) - session.committed
        if samples < 0.1 * PHONE_HZ:
            told = {"type": "invalid_request_error", "code": "input_audio_buffer_commit_empty", "event_id": event_id}
            await self.say(socket, "error", error={**told, "message": "buffer too small", "param": None})
            return
        item, texts = session.item, session.texts
        before = f"item_{session.items - 1}" if session.items else None
        session.committed, session.items, session.texts = len(session.sound), session.items + 1, []
        await self.say(socket, "input_audio_buffer.committed", item_id=item, previous_item_id=before)
        usage = {"type": "duration", "seconds": samples / PHONE_HZ}
        await self.say(socket, _COMPLETED, item_id=item, content_index=0, transcript=" ".join(texts), usage=usage)

    def _described(self, session: Session) -> dict[str, Any]:
        transcription = session.updates[-1] if session.updates else None
        audio = {"format": {"type": "audio/pcmu"}, "transcription": transcription, "turn_detection": None}
        return {
            "id": "sess_1",
            "object": "realtime.transcription_session",
            "type": "transcription",
            "expires_at": 1,
            "audio": {"input": audio},
            "include": None,
        }


_DELTA = "conversation.item.input_audio_transcription.delta"
_COMPLETED = "conversation.item.input_audio_transcription.completed"


def error(message: str, code: str, kind: str = "invalid_request_error") -> dict[str, Any]:
    """The body of an error, in OpenAI's form."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}
