"""What the two voices of Deepgram share: their names, their options, their sockets, and the check at the start."""

from __future__ import annotations

import asyncio
import difflib
import logging
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import msgspec

from inference.deepgram.account import ADDRESS, KEY
from inference.hosted.addresses import http_url, websocket_url
from inference.hosted.api import Api
from inference.hosted.context import VoiceMemory
from inference.hosted.loudness import Loudness
from inference.hosted.messages import list_of, text_of
from inference.hosted.plan import Frame, Plan, Received
from inference.hosted.sockets import SocketPool
from inference.hosted.timing import RATE_HZ
from inference.hosted.voice_options import HostedVoiceOptions, as_names
from inference.types import Description, EngineError, Languages, has_language, main_language

logger = logging.getLogger(__name__)

LONGEST_SESSION = 3300.0
"""Seconds for which a socket is used. Deepgram closes it after an hour."""
LISTING = 3.0
"""Seconds to wait for the list of voices."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeepgramVoiceOptions(HostedVoiceOptions):
    """The ``OPTIONS`` that both voices of Deepgram have."""

    base_url: str = "https://api.deepgram.com"
    """Where Deepgram is: a URL or a host. ``api.eu.deepgram.com``, ``api.au.deepgram.com`` and ``api.in.deepgram.com``
    speak in their region. A server of your own may be at ``http://``."""

    voice: str = ""
    """The voice of agents that name none. Deepgram calls it the model: ``aura-2-thalia-en``, for short ``thalia``."""

    voices: Sequence[str] = ()
    """Further voices that agents may name. Each keeps ``warm`` sockets of its own."""

    parameters: Mapping[str, object] = field(default_factory=dict)
    """Further parameters of the address, as ``{"speed": "1.1", "mip_opt_out": "true"}``."""


def read(frame: Frame) -> Received | None:
    """Decode one frame: sound as bytes, anything else as the dictionary that it is."""
    if isinstance(frame, bytes):
        return Received(frame) if frame else None
    message = msgspec.json.decode(frame)
    return Received(message) if isinstance(message, dict) and isinstance(message.get("type"), str) else None


def reason_of(message: Mapping[str, Any]) -> str:
    """What a warning or an error says."""
    parts = (text_of(message, "code", "err_code"), text_of(message, "description", "err_msg"))
    return ": ".join(filter(None, parts)) or "without a reason"


def speakable_by_deepgram(text: str) -> str:
    """Return a text of the same length without the backslashes with which Deepgram's inline controls begin."""
    return text.replace("\\", " ")


