"""Dates, ranges of dates, days of the week, years and decades in English."""

from __future__ import annotations

import re
from collections.abc import Callable

from media.spoken.english.context import is_versioned
from media.spoken.english.numerals import MONTHS, cardinal, clock, ordinal, plural, two_digits, year
from media.spoken.spans import Match, Rule, Start, full_stop, rule, text_after, text_before

DASH = r"(?:\s?[-–—]\s?)"
MONTH = "|".join(f"{name[:3]}(?:{name[3:]})?" if name != "September" else "Sept?(?:ember)?" for name in MONTHS)
_DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
DAY = r"Mon(?:day)?|Tue(?:s(?:day)?)?|Wed(?:nesday)?|Thu(?:r(?:s(?:day)?)?)?|Fri(?:day)?|Sat(?:urday)?|Sun(?:day)?"
_D = r"(\d{1,2})(?:st|nd|rd|th)?"
_YEAR = r"(?:,?\s+((?:1\d|20)\d\d)\b(?![:,]\d))?"
_END = r"(?![\w%]|[:.,/]\d)"
_STOP = r"\b(\.?)"
"""A full stop is part of a decade, so that it is as long as the seconds that it might be: "the 1990s."."""
_TIME = r"(\d{2}):(\d{2})(?::\d{2}(?:\.\d{1,6})?)?(Z|[+-]\d{2}:?\d{2})?"

_BEFORE_A_DATE = re.compile(
    rf"\b(?:on|by|until|till|before|after|since|from|due|dated|through|starting|between|cleared|posted|paid|delivered"
    rf"|shipped|received|sent|scheduled|booked|charged|arrived|ordered|effective|expires|expired|ends|begins|starts"
    rf"|opened|closed|(?:{DAY})\.?,?)\s"
    r"(?:\d\d?/\d\d?,?\s(?:(?:and|to|or|through|until|till)\s)?){0,5}$",
    re.I,
)
_BEFORE_A_MONTH = re.compile(
    rf"(?:\b(?:in|since|until|till|by|from|of|early|late|mid|this|next|last|through|to|and|every)\s|(?:{MONTH})\.?{DASH})$"
)
_BEFORE_A_DAY = re.compile(
    r"(?:\b(?:on|by|every|each|this|next|last|until|till|from|to|through|and|or)\s"
    rf"|(?:{DAY})\.?(?:{DASH}|,\s?|\s?/\s?|\s?&\s?|\sand\s|\sto\s))$"
)
_AFTER_A_DAY = re.compile(
    rf"\.?(?:{DASH}|,\s?|\s?/\s?|\s?&\s?|\s|:\s?)(?:{DAY}|{MONTH}|\d|closed\b|open\b)|\.(?!\s[A-Z])"
)
_SHORT_DAYS = "Mon Tue Tues Wed Thu Thur Thurs Fri Sat Sun".split()
_SHORT_MONTHS = "Jan Feb Mar Apr Jun Jul Aug Sep Sept Oct Nov Dec".split()
SHORT_NAMES = frozenset(form for name in [*_SHORT_DAYS, *_SHORT_MONTHS] for form in (name, f"{name}."))
_SURE_DAYS = ("Tue", "Tues", "Wed", "Thu", "Thur", "Thurs", "Fri", "Mon")
"""Abbreviations that are no other English words, as "Sat" and "Sun" are."""

_FRACTION_DAYS = frozenset((2, 3, 4, 5, 6, 8, 10, 12, 16, 20))
"""Days that are denominators too: "3/4" is three quarters, "3/14" can only be a date."""


def month(abbreviation: str) -> str:
    return next(name for name in MONTHS if name.startswith(abbreviation[:3]))


def day_of_week(abbreviation: str) -> str:
    return next(name for name in _DAYS if name.startswith(abbreviation[:3]))


def date(year_text: str, month_number: int, day: int) -> str:
    said = f"{MONTHS[month_number - 1]} {ordinal(day)}"
    return f"{said}, {year(_full_year(year_text))}" if year_text else said


def _full_year(text: str) -> int:
    """In two digits, a year up to 49 belongs to this century."""
    value = int(text)
    return value if len(text) == 4 else value + (2000 if value < 50 else 1900)


