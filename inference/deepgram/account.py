"""How an account at Deepgram is reached, and what its list of models says."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from inference.hosted.addresses import http_url
from inference.hosted.api import Api
from inference.hosted.fields import fields, items, text
from inference.hosted.keys import checked_key
from inference.types import EngineError

logger = logging.getLogger(__name__)

KEY = "DEEPGRAM_API_KEY"
ADDRESS = "DEEPGRAM_BASE_URL or the option base_url"
"""How operators call the key."""
MOST_TOKENS = 450
"""For the terms to expect. Deepgram takes 500 and refuses more. How it counts is not known, so each three bytes and
each term count as one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeepgramOptions:
    """The ``OPTIONS`` that both recognisers of Deepgram have. Each has another default model."""

    api_key: str = field(repr=False)
    """A key of a project at Deepgram (setting ``DEEPGRAM_API_KEY``)."""
    base_url: str = "https://api.deepgram.com"
    """Where Deepgram is: a URL or a host. ``api.eu.deepgram.com``, ``api.au.deepgram.com`` and ``api.in.deepgram.com``
    keep the sound in their region. A server of your own may be at ``http://``."""
    model: str = ""
    """The model; "" is the default of the engine."""
    language: str = "en"
    """The language for which connections are ready from the start. Others are connected when a call first needs one."""
    keyterms: Sequence[str] = ()
    """Names and terms to expect, plain and without weights, 500 tokens at most."""
    warm: int = 2
    """Connections that are kept ready beside those in use. A handshake takes 0.1 to 0.3 s."""
    limit: int = 50
    """The most connections at once, as many as the project may have. Further utterances are refused as full."""
    connect_timeout: float = 3.0
    """Seconds for a handshake."""
    patience: float = 1.0
    """Seconds without a message after which a connection is left that owes the words of an utterance. The utterance is
    then sent again on another one."""
    answer_timeout: float = 3.0
    """Seconds for the words of an utterance, over all its connections."""
    stop_counts: bool = False
    """Whether a full stop at the end of the words means that the sentence is over. Deepgram may also write one where
    the words were asked for in a pause inside a sentence."""
    parameters: Mapping[str, object] = field(default_factory=dict)
    """Further parameters of the address, as ``{"mip_opt_out": "true"}``."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "api_key", checked_key(self.api_key))
        if not self.api_key:
            raise EngineError(f"Deepgram needs a key. Set {KEY}.", permanent=True)
        if isinstance(self.keyterms, str):
            raise EngineError("keyterms must be a list of terms, not one text.", permanent=True)
        if self.warm < 0 or self.limit < 1:
            raise EngineError("Deepgram: warm must be at least 0 and limit at least 1.", permanent=True)
        if not min(self.connect_timeout, self.patience, self.answer_timeout) > 0:
            raise EngineError(
                "Deepgram: connect_timeout, patience and answer_timeout must be more than 0 s.", permanent=True
            )

    @property
    def headers(self) -> Mapping[str, str]:
        return {"Authorization": f"Token {self.api_key}"}


def fitting(keyterms: Sequence[str]) -> list[str]:
    """As many of the terms as Deepgram takes, each once."""
    left, fit = MOST_TOKENS, []
    for term in dict.fromkeys(" ".join(each.split()) for each in keyterms):
        tokens = len(term.encode()) // 3 + 1
        if term and tokens <= left:
            left -= tokens
            fit.append(term)
    return fit


@cache
def report_terms(code: str) -> None:
    """Deepgram did not take the terms of a call. This is logged once for each reason."""
    logger.warning("Deepgram did not take the terms to expect and goes on without them: %s", code or "no reason given")


class Models(dict[str, frozenset[str]]):
    """The languages of each model that recognises speech in a stream, by the names of the model."""

    def languages_of(self, model: str) -> frozenset[str]:
        """The codes of its languages; none if the list does not have the model."""
        return self.get(model) or self.get(f"{model}-general") or frozenset()


async def fetch_models(options: DeepgramOptions) -> Models:
    """Return Deepgram's list of public models; an empty one where it cannot be had."""
    api = Api("Deepgram", http_url(options.base_url), headers=options.headers, key=KEY, setting=ADDRESS)
    models: dict[str, set[str]] = {}
    try:
        answer = fields(await api.get_json("/v1/models", patience=2.0))
    except EngineError as error:
        logger.debug("The list of Deepgram's models cannot be had: %s", error)
        return Models()
    finally:
        await api.close()
    for model in map(fields, items(answer.get("stt"))):
        if model.get("streaming") is False:
            continue
        codes = {code for code in map(text, items(model.get("languages"))) if code}
        for name in {text(model.get("name")), text(model.get("canonical_name"))} - {""}:
            models.setdefault(name, set()).update(codes)
    return Models({name: frozenset(codes) for name, codes in models.items()})


def explain(error: EngineError, model: str, language: str, models: Models) -> EngineError:
    """The refusal at the start, with what the operator should change if the list of models tells it."""
    if models and not models.languages_of(model) and model not in models:
        advice = f"It has no model {model!r} for streams. Choose one of: {', '.join(sorted(models))}."
    elif (
        (codes := models.languages_of(model)) and language and language.lower() not in {code.lower() for code in codes}
    ):
        advice = f"Its model {model!r} has no language {language!r}. Choose one of: {', '.join(sorted(codes))}."
    else:
        return error
    return EngineError(f"{error} {advice}", permanent=True)
