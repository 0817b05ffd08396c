"""
Recognises speech by a Realtime session for transcription: OpenAI's ``gpt-live-transcribe``, while the caller speaks.

Each utterance has a WebSocket of its own, one of a few that are connected before they are needed. So nothing of one
utterance or call can reach another.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from inference.hosted.addresses import websocket_url
from inference.hosted.api import Api
from inference.hosted.openai import (
    LANGUAGES,
    OPENAI_URL,
    authorisation,
    check_account,
    check_model,
    key_of,
    provider_of,
    usage_name,
)
from inference.hosted.openai_realtime import HELLO, RealtimeExchange, failure, is_ready, read, session_update
from inference.hosted.plan import Plan
from inference.hosted.recognition import RATE_HZ, HostedTranscription, Terms
from inference.hosted.sockets import SocketPool
from inference.interfaces import OnPartial
from inference.types import AUTO, Description, EngineError, Languages, has_language, main_language

SETTING = "the option model (STT_MODEL)"
ADDRESS = "STT_BASE_URL"
MOST_KEYTERMS = 100
RENEW = 50 * 60.0
"""Seconds after which an idle connection is replaced: OpenAI ends each after 60 min."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAIRealtimeOptions:
    api_key: str = field(default="", repr=False)
    """Sent as a bearer token, if there is one. OpenAI needs it."""

    base_url: str = OPENAI_URL
    """The address of the API, without ``/realtime``."""

    model: str = "gpt-live-transcribe"
    """The name of the model that transcribes."""

    language: str = "en"
    """The language for which connections are set up in advance. Others are set up at the beginning of an utterance."""

    languages: Sequence[str] = ()
    """The languages that the model recognises. Empty: OpenAI's."""

    prompt: str = ""
    """What the calls are about, or names as they are written, for models that take it."""

    keyterms: Sequence[str] = ()
    """Names and terms to expect in every utterance."""

    keywords: bool | None = None
    """Whether the model takes ``keywords`` and ``languages``. None: if it is ``gpt-live-transcribe`` or
    ``gpt-transcribe``. Otherwise the terms are added to the prompt, or left out for ``gpt-realtime-whisper``, which
    takes none."""

    delay: str = ""
    """How long ``gpt-realtime-whisper`` waits for more sound: ``minimal``, ``low``, ``medium``, ``high``, ``xhigh``."""

    parameters: Mapping[str, object] = field(default_factory=dict)
    """Further parameters of the address, for servers that want them (``model``). OpenAI must not get a model there."""

    warm: int = 2
    """Connections that are kept ready beside those in use."""

    limit: int = 50
    """The most connections at once. Further utterances are refused as full."""

    connect_timeout: float = 3.0
    """Seconds for a handshake, and until the session is set up."""

    patience: float = 2.0
    """Seconds without a message after which a connection is left that owes the words of an utterance. The utterance is
    then sent again on another one."""

    answer_timeout: float = 4.0
    """Seconds for the words of an utterance, over all its connections."""

    stop_counts: bool = False
    """Whether a full stop at the end of the words means that the sentence is over. The model also writes one where the
    words were asked for in a pause inside a sentence."""

    def __post_init__(self) -> None:
        check_account(self.base_url, self.api_key, "STT")
        if isinstance(self.languages, str) or isinstance(self.keyterms, str):
            raise EngineError("languages and keyterms are lists, not texts", permanent=True)
        if self.warm < 0 or self.limit < 1:
            raise EngineError("warm must be at least 0 and limit at least 1", permanent=True)
        if not min(self.connect_timeout, self.patience, self.answer_timeout) > 0:
            raise EngineError("connect_timeout, patience and answer_timeout must be more than 0 s", permanent=True)