async def in_parts(text: AsyncIterator[str], longest: int) -> AsyncGenerator[str, None]:
    """Yield the clauses, and those that are longer in parts, divided at blanks where there are some."""
    async for clause in text:
        while len(clause) > longest:
            cut = clause.rfind(" ", longest // 2, longest) + 1 or longest
            yield clause[:cut]
            clause = clause[cut:]
        yield clause


class DeepgramVoices:
    """
    The base of the two engines: a pool of sockets for each voice, because the voice is in the address.

    All pools begin in ``start``, so calls may only use the voices that the options name.
    """

    may_speculate: ClassVar[bool] = False
    hears_caller: ClassVar[bool] = False
    rate_hz: ClassVar[int] = RATE_HZ
    provider: ClassVar[str]
    """The name of the service in messages."""
    engine: ClassVar[str]
    """The name of the engine in settings."""
    family: ClassVar[str]
    """What the name of each voice begins with, where it is given for short."""
    families: ClassVar[tuple[str, ...]]
    """What the full name of a voice may begin with."""
    path: ClassVar[str]
    default_voice: ClassVar[str]
    other_engine: ClassVar[tuple[str, str]]
    """The beginning of the names of the other engine's voices, and its name in settings."""

    def __init__(self, options: DeepgramVoiceOptions) -> None:
        self.options = options
        names = [self.full_name(voice) for voice in (options.voice or self.default_voice, *as_names(options.voices))]
        self._pools: dict[str, SocketPool] = {name: SocketPool(self.plan(name)) for name in dict.fromkeys(names)}
        self._memories = {name: VoiceMemory(Loudness(options.gain_db)) for name in self._pools}
        self._started = False

    @property
    def languages(self) -> Languages:
        return frozenset(language for name in self._pools for language in self.languages_of(name))

    def describe(self) -> Description:
        return Description(
            f"{', '.join(self._pools)}, hosted by Deepgram", device="hosted", capacity=self.options.limit
        )

    async def start(self) -> None:
        """Connect, and look whether the key and the voices are right. Raises a permanent error if they are not."""
        if self._started:
            return
        if not self.options.api_key:
            raise EngineError(f"{self.provider} needs a key. Set {KEY}.", permanent=True)
        outcomes = await asyncio.gather(*map(self._start_pool, self._pools), return_exceptions=True)
        errors = [outcome for outcome in outcomes if outcome is not None]
        if errors:
            await self._close_pools()
            raise errors[0]
        self._started = True

    async def close(self) -> None:
        self._started = False
        await self._close_pools()

    # -- voices -------------------------------------------------------------------------------------------

    def full_name(self, voice: str) -> str:
        """The full name of a voice: ``thalia`` and ``celeste-es`` are short for Aura's."""
        name = voice.strip().lower()
        if not name.startswith(tuple(f"{family}-" for family in self.families)):
            name = f"{self.family}-{name}" if re.search(r"-[a-z]{2}$", name) else f"{self.family}-{name}-en"
        return name

    def languages_of(self, name: str) -> frozenset[str]:
        """The languages that a voice speaks: the last part of its name."""
        return frozenset((main_language(name.rpartition("-")[2]),))

    def choose(self, voice: str, language: str) -> tuple[str, SocketPool, VoiceMemory]:
        """Return the full name of the voice for a call, its sockets, and what is known of it."""
        if voice:
            name = self._known(voice)
            if not has_language(self.languages_of(name), language):
                raise EngineError(
                    f'{self.provider}: the voice {name} does not speak "{language}". Choose a voice whose name ends '
                    f"with that language.",
                    permanent=True,
                )
        else:
            names = [name for name in self._pools if has_language(self.languages_of(name), language)]
            if not names:
                raise EngineError(
                    f'{self.provider} has no voice for "{language}" here. {self._how_to_add("a voice for it")}',
                    permanent=True,
                )
            name = names[0]
        return name, self._pools[name], self._memories[name]

    def _known(self, voice: str) -> str:
        other, engine = self.other_engine
        if voice.lower().startswith(other):
            raise EngineError(
                f'{self.provider} has no voice "{voice}": it is one of TTS_ENGINE={engine}.', permanent=True
            )
        name = self.full_name(voice)
        if name not in self._pools:
            raise EngineError(
                f'{self.provider} is not prepared for the voice "{voice}", only for {", ".join(self._pools)}. '
                f"{self._how_to_add('it')}",
                permanent=True,
            )
        return name

    def _how_to_add(self, what: str) -> str:
        return f'Add {what} to the option voices: ENGINES_OPTIONS={{"{self.engine}": {{"voices": ["..."]}}}}.'

    # -- the start ----------------------------------------------------------------------------------------

    async def _start_pool(self, name: str) -> EngineError | None:
        try:
            await self._pools[name].start()
        except EngineError as error:
            if re.search("with (?:401|3..)", str(error)):  # it is the key or the address
                return error
            meant = difflib.get_close_matches(name, await self._list_voices(), 1)
            hint = f" Did you mean {meant[0]}?" if meant else ""
            return EngineError(
                f"{str(error).rstrip('.')}. The voice was {name}, which TTS_VOICE or the option voice or voices of "
                f"{self.engine} names.{hint}",
                permanent=error.permanent,
            )
        return None

    async def _list_voices(self) -> list[str]:
        """The names of the family's public voices, as far as Deepgram lists them. It lists none of Flux TTS."""
        options = self.options
        url, timeout = http_url(options.base_url), options.connect_timeout
        api = Api("Deepgram", url, headers=self._headers(), key=KEY, connect_timeout=timeout)
        try:
            answer = await api.get_json("/v1/models", patience=LISTING)
        except EngineError as error:
            logger.debug("The list of Deepgram's voices cannot be had: %s", error)
            return []
        finally:
            await api.close()
        voices = list_of(answer, "tts") if isinstance(answer, dict) else ()
        names = [text_of(voice, "canonical_name") for voice in voices if isinstance(voice, dict)]
        return [name for name in names if name.startswith(self.families)]

    async def _close_pools(self) -> None:
        await asyncio.gather(*(pool.close() for pool in self._pools.values()))

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Token {self.options.api_key}"}

    def plan(self, name: str) -> Plan:
        """How to connect to a voice."""
        options = self.options
        query = (("model", name), ("encoding", "mulaw"), ("sample_rate", str(RATE_HZ)), *options.parameters.items())
        return Plan(
            provider=self.provider,
            url=websocket_url(options.base_url, self.path, query),
            headers=self._headers(),
            key=KEY,
            setting=ADDRESS,
            read=read,
            warm=options.warm,
            limit=options.limit,
            failure=self._failure,
            renew_after=LONGEST_SESSION,
            connect_timeout=options.connect_timeout,
        )

    def _failure(self, message: Any) -> EngineError | None:
        if isinstance(message, dict) and message["type"] == "Error":
            return EngineError(f"{self.provider} has failed: {reason_of(message)}")
        return None