def _exists(month_number: int, day: int) -> bool:
    return 1 <= month_number <= 12 and 1 <= day <= 31


def _iso(match: Match) -> str:
    return date(match[1], int(match[2]), int(match[3]))


def _iso_with_time(match: Match) -> str:
    zone = "" if not match[6] else " UTC"
    if match[6] and match[6] != "Z":
        hours = int(match[6][1:3])
        zone += f" {'minus' if match[6][0] == '-' else 'plus'} {cardinal(hours)}"
    return f"{_iso(match)} at {clock(int(match[4]), int(match[5]), '')}{zone}"


def _month_and_day(match: Match, *, day_first: bool) -> tuple[int, int]:
    first, second = int(match[1]), int(match[3])
    if match[2] == "." or first > 12 or (day_first and second <= 12):
        return second, first
    return first, second


def _decade(match: Match) -> str:
    text = match[1]
    words = year(int(text)) if len(text) == 4 else cardinal(int(text))
    return plural(words) + match[2]


def _day_range(match: Match) -> str:
    """March 3-5, 2026."""
    said = f"{month(match[1])} {ordinal(int(match[2]))} to {ordinal(int(match[3]))}"
    return said + (f", {year(int(match[4]))}" if match[4] else "")


def _day_range_first(match: Match) -> str:
    """3-5 March 2026."""
    said = f"the {ordinal(int(match[1]))} to the {ordinal(int(match[2]))} of {month(match[3])}"
    return said + (f", {year(int(match[4]))}" if match[4] else "") + full_stop(match)


def _month_day(match: Match) -> str:
    return f"{month(match[1])} {ordinal(int(match[2]))}" + (f", {year(int(match[3]))}" if match[3] else "")


def _day_month(match: Match) -> str:
    said = f"{match[1] or 'the '}{ordinal(int(match[2]))} of {month(match[3])}"
    return said + (f", {year(int(match[4]))}" if match[4] else "") + full_stop(match)


def _days(*groups: int) -> Callable[[Match], bool]:
    """Accepts a match whose groups are days of a month."""
    return lambda match: all(1 <= int(match[group]) <= 31 for group in groups)


def _short_day(match: Match, *, day_first: bool) -> tuple[int, int]:
    """Month and day of "3/4". What cannot be a month is the day."""
    first, second = int(match[1]), int(match[2])
    return (second, first) if first > 12 or (day_first and second <= 12) else (first, second)


def _is_short_date(match: Match, *, day_first: bool) -> bool:
    if match[0] == "9/11" or not _exists(*_short_day(match, day_first=day_first)) or is_versioned(match):
        return False
    first, second = int(match[1]), int(match[2])
    # no fraction is written like 11/5
    sure = first < 13 and ((second not in _FRACTION_DAYS and first < second) or first >= 2 * second)
    return sure or _BEFORE_A_DATE.search(text_before(match)) is not None


def _short_range(match: Match) -> str:
    return f"{date('', int(match[1]), int(match[2]))} to {date('', int(match[3]), int(match[4]))}"


def _is_short_range(match: Match) -> bool:
    first, second = (int(match[1]), int(match[2])), (int(match[3]), int(match[4]))
    if not (_exists(*first) and _exists(*second)):
        return False
    sure = any(day not in _FRACTION_DAYS for _, day in (first, second))
    return sure or _BEFORE_A_DATE.search(text_before(match)) is not None


def _is_month(match: Match) -> bool:
    after = text_after(match)
    if re.match(rf"{DASH}(?:{MONTH})\b", after):
        return True
    if match[0].endswith("."):
        return match[1] != "Mar" or bool(_BEFORE_A_MONTH.search(text_before(match)))
    return bool(_BEFORE_A_MONTH.search(text_before(match)))


def _is_day(match: Match) -> bool:
    if match[1] in _SURE_DAYS and not re.match(r"\s[a-z]+ing\b", text_after(match)):
        return True
    before = text_before(match)
    return bool(_AFTER_A_DAY.match(match.string, match.end(1)) or _BEFORE_A_DAY.search(before))


