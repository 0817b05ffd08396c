"""Finds the words on which two consecutive hypotheses agree: only those are reported while a caller is speaking."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

from inference.whisper.hallucinations import bare_words

_UNSPACED = frozenset({"bo", "ja", "km", "lo", "my", "th", "yue", "zh"})
"""Languages that are written without spaces: a character counts as a word."""


def is_spaced(language: str) -> bool:
    """Whether the language is written with spaces between words."""
    return language not in _UNSPACED


def agreed_text(before: str, after: str, *, spaced: bool = True) -> str:
    """The beginning of ``after`` that ``before`` shares, in whole words, whatever their case and punctuation."""
    words: Sequence[str] = after.split() if spaced else after
    pairs = zip(before.split() if spaced else before, words, strict=False)
    agreed = sum(1 for _ in takewhile(lambda pair: bare_words(pair[0]) == bare_words(pair[1]), pairs))
    return (" " if spaced else "").join(words[:agreed])


def agreed_tokens(before: Sequence[int], after: Sequence[int]) -> tuple[int, ...]:
    """The tokens with which both begin."""
    return tuple(after[: sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(before, after, strict=False)))])
