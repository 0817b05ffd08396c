"""
From what a language model writes to what a voice says.

Markdown, emoji and symbols are removed; numbers, money, times, dates, telephone numbers and addresses become the words
that a person would say. The words are English; in other languages only markdown and emoji are removed. Converting a
result again does not change it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from html import unescape

from media.numerals import (
    MONTHS,
    cardinal,
    clock,
    decade,
    digits,
    fraction,
    house,
    number,
    ordinal,
    telephone,
    year,
)

Match = re.Match[str]
Rule = tuple[re.Pattern[str], str | Callable[[Match], str]]

_PASSES = 4
"""One pass may uncover something for the next one. Real replies never needed more than two."""


def speakable(text: str, language: str = "en") -> str:
    """The text to be spoken; empty if there is nothing to say. Never raises."""
    say = _english if language.lower().startswith("en") else _plain
    for _ in range(_PASSES):
        before, text = text, say(text)
        if text == before:
            return text
    return _tidy(re.sub(r"[^\w\s]|[\d_]", " ", text).lower())  # each pass changed it: keep its words only


def _plain(text: str) -> str:
    return _tidy(_without_pictures(_apply(_MARKDOWN, unescape(text))))


def _english(text: str) -> str:
    if text.isascii() and not _ANYTHING.search(text):
        return _tidy(text)
    text = _without_pictures(_apply(_MARKDOWN, unescape(text)).translate(_TYPOGRAPHY))
    text = re.sub(r"\d", lambda digit: str(unicodedata.digit(digit[0])), unicodedata.normalize("NFKC", text))
    text = _apply(_ADDRESSES_OF_THE_WEB, text)
    if any(map(str.isdigit, text)):
        text = _apply(_NUMBERS, text)
    return _tidy(_apply(_SYMBOLS, _apply(_ABBREVIATIONS, text)))


def _apply(rules: Sequence[Rule], text: str) -> str:
    for pattern, said in rules:
        text = pattern.sub(said, text)
    return text


def _tidy(text: str) -> str:
    return _apply(_SPACING, text).strip()


def _without_pictures(text: str) -> str:
    """The text without emoji, the characters that join them, and private or broken characters."""
    return text if text.isascii() and text.isprintable() else "".join(map(_unless_picture, text))


def _unless_picture(character: str) -> str:
    if unicodedata.category(character) in _PICTURES and character not in "°\u200c\t\n\r":
        return "" if character in "\u200d\xad" else " "
    return "" if "\ufe00" <= character <= "\ufe0f" else character


_PICTURES = frozenset(("So", "Sk", "Me", "Cs", "Co", "Cn", "Cf", "Cc"))
"""Unicode categories of what cannot be said. Backticks (Sk) were removed with the markdown."""


def _rule(pattern: str, said: str | Callable[[Match], str], flags: int = 0) -> Rule:
    return re.compile(pattern, flags), said


def _stop(match: Match) -> str:
    """The full stop of an abbreviation if it also ends the sentence."""
    return "." if match[0].endswith(".") and re.match(r"\s*$|\s+[A-Z]", match.string[match.end() :]) else ""


# --- Markdown ----------------------------------------------------------------------------------------------

_MARKDOWN: list[Rule] = [
    _rule(r"```[^\n`]*\n[^`]*```", " "),
    _rule(r"`{1,3}", ""),
    _rule(r"!?\[([^\[\]\n]{0,300})\]\([^()\n]{0,500}\)", r"\1"),
    _rule(r"</?[a-zA-Z][^<>\n]{0,100}>|<!--[^<>]{0,200}-->", " "),
    _rule(r"^\s*(?:(?:#{1,6}|[*+•‣>]|-(?!\d))\s+)+", "", re.M),
    _rule(r"^\s*[-*_=|:\s]{3,}$", "", re.M),
    _rule(r"(?<=\n)\s*\d{1,2}[.)]\s+", ""),
    _rule(r"\*+|~~+|(?<![^\W_])_+|_+(?![^\W_])", ""),
    _rule(r"\s*\|\s*", ", "),
]

_SPACING: list[Rule] = [
    _rule(r"\s+", " "),
    _rule(r"\s+(?=[.,!?;:])", ""),
    _rule(r"^[\s,.;:!?]+", ""),
    _rule(r"[,;:]+(?=[.!?,;:])", ""),
    _rule(r"(?<!\.)\.\.(?!\.)", "."),
    _rule(r"([!?])[.,;:]+", r"\1"),
]

_ANYTHING = re.compile(
    r"[^A-Za-z ,.!?']|[A-Za-z]\.\S|\b(?:[A-Z][a-z]{1,4}|etc|vs|approx|appt|dept)\.|'\s|\s'|\s\s"
    r"|\b(?:St|Ave|Rd|Blvd|Ln|Hwy|Pkwy|Dr|Mr|Mrs|Ms|Prof|Mon|Tues?|Wed|Thu(?:rs?)?|Fri|Sat|Sun)\b"
)
"""Anything in ASCII that a rule below may change. Most clauses have none of it and are returned at once."""

_TYPOGRAPHY = str.maketrans(
    {"’": "'", "‘": "'", "“": '"', "”": '"', "−": "-", "‐": "-", "‑": "-", "²": " squared", "³": " cubed", "™": None}
    | {"®": None, "©": None, "×": " times ", "÷": " divided by ", "½": " 1/2", "¼": " 1/4", "¾": " 3/4", "⅓": " 1/3"}
    | {"⅔": " 2/3", "⁄": "/", "…": "...", "\u00a0": " ", "\u202f": " "}
)

# --- The web -----------------------------------------------------------------------------------------------

_TOP = r"(?:com|org|net|edu|gov|info|io|co|ai|app|dev|me|tv|us|uk|ca|de|fr|es|it|nl|eu|ch|at|au|in)"
_SURE_TOP = r"(?:com|org|net|edu|gov|info|io|co|uk|ca|de|fr|es|eu|nl)"
"""Top-level domains that are not English words: "done.in" may only lack a space."""
_NAMES = r"(?:[A-Za-z0-9-]{1,63}\.){1,5}"
_SIGNS = {".": " dot ", "-": " dash ", "_": " underscore ", "/": " slash ", "@": " at ", "+": " plus "}


def _address(match: Match) -> str:
    text = re.sub(r"^(?:\w+://)?(?:www\.)?|[?#].*$|/+$", "", match[0])
    text = re.sub(r"\d+", lambda run: f" {cardinal(int(run[0])) if len(run[0]) < 3 else digits(run[0])} ", text)
    return "".join(_SIGNS.get(character, character if character.isalnum() else " ") for character in text)


_ADDRESSES_OF_THE_WEB: list[Rule] = [
    _rule(rf"(?<![\w.+-])[A-Za-z0-9._+-]{{1,64}}@{_NAMES}{_TOP}\b", _address),
    _rule(r"\bhttps?://[^\s<>\"')\]]{1,300}[\w/]", _address),
    _rule(rf"(?<![\w@.-])(?:www\.)?{_NAMES}{_SURE_TOP}\b(?:/[\w./%~+-]*[\w/])?(?![\w@])", _address),
]

# --- Numbers -----------------------------------------------------------------------------------------------

_N = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?"
_DASH = r"(?:-|\s?[–—]\s?)"
_HALF = r"(?:([AaPp])\.\s?[Mm]\.|([AaPp])[Mm]\b)"
_MONTH = "|".join(f"{name[:3]}(?:{name[3:]})?" if name != "September" else "Sept?(?:ember)?" for name in MONTHS)
_DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
_DAY = r"Mon(?:day)?|Tue(?:s(?:day)?)?|Wed(?:nesday)?|Thu(?:r(?:s(?:day)?)?)?|Fri(?:day)?|Sat(?:urday)?|Sun(?:day)?"

_CURRENCIES = {
    "$": ("dollar", "dollars", "cent", "cents"),
    "€": ("euro", "euros", "cent", "cents"),
    "£": ("pound", "pounds", "penny", "pence"),
    "¥": ("yen", "yen", "sen", "sen"),
}
_CODES = {"USD": "$", "EUR": "€", "GBP": "£", "JPY": "¥"}
_SCALES = {"k": "thousand", "m": "million", "mn": "million", "b": "billion", "bn": "billion"}

_UNITS = {
    "km/h": "kilometer per hour|kilometers per hour",
    "mph": "mile per hour|miles per hour",
    "sq ft": "square foot|square feet",
    "km": "kilometer|kilometers",
    "cm": "centimeter|centimeters",
    "mm": "millimeter|millimeters",
    "m": "meter|meters",
    "kg": "kilogram|kilograms",
    "mg": "milligram|milligrams",
    "g": "gram|grams",
    "ml": "milliliter|milliliters",
    "l": "liter|liters",
    "L": "liter|liters",
    "lbs": "pound|pounds",
    "lb": "pound|pounds",
    "oz": "ounce|ounces",
    "ft": "foot|feet",
    "yd": "yard|yards",
    "mi": "mile|miles",
    "hrs": "hour|hours",
    "hr": "hour|hours",
    "h": "hour|hours",
    "mins": "minute|minutes",
    "min": "minute|minutes",
    "secs": "second|seconds",
    "sec": "second|seconds",
    "ms": "millisecond|milliseconds",
    "kHz": "kilohertz|kilohertz",
    "MHz": "megahertz|megahertz",
    "Hz": "hertz|hertz",
    "kWh": "kilowatt hour|kilowatt hours",
    "kW": "kilowatt|kilowatts",
    "MB": "megabyte|megabytes",
    "GB": "gigabyte|gigabytes",
    "TB": "terabyte|terabytes",
    "°C": "degree Celsius|degrees Celsius",
    "°F": "degree Fahrenheit|degrees Fahrenheit",
    "°": "degree|degrees",
    "%": "percent|percent",
    "¢": "cent|cents",
}
_UNIT = "|".join(map(re.escape, sorted(_UNITS, key=len, reverse=True)))

_STREETS = {
    "St": "Street",
    "Ave": "Avenue",
    "Rd": "Road",
    "Blvd": "Boulevard",
    "Ln": "Lane",
    "Hwy": "Highway",
    "Pkwy": "Parkway",
    "Dr": "Drive",
    "Ct": "Court",
    "Pl": "Place",
    "Sq": "Square",
    "Ter": "Terrace",
}
_STREET = "|".join([*_STREETS, *_STREETS.values()])
_ROOMS = {"Apt": "apartment", "Ste": "suite", "Rm": "room", "Fl": "floor", "Ext": "extension"}


def _iso_date(match: Match) -> str:
    return _date(match[0], int(match[1]), int(match[2]), int(match[3]))


def _slash_date(match: Match) -> str:
    first, second, year_text = int(match[1]), int(match[2]), match[3]
    month, day = (second, first) if first > 12 else (first, second)
    return _date(match[0], int(year_text) + (2000 if len(year_text) == 2 else 0), month, day)


def _date(written: str, year_value: int, month: int, day: int) -> str:
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return written
    return f"{MONTHS[month - 1]} {ordinal(day)}, {year(year_value)}"


def _month(abbreviation: str) -> str:
    return next(name for name in MONTHS if name.startswith(abbreviation[:3]))


def _month_day(match: Match) -> str:
    if not 1 <= int(match[2]) <= 31:
        return match[0]
    return f"{_month(match[1])} {ordinal(int(match[2]))}" + (f", {year(int(match[3]))}" if match[3] else "")


def _day_month(match: Match) -> str:
    if not 1 <= int(match[2]) <= 31:
        return match[0]
    said = f"{match[1] or 'the '}{ordinal(int(match[2]))} of {_month(match[3])}"
    return said + (f", {year(int(match[4]))}" if match[4] else "")


def _day(abbreviation: str) -> str:
    return next(name for name in _DAYS if name.startswith(abbreviation[:3]))


def _time(match: Match) -> str:
    half = (match[3] or match[4] or "").lower()
    return clock(int(match[1]), int(match[2]), half)


def _hour(match: Match) -> str:
    return clock(int(match[1]), 0, (match[2] or match[3]).lower())


def _money(amount: str, sign: str, scale: str = "") -> str:
    one, many, small_one, small_many = _CURRENCIES[sign]
    if scale:
        return f"{number(amount)} {_SCALES.get(scale.lower(), scale.lower())} {many}"
    whole, _, part = amount.partition(".")
    if len(part) > 2:
        return f"{number(amount)} {many}"
    small = int(part.ljust(2, "0")) if part else 0
    big = number(whole)
    words = f"{big} {one if big == 'one' else many}"
    cents = f"{cardinal(small)} {small_one if small == 1 else small_many}"
    if not small:
        return words
    return cents if big == "zero" else f"{words} and {cents}"


def _money_range(match: Match) -> str:
    return f"{number(match[2])} to {_money(match[3], match[1], match[4] or '')}"


def _unit(match: Match) -> str:
    one, _, many = _UNITS[match[2]].partition("|")
    return f"{number(match[1])} {one if match[1] == '1' else many}{_stop(match)}"


def _street(match: Match) -> str:
    flat = f" {match[2]}" if match[2] else ""
    return f"{house(match[1])}{flat} {match[3]}{_STREETS.get(match[4], match[4])}{_stop(match)}"


def _code(match: Match) -> str:
    """A code such as B12 or X7K9: its letters as they are, short numbers as numbers, long ones digit by digit."""

    def run(part: Match) -> str:
        return f" {number(part[0]) if len(part[0]) < 3 else digits(part[0])} "

    return re.sub(r"\d+", run, match[0])


def _mixed(match: Match) -> str:
    part = fraction(int(match[2]), int(match[3]))
    return f"{cardinal(int(match[1]))} and {'a' + part[3:] if part.startswith('one ') else part}"


_NUMBERS: list[Rule] = [
    _rule(r"\b24/7\b", "twenty-four seven"),
    _rule(r"\b[vV](?=\d+\.\d)", "version "),
    _rule(r"(?<![\w.])\+\d{1,3}(?:[ .-]?\(?\d{1,5}\)?){2,5}(?!\w)", lambda m: telephone(m[0])),
    _rule(r"(?<![\w.+,$€£])(?:\d[ .-])?\(?\d{3}\)?[ .-]?\d{3}[.-]\d{4}(?!\w)", lambda m: telephone(m[0])),
    _rule(r"(?<![\w.+,$€£])(?:\d[ .-])?\(\d{3}\) ?\d{3}[ .-]?\d{4}(?!\w)", lambda m: telephone(m[0])),
    _rule(r"(?<![\w.,$€£-])[2-9]\d{2}[ .-]?\d{3}[ .-]?\d{4}(?![\w-])", lambda m: telephone(m[0])),
    _rule(r"(?<![\w.,$€£-])[2-9]\d\d-\d{4}(?![\w-])", lambda m: telephone(m[0])),
    _rule(r"\b(\d{4})-(\d\d)-(\d\d)\b", _iso_date),
    _rule(r"(?<![\w/])(\d{1,2})/(\d{1,2})/(\d{4}|\d\d)(?![\w/])", _slash_date),
    _rule(rf"\b({_MONTH})\b\.?\s+(\d{{1,2}})(?:st|nd|rd|th)?\b(?:,?\s+((?:19|20)\d\d)\b)?(?![:,.]?\d)", _month_day),
    _rule(
        rf"\b([Tt]he )?(\d{{1,2}})(?:st|nd|rd|th)?\s+(?:of\s+)?({_MONTH})\b\.?(?:,?\s+((?:19|20)\d\d)\b)?",
        _day_month,
    ),
    _rule(rf"\b({_MONTH})\b\.?\s+((?:19|20)\d\d)\b", lambda m: f"{_month(m[1])} {year(int(m[2]))}"),
    _rule(rf"([$€£¥])\s?({_N}){_DASH}[$€£¥]?({_N})(?:\s?(thousand|million|billion|[kKmMbB]n?\b))?", _money_range),
    _rule(rf"(?<=[\dmM.])({_DASH})(?=\d)(?<!\d\.-)", " to "),
    _rule(r"(?<![\w.])-(?=[$€£¥]?\d)", "minus "),
    _rule(r"~\s?(?=[$€£¥]?\d)", "about "),
    _rule(rf"(?<![\d:.])([01]?\d|2[0-4]):([0-5]\d)(?::[0-5]\d)?(?![\d:])(?:\s*{_HALF})?", _time),
    _rule(rf"(?<![\d:.,$€£])\b(1[0-2]|[1-9])\s?{_HALF}", _hour),
    _rule(
        rf"([$€£¥])\s?({_N})(?:\s?(thousand|million|billion|trillion|(?:[kKmMbB]n?)\b))?",
        lambda m: _money(m[2], m[1], m[3] or ""),
    ),
    _rule(rf"\b({_N})\s?(USD|EUR|GBP|JPY)\b", lambda m: _money(m[1], _CODES[m[2]])),
    _rule(rf"\b(USD|EUR|GBP|JPY)\s?({_N})", lambda m: _money(m[2], _CODES[m[1]])),
    _rule(rf"\b({_N})\s?([€£¥])", lambda m: _money(m[1], m[2])),
    _rule(rf"(?<![\w.,])({_N})\s?({_UNIT})(?!\w)\.?", _unit),
    _rule(rf"(?<![\w.,])({_N})\s?[kK]\b", lambda m: f"{number(m[1])} thousand"),
    _rule(
        rf"\b(\d{{1,5}})([A-Za-z]?)\s+((?:[NSEW]\.?\s+)?(?:(?:[A-Z][\w']*|\d+(?:st|nd|rd|th))\s+){{1,3}})({_STREET})\b\.?",
        _street,
    ),
    _rule(rf"\b({'|'.join(_ROOMS)})\.?\s+(?=\d)", lambda m: _ROOMS[m[1]] + " "),
    _rule(r"(?:#\s?|\bNo\.\s*)(?=\d)", "number "),
    _rule(r"\b([A-Z]{2}) (\d{5})(?:-\d{4})?\b", lambda m: f"{m[1]} {digits(m[2])}"),
    _rule(r"\b(\d{1,9})(?:st|nd|rd|th)\b", lambda m: ordinal(int(m[1]))),
    _rule(r"(?<![\d/.,])(\d{1,3}) (\d{1,2})/(\d{1,2})(?![\d/])", _mixed),
    _rule(r"(?<![\d/.,])(\d{1,3})/(\d{1,3})(?![\d/])", lambda m: fraction(int(m[1]), int(m[2]))),
    _rule(r"\b((?:1[1-9]|20)\d0)'?s\b", lambda m: decade(int(m[1]))),
    _rule(r"'(\d0)s\b", lambda m: decade(1900 + int(m[1])).partition(" ")[2]),
    _rule(r"(?<![\w.,])(?:19|20)\d\d(?!\w|[.,]\d)", lambda m: year(int(m[0]))),
    _rule(r"(?<![\w.])\d+(?:\.\d+){2,}(?!\w)", lambda m: " point ".join(map(number, m[0].split(".")))),
    _rule(r"\b(?=\w*[A-Za-z])(?=\w*\d)[A-Za-z0-9]+\b", _code),
    _rule(rf"(?:{_N})", lambda m: f" {number(m[0])} "),
]

# --- Words and signs ---------------------------------------------------------------------------------------

_TITLES = {"Dr": "Doctor", "Mr": "Mister", "Mrs": "Missus", "Ms": "Ms", "Prof": "Professor", "St": "Saint"}
_SHORT = {
    "e.g.": "for example",
    "i.e.": "that is",
    "etc.": "et cetera",
    "vs.": "versus",
    "approx.": "approximately",
    "appt.": "appointment",
    "dept.": "department",
    "a.k.a.": "also known as",
    "Inc.": "Incorporated",
    "Ltd.": "Limited",
    "Co.": "Company",
    "Corp.": "Corporation",
    "Jr.": "Junior",
    "Sr.": "Senior",
}
_SHORTEST = {name.lower(): said for name, said in _SHORT.items()}

_ABBREVIATIONS: list[Rule] = [
    _rule(rf"\b({_DAY})\b\.?{_DASH}({_DAY})\b\.?", lambda m: f"{_day(m[1])} to {_day(m[2])}{_stop(m)}"),
    _rule(
        rf"\b(Mon|Tues?|Wed|Thu(?:rs?)?|Fri|Sat|Sun)\b(?:\.|(?=,? (?:{'|'.join(MONTHS)})\b))",
        lambda m: _day(m[1]) + _stop(m),
    ),
    _rule(r"(?<=[a-z0-9,] )([A-Z][a-z]+) St\.(?=\s+[A-Z])", r"\1 Street."),  # otherwise Saint follows below
    _rule(r"\b([A-Z][a-z]+) St\b\.?(?!\s+[A-Z])", lambda m: f"{m[1]} Street{_stop(m)}"),
    _rule(r"\b([A-Z][a-z]+) (Ave|Rd|Blvd|Ln|Hwy|Pkwy)\b\.?", lambda m: f"{m[1]} {_STREETS[m[2]]}{_stop(m)}"),
    _rule(r"\b(Dr|Mr|Mrs|Ms|Prof|St)\b\.?(?=\s+[A-Z])", lambda m: _TITLES[m[1]]),
    _rule(
        rf"\b({'|'.join(map(re.escape, _SHORT))})(?!\w)",
        lambda m: _SHORTEST[m[1].lower()] + _stop(m),
        re.I,
    ),
    _rule(r"\b[Ww]/o\b", "without"),
    _rule(r"\b[Ww]/(?=\s?\w)", "with "),
]

_SYMBOLS: list[Rule] = [
    _rule(r"\s*&\s*", " and "),
    _rule(r"\s*@\s*", " at "),
    _rule(r"\s*%\s*", " percent "),
    _rule(r"\s*=\s*", " equals "),
    _rule(r"\s*\+\s*", " plus "),
    _rule(r"\s*°\s*", " degrees "),
    _rule(r"\s*\$\s*", " dollars "),
    _rule(r"\s*€\s*", " euros "),
    _rule(r"\s*£\s*", " pounds "),
    _rule(r"\s*(?:[()—–]|\s-+\s|--+)\s*", ", "),
    _rule(r"[^\w\s.,!?;:'-]|_", " "),
    _rule(r"(?<!\w)[-']+|[-']+(?![\w])", ""),
]
