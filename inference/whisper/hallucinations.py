"""
What Whisper hears in noise, and how to tell it from a caller's words.

The usual transcription loop answers doubt with up to six more decodes at rising temperatures, which has no place in a
conversation. Here each doubtful text has one reason, is counted under it, and is dropped; a text that a prefix may
have spoiled is heard once more without.
"""

from __future__ import annotations

import math
import re
import zlib
from dataclasses import dataclass
from enum import StrEnum

SHORTEST_SPEECH = 0.1
"""
Sound with less speech in it is not given to the model at all. A "two" or a "yes" may have 0.12 s that is loud, and who
says it has been judged to be speaking already.
"""
SHORT_SPEECH = 0.6
MAX_COMPRESSION = 2.4
LEAST_REPEATED = 100
"""Characters. In less, repetition is how people talk: "no, no, no", "five five five five"."""
MAX_WORDS_PER_SECOND = 6.0
SPARE_WORDS = 3
"""Short words that end in a consonant have little that is loud: "yes it is" may count as 0.3 s of speech."""
MIN_LOGPROB = -1.0
MAX_NO_SPEECH = 0.6

_STOCK_PHRASES = frozenset(
    {
        "please subscribe",
        "so",
        "subtitles by the amara org community",
        "thank you for watching",
        "thank you so much for watching",
        "thanks for watching",
        "you",
        "danke fürs zuschauen",
        "gracias por ver el video",
        "merci d'avoir regardé cette vidéo",
        "sous titres réalisés par la communauté d'amara org",
        "subtítulos realizados por la comunidad de amara org",
        "untertitel der amara org community",
        "untertitelung des zdf 2020",
    }
)
"""What Whisper says of noise, from the captions that it learned from."""
_POLITE_PHRASES = frozenset(
    {"bye", "bye bye", "thank you", "thank you very much", "thanks", "danke", "gracias", "merci", "vielen dank"}
)
"""So are these, but callers say them too, and quickly: to be short is not enough to be doubted."""


class Reason(StrEnum):
    """Why a text is not believed; also its name in the engine's ``counts``."""

    TOO_SHORT = "too_short"
    NO_WORDS = "no_words"
    NOT_FINITE = "not_finite"
    RUNAWAY = "runaway"
    REPETITION = "repetition"
    TOO_FAST = "too_fast"
    NO_SPEECH = "no_speech"
    STOCK_PHRASE = "stock_phrase"


RETRIED = frozenset({Reason.RUNAWAY, Reason.REPETITION, Reason.TOO_FAST})
"""A forced prefix or hotwords can cause these: heard once more without either."""


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """
    One piece of sound as the model heard it.

    ``speech`` is the seconds of the sound that may be speech, ``logprob`` the mean over the tokens, ``runaway`` that
    the text had not ended where its limit was.
    """

    text: str = ""
    speech: float = 0.0
    logprob: float = 0.0
    no_speech: float = 0.0
    tokens: tuple[int, ...] = ()
    runaway: bool = False

    @property
    def confidence(self) -> float:
        return math.exp(min(self.logprob, 0.0)) if math.isfinite(self.logprob) else 0.0


def objection(hypothesis: Hypothesis) -> Reason | None:
    """Why these cannot be the words of a caller, rather than the model's inventions about noise; None if they can."""
    words = bare_words(hypothesis.text)
    if hypothesis.speech < SHORTEST_SPEECH:
        return Reason.TOO_SHORT
    if not math.isfinite(hypothesis.logprob):
        return Reason.NOT_FINITE
    if hypothesis.runaway:
        return Reason.RUNAWAY
    if not words:
        return Reason.NO_WORDS
    if hypothesis.no_speech > MAX_NO_SPEECH and hypothesis.logprob < MIN_LOGPROB:
        return Reason.NO_SPEECH
    doubtful = hypothesis.no_speech > MAX_NO_SPEECH or hypothesis.logprob < MIN_LOGPROB
    phrases = _STOCK_PHRASES | _POLITE_PHRASES if doubtful else _STOCK_PHRASES
    if " ".join(words) in phrases and (doubtful or hypothesis.speech < SHORT_SPEECH):
        return Reason.STOCK_PHRASE
    if len(hypothesis.text) >= LEAST_REPEATED and compression(hypothesis.text) > MAX_COMPRESSION:
        return Reason.REPETITION
    if len(hypothesis.text.split()) > MAX_WORDS_PER_SECOND * hypothesis.speech + SPARE_WORDS:
        return Reason.TOO_FAST
    return None


def bare_words(text: str) -> list[str]:
    """The words without case and punctuation."""
    return re.findall(r"[^\W_]+(?:'[^\W_]+)*", text.lower())


def compression(text: str) -> float:
    """Characters for each byte that zlib needs: what repeats itself shrinks much, in any script."""
    return len(text) / len(zlib.compress(text.encode()))
