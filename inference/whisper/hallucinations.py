"""
Distinguishes what Whisper invents about noise from a caller's words.

The usual transcription loop decodes a doubtful text up to six more times at rising temperatures, which takes too long
for a conversation. Here a text is dropped only if the model itself doubts it, and is counted under one reason. A text
that ended in a loop, or that a prefix or hotwords may have spoiled, is decoded once more in another way.
"""

from __future__ import annotations

import math
import re
import zlib
from dataclasses import dataclass
from enum import StrEnum

SHORTEST_SPEECH = 0.1
"""Seconds. Sound with less speech is not given to the model at all. A "two" or a "yes" may have only 0.12 s that are
loud, but then the voice detector has already judged it to be speech."""
SHORT_SPEECH = 0.6
"""Seconds. In less speech than this, a stock phrase is not believed even if the model is sure of it."""
MAX_COMPRESSION = 2.4
"""The limit of Whisper's own transcription loop. Text that repeats itself is compressed further."""
LEAST_REPEATED = 100
"""Characters. In a shorter text, repetition is how people talk: "no, no, no", "five five five five"."""
MAX_WORDS_PER_SECOND = 6.0
"""Beyond the fastest speakers."""
SPARE_WORDS = 3
"""Short words that end in a consonant are hardly loud: "yes it is" may count as 0.3 s of speech."""
MIN_LOGPROB = -1.0
MAX_NO_SPEECH = 0.6
"""The limits of Whisper's own transcription loop."""
GUESSED_LOGPROB = -1.5
"""Below this a text is a guess, even if the model hears speech. Of 980 decodes of people, down to -30 dB and 5 dB above
noise, seven were below it, and none of them was right. Base invents sentences about noise with -1.56 and less."""
SHORT_ANSWER = 2
"""Words. The other spellings of a short answer ("7", "seven.") share its probability, so it may have less."""
SHORT_LOGPROB = -1.6
SHORT_NO_SPEECH = 0.3
"""The limits for a short answer. Right digits had up to -1.56, "Oh", "Ah" and the like about noise -1.62 and less."""
DOUBTFUL_LOGPROB = -0.8
"""A final text below this is decoded a second time in another way, and the surer of both counts. With tiny.en this
mended 8 of 384 words of people at full level and 20 dB below it; a third of the digits and few sentences are decoded
twice."""
SURE_LOGPROB = -0.5
SURE_NO_SPEECH = 0.3
"""
The limits for a text to which hotwords may have led. Beyond either, the sound is decoded once more without them.

About noise and music, tiny.en wrote a hotword with up to -0.67, and with 0.47 and more for no speech.
"""

_STOCK_PHRASES = frozenset(
    {
        "please subscribe",
        "subtitles by the amara org community",
        "thank you for watching",
        "thank you so much for watching",
        "thanks for watching",
        "danke fürs zuschauen",
        "gracias por ver el video",
        "merci d'avoir regardé cette vidéo",
        "sous titres réalisés par la communauté d'amara org",
        "subtítulos realizados por la comunidad de amara org",
        "untertitel der amara org community",
        "untertitelung des zdf 2020",
    }
)
"""Texts that Whisper returns for noise, learned from the captions of its training data."""
_POLITE_PHRASES = frozenset(
    """
    ah,bye,bye bye,music,oh,so,thank you,thank you very much,thanks,you,danke,gracias,merci,vielen dank
    """.strip().split(",")
)
"""Captions too, and sounds that noise and music resemble. Callers also say them: being short is no reason for doubt."""


class Reason(StrEnum):
    """The reasons why a text is not believed. The value is its name in the engine's ``counts``."""

    TOO_SHORT = "too_short"
    NO_WORDS = "no_words"
    NOT_FINITE = "not_finite"
    RUNAWAY = "runaway"
    REPETITION = "repetition"
    TOO_FAST = "too_fast"
    NO_SPEECH = "no_speech"
    STOCK_PHRASE = "stock_phrase"


