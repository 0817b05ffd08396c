"""Writes digits that were said one by one as one number, however Whisper spaced them."""

from __future__ import annotations

import re

FEWEST = 4
"""Fewer single digits are left as they are: "1, 2 or 3" is a choice, "555" at the beginning of a number comes alone."""

_RUN = re.compile(r"(?<![\w.,:/$€£-])\d{1,2}(?:(?:[,.]? |,|-|–)\d{1,2})+(?![\w:/%]|[.,-]\d)(?:,$)?")
"""Groups of one or two digits between spaces, commas or dashes. A point alone parts a decimal, and is no separator."""


def join_digits(text: str) -> str:
    """
    Join each run of at least ``FEWEST`` single digits: "5, 5, 5, 0, 1 4 2." becomes "5550142.".

    Whisper writes the same digits with commas, dashes or spaces by chance. A language model and the judgement of the
    end of a turn both read a number better than its pieces. Thousands, times, dates and lists of larger numbers stay.
    """
    return _RUN.sub(_joined, text)


def _joined(run: re.Match[str]) -> str:
    groups = re.findall(r"\d+", run[0])
    singles = sum(len(group) == 1 for group in groups)
    return "".join(groups) if singles >= max(FEWEST, len(groups) / 2) else run[0]
