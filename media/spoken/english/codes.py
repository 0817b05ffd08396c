"""Codes, PINs, account and card numbers, and names with digits in English: said digit by digit, letters as they are."""

from __future__ import annotations

import re

from media.spoken.english.context import Context, context, is_counted
from media.spoken.english.numerals import digit_groups, digits, number
from media.spoken.spans import Match, Rule, Start, rule, text_before
from media.spoken.telephones import is_date

_LONG = 4
"""Digits from which "order 4471" is the number of a record; "order 250" may count things."""
_TELEPHONE = 10
"""Digits of "number" that are more likely a telephone number of North America."""
_SHORT_NUMBER = 2
"""Digits up to which "number 12" is said as a number."""
_LONG_RUN = 4
"""Digits from which a part of a name is said digit by digit: "INV-2024", but "COVID-19" and "A-320"."""


def _is_code(match: Match) -> bool:
    if is_date(match[0]):
        return False
    around = context(match)
    count = sum(map(str.isdigit, match[0]))
    if around is Context.CODE:
        return not re.fullmatch(r"\d-\d", match[0])
    if around is Context.KEYS:
        return not is_counted(match) and not re.fullmatch(r"\d\s?[-–]\s?\d", match[0])
    if around is Context.NUMBER:
        return _SHORT_NUMBER < count != _TELEPHONE and not is_counted(match)
    return around is Context.RECORD and count >= _LONG and not is_counted(match)


def _letters_and_digits(match: Match) -> str:
    """B12, X7K9: the letters as they are, short numbers as numbers, long ones digit by digit."""
    spelled = context(match) in (Context.CODE, Context.NUMBER)

    def run(part: Match) -> str:
        return f" {digits(part[0]) if spelled or len(part[0]) > _SHORT_NUMBER else number(part[0])} "

    return re.sub(r"\d+", run, match[0]).strip()


def _hyphenated(match: Match) -> str:
    """INV-2024-001: part by part."""
    parts = match[0].split("-")
    if len(parts) == 2 and len(parts[1]) < _LONG_RUN and parts[0].isalpha() and context(match) is None:
        return f"{parts[0]} {number(parts[1]) if parts[1].isdigit() else _spelled(parts[1])}"
    if len(parts) == 2 and parts[0].isdigit() and len(parts[1]) == 1:
        return f"{number(parts[0])} {parts[1]}"
    return ", ".join(map(_spelled, parts))


def _code_range(match: Match) -> str:
    """Q1-Q3: from one to the other."""
    return f"{match[1]} {number(match[2])} to {match[1]} {number(match[3])}"


def _spelled(text: str) -> str:
    return re.sub(r"\d+", lambda run: f" {digits(run[0])} ", text).strip()


def _grouped(match: Match) -> str:
    """Letters and digits in groups, such as an IBAN."""
    return ", ".join(map(_spelled, match[0].split()))


def _slashed(match: Match) -> str:
    """AB/1234-56: part by part."""
    return " slash ".join(", ".join(map(_spelled, part.split("-"))) for part in match[0].split("/"))


def _is_slashed(match: Match) -> bool:
    return _is_mixed(match) and context(match) in (Context.CODE, Context.NUMBER, Context.RECORD)


def _is_grouped(match: Match) -> bool:
    """Whether groups of capital letters and digits are one number, such as that of a parcel: "1Z 999 AA1 01"."""
    return _is_mixed(match) and context(match) in (Context.CODE, Context.NUMBER, Context.RECORD)


def _masked(match: Match) -> str:
    ending = "" if re.search(r"\bending\s(?:in|with)\s*$", text_before(match)) else "ending in "
    return ending + digits(match[1])


def _is_mixed(match: Match) -> bool:
    return any(map(str.isdigit, match[0])) and any(map(str.isalpha, match[0]))


