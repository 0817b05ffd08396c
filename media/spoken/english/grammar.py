"""Puts the rules of English together, for the United States and for countries that write the day first."""

from __future__ import annotations

from media.spoken import web
from media.spoken.english import (
    codes,
    dates,
    keyboard,
    money,
    numbers,
    roman,
    signs,
    telephones,
    times,
    units,
    words,
)
from media.spoken.english.numerals import cardinal, digits
from media.spoken.grammar import Grammar

_ADDRESS_SIGNS = {".": "dot", "-": "dash", "_": "underscore", "/": "slash", "@": "at", "+": "plus", ":": "colon"}
_ADDRESS_SIGNS |= {"~": "tilde", "%": "percent", "=": "equals", "&": "and"}


def _address_number(text: str) -> str:
    """Digits in an address: ninety-nine, but one nine eight five and zero seven."""
    return cardinal(int(text)) if len(text) < 3 and text[0] != "0" else digits(text)


def _build(*, american: bool) -> Grammar:
    rules = (
        *web.rules(web.address_sayer(_ADDRESS_SIGNS, _address_number)),
        *telephones.INTRODUCED,
        *codes.INTRODUCED,
        *money.RULES,
        *dates.rules(day_first=not american),
        *times.RULES,
        *telephones.rules("pound" if american else "hash"),
        *units.RULES,
        *numbers.RULES[:-1],
        *codes.RULES,
        *words.RULES,
        *keyboard.RULES,
        *roman.RULES,
        *signs.RULES,
        numbers.RULES[-1],
    )
    return Grammar(rules=rules, words=frozenset([*words.KNOWN, *keyboard.WORDS, *roman.WORDS, *dates.SHORT_NAMES, "M"]))


AMERICAN = _build(american=True)
BRITISH = _build(american=False)
"""For the United Kingdom, Australia and other countries: 3/4/2026 is in April, and the key # is called hash."""
