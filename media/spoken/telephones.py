"""Finds telephone numbers of any country in a text and splits them into the groups in which they are said."""

from __future__ import annotations

import re

import phonenumbers

from media.spoken.spans import Match

_GROUP = r"\(?\d{1,6}\)?"
INTERNATIONAL = rf"(?<![\w.])\+\(?\d{{1,3}}\)?(?:[ .\-/]{{0,3}}{_GROUP}){{1,7}}(?![\w%])"
"""+44 20 7946 0958, +1 (415) 555-0123, +14155550123."""
NATIONAL = r"(?<![\w.,$€£/-])\(?0\d{0,5}\)?(?:[ .\-/]{0,3}\(?\d{1,8}\)?){1,6}(?![\w%])"
"""With a trunk prefix: 020 7946 0958, (030) 123456, 06 12 34 56 78, 0800/123456."""
GROUPED = r"(?<![\w.,$€£/-])\d{2,4}(?: \d{2,4}){2,5}(?![\w%]|[.,:]\d)"
"""At least three groups between spaces: 612 345 678, 4242 4242 4242 4242."""
IN_CONTEXT = r"(?<![\w.,$€£])\(?\d{1,6}\)?(?:[ .\-/]{0,3}\(?\d{1,8}\)?){1,6}(?![\w%]|[.,:]\d)"
"""Any groups of digits; only after a word such as "call" or "dial"."""
HARMONISED = r"(?<![\w.,$€£:/-])(?:116 ?(?:006|111|117|123)|116000)(?![\w%]|[.,:/-]\d| \d)"
"""The numbers of social value that are the same in all of Europe: 116 117 is the doctor on call.
"116 000" is more often a number of thousands."""

_SEPARATORS = re.compile(r"(?<=\d)[./-](?=\d)")


def digit_count(text: str) -> int:
    return sum(map(str.isdigit, text))


def _has_one_separator(text: str) -> bool:
    """A number is not written with points here and dashes there: that is a range of times or of prices. A slash may
    stand behind the area code."""
    separators = _SEPARATORS.findall(text)
    return len(set(separators[1:] if separators[:1] == ["/"] else separators)) <= 1


def is_date(text: str) -> bool:
    """Whether groups of digits are a date with the year first, 2026-11-21, and no number."""
    return _DATE.fullmatch(text) is not None


_DATE = re.compile(r"(?:19|20)\d\d-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])")


def is_international(match: Match) -> bool:
    return 7 <= digit_count(match[0]) <= 15


def is_national(match: Match) -> bool:
    """Whether digits that begin with 0 are a telephone number: long enough, and no decimal fraction or time."""
    groups = re.findall(r"\d+", match[0])
    if len(groups[0]) == 1 and len(groups) < 3 and "(" not in match[0]:
        return False
    return 7 <= digit_count(match[0]) <= 13 and _has_one_separator(match[0])


def is_grouped(match: Match) -> bool:
    return 8 <= digit_count(match[0]) <= 19


def is_dialled(match: Match) -> bool:
    """Whether digits after a word such as "call" have the length of a number to dial."""
    return 5 <= digit_count(match[0]) <= 15 and _has_one_separator(match[0])


def groups(text: str) -> list[str]:
    """The groups of a number: those in which it is written, or else the usual ones of its country."""
    written = re.findall(r"\d+", text)
    if len(written) > 1:
        return written
    if text.startswith("+"):
        try:
            parsed = phonenumbers.parse(text)
        except phonenumbers.NumberParseException:
            return written
        usual = phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.INTERNATIONAL)
        found = re.findall(r"\d+", usual)
        return found if "".join(found) == written[0] else written
    only = written[0]
    if len(only) == 10 and only[0] in "23456789":
        return [only[:3], only[3:6], only[6:]]
    if len(only) == 11 and only[0] == "1":
        return [only[0], only[1:4], only[4:7], only[7:]]
    return written
