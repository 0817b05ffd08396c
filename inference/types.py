"""The values that calls and engines exchange, and the errors of engines."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from inference.requests import NO_REQUESTS, ToolRequests

NOT_SAID = "(You have not said this yet: {})"
"""How the language model is told of the rest of a reply: before the caller's next words. At the end of the model's own
line it would be imitated."""

FINISHED = "(The caller has finished.)"
"""How the language model is told, behind the caller's last words, that it must answer them (``Tools.may_wait``)."""

BROKEN_OFF = "(Your last words were cut off. Go on exactly behind them, and repeat none of them.)"
"""How the language model is asked to finish a reply that another engine has begun."""

Role = Literal["system", "user", "assistant", "unsaid", "finished", "broken-off"]
"""``unsaid``: the rest of the assistant's line before, which the caller has not heard. ``finished``: the last message,
without content: the caller has finished. ``broken-off``: the last message, without content: the assistant's line before
was broken off and is to be finished."""
Pcm = NDArray[np.int16]
"""Mono 16-bit linear samples, shape ``(n,)``. The rate is always named beside it."""
NO_SOUND: Pcm = np.zeros(0, np.int16)


@dataclass(frozen=True, slots=True)
class Transcript:
    """
    The words of one utterance so far.

    ``samples`` is how much of the utterance these words account for, in samples at the engine's own ``rate_hz``.
    ``confidence`` runs from 0 to 1; an engine that gives none leaves it at 1.0. ``stop_counts`` says whether a full
    stop at the end means that the sentence is over: some engines also end the first half of a sentence with one.
    ``settled`` says of a partial transcript that the engine has found these words twice, and no others behind them.

    ``language`` is the code of the language that the engine found in the sound, if it looked for one, and
    ``language_probability`` how likely it is, from 0 to 1. The words are in it if it was asked for (``auto``, or one of
    ``others`` of which the engine was sure), else in the language with which the utterance was opened.
    """

    text: str
    samples: int = 0
    confidence: float = 1.0
    language: str = ""
    stop_counts: bool = True
    language_probability: float = 0.0
    settled: bool = False


@dataclass(frozen=True, slots=True)
class Message:
    """One line of the conversation as the language model sees it."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class TextDelta:
    """
    A piece of the reply's text, what the reply requests of the server, or both.

    A request refers to the reply so far: it is considered once the caller has heard that.
    """

    text: str = ""
    requests: ToolRequests = NO_REQUESTS
    is_cut: bool = False
    """The reply was stopped by a limit on its length: its last words may be only half of something."""


@dataclass(frozen=True, slots=True)
class Tools:
    """The requests that the language model may make besides the end of the call, the same for all replies of a call."""

    transfer_targets: tuple[str, ...] = ()
    """The names to which it may transfer the call."""
    opt_out: bool = False
    """Whether it may request that the caller is never called again."""
    may_wait: bool = False
    """Whether it may answer the caller's words with the request to wait, because they are unfinished."""


NO_TOOLS = Tools()


@dataclass(frozen=True, slots=True)
class AudioChunk:
    """
    A piece of synthesised speech at the engine's ``rate_hz``.

    ``text_end`` is how many characters of all the text given to this ``speak()`` have been spoken by the end of the
    chunk; it never falls, but for ``again_from``. ``exact`` says whether the engine knows this or estimates it.
    """

    pcm: Pcm
    text_end: int
    exact: bool = False
    again_from: int | None = None
    """The voice goes on elsewhere, with the character of this number: what the sound before says of the text behind it
    is said again, and is dropped as far as the caller has not heard it. Such a chunk comes at once and has no sound."""


@dataclass(frozen=True, slots=True)
class Description:
    """
    The facts about an engine that an operator needs before relying on it.

    ``weights`` says in words where they come from. ``memory_bytes`` is what the engine needs on ``device`` in addition
    to the process itself: an estimate until it has started, 0 if it is negligible. ``capacity`` is the number of calls
    (for text to speech), utterances or replies that it serves at once; 0 sets no limit.
    """

    weights: str
    memory_bytes: int = 0
    device: str = "cpu"
    capacity: int = 0


Languages = frozenset[str] | None
"""The languages of an engine, by the first part of their codes: ``en`` includes ``en-GB``. None: not known yet."""
ALL_LANGUAGES = frozenset(("*",))
"""The languages of an engine to which the language makes no difference."""
AUTO = "auto"
"""In place of a language: the recogniser finds it in the sound. Among the languages of each that can."""


def main_language(language: str) -> str:
    """Return the first part of a language code: ``pt`` of ``pt-BR``."""
    return language.replace("_", "-").partition("-")[0].lower()


def has_language(languages: Languages, language: str) -> bool | None:
    """Whether a language is among those of an engine; None if that is not known yet."""
    return None if languages is None else languages == ALL_LANGUAGES or main_language(language) in languages


def usual_language(languages: Languages) -> str:
    """Return English if an engine may have it, else one that it has: it refuses any other without an attempt."""
    return "en" if has_language(languages, "en") is not False else min(languages or ("en",))


def union_of_languages(all_languages: Iterable[Languages]) -> Languages:
    """Return the languages of several engines together; None if there are none, or one does not know its own."""
    union: frozenset[str] | None = None
    for languages in all_languages:
        if languages is None or languages == ALL_LANGUAGES:
            return languages
        union = (union or frozenset()) | languages
    return union


class EngineError(Exception):
    """
    An engine could not do its work.

    ``permanent`` means that a retry is useless: a missing model, a refused key.
    """

    def __init__(self, message: str, *, permanent: bool = False) -> None:
        super().__init__(message)
        self.permanent = permanent


class EngineLoading(EngineError):
    """The engine is still loading its model. A later request may succeed."""


class EngineFull(EngineError):
    """
    All slots of the engine are taken. Another engine, or this one later, may have a free one.

    ``retry_after`` is how many seconds later another request makes sense.
    """

    def __init__(self, message: str, *, permanent: bool = False, retry_after: float = 1.0) -> None:
        super().__init__(message, permanent=permanent)
        self.retry_after = retry_after


class QuotaExhausted(EngineError):
    """The account has no credit or its quota is used up: calls fail until the operator acts."""


class EngineTimeout(EngineError):
    """The engine gave no output in time."""


class NoWorker(EngineError):
    """No worker took the request: none runs, none can be reached, or none has a free slot."""


class ContextTooLarge(EngineError):
    """The request does not fit into the model's context, and never will."""

    def __init__(self, message: str, *, permanent: bool = True) -> None:
        super().__init__(message, permanent=permanent)
