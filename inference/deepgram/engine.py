"""What the recognisers of Deepgram have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar
from urllib.parse import urlsplit

from inference.deepgram.account import DeepgramOptions, explain, fetch_models
from inference.deepgram.languages import MULTI, Choice, ModelLanguages
from inference.hosted.addresses import http_url
from inference.hosted.plan import Plan
from inference.hosted.recognition import RATE_HZ, Exchange, HostedTranscription, Terms
from inference.hosted.sockets import SocketPool
from inference.interfaces import OnPartial
from inference.types import Description, EngineError, Languages


class DeepgramEngine:
    """Takes a warm socket for each utterance. A subclass says what is sent, in ``_plan`` and ``_exchange``."""

    options_class: ClassVar[type[DeepgramOptions]] = DeepgramOptions
    rate_hz: ClassVar[int] = RATE_HZ
    gives_partials: ClassVar[bool] = True
    may_speculate: ClassVar[bool] = True
    """Deepgram bills the sound, however often its words are asked for. So recognition does not cost more when the
    conversation asks for words of which it makes no use."""
    default_model: ClassVar[str]

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

    @property
    def unavailable(self) -> str:
        """Why no new call should rely on the engine now; "" if it may."""
        return self._pool.unavailable

    async def start(self) -> None:
        if self._is_started:
            return
        try:
            await self._pool.start()
        except EngineError as error:
            language = self._default.language
            models = await fetch_models(self._options)
            raise explain(error, self._options, self._model, "" if language == MULTI else language, models) from error
        self._is_started = True
        self._languages.learn(sorted((await fetch_models(self._options)).languages_of(self._model)))

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
        terms = [*dict.fromkeys([*self._options.keyterms, *keyterms])] if keyterms else None
        return HostedTranscription(self._terms(choice, terms), on_partial)

    def _terms(self, choice: Choice, keyterms: Sequence[str] | None) -> Terms:
        options, url = self._options, self._url(choice)
        return Terms(
            provider="Deepgram",
            name=f"deepgram/{self._model}" + ("-multi" if choice.language == MULTI else ""),
            take=lambda listener: self._pool.take(listener, url=url),
            # If a socket was lost, perhaps the change of its terms was not understood.
            begin=lambda lost: self._exchange(None if lost else keyterms),
            patience=options.patience,
            timeout=options.answer_timeout,
            stop_counts=options.stop_counts,
        )

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
