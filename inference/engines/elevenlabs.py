"""
Speaks with ElevenLabs: streaming text in, streaming audio out, with the times of characters.

Each ``speak()`` is a context on a WebSocket with several of them. The voice is a part of the socket's address, and so
is the language: the pool connects sockets to the address of each voice that calls ask for.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar
from urllib.parse import quote, urlencode

import msgspec

from inference import usage
from inference.chat.refusals import without_quotations
from inference.hosted.api import Api
from inference.hosted.context import Heard, Manner, VoiceMemory
from inference.hosted.loudness import Loudness
from inference.hosted.messages import audio_of, list_of, mapping_of, numbers_of, text_of, texts_of
from inference.hosted.plan import Frame, Plan, Received
from inference.hosted.refusals import refusal
from inference.hosted.sockets import SocketPool
from inference.hosted.speech import HostedSpeech
from inference.hosted.timing import RATE_HZ
from inference.hosted.voice_options import HostedVoiceOptions, as_names, refuse_outside
from inference.types import Description, EngineError, Languages, has_language, main_language

logger = logging.getLogger(__name__)

KEY = "ELEVENLABS_API_KEY"
MOST_CONTEXTS = 5
"""On one socket. With a sixth, ElevenLabs closes it."""
INACTIVITY = 180
"""Seconds after which ElevenLabs closes a socket or a context that says nothing: the most that it allows."""
RENEW = 150.0
"""Seconds after which an unused socket is replaced. What keeps it alive would have to open a context."""
LIFE = 120.0
"""Seconds after the last audio for which a context takes another clause."""
DRAIN = 5.0
"""Seconds in which ElevenLabs ends a context. Its socket takes no others afterwards."""
OTHER_SOCKETS = ("eleven_v3", "eleven_v4")
"""Models that these sockets do not serve."""

_STATUSES = {
    "quota_exceeded": 402,
    "max_active_conversations": 429,
    "too_many_concurrent_requests": 429,
    "concurrent_limit_exceeded": 429,
    "rate_limit_exceeded": 429,
    "system_busy": 429,
    "invalid_api_key": 401,
    "needs_authorization": 401,
    "missing_permissions": 403,
    "voice_not_found": 404,
    "model_not_found": 404,
    "unsupported_language": 400,
}
"""The HTTP status that means the same as an error on a socket. Any other error may be gone at the next attempt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ElevenLabsOptions(HostedVoiceOptions):
    base_url: str = "https://api.elevenlabs.io"
    """The address of the API. Accounts with data residency have others, such as ``https://api.eu.residency.
    elevenlabs.io``."""

    model: str = "eleven_flash_v2_5"
    """The model. The sockets serve no v3 and no v4."""

    voice: str = "JBFqnCBsd6RMkjVDRZzb"
    """The id of the default voice. The default is George, whom every account has."""

    voices: Sequence[str] = ()
    """Ids of further voices that must exist when the engine starts. Others may be used as well."""

    tells_language: bool | None = None
    """Whether the model is told the language of the call, so that also a number alone is spoken in it. Otherwise it
    goes by the text. None: if the model takes it (v2.5)."""

    stability: float | None = None
    """From 0 (lively) to 1 (even). None: as the voice is set at ElevenLabs; also for the next two."""

    similarity_boost: float | None = None
    """How close it stays to the original voice, from 0 to 1."""

    speed: float | None = None
    """How fast it speaks, from 0.7 to 1.2."""

    contexts_per_socket: int = 4
    """The most utterances that share a socket. A cancelled one counts until the service has ended it."""

    def __post_init__(self) -> None:
        # With slots, ``super()`` without arguments fails here.
        HostedVoiceOptions.__post_init__(self)
        refuse_outside("contexts_per_socket", self.contexts_per_socket, 1, MOST_CONTEXTS)
        for name, low, high in (("stability", 0, 1), ("similarity_boost", 0, 1), ("speed", 0.7, 1.2)):
            if (value := getattr(self, name)) is not None:
                refuse_outside(name, value, low, high)
        if self.model.startswith(OTHER_SOCKETS):
            raise EngineError(
                f"{self.model} cannot be streamed in the way that calls need. Set TTS_MODEL to eleven_flash_v2_5.",
                permanent=True,
            )


