"""
Speaks with Cartesia's Sonic: streaming text in, streaming audio out, with the times of words.

Each ``speak()`` is a context on a shared WebSocket. The service forgets a context 1 s after its last audio, so that a
language model that thinks for longer gets a new one.
"""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, ClassVar

import msgspec

from inference import usage
from inference.chat.refusals import without_quotations
from inference.hosted.api import Api
from inference.hosted.context import Heard, Manner, VoiceMemory
from inference.hosted.loudness import Loudness
from inference.hosted.messages import audio_of, mapping_of, number_of, numbers_of, text_of, texts_of
from inference.hosted.plan import Frame, Plan, Received
from inference.hosted.refusals import QUOTED, refusal
from inference.hosted.sockets import SocketPool
from inference.hosted.speech import HostedSpeech
from inference.hosted.timing import RATE_HZ
from inference.hosted.voice_options import HostedVoiceOptions, as_names, refuse_outside
from inference.types import Description, EngineError, Languages, has_language, main_language, usual_language

logger = logging.getLogger(__name__)

VERSION = "2026-08-14"
"""The version of the API that this module speaks."""
KEY = "CARTESIA_API_KEY"
RENEW = 240.0
"""Seconds after which an unused socket is replaced. Cartesia closes it after 300."""
LIFE = 0.7
"""Seconds after the last audio for which a context takes another clause. Cartesia forgets it after 1 s; the rest is for
the way there and back."""
PAGES = 50
"""The most pages of 100 voices that are read at the start."""
TRIED = "Hello."
"""What the voice says at the start, because only that shows whether the model exists and the key may use it."""
LANGUAGES = frozenset(
    "ar bg bn cs da de el en es fi fr gu he hi hr hu id it ja ka kn ko ml mr ms nl no or pa pl pt ro ru sk sv ta te th"
    " tl tr uk ur vi zh".split()
)
"""What Cartesia's own client lists."""

_FORGOTTEN = re.compile(r"context.*(?:expired|closed|finished|not found|unknown|no longer|does not exist)", re.I | re.S)


@dataclass(frozen=True, slots=True, kw_only=True)
class CartesiaOptions(HostedVoiceOptions):
    base_url: str = "https://api.cartesia.ai"
    """The address of the API."""

    model: str = "sonic-3.5"
    """The model. ``sonic-3.5-2026-05-04`` and the like never change."""

    voice: str = "e07c00bc-4134-4eae-9ea4-1a55fb45746b"
    """The id of the default voice. The default is one of Cartesia's own."""

    voices: Sequence[str] = ()
    """Ids of further voices that must exist when the engine starts. Others may be used as well."""

    languages: Sequence[str] = ()
    """Codes of the languages that the model speaks. Empty: those of Sonic 3.5."""

    speed: float = 1.0
    """How fast the voice speaks, from 0.6 to 1.5. Sonic 3 heeds it, Sonic 3.5 does not."""

    emotion: str = ""
    """How the voice sounds, such as ``calm``. Empty: it goes by the text."""

    contexts_per_socket: int = 3
    """The most utterances that share a socket."""

    check: bool = True
    """Whether the engine says one word when it starts, to find what is wrong before a call does. It costs six
    characters."""

    def __post_init__(self) -> None:
        # With slots, ``super()`` without arguments fails here.
        HostedVoiceOptions.__post_init__(self)
        refuse_outside("speed", self.speed, 0.6, 1.5)
        refuse_outside("contexts_per_socket", self.contexts_per_socket, 1, 15)


