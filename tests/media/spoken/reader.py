"""
Reads spoken English back into what was written, for the properties of ``speakable``.

It shares no code with the product and knows only words: it reads each part of a sentence as the kind that the test
says it is.
"""

from __future__ import annotations

import re
from decimal import Decimal

ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
    " eighteen nineteen".split()
)
TENS = dict(zip("twenty thirty forty fifty sixty seventy eighty ninety".split(), range(20, 100, 10), strict=True))
SMALL = {word: value for value, word in enumerate(ONES)} | TENS
SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
ORDINALS = {
    "first": 1, "second": 2, "third": 3, "fifth": 5, "eighth": 8, "ninth": 9, "twelfth": 12,
}  # fmt: skip
MONTHS = (
    "January February March April May June July August September October November December".split()  # by number - 1
)


def read_digits(spoken: str) -> str:
    """ "four one five, five five five" is 415555."""
    return "".join(str(ONES.index(word)) for word in re.findall(r"\w+", spoken) if ONES.index(word) < 10)


def read_integer(spoken: str) -> int:
    total = group = 0
    for word in re.findall(r"\w+", spoken):
        if word in SCALES:
            total, group = total + group * SCALES[word], 0
        elif word == "hundred":
            group *= 100
        else:
            group += SMALL[word]
    return total + group


def read_number(spoken: str) -> Decimal:
    """ "minus one hundred point zero five"."""
    sign = -1 if spoken.startswith("minus ") else 1
    whole, _, decimals = spoken.removeprefix("minus ").partition("point ")
    value = Decimal(read_integer(whole) if whole.strip() else 0)
    return sign * (value + (Decimal("0." + read_digits(decimals)) if decimals else 0))


def read_money(spoken: str) -> Decimal:
    """Dollars and cents."""
    found = re.fullmatch(r"(?:(.+) dollars?)?(?: and )?(?:(.+) cents?)?", spoken)
    assert found, spoken
    dollars, cents = found.groups()
    return Decimal(read_integer(dollars) if dollars else 0) + Decimal(read_integer(cents) if cents else 0) / 100


def read_ordinal(spoken: str) -> int:
    *front, last = re.split(r"[ -]", spoken)
    cardinal = ONES[ORDINALS[last]] if last in ORDINALS else last.replace("ieth", "y").removesuffix("th")
    return read_integer(" ".join([*front, cardinal]))


def read_year(spoken: str) -> int:
    """ "nineteen ninety-nine", "two thousand five", "twenty oh one"."""
    if "thousand" in spoken or "hundred" in spoken:
        front, hundred, rest = spoken.partition(" hundred")
        if hundred and "thousand" not in spoken:
            return read_integer(front) * 100 + (read_integer(rest) if rest else 0)
        return read_integer(spoken)
    first, _, rest = spoken.partition(" ")
    return read_integer(first) * 100 + read_integer(rest.replace("oh", ""))


def read_date(spoken: str) -> tuple[int, int, int]:
    """Year, month and day of "March third, twenty twenty-six"."""
    found = re.fullmatch(r"(\w+) ([\w-]+), (.+)", spoken)
    assert found, spoken
    return read_year(found[3]), MONTHS.index(found[1]) + 1, read_ordinal(found[2])


def read_time(spoken: str) -> tuple[int, int]:
    """Hour and minute on a clock of 24 hours."""
    found = re.fullmatch(r"([\w -]+?)(?: o'clock)?(?: ([ap])\.m\.)?", spoken)
    assert found, spoken
    hour_word, _, minute_words = found[1].partition(" ")
    hour, minute = SMALL[hour_word], read_integer(minute_words.replace("oh ", "")) if minute_words else 0
    if found[2]:
        hour = hour % 12 + (12 if found[2] == "p" else 0)
    return hour, minute
