"""Numbers as a person says them in English: counts, years, clock times, house numbers, digits."""

from __future__ import annotations

import re
from functools import lru_cache

from num2words import num2words  # type: ignore[import-untyped]

MONTHS = (
    "January February March April May June July August September October November December".split()  # by number - 1
)
_DIGITS = "zero one two three four five six seven eight nine".split()
_PARTS = {2: "half", 4: "quarter"}
_LONGEST = 15
"""Digits of the longest number that is said as one, if they are grouped by commas: trillions."""
_LONGEST_PLAIN = 6
"""The same without commas: 1234567 is a code, said digit by digit."""
_CACHED = 4096
"""Results that are kept: num2words takes 20 microseconds for one, and a call repeats few of them."""


def digits(text: str) -> str:
    """Each digit on its own; all other characters are left out."""
    return " ".join(_DIGITS[int(character)] for character in text if character in "0123456789")


def digit_groups(text: str) -> str:
    """Each digit on its own, with a pause between groups. Single digits in a row need no pause."""
    groups = re.findall(r"\d+", text)
    return (" " if all(len(group) == 1 for group in groups) else ", ").join(map(digits, groups))


@lru_cache(_CACHED)
def cardinal(value: int) -> str:
    return str(num2words(value)).replace(",", "").replace(" and ", " ")


@lru_cache(_CACHED)
def ordinal(value: int) -> str:
    return str(num2words(value, to="ordinal")).replace(",", "").replace(" and ", " ")


@lru_cache(_CACHED)
def year(value: int) -> str:
    """1999 becomes nineteen ninety-nine, 2005 two thousand five, 2026 twenty twenty-six."""
    return str(num2words(value, to="year")).replace(" and ", " ").replace("oh-", "oh ")


def plural(words: str) -> str:
    """The plural of a number word: nineteen nineties, three quarters, five sixths."""
    return words[:-1] + "ies" if words.endswith("y") else words + "s"


_LAKHS = re.compile(r"\d{1,2}(?:,\d\d){1,4},\d{3}")
"""Digits that are grouped as in India: 1,00,000."""


def _lakhs(whole: str) -> str:
    """1,00,000 is one lakh, 1,25,00,000 one crore twenty-five lakh."""
    value = int(whole.replace(",", ""))
    crores, rest = divmod(value, 10_000_000)
    lakhs, rest = divmod(rest, 100_000)
    parts = ((crores, " crore"), (lakhs, " lakh"), (rest, ""))
    return " ".join(f"{cardinal(part)}{name}" for part, name in parts if part) or cardinal(0)


def number(text: str) -> str:
    """``1,234.5`` or ``.5``. If it is too long or begins with 0, digit by digit."""
    whole, _, fraction = text.partition(".")
    if not whole:
        return f"point {digits(fraction)}"
    if _LAKHS.fullmatch(whole) and whole[0] != "0":
        return _lakhs(whole) + (f" point {digits(fraction)}" if fraction else "")
    longest = _LONGEST if "," in whole else _LONGEST_PLAIN
    whole = whole.replace(",", "")
    code = len(whole) > longest or (whole[0] == "0" and len(whole) > 1)
    words = digits(whole) if code else cardinal(int(whole))
    return f"{words} point {digits(fraction)}" if fraction else words


def two_digits(text: str) -> str:
    """The minutes of a time or the last two digits of a year: 05 becomes oh five, 00 is said as hundred."""
    value = int(text)
    return cardinal(value) if value > 9 else f"oh {cardinal(value)}" if value else "hundred"


def clock(hour: int, minute: int, half: str) -> str:
    """A time of day; ``half`` is ``a``, ``p`` or, for a clock of 24 hours, empty."""
    if not half and (hour > 12 or hour == 0):
        half = "p" if 12 < hour < 24 else "a"
    words = cardinal(hour % 12 or 12)
    if minute:
        words += f" {two_digits(str(minute))}"
    elif not half:
        words += " o'clock"
    return f"{words} {half}.m." if half else words


def house(text: str) -> str:
    """A house number: 221 becomes two twenty-one, 1600 sixteen hundred; 12345 is said digit by digit."""
    value = int(text)
    front, rest = divmod(value, 100)
    if value < 100 or text[0] == "0" or len(text) > 4:
        return cardinal(value) if value < 100 and text[0] != "0" else digits(text)
    if not rest:
        return cardinal(value) if front % 10 == 0 else f"{cardinal(front)} hundred"
    return f"{cardinal(front)} {two_digits(str(rest))}"


def fraction(above: int, below: int) -> str:
    """1/2 becomes one half, 3/4 three quarters, 9/10 nine out of ten, 22/7 twenty-two over seven."""
    if not below or above >= 2 * below:
        return f"{cardinal(above)} over {cardinal(below)}"
    if above == below or (below in _RATED and above > 1):
        return f"{cardinal(above)} out of {cardinal(below)}"
    if below < 2 or below > 1000 or (below > 20 and below not in _DIVISORS):
        return f"{cardinal(above)} over {cardinal(below)}"
    name = _PARTS.get(below) or ordinal(below)
    return f"{cardinal(above)} {'halves' if below == 2 and above > 1 else name if above == 1 else plural(name)}"


_RATED = (10, 100)
"""What people rate by: nine out of ten."""
_DIVISORS = (25, 30, 32, 40, 50, 60, 64, 100, 128, 1000)
"""Parts above twenty that are said as fractions; all others are read as they are written."""


def mixed(whole: int, above: int, below: int) -> str:
    """5 1/2 becomes five and a half."""
    part = fraction(above, below)
    return f"{cardinal(whole)} and {'a' + part[3:] if part.startswith('one ') else part}"