def _is_list_of_days(match: Match) -> bool:
    return re.search(rf"\b(?:{DAY})\.?$", text_before(match)) is not None


def _numeric(day_first: bool) -> tuple[Rule, ...]:
    def say(match: Match) -> str:
        return date(match[4], *_month_and_day(match, day_first=day_first))

    def exists(match: Match) -> bool:
        return _exists(*_month_and_day(match, day_first=day_first))

    return (
        rule(
            "date",
            rf"(?<![\w/.-])(\d{{1,2}})(/)(\d{{1,2}})/(\d{{4}}|\d\d){_END}",
            say,
            exists,
            signs="/",
            start=Start.NUMBER,
        ),
        rule(
            "date",
            rf"(?<![\w/.-])(\d{{1,2}})([.-])(\d{{1,2}})\2(\d{{4}}){_END}",
            say,
            exists,
            signs=".-",
            start=Start.NUMBER,
        ),
    )


def _year_first(match: Match) -> str:
    return date(match[1], int(match[3]), int(match[4]))


def _is_year_first(match: Match) -> bool:
    return _exists(int(match[3]), int(match[4])) and int(match[1]) >= 1000


def _is_iso_with_time(match: Match) -> bool:
    return _exists(int(match[2]), int(match[3])) and int(match[4]) < 25 and int(match[5]) < 60 and int(match[1]) >= 1000


def _month_of_year(match: Match) -> str:
    return f"{MONTHS[int(match[1]) - 1]} {year(_full_year(match[2]))}"


def _expires(match: Match) -> bool:
    """Whether the date is that on a card: a month and a year."""
    before = match.string[max(0, match.start() - 90) : match.start()]
    return _EXPIRY.search(before) is not None or (_EXPIRES.search(before) and _CARD.search(before)) is not None


_EXPIRY = re.compile(r"\bexp(?:\.|iry|iration(?: date)?)?:?\s$", re.I)
_EXPIRES = re.compile(
    r"\b(?:expires|expired|expiring|valid (?:until|thru|through)|good (?:until|thru|through)|of)\s$", re.I
)
_CARD = re.compile(r"\b(?:card|visa|mastercard|amex|expiry|expiration)\b", re.I)


def _is_decade(match: Match) -> bool:
    """Whether "20s" are years or an age, not seconds."""
    before = r"\b(?:the|his|her|my|your|their|early|late|mid|and)[\s-]$"
    return re.search(before, text_before(match), re.I) is not None or text_after(match).startswith((" and ", " or "))


def _is_old_year(match: Match) -> bool:
    return re.search(r"\b(?:in|since|until|year|circa|from|around)\s$", text_before(match), re.I) is not None


_DATE_AFTER = re.compile(rf"\s(?:{MONTH})\b")
"""What shows that the full stop behind a day ends no sentence: "Mon. Jan. 5th"."""
_NAMES = (
    rule("day", rf"(?<=[a-z.])\s?/\s?(?={DAY}\b)", ", ", _is_list_of_days, signs="/"),
    rule("day", r"\bM\s?[-–]\s?F\b(?=[:,.]|\s*\(?\d|\s*$)", "Monday to Friday", signs="M", start=Start.CAPITAL),
    rule(
        "day",
        rf"\b({'|'.join(_SHORT_DAYS)})\b\.?",
        lambda m: day_of_week(m[1]) + ("" if _DATE_AFTER.match(m.string, m.end()) else full_stop(m)),
        _is_day,
        signs="",
        start=Start.CAPITAL,
    ),
    rule(
        "month",
        rf"\b({'|'.join(_SHORT_MONTHS)})\b\.?",
        lambda m: month(m[1]) + full_stop(m),
        _is_month,
        signs="",
        start=Start.CAPITAL,
    ),
)
_YEAR_FIRST = (
    rule(
        "date",
        rf"(?<![\w-])(\d{{4}})-(\d\d)-(\d\d)[T ]{_TIME}(?![\w:])",
        _iso_with_time,
        _is_iso_with_time,
        signs=":",
        start=Start.NUMBER,
    ),
    rule(
        "date",
        rf"(?<![\w-])(\d{{4}})([-/.])(\d{{1,2}})\2(\d{{1,2}})(?![\w-]){_END}",
        _year_first,
        _is_year_first,
        signs="-/.",
        start=Start.NUMBER,
    ),
    rule(
        "date",
        r"(?<![\w/.,-])(0?[1-9]|1[0-2])/(\d\d)(?![\w/])",
        _month_of_year,
        _expires,
        signs="/",
        start=Start.NUMBER,
    ),
)