@dataclass(slots=True)
class _Account:
    """What the service says about the account. Empty where it did not say."""

    voices: dict[str, str] = field(default_factory=dict)
    """The names of its voices, by their ids."""
    languages: Languages = None
    """Those of the model."""


class ElevenLabsTextToSpeech:
    """Speaks on sockets that are connected before anybody calls."""

    options_class: ClassVar[type[ElevenLabsOptions]] = ElevenLabsOptions
    may_speculate: ClassVar[bool] = False  # each request is billed
    hears_caller: ClassVar[bool] = False
    rate_hz: ClassVar[int] = RATE_HZ

    def __init__(self, options: ElevenLabsOptions = ElevenLabsOptions()) -> None:
        self._options = options
        self._headers = {"xi-api-key": options.api_key}
        self._api = Api(
            "ElevenLabs", options.base_url, headers=self._headers, key=KEY, connect_timeout=options.connect_timeout
        )
        self._account = _Account()
        self._memories: dict[str, VoiceMemory] = {}
        tells_language = options.tells_language
        self._tells_language = "v2_5" in options.model if tells_language is None else tells_language
        self._pool = SocketPool(
            Plan(
                provider="ElevenLabs",
                url=self._address(options.voice, "en"),
                headers=self._headers,
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

    @property
    def languages(self) -> Languages:
        """Known once the engine has started."""
        return self._account.languages

    def describe(self) -> Description:
        return Description(f"{self._options.model} at ElevenLabs ({self._options.base_url})", device="hosted")

    async def start(self) -> None:
        """
        Connect, and find out what a call would find. Raises a permanent ``EngineError`` for a bad key, and for a voice
        or a model that the account does not have. A service that cannot be reached is only logged.
        """
        if not self._options.api_key:
            raise EngineError(f"ElevenLabs needs a key. Set {KEY}.", permanent=True)
        try:
            await self._check_model()
            await self._check_voices()
            await self._pool.start()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        await self._pool.close()
        await self._api.close()

    def open(self, *, voice: str = "", language: str = "en") -> HostedSpeech:
        if has_language(self.languages, language) is False:
            raise EngineError(f"{self._options.model} at ElevenLabs does not speak {language!r}", permanent=True)
        voice = voice or self._options.voice
        self._refuse_unknown(voice)
        return HostedSpeech(
            Manner(
                provider="ElevenLabs",
                usage_name=f"elevenlabs/{self._options.model}",
                take=partial(self._pool.take, url=self._address(voice, main_language(language))),
                open_context=lambda key: ElevenLabsContext(key, self._settings),
                voice=self._memories.setdefault(voice, VoiceMemory(Loudness(self._options.gain_db))),
                meter=usage.current(),
                first_audio=self._options.first_audio_timeout,
                stall=self._options.stall_timeout,
                life=LIFE,
                holds_room=True,
                drain=DRAIN,
                marks_clauses=False,
                times_words=True,
            )
        )

    @property
    def _settings(self) -> dict[str, float]:
        names = ("stability", "similarity_boost", "speed")
        return {name: value for name in names if (value := getattr(self._options, name)) is not None}

    def _address(self, voice: str, language: str) -> str:
        query = {
            "model_id": self._options.model,
            "output_format": "ulaw_8000",
            "auto_mode": "true",  # whole clauses come: nothing is to be collected
            "inactivity_timeout": str(INACTIVITY),
            "sync_alignment": "true",
            "apply_text_normalization": "auto",
            **({"language_code": language} if self._tells_language else {}),
        }
        address = f"{self._api.base_url.replace('http', 'ws', 1)}/v1/text-to-speech/{quote(voice, safe='')}"
        return f"{address}/multi-stream-input?{urlencode(query)}"

    def _refuse_unknown(self, voice: str) -> None:
        names = self._account.voices
        if not names or voice in names:
            return
        ids = [known for known, name in names.items() if name.casefold() == voice.casefold()]
        hint = f" Write its id instead of its name: {', '.join(ids[:3])}." if ids else ""
        raise EngineError(f"ElevenLabs has no voice with the id {voice!r} for this account.{hint}", permanent=True)

    async def _check_voices(self) -> None:
        answer = await self._ask("/v1/voices", "voices")
        voices = list_of(answer, "voices") if isinstance(answer, Mapping) else ()
        entries = [entry for entry in voices if isinstance(entry, Mapping)]
        self._account.voices = {text_of(entry, "voice_id"): text_of(entry, "name") for entry in entries}
        for voice in (self._options.voice, *as_names(self._options.voices)):
            self._refuse_unknown(voice)

    async def _check_model(self) -> None:
        answer = await self._ask("/v1/models", "models")
        models = {
            text_of(entry, "model_id"): entry
            for entry in (answer if isinstance(answer, list) else ())
            if isinstance(entry, Mapping) and entry.get("can_do_text_to_speech") is not False
        }
        if not models:
            return
        if self._options.model not in models:
            others = ", ".join(name for name in sorted(models) if name and not name.startswith(OTHER_SOCKETS))
            raise EngineError(
                f"ElevenLabs has no model {self._options.model!r} for this account. Set TTS_MODEL to one of: {others}.",
                permanent=True,
            )
        entries = list_of(models[self._options.model], "languages")
        languages = {text_of(entry, "language_id") for entry in entries if isinstance(entry, Mapping)}
        self._account.languages = frozenset(main_language(each) for each in languages if each) or None

    async def _ask(self, path: str, what: str) -> Any:
        """What the service answers; nothing if it cannot be asked, or the key may not ask for it."""
        try:
            return await self._api.get_json(path)
        except EngineError as error:
            # A key may be made that speaks and reads nothing else.
            if error.permanent and "missing_permissions" not in str(error):
                raise
            logger.warning("The %s at ElevenLabs cannot be checked: %s", what, error)
            return {}


def read(frame: Frame) -> Received | None:
    """Decode a message. Without the id of a context, only an error means anything."""
    message = msgspec.json.decode(frame)
    if not isinstance(message, dict):
        return None
    context = text_of(message, "contextId", "context_id")
    return Received(message, context or None) if context or text_of(message, "error") else None


def failure(message: Mapping[str, Any]) -> EngineError | None:
    """The error of a message that concerns the whole socket."""
    return _error(message) if not text_of(message, "contextId", "context_id") else None


def _error(message: Mapping[str, Any], private: Sequence[str] = ()) -> EngineError:
    """The error that a message means. Nothing of ``private`` is quoted."""
    name = text_of(message, "error")
    said = without_quotations(": ".join(filter(None, (name, text_of(message, "message")))), private)
    return refusal("ElevenLabs", _STATUSES.get(name, 500), said, key=KEY, doing="a clause")


class ElevenLabsContext:
    """One context."""

    def __init__(self, key: str, settings: Mapping[str, float]) -> None:
        self._key = key
        self._settings = settings
        self._texts: list[str] = []

    def begin(self) -> Sequence[Frame]:
        """Only the first message may have settings."""
        settings = {"voice_settings": self._settings} if self._settings else {}
        return (self._frame(text=" ", **settings),)

    def say(self, text: str) -> Sequence[Frame]:
        self._texts.append(text)
        return (self._frame(text=f"{text.strip()} ", flush=True),)

    def end(self) -> Sequence[Frame]:
        """What was flushed still comes."""
        return self.cancel()

    def cancel(self) -> Sequence[Frame]:
        return (self._frame(close_context=True),)

    def hear(self, message: Any) -> Heard | None:
        if text_of(message, "error"):
            return Heard(error=_error(message, self._texts))
        # The times are those of the text as it was written. ``normalizedAlignment`` has what is said for it.
        alignment = mapping_of(message, "alignment")
        starts = numbers_of(alignment, "charStartTimesMs", "char_start_times_ms")
        lengths = numbers_of(
            alignment, "charDurationsMs", "charsDurationsMs", "char_durations_ms", "chars_durations_ms"
        )
        return Heard(
            audio=audio_of(message, "audio"),
            words=texts_of(alignment, "chars"),
            ends=[(start + length) / 1000 for start, length in zip(starts, lengths, strict=False)],
            is_relative=True,
            ended=message.get("isFinal") is True or message.get("is_final") is True,
        )

    def _frame(self, **fields: Any) -> str:
        return msgspec.json.encode({"context_id": self._key, **fields}).decode()
