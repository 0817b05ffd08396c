"""Numbers as a person says them in English: counts, years, clock times, house numbers, telephone numbers."""

from __future__ import annotations

from num2words import num2words  # type: ignore[import-untyped]

MONTHS = (
    "January February March April May June July August September October November December".split()  # by number - 1
)
_DIGITS = "zero one two three four five six seven eight nine".split()
_PARTS = {2: "half", 4: "quarter"}
_LONGEST = 12
"""Digits of the longest number that is said as one, if they are grouped by commas."""
_LONGEST_PLAIN = 6
"""The same without commas: 1234567 is a code, said digit by digit."""


def digits(text: str) -> str:
    """Each digit on its own; all other characters are left out."""
    return " ".join(_DIGITS[int(character)] for character in text if character in "0123456789")


def cardinal(value: int) -> str:
    return str(num2words(value)).replace(",", "").replace(" and ", " ")


def ordinal(value: int) -> str:
    return str(num2words(value, to="ordinal")).replace(",", "").replace(" and ", " ")


def year(value: int) -> str:
    """1999 becomes nineteen ninety-nine, 2005 two thousand five, 2026 twenty twenty-six."""
    return str(num2words(value, to="year")).replace(" and ", " ").replace("oh-", "oh ")


def decade(value: int) -> str:
    """1990 becomes nineteen nineties."""
    words = year(value)
    return words[:-1] + "ies" if words.endswith("y") else words + "s"


def number(text: str) -> str:
    """``1,234.5``, with or without commas and fraction. If it is too long or begins with 0, digit by digit."""
    whole, _, fraction = text.partition(".")
    longest = _LONGEST if "," in whole else _LONGEST_PLAIN
    whole = whole.replace(",", "") or "0"
    code = len(whole) > longest or (whole[0] == "0" and len(whole) > 1)
    words = digits(whole) if code else cardinal(int(whole))
    return f"{words} point {digits(fraction)}" if fraction else words


def clock(hour: int, minute: int, half: str) -> str:
    """A time of day; ``half`` is ``a``, ``p`` or, for a clock of 24 hours, empty."""
    if not half and (hour > 12 or hour == 0):
        half = "p" if 12 < hour < 24 else "a"
    words = cardinal(hour % 12 or 12)
    if minute:
        words += f" {cardinal(minute)}" if minute > 9 else f" oh {cardinal(minute)}"
    elif not half:
        words += " o'clock"
    return f"{words} {half}.m." if half else words


def house(text: str) -> str:
    """A house number: 221 becomes two twenty-one, 1600 sixteen hundred; 12345 is said digit by digit."""
    value = int(text)
    front, rest = divmod(value, 100)
    if value < 100 or text[0] == "0" or len(text) > 4:
        return cardinal(value) if value < 100 else digits(text)
    if not rest:
        return cardinal(value) if front % 10 == 0 else f"{cardinal(front)} hundred"
    return f"{cardinal(front)} {cardinal(rest) if rest > 9 else 'oh ' + cardinal(rest)}"


def telephone(text: str) -> str:
    """A telephone number, digit by digit, in the groups in which it is written or else in the usual ones."""
    groups = "".join(c if c in "0123456789" else " " for c in text).split()
    if len(groups) == 1:
        only = groups[0]
        country, rest = (only[:-10], only[-10:]) if len(only) >= 10 else ("", only)
        groups = [g for g in (country, rest[:3], rest[3:6], rest[6:]) if g]
    plus = "plus " if text.lstrip().startswith("+") else ""
    return plus + ", ".join(map(digits, groups))


def fraction(above: int, below: int) -> str:
    """1/2 becomes one half, 3/4 three quarters, 9/10 nine out of ten."""
    if not 2 <= below <= 9 or above >= below:
        return f"{cardinal(above)} {'out of' if below in (10, 100) else 'slash'} {cardinal(below)}"
    name = _PARTS.get(below) or ordinal(below)
    plural = ("" if above == 1 else "halves" if below == 2 else name + "s") or name
    return f"{cardinal(above)} {plural}"
