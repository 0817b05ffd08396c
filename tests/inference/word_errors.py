"""Word error rates of English texts: what counts as the same word, and how sure a difference between two rates is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_SAME = {"mr": "mister", "mrs": "missus", "alright": "all right", "pm": "p m", "am": "a m", "yknow": "you know"}
"""Spellings of the same words. "am" is the time of day only behind a number, which no recording has otherwise."""
_FILLERS = frozenset("uh um hm mm er ah hmm uhh umm".split())
"""Sounds that a transcript may leave out."""


@dataclass(frozen=True, slots=True)
class Errors:
    """The words of one text, or of several together, that were recognised wrongly."""

    words: int
    """How many words were said."""
    substituted: int
    deleted: int
    inserted: int

    @property
    def count(self) -> int:
        return self.substituted + self.deleted + self.inserted

    @property
    def rate(self) -> float:
        """Per cent."""
        return 100 * self.count / max(1, self.words)

    def __add__(self, other: Errors) -> Errors:
        return Errors(
            self.words + other.words,
            self.substituted + other.substituted,
            self.deleted + other.deleted,
            self.inserted + other.inserted,
        )


NO_ERRORS = Errors(0, 0, 0, 0)


def plain_words(text: str) -> list[str]:
    """The words in lower case, digits as they are said, without fillers, cut-off words and punctuation."""
    text = re.sub(r"<hes-(\w+)>", r"\1", text.lower().replace("’", "'"))
    text = re.sub(r"<[^>]*>|\[[^]]*\]|\([^)]*\)", " ", text)
    text = re.sub(r"(?<=\d)[:.](?=\d\d\b)", " ", re.sub(r"\b([ap])\.\s?m\b\.?", r"\1m", text))
    text = re.sub(r"\d+", lambda digits: f" {_in_words(digits[0])} ", text)
    words = re.findall(r"[^\W_]+(?:'[^\W_]+)*", text)
    return [each for word in words if word not in _FILLERS for each in _SAME.get(word, word).split()]


def _in_words(digits: str) -> str:
    number = int(digits)
    if len(digits) > 2 or digits[0] == "0":
        return " ".join(_ONES[int(digit)] for digit in digits)
    if number < 20:
        return _ONES[number]
    return f"{_TENS[number // 10 - 2]} {_ONES[number % 10] if number % 10 else ''}"


def word_errors(said: str, recognised: str) -> Errors:
    """Compare two texts by the fewest changes that turn one into the other."""
    reference, heard = plain_words(said), plain_words(recognised)
    row = [Errors(len(reference), 0, 0, inserted) for inserted in range(len(heard) + 1)]
    for index, word in enumerate(reference, start=1):
        before, row = row, [Errors(len(reference), 0, index, 0)]
        for column, other in enumerate(heard, start=1):
            wrong = int(word != other)
            choices = (
                (before[column - 1], Errors(0, wrong, 0, 0)),
                (before[column], Errors(0, 0, 1, 0)),
                (row[column - 1], Errors(0, 0, 0, 1)),
            )
            row.append(min((each + more for each, more in choices), key=lambda each: each.count))
    return row[-1]


def difference_interval(
    ours: Sequence[Errors], theirs: Sequence[Errors], *, samples: int = 10_000
) -> tuple[float, float]:
    """
    The 95 % interval of the first rate minus the second, in points.

    Each recording counts in both rates or in neither (a paired bootstrap over ``samples`` draws of the recordings).
    """
    words = np.array([each.words for each in ours])
    more = np.array([one.count - other.count for one, other in zip(ours, theirs, strict=True)])
    drawn = np.random.default_rng(0).integers(0, len(words), (samples, len(words)))
    differences = 100 * more[drawn].sum(axis=1) / words[drawn].sum(axis=1)
    low, high = np.percentile(differences, (2.5, 97.5))
    return float(low), float(high)
