"""Telephone numbers, service numbers and the keys of a telephone in English."""

from __future__ import annotations

import re

from media.spoken import telephones
from media.spoken.english.context import Context, context, is_counted
from media.spoken.english.numerals import digit_groups, digits
from media.spoken.spans import Match, Rule, Start, rule, text_after, text_before

_NOT_INSIDE = r"(?<![\w.+,$€£])"
_EXTENSION = r"(?:,?\s?(?:[Ee]xt(?:ension|\.)?|x)\s?(\d{1,6}))?"
_NANP = (
    r"(?:\+?1[ .-]?)?\(\d{3}\)[ .-]?\d{3}[ .-]?\d{4}",
    r"(?:\+?1[ .-])?\d{3}[ .-]?\d{3}[.-]\d{4}",
    r"(?:1\s[-–]\s)?\d{3}\s[-–]\s\d{3}\s[-–]\s\d{4}",
    r"(?:1[ .-])?[2-9]\d{2}[ .-]?\d{3}[ .-]?\d{4}",
    r"[2-9]\d\d-\d{4}",
)
"""How numbers of North America are written, with and without the area code."""

_SERVICES = "911 988 999 112 111 000 110 118 119 211 311 411 511 611 711 811"
_SERVICE = "|".join(_SERVICES.split())
_SERVICE_NOUN = re.compile(
    r"(?:\s(?:[A-Z][a-z]+|and|&)){0,4}\s(?:services?|operators?|emergency|emergencies|dispatch(?:ers?)?|lifeline|hotline|calls?|center|centre|line"
    r"|if|for help|right away|immediately)\b",
    re.I,
)
"""What follows a service number where no word before it says that it is to be dialled."""

_SERVED_BY = re.compile(r"\b(?:try|trying|use|using|via|through)\s$", re.I)
"""What people do with a service number, and with few other numbers: "try 311 instead"."""


_OR_DIALLED = re.compile(rf"\b(?:call|dial|text)\s(?:{_SERVICE})\b[^.!?]*\bor\s$", re.I)
"""The first of two services: "dial 311 for the city or 811 before you dig"."""


def telephone(text: str) -> str:
    """A telephone number, digit by digit, in groups."""
    plus = "plus " if text.startswith("+") else ""
    return plus + ", ".join(map(digits, telephones.groups(text)))


def _with_extension(match: Match) -> str:
    extension = match[1]
    if not extension:
        return telephone(match[0])
    number = re.split(r"[, ]?\s?(?:[Ee]xt|x)", match[0])[0]
    return f"{telephone(number)}, extension {digits(extension)}"


def _vanity(match: Match) -> str:
    words = match[3].replace("-", " ")
    return ", ".join([*filter(None, [match[1] and digits(match[1]), digits(match[2])]), words])


def _is_dialled(match: Match) -> bool:
    return telephones.is_dialled(match) and context(match) in (Context.PHONE, Context.KEYS)


def _is_dialled_short(match: Match) -> bool:
    return context(match) is Context.PHONE and not is_counted(match)


def _is_service(match: Match) -> bool:
    if re.match(r"\s(?:[A-Z][a-z]+\s){0,2}(?:St|Street|Ave|Avenue|Rd|Road)\b", text_after(match)):
        return False
    if match[0] == "911" and not is_counted(match):
        return True
    if (_SERVED_BY.search(text_before(match)) or _OR_DIALLED.search(text_before(match))) and not is_counted(match):
        return True
    around = context(match)
    return around in (Context.PHONE, Context.KEYS) or _SERVICE_NOUN.match(match.string, match.end()) is not None


# --- Keys ---------------------------------------------------------------------------------------------------

_KEY_NOUN = re.compile(r"[\"'”)]?\s?(?:keys?|signs?|buttons?|symbols?)\b")
_FOLLOWED_BY = re.compile(r"\b(?:followed by|ends? with|finish with)\s(?:the\s|an?\s)?$", re.I)
_PRESSED = re.compile(r"\b(?:press|dial|hit|push|tap|enter|touch(?:-tone)?|use)\b[^.!?]*$", re.I)
_NAMED = re.compile(r"\b(?:pound|hash|star|asterisk)(?:\s(?:key|sign|button))?\s?[(\"']$", re.I)


