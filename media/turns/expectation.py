"""
What the agent expects to hear: the form of the answer to what it has just asked.

It asks in a question, or in an imperative: "Please tell me your e-mail address."
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache

from media.turns.labels import QUESTION_MARKS, WORDS_UNTIL_ANSWER
from media.turns.lexicon import Lexicon, words_of

WORDS_UNTIL_DICTATION = 12
"""Words that the agent says after it has asked for something to be dictated, before the caller begins: about 4 s."""
CARD_DIGITS = 16
"""A card number has so many digits."""
POSTAL_DIGITS = 5
"""Postal codes of digits have so many in most countries."""
_SENTENCE = re.compile(r"[^.!?。？！؟]+(?:[.!?。？！؟]+|$)")


class Kind(Enum):
    """The kinds of answers."""

    NOTHING = auto()
    """The agent has asked for nothing."""
    OPEN = auto()
    """It has asked something that any words may answer."""
    YES_OR_NO = auto()
    CHOICE = auto()
    NUMBER = auto()
    """The digits, and perhaps letters, of a number, code or account."""
    TELEPHONE = auto()
    DATE = auto()
    BIRTH = auto()
    """A date with its year."""
    TIME = auto()
    NAME = auto()
    SPELLING = auto()
    EMAIL = auto()
    ADDRESS = auto()


DICTATED = frozenset((Kind.NUMBER, Kind.TELEPHONE, Kind.SPELLING, Kind.EMAIL))
"""Answers that people dictate piece by piece."""

_BY_PRIORITY = (
    ("asks.email", Kind.EMAIL),
    ("asks.spelling", Kind.SPELLING),
    ("asks.telephone", Kind.TELEPHONE),
    ("asks.address", Kind.ADDRESS),
    ("asks.birth", Kind.BIRTH),
    ("asks.time", Kind.TIME),
    ("asks.date", Kind.DATE),
)
"""The first list that has a phrase among the agent's words gives the kind. Numbers come next, then names."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """The answer that the agent expects."""

    kind: Kind = Kind.NOTHING
    digits: int = 0
    """How many digits it has asked for; 0 if it named no number."""
    confirms: bool = False
    """It asks whether something is right, or is there, so that yes or no is a whole answer: "Is that your number?"."""
    whole: bool = False
    """It has asked for a full name."""
    words: tuple[str, ...] = ()
    """The words with which it asked."""

    @property
    def asked(self) -> bool:
        """Whether it expects an answer at all."""
        return self.kind is not Kind.NOTHING


NOTHING = Expectation()


@lru_cache(maxsize=256)
def expectation_of(agent_said: str, lexicon: Lexicon) -> Expectation:
    """Return what the last question or imperative of these words asks for."""
    after, spelled = 0, NOTHING
    for sentence in reversed(_SENTENCE.findall(agent_said)):
        words = words_of(sentence)
        is_question = any(mark in sentence for mark in QUESTION_MARKS)
        requests = lexicon.has("asks.request", words)
        if is_question or requests:
            found = _expectation(words, lexicon, is_question=is_question, requests=requests)
            limit = WORDS_UNTIL_DICTATION if found.kind in DICTATED else WORDS_UNTIL_ANSWER
            if after > limit:
                break
            if found.kind is not Kind.SPELLING or spelled.asked:
                return found if found.kind in DICTATED or not spelled.asked else spelled
            # "Please tell me your e-mail address. You can spell it."
            spelled = found
        after += len(words)
        if after > WORDS_UNTIL_DICTATION:
            break
    return spelled


def _expectation(words: tuple[str, ...], lexicon: Lexicon, *, is_question: bool, requests: bool) -> Expectation:
    closed = is_question and not requests and _is_closed(words, lexicon)
    kind = next((kind for listed, kind in _BY_PRIORITY if lexicon.has(listed, words)), None)
    if kind is None and (lexicon.mentions("asks_for_number", words) or lexicon.has("asks.digits", words)):
        kind = Kind.NUMBER
    if kind is None and lexicon.has("asks.name", words):
        kind = Kind.NAME
    if kind is None and not is_question:
        return NOTHING if not requests else Expectation(Kind.OPEN, words=words)
    if kind in (None, Kind.TIME, Kind.DATE, Kind.NAME) and is_question and lexicon.has("asks.choice", words):
        kind = Kind.CHOICE
    if kind is None:
        return Expectation(Kind.YES_OR_NO if closed else Kind.OPEN, confirms=closed, words=words)
    digits = _digits_named(words, lexicon) if kind is Kind.NUMBER else 0
    whole = kind is Kind.NAME and lexicon.has("asks.full_name", words)
    return Expectation(kind, digits, confirms=closed, whole=whole, words=words)


def _is_closed(words: tuple[str, ...], lexicon: Lexicon) -> bool:
    """Whether a question begins like those that are answered with yes or no, perhaps behind a word such as "okay"."""
    phrases = lexicon.split(words)
    starts = [0]
    for phrase in phrases[:2]:
        if phrase.kind in ("murmur", "agreement", "thanks", "presence"):
            starts.append(starts[-1] + len(phrase.words))
    return any(lexicon.length_at("asks.yes_or_no", words, start) for start in starts)


def _digits_named(words: tuple[str, ...], lexicon: Lexicon) -> int:
    for at in range(1, len(words)):
        if lexicon.length_at("asks.digits", words, at):
            before = words[at - 1]
            value = int(before) if before.isdecimal() else lexicon.numbers.get((before,), 0)
            if 1 < value <= 20:
                return value
    if lexicon.has("asks.card", words):
        return CARD_DIGITS
    return POSTAL_DIGITS if lexicon.has("asks.five_digits", words) else 0