INTRODUCED: tuple[Rule, ...] = (
    rule(
        "code",
        r"(?<![\w.,:/])\d{1,40}(?:[ -]\d{1,20}){0,12}(?![\w%]|[.,:/]\d|-[A-Za-z])",
        lambda m: digit_groups(m[0]),
        _is_code,
        start=Start.NUMBER,
    ),
)
"""Digits that a word introduces as a code. A year or a time of the same length is none."""

RULES: tuple[Rule, ...] = (
    rule("code", r"\b([A-Z])(\d{1,2})\s?[-–]\s?\1(\d{1,2})(?!\w)", _code_range, signs="-–", start=Start.CAPITAL),
    rule(
        "account",
        r"(?<![\w.-])\d{4}([ -])\d{4}\1\d{4}\1\d{1,7}(?![\w-])",
        lambda m: digit_groups(m[0]),
        start=Start.NUMBER,
    ),
    rule("account", r"(?<![\w.-])3\d{3}([ -])\d{6}\1\d{5}(?![\w-])", lambda m: digit_groups(m[0]), start=Start.NUMBER),
    rule("account", r"(?<![\w*])(?:[*xX•·#]{2,20}[ -]?){1,6}(\d{2,6})(?!\w)", _masked, signs="*xX•·#"),
    rule("account", r"\b[A-Z]{2}\d{2}(?: [A-Z0-9]{4}){2,7}(?: [A-Z0-9]{1,4})?\b", _grouped, start=Start.CAPITAL),
    rule(
        "code",
        r"(?<![\w.])0x([0-9A-Fa-f]{2,16})(?!\w)",
        lambda m: f"zero x {_spelled(m[1])}",
        start=Start.NUMBER,
        signs="x",
    ),
    rule(
        "code",
        r"(?<=[Ff]light )([A-Z][A-Z\d]) (\d{2,4})(?!\w)",
        lambda m: f"{m[1]} {digits(m[2])}",
        start=Start.CAPITAL,
    ),
    rule(
        "account",
        r"(?<![\w.-])[A-Z0-9]{1,8}(?: [A-Z0-9]{1,8}){2,9}(?![\w-]|[.,:/]\d)",
        _grouped,
        _is_grouped,
    ),
    rule(
        "code",
        r"(?<![\w./-])[A-Z0-9]{1,12}(?:-[A-Z0-9]{1,12}){0,3}(?:/[A-Z0-9]{1,12}(?:-[A-Z0-9]{1,12}){0,3}){1,3}(?![\w/-]|[.,:]\d)",
        _slashed,
        _is_slashed,
        signs="/",
    ),
    rule(
        "account",
        r"(?<![\w.-])\d{2,20}(?:-\d{1,20}){2,12}(?![\w-])",
        lambda m: digit_groups(m[0]),
        start=Start.NUMBER,
        signs="-",
    ),
    rule(
        "account", r"(?<![\w.-])\d{2,6}-\d{5,10}(?![\w-])", lambda m: digit_groups(m[0]), start=Start.NUMBER, signs="-"
    ),
    rule(
        "code",
        r"\b([A-Z]{2}) (\d{5})(?:-(\d{4}))?(?![\w-])",
        lambda m: f"{m[1]} {digit_groups(m[0])}",
        start=Start.CAPITAL,
    ),
    rule("code", r"(?<![\w.])[A-Z0-9]{1,20}(?:-[A-Z0-9]{1,20}){1,12}(?!\w|-\w)", _hyphenated, _is_mixed, signs="-"),
    rule(
        "code",
        r"(?<![\w.])(?!\d+(?:x\d+)+(?:cm|mm|m|in|ft|px)?\b)(?:[A-Za-z]{1,20}\d+|\d+[A-Za-z]{1,20}(?=\d))[A-Za-z0-9]*(?!\w)",
        _letters_and_digits,
    ),
    rule("code", r"(?<![\w.,])(?!\d+x[A-Z])\d+[A-Za-z]{1,20}(?!\w)", _letters_and_digits, start=Start.NUMBER),
)