_NUMBER_AFTER = re.compile(r"\s(?:of|is|was)\b")
"""What shows that the sign stands for the word number: "the fax # is"."""


def _is_key(match: Match) -> bool:
    before, after = text_before(match), text_after(match)
    if match[0] == "#" and _NUMBER_AFTER.match(after):
        return False
    return context(match) in (Context.KEYS, Context.PHONE, Context.CODE) or bool(
        _KEY_NOUN.match(after) or _PRESSED.search(before) or _FOLLOWED_BY.search(before) or _NAMED.search(before[-20:])
    )


def _is_dialled_key(match: Match) -> bool:
    """Whether the sign in front of digits is a key: "dial #31", but not "code #4521"."""
    return context(match) in (Context.KEYS, Context.PHONE)


def _key_sayer(pound: str) -> tuple[Rule, ...]:
    names = {"#": pound, "*": "star"}

    def key(match: Match) -> str:
        return "" if _NAMED.search(text_before(match)) else names[match[0]]

    def sequence(match: Match) -> str:
        return " ".join(names.get(part) or digits(part) for part in re.findall(r"[*#]|\d+", match[0]))

    return (
        rule("key", r"(?<![\w*#])[*#]{1,2}\d{1,16}(?:[*#]{1,2}\d{1,16}){0,6}[*#]{1,2}(?!\w)", sequence, signs="#*"),
        rule("key", r"(?<![\w*#])\*{1,2}\d{2,3}(?![\w*]|[.,]\d)", sequence, signs="*"),
        rule("key", r"(?<![\w*#])[*#]\d{1,16}(?![\w*])", sequence, _is_dialled_key, signs="#*"),
        rule("key", r"(?<![\w*#.,/])\d{1,16}[*#](?![\w*#])", sequence, signs="#*", start=Start.NUMBER),
        rule("key", r"(?<![\w*#])[*#](?![\w*#])", key, _is_key, signs="#*"),
    )


INTRODUCED: tuple[Rule, ...] = (
    rule("service", telephones.HARMONISED, lambda m: telephone(m[0]), start=Start.NUMBER),
    rule(
        "service",
        rf"(?<![\w.,$€£:/-])(?:{_SERVICE})(?![\w%]|[.,:/-]\d)",
        lambda m: digits(m[0]),
        _is_service,
        start=Start.NUMBER,
    ),
    rule(
        "service",
        r"(?<![\w.,$€£:/-])\d{3,6}(?![\w%]|[.,:/-]\d)",
        lambda m: digits(m[0]),
        _is_dialled_short,
        start=Start.NUMBER,
    ),
)
"""Short numbers to dial. A year of the same length is none."""


def rules(pound: str) -> tuple[Rule, ...]:
    """``pound`` is the name of the key #: "pound", or "hash" outside of North America."""
    return (
        *(rule("telephone", _NOT_INSIDE + form + r"(?![\w%])" + _EXTENSION, _with_extension) for form in _NANP),
        rule(
            "telephone", telephones.INTERNATIONAL + _EXTENSION, _with_extension, telephones.is_international, signs="+"
        ),
        rule("telephone", telephones.NATIONAL, lambda match: telephone(match[0]), telephones.is_national),
        rule(
            "telephone",
            telephones.GROUPED,
            lambda match: telephone(match[0]),
            telephones.is_grouped,
            start=Start.NUMBER,
        ),
        rule("telephone", telephones.IN_CONTEXT, lambda match: telephone(match[0]), _is_dialled),
        rule("telephone", r"(?<![\w.,$€£])(?:(1)[ -])?(8\d\d)[ -]([A-Z]{2,}(?:-[A-Z]+)*)\b(?!\.)", _vanity),
        rule(
            "service",
            r"(?<![\w.-])\d(?:(?:-\d){2,15}|(?:\s[-–]\s\d){2,15})(?![\w-])",
            lambda m: digit_groups(m[0]),
            start=Start.NUMBER,
            signs="-",
        ),
        rule("telephone", r"(?<=\()x\.?\s?(\d{2,6})(?=\))", lambda m: f"extension {digits(m[1])}", signs="x"),
        *_key_sayer(pound),
    )