LOOPS = frozenset({Reason.RUNAWAY, Reason.REPETITION})
"""The sound is decoded once more, without repetitions."""
DOUBTS = frozenset({Reason.NO_SPEECH, Reason.STOCK_PHRASE})
"""A final text is decoded once more: the other attempt may find, without a doubt, the words of a caller who is hard to
hear. About noise, base once was less unsure of "I'm sorry." the second time."""
SPOILED = frozenset({Reason.TOO_FAST})
"""A forced prefix or hotwords can cause these, so the sound is decoded once more without either, if it had one."""


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """The model's text for one piece of sound."""

    text: str = ""
    speech: float = 0.0
    """Seconds of the sound that may be speech."""
    logprob: float = 0.0
    """The mean over the tokens."""
    no_speech: float = 0.0
    """The model's probability that there is no speech."""
    tokens: tuple[int, ...] = ()
    runaway: bool = False
    """Whether the text had not ended at its limit."""
    language: str = ""
    """Whisper's own code of the language in which it was recognised."""
    found: str = ""
    """Its code of the likeliest language of the sound, if that was looked for."""
    found_probability: float = 0.0

    @property
    def confidence(self) -> float:
        """The mean probability of a token."""
        return math.exp(min(self.logprob, 0.0)) if math.isfinite(self.logprob) else 0.0


def objection(hypothesis: Hypothesis) -> Reason | None:
    """Return why this text is more likely invented than said by a caller; None if it may be believed."""
    words = bare_words(hypothesis.text)
    if hypothesis.speech < SHORTEST_SPEECH:
        return Reason.TOO_SHORT
    if not math.isfinite(hypothesis.logprob):
        return Reason.NOT_FINITE
    if hypothesis.runaway:
        return Reason.RUNAWAY
    if not words:
        return Reason.NO_WORDS
    if _is_guessed(hypothesis, len(words)):
        return Reason.NO_SPEECH
    doubtful = is_doubtful(hypothesis)
    phrases = _STOCK_PHRASES | _POLITE_PHRASES if doubtful else _STOCK_PHRASES
    if " ".join(words) in phrases and (doubtful or hypothesis.speech < SHORT_SPEECH):
        return Reason.STOCK_PHRASE
    if len(hypothesis.text) >= LEAST_REPEATED and compression(hypothesis.text) > MAX_COMPRESSION:
        return Reason.REPETITION
    if doubtful and len(hypothesis.text.split()) > MAX_WORDS_PER_SECOND * hypothesis.speech + SPARE_WORDS:
        return Reason.TOO_FAST
    return None


def is_doubtful(hypothesis: Hypothesis) -> bool:
    """Whether Whisper's own transcription loop would doubt this text."""
    return hypothesis.no_speech > MAX_NO_SPEECH or hypothesis.logprob < MIN_LOGPROB


def is_number(text: str) -> bool:
    """Whether the text is a number in digits. Whisper writes none about noise."""
    words = bare_words(text)
    return bool(words) and all(word.isdecimal() for word in words)


def _is_guessed(hypothesis: Hypothesis, words: int) -> bool:
    if words <= SHORT_ANSWER:
        return hypothesis.no_speech > SHORT_NO_SPEECH and hypothesis.logprob < SHORT_LOGPROB
    least = MIN_LOGPROB if hypothesis.no_speech > MAX_NO_SPEECH else GUESSED_LOGPROB
    return hypothesis.logprob < least


def is_sure(hypothesis: Hypothesis, *, hotwords: bool) -> bool:
    """Whether a text that may be believed needs no second attempt. ``hotwords``: they may have led to it."""
    if hotwords:
        return hypothesis.logprob >= SURE_LOGPROB and hypothesis.no_speech <= SURE_NO_SPEECH
    return hypothesis.logprob >= DOUBTFUL_LOGPROB


def bare_words(text: str) -> list[str]:
    """The words in lower case, without punctuation."""
    return re.findall(r"[^\W_]+(?:'[^\W_]+)*", text.lower())


def compression(text: str) -> float:
    """Characters per byte that zlib needs: text that repeats itself shrinks much, in any script."""
    return len(text) / len(zlib.compress(text.encode()))
