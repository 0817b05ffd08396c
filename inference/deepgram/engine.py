"""What the recognisers of Deepgram have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar
from urllib.parse import urlsplit

from inference.deepgram.account import ADDRESS, KEY, DeepgramOptions, Models, explain, fetch_models, fitting
from inference.deepgram.languages import Choice, ModelLanguages
from inference.hosted.addresses import http_url
from inference.hosted.plan import Plan
from inference.hosted.recognition import RATE_HZ, Exchange, HostedTranscription, Terms
from inference.hosted.sockets import SocketPool
from inference.interfaces import OnPartial
from inference.types import Description, EngineError, EngineTimeout, Languages


class DeepgramEngine:
    """Takes a warm socket for each utterance. A subclass says what is sent, in ``_plan`` and ``_exchange``."""

    options_class: ClassVar[type[DeepgramOptions]] = DeepgramOptions
    rate_hz: ClassVar[int] = RATE_HZ
    gives_partials: ClassVar[bool] = True
    may_speculate: ClassVar[bool] = True
    """Deepgram bills the sound, however often its words are asked for. So recognition does not cost more when the
    conversation asks for words of which it makes no use."""
    default_model: ClassVar[str]
    least: ClassVar[int] = 160
    """Samples (20 ms) that are sent at once."""

    def __init__(self, options: DeepgramOptions) -> None:
        self._options = options
        self._model = options.model or self.default_model
        self._languages = ModelLanguages(self._model)
        default = self._languages.choose(options.language)
        if default is None:
            raise self._unknown(options.language)
        self._default = default
        self._pool = SocketPool(self._plan(self._url(default)))
        self._is_started = False

    @property
    def languages(self) -> Languages:
        return self._languages.all

    async def start(self) -> None:
        if self._is_started:
            return
        try:
            await self._pool.start()
        except EngineError as error:
            raise self._explain(error, await fetch_models(self._options)) from error
        models = await fetch_models(self._options)
        silence = self._pool.error
        if isinstance(silence, EngineTimeout) and (told := self._explain(silence, models)) is not silence:
            await self._pool.close()  # it answers some wrong settings with silence
            raise told
        self._languages.learn(sorted(models.languages_of(self._model)))
        self._is_started = True

    def _explain(self, error: EngineError, models: Models) -> EngineError:
        language = "" if self._default.is_any else self._default.language
        return explain(error, self._model, language, models)

    async def close(self) -> None:
        self._is_started = False
        await self._pool.close()

    def describe(self) -> Description:
        host = urlsplit(http_url(self._options.base_url)).netloc
        return Description(f"{self._model} at {host}", device="server", capacity=self._options.limit)

    def open(
        self,
        *,
        language: str = "en",
        hint: str = "",
        on_partial: OnPartial | None = None,
        others: Sequence[str] = (),
        keyterms: Sequence[str] = (),
    ) -> HostedTranscription:
        """
        Begin an utterance. ``keyterms`` are terms to expect in it beside those of the options.

        Raises ``EngineFull`` if all connections are in use, and a permanent error for a language that the model lacks.
        """
        choice = self._languages.choose(language, others)
        if choice is None:
            raise self._unknown(language)
        terms = fitting([*self._options.keyterms, *keyterms]) if keyterms else None
        return HostedTranscription(self._terms(choice, terms), on_partial)

    def _plan_of(self, url: str, **protocol: Any) -> Plan:
        """The plan for this address; ``protocol`` are the fields that the protocol sets."""
        options = self._options
        return Plan(
            provider="Deepgram",
            url=url,
            headers=options.headers,
            key=KEY,
            setting=ADDRESS,
            warm=options.warm,
            limit=options.limit,
            ping_every=2.0,
            connect_timeout=options.connect_timeout,
            **protocol,
        )

    def _terms(self, choice: Choice, keyterms: Sequence[str] | None) -> Terms:
        options, url = self._options, self._url(choice)
        return Terms(
            provider="Deepgram",
            name=f"deepgram/{self._billed_as(choice)}",
            take=lambda listener: self._pool.take(listener, url=url),
            # If a socket was lost, perhaps the change of its terms was not understood.
            begin=lambda lost: self._exchange(None if lost else keyterms),
            patience=options.patience,
            timeout=options.answer_timeout,
            least=self.least,
            stop_counts=options.stop_counts,
        )

    def _billed_as(self, choice: Choice) -> str:
        """The name of what has a price of its own."""
        return self._model

    def _unknown(self, language: str) -> EngineError:
        known = ", ".join(sorted(self._languages.all or ()))
        return EngineError(
            f"Deepgram's {self._model} does not recognise {language!r}. It recognises: {known}.", permanent=True
        )

    def _plan(self, url: str) -> Plan:
        raise NotImplementedError

    def _url(self, choice: Choice) -> str:
        raise NotImplementedError

    def _exchange(self, keyterms: Sequence[str] | None) -> Exchange:
        raise NotImplementedError
