"""Times of day in English. A range of times is two times and the dash between them."""

from __future__ import annotations

import re

from media.spoken.english.context import dash
from media.spoken.english.dates import DASH
from media.spoken.english.numerals import cardinal, clock, digits, two_digits
from media.spoken.spans import Match, Rule, Start, rule, text_before

_HALF = r"([AaPp])\.?\s?[Mm]\b\.?"
_BEFORE_A_TIME = re.compile(
    r"\b(?:at|from|until|till|til|before|after|between|around|since|opens?|closes?|starts?|begins?|ends?|and|or|to)\s$",
    re.I,
)
_MEASURED = re.compile(
    r"\s?(?:%|[a-zA-Z]{1,4}/|(?:percent|points?|times|met(?:er|re)s?|miles?|dollars?|euros?|pounds?|cents?|inch(?:es)?|feet"
    r"|kilo\w+|milli\w+|liters?|litres?|hours?|minutes?|seconds?|million|billion|stars?|out of|GPA"
    r"|or (?:higher|more|less))\b)"
)
"""What makes "9.30" a decimal number."""


_TIME_AFTER = re.compile(rf"{DASH}\d{{1,2}}:\d\d")
_TIME_BEFORE = re.compile(rf"\d:\d\d(?:\s?[AaPp]\.?[Mm]\.?)?{DASH}$")
"""In a range of times, nobody says "o'clock"."""


def _colon(match: Match) -> str:
    said = clock(int(match[1]), int(match[2]), (match[4] or "").lower())
    if _TIME_AFTER.match(match.string, match.end()) or _TIME_BEFORE.search(text_before(match)):
        said = said.removesuffix(" o'clock")
    if not match[3]:
        return said
    seconds = int(match[3])
    return f"{said} and {cardinal(seconds)} second{'s' if seconds != 1 else ''}"


def _dotted(match: Match) -> str:
    return clock(int(match[1]), int(match[2]), "")


def _is_dotted_time(match: Match) -> bool:
    """Accepts "at 9.30" and "9.30"; refuses "9.30 percent", "3.14" and "0.50"."""
    if _MEASURED.match(match.string, match.end()) or _is_compared(match):
        return False
    if match[2] == "30" and match[1] != "0":
        return True
    if _TIME_RANGE_BEFORE.search(text_before(match)):
        return True
    before = _BEFORE_A_TIME.search(text_before(match))
    return before is not None and before[0].strip().lower() not in ("and", "or", "to", "ends", "end")


def _is_compared(match: Match) -> bool:
    """Whether the number is one of two that cannot both be times, or has changed: "it rose from 10.25 to 11.5"."""
    before = text_before(match)
    others = (_NUMBER_AFTER.match(match.string, match.end()), _NUMBER_BEFORE.search(before))
    return _CHANGED.search(before) is not None or any(
        other is not None and _MAY_BE_TIME.fullmatch(other[1]) is None for other in others
    )


_NUMBER_AFTER = re.compile(r"\s(?:to|and|or|until|till)\s(\d+(?:\.\d+)?)(?![\w:]|\.\d)")
_NUMBER_BEFORE = re.compile(r"(?<![\w:.])(\d+(?:\.\d+)?)\s(?:to|and|or|until|till)\s$")
_TIME_RANGE_BEFORE = re.compile(
    r"\b(?:from|between|open|hours)\s(?:[01]?\d|2[0-4])\.[0-5]\d\s(?:to|and|until|till)\s$", re.I
)
_MAY_BE_TIME = re.compile(r"(?:[01]?\d|2[0-4])(?:\.[0-5]\d)?")
_CHANGED = re.compile(
    r"\b(?:(?:rises?|rose|risen|falls?|fell|fallen|drops?|dropped|grew|grows?|climbed|jumped|slipped|increased|decreased)"
    r"\b(?:[^.!?]|\.\d)*\b(?:from|to|by)|(?:index|rates?|ratio|score|average|price|reading|level)\s(?:is|was|of)(?:\snow)?"
    r"(?:\sat)?)\s$",
    re.I,
)
"""What is measured, or changes by or to the number: "it rose to 9.30", but not "the sun rises at 9.30"."""


def _dotted_range(match: Match) -> str:
    return (
        f"{clock(int(match[1]), int(match[2]), '')} to {clock(int(match[3]), int(match[4]), (match[5] or '').lower())}"
    )