class OpenAIRealtimeSpeechToText:
    """One model; the options say which. The words of a snapshot are those that a commit of the buffer brings."""

    rate_hz: ClassVar[int] = RATE_HZ
    gives_partials: ClassVar[bool] = True
    may_speculate: ClassVar[bool] = True
    """The sound is billed, however often its words are asked for."""
    options_class: ClassVar[type[OpenAIRealtimeOptions]] = OpenAIRealtimeOptions

    def __init__(self, options: OpenAIRealtimeOptions) -> None:
        self._options = options
        self.counts: Counter[str] = Counter()
        """Counts of the texts that were dropped, by the reason."""
        name, model = provider_of(options.base_url), options.model
        key = key_of(options.base_url, "STT")
        self._knows_keywords = (
            model.startswith(("gpt-transcribe", "gpt-live-transcribe"))
            if options.keywords is None
            else options.keywords
        )
        self._knows_prompts = "realtime-whisper" not in model
        if not has_language(self.languages, options.language):
            raise self._unknown(options.language)
        self._default = self._transcription(options.language, (), ())
        self._api = Api(name, options.base_url, headers=authorisation(options.api_key), key=key, setting=ADDRESS)
        self._pool = SocketPool(
            Plan(
                provider=name,
                # A `model` in the address would open a conversation.
                url=websocket_url(
                    options.base_url, "/realtime", [("intent", "transcription"), *options.parameters.items()]
                ),
                headers=authorisation(options.api_key),
                key=key,
                setting=ADDRESS,
                read=read,
                warm=options.warm,
                limit=options.limit,
                hello=(session_update(self._default, HELLO),),
                is_ready=is_ready,
                failure=failure,
                renew_after=RENEW,
                connect_timeout=options.connect_timeout,
            )
        )
        self._starting = asyncio.Lock()
        self._started = False

    @property
    def languages(self) -> Languages:
        return frozenset(map(main_language, self._options.languages or LANGUAGES)) | {AUTO}

    def describe(self) -> Description:
        weights = f"served by {self._api.where} as {self._options.model}"
        return Description(weights, device="server", capacity=self._options.limit)

    async def start(self) -> None:
        """Check the key and the model, and connect. Raises permanent errors only."""
        async with self._starting:
            if self._started:
                return
            try:
                await check_model(self._api, self._options.model, setting=SETTING)
                await self._pool.start()
            finally:
                await self._api.close()  # nothing else is asked by HTTP
            self._started = True

    async def close(self) -> None:
        self._started = False
        await self._pool.close()

    def open(
        self,
        *,
        language: str = "en",
        hint: str = "",
        on_partial: OnPartial | None = None,
        others: Sequence[str] = (),
        keyterms: Sequence[str] = (),
    ) -> HostedTranscription:
        if not has_language(self.languages, language):
            raise self._unknown(language)
        options = self._options
        wanted = self._transcription(language, others, keyterms)
        plain = self._transcription(language, (), ())

        def begin(lost: int) -> RealtimeExchange:
            # If a socket was lost, perhaps the change of its terms was not understood.
            terms = plain if lost else wanted
            return RealtimeExchange(
                terms=None if terms == self._default else terms,
                prompt=str(terms.get("prompt", "")),
                drop=self._count_dropped,
            )

        terms = Terms(
            provider=provider_of(options.base_url),
            name=usage_name(options.base_url, options.model),
            take=self._pool.take,
            begin=begin,
            patience=options.patience,
            timeout=options.answer_timeout,
            least=RATE_HZ // 20,
            stop_counts=options.stop_counts,
        )
        return HostedTranscription(terms, on_partial)

    def _transcription(self, language: str, others: Sequence[str], keyterms: Sequence[str]) -> Mapping[str, Any]:
        """What the model is told."""
        options = self._options
        told: dict[str, Any] = {"model": options.model}
        known = [main_language(each) for each in (language, *others) if has_language(self.languages, each)]
        codes = [code for code in dict.fromkeys(known) if code != AUTO]
        if language != AUTO and len(codes) > 1 and self._knows_keywords:
            told["languages"] = codes
        elif language != AUTO:
            told["language"] = codes[0]
        terms = list(dict.fromkeys([*keyterms, *options.keyterms]))[:MOST_KEYTERMS]
        prompt = options.prompt
        if terms and self._knows_keywords:
            told["keywords"] = terms
        elif terms:
            prompt = " ".join(filter(None, (prompt, f"{', '.join(terms)}.")))
        if prompt and self._knows_prompts:
            told["prompt"] = prompt
        if options.delay:
            told["delay"] = options.delay
        return told

    def _count_dropped(self, reason: str) -> None:
        self.counts[reason] += 1

    def _unknown(self, language: str) -> EngineError:
        return EngineError(f"{self._options.model} does not recognise {language!r}", permanent=True)
