"""
Finds the typed spans of a text (an amount of money, a date, a telephone number …) and says each of them once.

The rules of a language propose spans; they all read the same text, so no rule sees the words of another. Where spans
overlap, the longest wins, and of equally long ones the one whose rule comes first. What no rule recognises stays.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

Match = re.Match[str]


class Start(Enum):
    """Where the spans of a rule begin. It is tried only there, which makes a clause with few digits cheap."""

    ANYWHERE = "anywhere"
    NUMBER = "number"
    """At the first digit of a row, or at a point in front of it."""
    CAPITAL = "capital"
    """At a word that begins with a capital letter."""


_STARTS = {Start.NUMBER: re.compile(r"(?<!\d)(?=\d)|(?<![\w.])(?=\.\d)"), Start.CAPITAL: re.compile(r"\b(?=[A-Z])")}
DIGIT = "0"
"""Stands for any digit in ``Rule.signs``."""
_DIGITS = frozenset("0123456789")


@dataclass(frozen=True, slots=True)
class Rule:
    """Recognises the spans of one kind and says them."""

    kind: str
    pattern: re.Pattern[str]
    say: Callable[[Match], str]
    accepts: Callable[[Match], bool] | None = None
    """Whether a match is such a span: it may look at the text around it. None accepts each match."""
    signs: str = DIGIT
    """Characters of which each span has at least one. A text without them is not searched. Empty: always search."""
    start: Start = Start.ANYWHERE


@dataclass(frozen=True, slots=True)
class Span:
    rule: Rule
    match: Match

    @property
    def start(self) -> int:
        return self.match.start()

    @property
    def end(self) -> int:
        return self.match.end()


def rule(
    kind: str,
    pattern: str,
    say: str | Callable[[Match], str],
    accepts: Callable[[Match], bool] | None = None,
    *,
    signs: str = DIGIT,
    start: Start = Start.ANYWHERE,
    flags: int = 0,
) -> Rule:
    """A rule whose spans match ``pattern``; a ``say`` that is a text is said as it is."""
    if isinstance(say, str):
        words = say
        return Rule(kind, re.compile(pattern, flags), lambda match: words, accepts, signs, start)
    return Rule(kind, re.compile(pattern, flags), say, accepts, signs, start)


def find_spans(text: str, rules: Sequence[Rule], start: int = 0) -> list[Span]:
    """The spans of ``text`` from ``start`` on, from left to right. They do not overlap."""
    candidates = sorted(_candidates(text, rules, start), key=lambda candidate: candidate[0])
    taken = bytearray(len(text))
    chosen = []
    for _, span in candidates:
        if not any(taken[span.start : span.end]):
            taken[span.start : span.end] = b"\x01" * (span.end - span.start)
            chosen.append(span)
    chosen.sort(key=lambda span: span.start)
    return chosen


def _candidates(text: str, rules: Sequence[Rule], start: int) -> Iterator[tuple[tuple[int, int, int], Span]]:
    """All proposed spans, each with its rank: the smallest wins."""
    present = set(text)
    if present & _DIGITS:
        present.add(DIGIT)
    starts = {kind: [match.start() for match in pattern.finditer(text, start)] for kind, pattern in _STARTS.items()}
    for order, candidate in enumerate(rules):
        if candidate.signs and present.isdisjoint(candidate.signs):
            continue
        for match in _matches(candidate, text, start, starts.get(candidate.start)):
            yield (match.start() - match.end(), order, match.start()), Span(candidate, match)


def _matches(candidate: Rule, text: str, position: int, starts: list[int] | None) -> Iterator[Match]:
    """The accepted matches of one rule from ``position`` on. They do not overlap."""
    accepts = candidate.accepts
    if starts is None:
        while match := candidate.pattern.search(text, position):
            if accepts is None or accepts(match):
                yield match
                position = match.end()
            else:
                position = match.start() + 1
        return
    end = 0
    for position in starts:
        if (
            position >= end
            and (match := candidate.pattern.match(text, position))
            and (accepts is None or accepts(match))
        ):
            yield match
            end = match.end()


def say_spans(text: str, rules: Sequence[Rule], start: int = 0) -> str:
    """
    ``text`` from ``start`` on with each of its spans as words. Words never touch the text beside them.

    What stands before ``start`` is not said, but the rules see it.
    """
    pieces: list[str] = []
    position = start
    last = ""
    for span in find_spans(text, rules, start):
        for piece in (text[position : span.start], span.rule.say(span.match)):
            if piece:
                if last.isalnum() and piece[0].isalnum():
                    pieces.append(" ")
                pieces.append(piece)
                last = piece[-1]
        position = span.end
    rest = text[position:]
    if rest and last.isalnum() and rest[0].isalnum():
        pieces.append(" ")
    return "".join(pieces) + rest


REACH = 40
"""Characters around a match that decide what it is: more would let a long text take quadratic time."""


def text_before(match: Match) -> str:
    return match.string[max(0, match.start() - REACH) : match.start()]


def text_after(match: Match) -> str:
    return match.string[match.end() : match.end() + REACH]


def full_stop(match: Match) -> str:
    """The full stop of an abbreviation if it also ends the sentence."""
    return "." if match[0].endswith(".") and _SENTENCE_ENDS.match(match.string, match.end()) else ""


_SENTENCE_ENDS = re.compile(r"\s*$|\s+(?![NSEW]{1,2}\b)[A-Z]")
"""A point of the compass begins no sentence: "2 mi. N of here"."""
