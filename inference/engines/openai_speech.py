"""
Speaks by ``POST /audio/speech``: OpenAI, and the many servers that have the same request.

OpenAI's own models for it end on 6 January 2027. The request lives on in servers for your own hardware, such as
Kokoro-FastAPI, speaches, LocalAI and vLLM-omni. A request makes one clause; ``inference/hosted/requested_speech.py``
makes a conversation of them.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import msgspec
import numpy as np

from inference import usage
from inference.chat.refusals import without_quotations
from inference.hosted.api import Api, beginning
from inference.hosted.audio_body import AudioBody
from inference.hosted.health import Health
from inference.hosted.openai import (
    LANGUAGES,
    OPENAI_URL,
    authorisation,
    check_account,
    check_model,
    check_seconds,
    is_openai,
    is_own,
    is_text,
    key_of,
    names_in,
    provider_of,
    refusal_in,
    usage_name,
)
from inference.hosted.requested_speech import Deliver, RequestedSpeech, VoiceProfile
from inference.types import (
    Description,
    EngineError,
    EngineFull,
    EngineTimeout,
    Languages,
    Pcm,
    has_language,
    main_language,
)

logger = logging.getLogger(__name__)

VOICES = tuple("alloy ash ballad cedar coral echo fable marin nova onyx sage shimmer verse".split())
"""OpenAI's own voices. A voice that was made for an account has a name that begins with ``voice_``."""
WARM_UP = "Hello, this is the front desk. What can I do for you?"
LONGEST_TEXT = 4096
"""Characters of one request."""
MOST_SECONDS = 5.0
MOST_SECONDS_PER_CHARACTER = 0.5
"""The longest sound of a clause that is believed: some models do not find the end of a short text."""
SETTING = "the option model (TTS_MODEL)"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAISpeechOptions:
    api_key: str = field(default="", repr=False)
    """Sent as a bearer token, if there is one. OpenAI needs it."""

    base_url: str = OPENAI_URL
    """The address of the API, without ``/audio/speech``."""

    model: str = "gpt-4o-mini-tts"
    """The name of the model at the server. OpenAI ends this one on 6 January 2027."""

    voice: str = ""
    """The voice of agents that name none. Empty: ``coral`` at OpenAI, elsewhere the first one that the server lists, or
    ``alloy``, for which many servers have a voice of their own."""

    voices: Sequence[str] = ()
    """The voices that agents may name. Empty: OpenAI's, or those that another server lists at ``/audio/voices``. If it
    lists none, every name is sent to it."""

    languages: Sequence[str] = ()
    """The languages that the model speaks. Empty: OpenAI's at OpenAI, elsewhere not known."""

    instructions: str = ""
    """How the voice should sound, in words, for models that heed it."""

    speed: float | None = None
    """The speed, 1 being the usual one. None does not send it."""

    rate_hz: int = 24_000
    """The rate of the samples that the server sends. A WAV or a content type that names another rate is resampled."""

    gain_db: float | None = None
    """The gain of every voice. None: measured for each voice, and changed slowly, until it is at -20 dBFS."""

    paid: bool | None = None
    """Whether requests cost money, so that none is made on speculation or to warm up, and characters are counted. None:
    yes, except for a server on this machine or in a private network."""

    extra_body: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of every request. A value of None takes a field out of it."""

    limit: int = 0
    """The most calls at once that may use it; 0 sets no limit."""

    connect_timeout: float = 2.0
    """Seconds to open a connection."""

    first_audio_timeout: float = 5.0
    """Seconds from the request to the first sound."""

    stall_timeout: float = 2.0
    """Seconds between two pieces of sound."""

    load_timeout: float = 60.0
    """Seconds that the start waits for the first clause of an own server, which may load its model for it."""

    def __post_init__(self) -> None:
        check_account(self.base_url, self.api_key, "TTS")
        if not 8000 <= self.rate_hz <= 48_000:
            raise EngineError(
                f"rate_hz is {self.rate_hz}. Set it to the rate of the server, such as 24000.", permanent=True
            )
        check_seconds(self, "connect_timeout", "first_audio_timeout", "stall_timeout", "load_timeout")
        if isinstance(self.voices, str) or isinstance(self.languages, str):
            raise EngineError("voices and languages are lists of names", permanent=True)


class OpenAISpeechTextToSpeech:
    """One model at one server; the options say which."""

    hears_caller: ClassVar[bool] = False
    options_class: ClassVar[type[OpenAISpeechOptions]] = OpenAISpeechOptions

    def __init__(self, options: OpenAISpeechOptions) -> None:
        self._options = options
        self._paid = options.paid if options.paid is not None else not is_own(options.base_url)
        self.may_speculate = not self._paid
        self.rate_hz = options.rate_hz
        self._is_openai = is_openai(options.base_url)
        self._key = key_of(options.base_url, "TTS")
        """How operators call the key."""
        self._api = Api(
            provider_of(options.base_url),
            options.base_url,
            # With compression the server would collect sound before it sends it.
            headers={"Accept-Encoding": "identity", **authorisation(options.api_key)},
            key=self._key,
            setting="TTS_BASE_URL",
            connect_timeout=options.connect_timeout,
            advice={
                404: f"Check the address (TTS_BASE_URL) and {SETTING}.",
                **dict.fromkeys((400, 422), f"Check {SETTING} and the voice (TTS_VOICE)."),
            },
        )
        self._health = Health()
        self._started = False
        self._starting = asyncio.Lock()
        self._voices: frozenset[str] = frozenset(options.voices or (VOICES if self._is_openai else ()))
        """The voices that are known; none: any name may be one."""
        self._default_voice = options.voice or ("coral" if self._is_openai else "alloy")
        self._profiles: dict[str, VoiceProfile] = {}
        self._open: weakref.WeakSet[RequestedSpeech] = weakref.WeakSet()

    @property
    def languages(self) -> Languages:
        if self._options.languages:
            return frozenset(map(main_language, self._options.languages))
        return LANGUAGES if self._is_openai else None

    def describe(self) -> Description:
        weights = f"served by {self._api.where} as {self._options.model}"
        return Description(weights, device="server", capacity=self._options.limit)

    async def start(self) -> None:
        """Check the key and the model, ask an own server for its voices, and have it load the model."""
        async with self._starting:
            if self._started:
                return
            try:
                await check_model(self._api, self._options.model, setting=SETTING)
                if not self._voices:
                    await self._find_voices()
                self._started = True
                if not self._paid:
                    await self._warm_up()
            except BaseException:
                self._started = False
                await self._api.close()
                raise

    async def close(self) -> None:
        self._started = False
        await self._api.close()

    def open(self, *, voice: str = "", language: str = "en") -> RequestedSpeech:
        if not self._started:
            raise EngineError("the speech engine is not started")
        if has_language(self.languages, language) is False:
            raise EngineError(f"{self._options.model} does not speak {language!r}", permanent=True)
        name = voice or self._default_voice
        if not self._knows(name):
            some = ", ".join(sorted(self._voices)[:15])
            raise EngineError(f"{self._api.provider} has no voice {name!r}. It has: {some}.", permanent=True)
        self._health.check()
        if self._options.limit and len(self._open) >= self._options.limit:
            raise EngineFull(f"{self._options.limit} calls use this voice, which is its limit (`limit`)")
        speech = RequestedSpeech(
            partial(self._request, name, usage.current()),
            self._profile(name),
            self.rate_hz,
            longest_text=LONGEST_TEXT,
            closed=self._open.discard,
        )
        self._open.add(speech)
        return speech

    # -- voices

    def _knows(self, voice: str) -> bool:
        if not self._voices or voice in self._voices or voice == self._default_voice:
            return True
        if self._is_openai:
            return voice.startswith("voice_")
        # Kokoro mixes voices: "af_bella(2)+af_sky(1)".
        parts = [part.partition("(")[0].strip() for part in voice.split("+")]
        return len(parts) > 1 and all(part in self._voices for part in parts)

    def _profile(self, voice: str) -> VoiceProfile:
        if voice not in self._profiles:
            self._profiles[voice] = VoiceProfile(self.rate_hz, gain_db=self._options.gain_db)
        return self._profiles[voice]

    async def _find_voices(self) -> None:
        """Ask the server for its voices. Many have no list, and one has it in another form than the next."""
        try:
            names = names_in(await self._api.get_json("/audio/voices", optional=True))
        except EngineError as error:
            logger.info("%s lists no voices, so any name is sent to it: %s", self._api.provider, error)
            return
        self._voices = frozenset(names)
        wanted = self._options.voice
        if names and not wanted and self._default_voice not in names:
            self._default_voice = names[0]
        elif names and wanted and wanted not in names:
            logger.warning("%s does not list the voice %r, but %s", self._api.provider, wanted, ", ".join(names[:15]))

    async def _warm_up(self) -> None:
        """Say a sentence, so that the server loads its model, and hear how loud the voice is."""
        sound: list[Pcm] = []
        voice = self._default_voice
        try:
            await self._request(voice, None, WARM_UP, sound.append, first_audio_timeout=self._options.load_timeout)
        except EngineError as error:
            if error.permanent:
                raise
            logger.warning("%s does not speak yet; calls try it again: %s", self._api.provider, error)
        else:
            self._profile(voice).learn(WARM_UP, np.concatenate(sound), at_once=True)

    # -- requests

    async def _request(
        self,
        voice: str,
        meter: usage.UsageMeter | None,
        text: str,
        deliver: Deliver,
        *,
        first_audio_timeout: float = 0.0,
    ) -> None:
        """Deliver the sound of this text as it comes."""
        if not self._started:
            raise EngineError("the speech engine is closed")
        options = self._options
        is_counted = not self._paid or meter is None

        def count() -> None:
            nonlocal is_counted
            if not is_counted and meter is not None:
                is_counted = True
                meter.add("tts", usage_name(options.base_url, options.model), characters=len(text))

        try:
            await self._receive(text, self._body(text, voice), first_audio_timeout, deliver, count)
        except asyncio.CancelledError:
            count()  # the server most likely has it, and has not noticed
            raise
        except EngineError as error:
            self._health.fail(error)
            raise
        self._health.succeed()

    async def _receive(
        self, text: str, body: bytes, first_audio_timeout: float, deliver: Deliver, accepted: Callable[[], None]
    ) -> None:
        loop, options = asyncio.get_running_loop(), self._options
        patience = first_audio_timeout or options.first_audio_timeout
        most = self.rate_hz * (MOST_SECONDS + MOST_SECONDS_PER_CHARACTER * len(text))
        samples = 0
        request = partial(self._api.request, "POST", "/audio/speech", private=(text,))
        try:
            async with (
                asyncio.timeout(patience) as limit,
                request(data=body, headers={"Content-Type": "application/json"}) as response,
            ):
                if is_text(response.content_type):
                    said = without_quotations(await beginning(response), (text,))
                    raise refusal_in(said, self._api.provider, key=self._key, doing="POST /audio/speech")
                accepted()
                sound = AudioBody(response.headers.get("Content-Type", ""), self.rate_hz)
                async for data in response.content.iter_any():
                    pcm = sound.feed(data)
                    samples += len(pcm)
                    if samples > most:
                        raise EngineError(f"{options.model} does not come to an end with {len(text)} characters")
                    if len(pcm):
                        deliver(pcm)
                    patience = options.stall_timeout
                    limit.reschedule(loop.time() + patience)
                deliver(sound.finish())
        except TimeoutError as error:
            accepted()  # a server that cannot be reached is another error
            what = "sound" if patience == options.stall_timeout else "first sound"
            raise EngineTimeout(f"{self._api.provider} sent no {what} for {patience:.1f} s") from error

    def _body(self, text: str, voice: str) -> bytes:
        options = self._options
        fields: dict[str, Any] = {
            "model": options.model,
            "input": text,
            "voice": {"id": voice} if self._is_openai and voice.startswith("voice_") else voice,
            "response_format": "pcm",
            "instructions": options.instructions or None,
            "speed": options.speed,
            **options.extra_body,
        }
        return msgspec.json.encode({name: value for name, value in fields.items() if value is not None})