def _is_dotted_range(match: Match) -> bool:
    quarters = ("00", "15", "30", "45")
    return match[2] in quarters and match[4] in quarters and not _MEASURED.match(match.string, match.end())


def _short_half_range(match: Match) -> str:
    """8a-5p."""
    first = clock(int(match[1]), int(match[2] or 0), match[3])
    return f"{first} {dash(match)} {clock(int(match[4]), int(match[5] or 0), match[6])}"


def _is_hour_of_day(match: Match) -> bool:
    """Whether "14h30" is a time of day and no duration."""
    return _BEFORE_A_TIME.search(text_before(match)) is not None


def _military(match: Match) -> str:
    """0900 hours is zero nine hundred hours, 1430 hours fourteen thirty hours."""
    hour, minute = match[1], match[2]
    first = digits(hour) if hour[0] == "0" else cardinal(int(hour))
    return f"{first} {two_digits(minute)}"


def _zone(match: Match) -> str:
    said = f"{match[1]} {'plus' if match[2] == '+' else 'minus'} {cardinal(int(match[3]))}"
    return f"{said} {two_digits(match[4])}" if match[4] else said


RULES: tuple[Rule, ...] = (
    rule(
        "time",
        rf"(?<![\d:.,])([01]?\d|2[0-4]):([0-5]\d)(?::([0-5]\d))?(?![\d:])(?:\s?{_HALF}|\s?h(?:rs?)?\b)?",
        _colon,
        signs=":",
        start=Start.NUMBER,
    ),
    rule(
        "time",
        rf"(?<![\d:.,$€£])(0?[1-9]|1[0-2])\.([0-5]\d)\s?{_HALF}",
        lambda m: clock(int(m[1]), int(m[2]), m[3].lower()),
        start=Start.NUMBER,
    ),
    rule(
        "time",
        rf"(?<![\d:.,$€£])\b(0?[1-9]|1[0-2])\s?{_HALF}",
        lambda m: clock(int(m[1]), 0, m[2].lower()),
        start=Start.NUMBER,
    ),
    rule(
        "time range",
        rf"(?<![\w:.,$€£])([01]?\d|2[0-4])\.([0-5]\d){DASH}([01]?\d|2[0-4])\.([0-5]\d)(?![\w:.%]\d)(?:\s?{_HALF})?",
        _dotted_range,
        _is_dotted_range,
        start=Start.NUMBER,
        signs="-–—",
    ),
    rule(
        "time",
        r"(?<![\w:.,$€£-])([01]?\d|2[0-3])\.([0-5]\d)(?!\w|[.:,%]\d)",
        _dotted,
        _is_dotted_time,
        signs=".",
        start=Start.NUMBER,
    ),
    rule("time", r"(?<![\w:.,$€£-])([01]\d|2[0-3])([0-5]\d)(?=\s?(?:hours|hrs)\b)", _military, start=Start.NUMBER),
    rule(
        "time",
        r"(?<![\d:.,])(0?[1-9]|1[0-2]):([0-5]\d)([ap])(?!\w)",
        lambda m: clock(int(m[1]), int(m[2]), m[3]),
        start=Start.NUMBER,
        signs=":",
    ),
    rule(
        "time range",
        rf"(?<![\w:.,$€£])(\d{{1,2}})(?::([0-5]\d))?([ap]){DASH}(\d{{1,2}})(?::([0-5]\d))?([ap])(?!\w)",
        _short_half_range,
        lambda m: 1 <= int(m[1]) <= 12 and 1 <= int(m[4]) <= 12,
        start=Start.NUMBER,
        signs="-–—",
    ),
    rule(
        "time",
        r"(?<![\w:.,])([01]?\d|2[0-3])h([0-5]\d)(?!\w)",
        lambda m: clock(int(m[1]), int(m[2]), ""),
        _is_hour_of_day,
        start=Start.NUMBER,
        signs="h",
    ),
    rule("time", r"(?<=[AaPp][Mm])-ish\b|(?<=[ap]\.m\.)-ish\b", " ish", signs="-"),
    rule("time", r"\b(UTC|GMT)\s?([+-])\s?(\d{1,2})(?::(\d\d))?(?![\w:])", _zone, signs="+-", start=Start.CAPITAL),
    rule(
        "time",
        r"(?<![\w/])24[/x]7(?:[/x]365)?(?![\w/])",
        lambda m: "twenty-four seven" + (" three sixty-five" if m[0][4:] else ""),
        start=Start.NUMBER,
        signs="/x",
    ),
)