def _numeric_short(day_first: bool) -> tuple[Rule, ...]:
    return (
        rule(
            "date range",
            rf"(?<![\w/])(\d\d?)/(\d\d?){DASH}(\d\d?)/(\d\d?)(?![\w/])",
            _short_range,
            _is_short_range,
            signs="/",
            start=Start.NUMBER,
        ),
        rule(
            "date",
            r"(?<![\w/.,-])(\d\d?)/(\d\d?)(?![\w/%]|\.\d)",
            lambda m: date("", *_short_day(m, day_first=day_first)),
            lambda m: _is_short_date(m, day_first=day_first),
            signs="/",
            start=Start.NUMBER,
        ),
    )


_WITH_MONTH = (
    rule(
        "date range",
        rf"\b({MONTH})\b\.?\s+{_D}{DASH}{_D}{_YEAR}{_END}",
        _day_range,
        _days(2, 3),
        start=Start.CAPITAL,
        signs="-–—",
    ),
    rule(
        "date range",
        rf"(?<![\w.:$-]){_D}{DASH}{_D}\s+({MONTH})\b\.?{_YEAR}",
        _day_range_first,
        _days(1, 2),
        start=Start.NUMBER,
        signs="-–—",
    ),
    rule("date", rf"\b({MONTH})\b\.?\s+{_D}{_YEAR}{_END}", _month_day, _days(2), start=Start.CAPITAL),
    rule("date", rf"(?<![:.$]\d)(?<![\w:.$-])([Tt]he )?{_D}\s+(?:of\s+)?({MONTH})\b\.?{_YEAR}", _day_month, _days(2)),
    rule(
        "date",
        rf"\b({MONTH})\b\.?,?\s+((?:19|20)\d\d)(?!\w|[.,]\d)",
        lambda m: f"{month(m[1])} {year(int(m[2]))}",
        start=Start.CAPITAL,
    ),
    rule(
        "date",
        rf"\b({MONTH})\b\.?\s+['’](\d\d)(?!\w)",
        lambda m: f"{month(m[1])} {two_digits(m[2])}",
        start=Start.CAPITAL,
    ),
)
_YEARS = (
    rule("year", rf"\b((?:1[1-9]|20)\d0)['’]?s{_STOP}", _decade, signs="s", start=Start.NUMBER),
    rule("year", rf"([2-9]0)s{_STOP}", _decade, _is_decade, signs="s", start=Start.NUMBER),
    rule(
        "date",
        r"(?<![\w/.,-])(0?[1-9]|1[0-2])/((?:19|20)\d\d)(?![\w/])",
        _month_of_year,
        signs="/",
        start=Start.NUMBER,
    ),
    rule("year", rf"(?<!\w)['’](\d0)s{_STOP}", _decade, signs="'’"),
    rule("year", r"(?<!\w)['’](\d\d)(?![\w'’\"])", lambda m: two_digits(m[1]), signs="'’"),
    rule("year", r"(?<![\w.,$€£#])(?:19|20)\d\d(?![\w%]|[.,:]\d)", lambda m: year(int(m[0])), start=Start.NUMBER),
    rule(
        "year",
        r"(?<![\w.,$€£#])1[0-8]\d\d(?![\w%]|[.,:]\d)",
        lambda m: year(int(m[0])),
        _is_old_year,
        start=Start.NUMBER,
    ),
)


def rules(*, day_first: bool) -> tuple[Rule, ...]:
    """``day_first``: 3/4/2026 is the third of April, as outside of the United States."""
    return (*_YEAR_FIRST, *_numeric(day_first), *_numeric_short(day_first), *_WITH_MONTH, *_YEARS, *_NAMES)