class CartesiaTextToSpeech:
    """Speaks on sockets that are connected before anybody calls."""

    options_class: ClassVar[type[CartesiaOptions]] = CartesiaOptions
    may_speculate: ClassVar[bool] = False  # each request is billed
    hears_caller: ClassVar[bool] = False
    rate_hz: ClassVar[int] = RATE_HZ

    def __init__(self, options: CartesiaOptions = CartesiaOptions()) -> None:
        self._options = options
        self.languages: Languages = frozenset(map(main_language, as_names(options.languages))) or LANGUAGES
        self._memories: dict[str, VoiceMemory] = {}
        self._names: dict[str, str] | None = None
        """The names of all voices by their ids, once they are known."""
        self._is_started = False
        headers = {"Authorization": f"Bearer {options.api_key}", "Cartesia-Version": VERSION}
        self._api = Api("Cartesia", options.base_url, headers=headers, key=KEY, connect_timeout=options.connect_timeout)
        self._pool = SocketPool(
            Plan(
                provider="Cartesia",
                url=f"{self._api.base_url.replace('http', 'ws', 1)}/tts/websocket",
                headers=headers,
                key=KEY,
                read=read,
                failure=failure,
                warm=options.warm,
                limit=options.limit,
                shares=options.contexts_per_socket,
                renew_after=RENEW,
                connect_timeout=options.connect_timeout,
            )
        )

    def describe(self) -> Description:
        return Description(f"{self._options.model} at Cartesia ({self._options.base_url})", device="hosted")

    async def start(self) -> None:
        """
        Connect, and find out what a call would find. Raises a permanent ``EngineError`` for a bad key, an unknown voice
        or a model that does not exist. A service that cannot be reached is only logged.
        """
        if self._is_started:
            return
        if not self._options.api_key:
            raise EngineError(f"Cartesia needs a key. Set {KEY}.", permanent=True)
        try:
            await self._check()
        except BaseException:
            await self.close()
            raise
        self._is_started = True

    async def _check(self) -> None:
        try:
            await self._read_voices()
            await self._pool.start()
            if self._options.check:
                await self._try()
        except EngineError as error:
            if error.permanent:
                raise
            logger.warning("Cartesia could not be checked: %s", error)
            await self._pool.start()

    async def close(self) -> None:
        self._is_started = False
        await self._pool.close()
        await self._api.close()

    def open(self, *, voice: str = "", language: str = "en") -> HostedSpeech:
        if not has_language(self.languages, language):
            raise EngineError(f"{self._options.model} at Cartesia does not speak {language!r}", permanent=True)
        voice = voice or self._options.voice
        self._refuse_unknown(voice)
        memory = self._memories.setdefault(voice, VoiceMemory(Loudness(self._options.gain_db)))
        request = self._request(voice, main_language(language))
        return HostedSpeech(
            Manner(
                provider="Cartesia",
                usage_name=f"cartesia/{self._options.model}",
                take=self._pool.take,
                open_context=lambda key: CartesiaContext(key, request),
                voice=memory,
                meter=usage.current(),
                first_audio=self._options.first_audio_timeout,
                stall=self._options.stall_timeout,
                life=LIFE,
                times_words=True,
            )
        )

    def _request(self, voice: str, language: str) -> dict[str, Any]:
        """The fields that all messages of a context have. Cartesia refuses a context in which they change."""
        request: dict[str, Any] = {
            "model_id": self._options.model,
            "voice": voice,
            "language": language,
            "output_format": {"container": "raw", "encoding": "pcm_mulaw", "sample_rate": RATE_HZ},
            "add_timestamps": True,
            # Whole clauses come: nothing is to be collected. The default waits for 3 s.
            "max_buffer_delay_ms": 0,
        }
        speed = self._options.speed if self._options.speed != 1.0 else None
        changes = {"speed": speed, "emotion": self._options.emotion or None}
        if any(changes.values()):
            request["generation_config"] = {name: value for name, value in changes.items() if value}
        return request

    def _refuse_unknown(self, voice: str) -> None:
        if self._names is None or voice in self._names:
            return
        ids = [known for known, name in self._names.items() if name.casefold() == voice.casefold()]
        hint = f" Write its id instead of its name: {', '.join(ids[:3])}." if ids else ""
        raise EngineError(f"Cartesia has no voice with the id {voice!r} for this account.{hint}", permanent=True)

    async def _read_voices(self) -> None:
        if self._names is not None:
            return
        names: dict[str, str] = {}
        after: dict[str, str] = {}
        for _ in range(PAGES):
            answer = await self._api.get_json("/voices", patience=5.0, optional=False, limit="100", **after)
            page = [voice for voice in _entries(answer) if text_of(voice, "id")]
            names.update((text_of(voice, "id"), text_of(voice, "name")) for voice in page)
            if not page or not isinstance(answer, Mapping) or answer.get("has_more") is False:
                break
            after["starting_after"] = text_of(page[-1], "id")
        if not names:
            logger.warning("Cartesia listed no voices, so that an unknown one is only found when it is to speak")
            return
        self._names = names
        for voice in (self._options.voice, *as_names(self._options.voices)):
            self._refuse_unknown(voice)

    async def _try(self) -> None:
        async def text() -> AsyncIterator[str]:
            yield TRIED

        language = usual_language(self.languages)
        speech = self.open(language=language)
        async with aclosing(speech.speak(text())) as chunks:
            async for _ in chunks:
                pass


def _entries(answer: Any) -> list[Mapping[str, Any]]:
    entries = answer.get("data") if isinstance(answer, Mapping) else answer
    return [entry for entry in entries if isinstance(entry, Mapping)] if isinstance(entries, list) else []


def read(frame: Frame) -> Received | None:
    """Decode a message. Without the id of a context, only an error means anything."""
    message = msgspec.json.decode(frame)
    if not isinstance(message, dict):
        return None
    context = text_of(message, "context_id")
    return Received(message, context or None) if context or message.get("type") == "error" else None


def failure(message: Mapping[str, Any]) -> EngineError | None:
    """The error of a message that concerns the whole socket."""
    return _error(message) if message.get("type") == "error" and not text_of(message, "context_id") else None


def _error(message: Mapping[str, Any], private: Sequence[str] = ()) -> EngineError:
    """The error that a message means. Nothing of ``private`` is quoted."""
    about = (text_of(message, "title"), text_of(message, "error_code"), text_of(message, "message", "error"))
    said = without_quotations(": ".join(filter(None, about)), private)
    if _FORGOTTEN.search(said):
        return EngineError(f"Cartesia has forgotten a context: {said[:QUOTED]}")
    return refusal("Cartesia", int(number_of(message, "status_code") or 500), said, key=KEY, doing="a clause")


class CartesiaContext:
    """One context."""

    def __init__(self, key: str, request: Mapping[str, Any]) -> None:
        self._key = key
        self._request = {**request, "context_id": key}
        self._texts: list[str] = []

    def begin(self) -> Sequence[Frame]:
        return ()

    def say(self, text: str) -> Sequence[Frame]:
        """The flush marks the end of the clause: ``flush_done`` comes when all of its audio has come."""
        self._texts.append(text)
        return (
            _frame({**self._request, "transcript": text, "continue": True}),
            _frame({**self._request, "transcript": "", "continue": True, "flush": True}),
        )

    def end(self) -> Sequence[Frame]:
        return (_frame({**self._request, "transcript": "", "continue": False}),)

    def cancel(self) -> Sequence[Frame]:
        return (_frame({"context_id": self._key, "cancel": True}),)

    def hear(self, message: Any) -> Heard | None:
        match message.get("type"):
            case "chunk":
                flush = number_of(message, "flush_id")
                # The n-th flush ends clause n, so that the audio of a clause begins when those before it are complete.
                return Heard(audio=audio_of(message, "data"), clauses_before=int(flush) - 1 if flush else None)
            case "timestamps":
                words = mapping_of(message, "word_timestamps")
                return Heard(words=texts_of(words, "words"), ends=numbers_of(words, "end"))
            case "flush_done":
                flush = number_of(message, "flush_id")
                return Heard(clauses=int(flush)) if flush else None
            case "done":
                return Heard(ended=True)
            case "error":
                return Heard(error=_error(message, self._texts))
        return None


def _frame(message: Mapping[str, Any]) -> str:
    return msgspec.json.encode(message).decode()
