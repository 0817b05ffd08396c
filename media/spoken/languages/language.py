"""What the shared rules must know of a language."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from num2words import num2words  # type: ignore[import-untyped]

_CACHED = 2048
"""Numbers whose words are kept: num2words takes 20 microseconds or more for one."""


@dataclass(frozen=True, slots=True)
class Noun:
    """A unit or a currency."""

    one: str
    """With its number: "ein Kilometer", "une heure"."""
    many: str
    feminine: bool = False
    """In some languages the number agrees: "duas horas", "vingt et une heures"."""


@dataclass(frozen=True, slots=True)
class Currency:
    unit: Noun
    hundredth: Noun | None = None


@dataclass(frozen=True, slots=True)
class DateWords:
    """A date, for the function that says it."""

    day: int
    month: str
    """The name of the month."""
    year: str
    """The words of the year; empty if there is none."""
    before: str
    """The word in front of the date, which decides its case in German."""


@dataclass(frozen=True, slots=True)
class Language:
    cardinal: Callable[[int], str]
    year: Callable[[int], str]
    count: Callable[[int, Noun], str]
    """A number with what it counts: "zwei Kilometer", "vingt et une heures"."""
    digits: tuple[str, ...]
    point: str
    """The word between a number and its decimals."""
    minus: str
    plus: str
    per: str
    """The word between a price and what it is for: "fünf Euro pro Stunde"."""
    to: str
    """The word for a dash between two numbers, days or prices."""
    times: str
    """The word behind a number of times: "zwei mal täglich"."""
    months: tuple[str, ...]
    short_months: str
    """The abbreviations of the months, in their order."""
    date: Callable[[DateWords], str]
    clock: Callable[[int, int, str], str]
    """Hour, minute, and the unit as it is written behind the time ("Uhr", "h", or empty)."""
    currencies: Mapping[str, Currency]
    units: Mapping[str, Noun]
    words: Mapping[str, str]
    """Abbreviations and what they stand for."""
    signs: Mapping[str, str]
    address_signs: Mapping[str, str]
    code_words: frozenset[str]
    """Words that announce a code or the number of a record."""
    phone_words: frozenset[str]
    """Words that announce something to dial."""
    link_words: frozenset[str]
    """Words that may stand between those and the digits."""
    and_cents: str = ""
    """The word between units and cents: "doce euros con cincuenta céntimos". Empty: the number of cents is enough."""
    number_words: frozenset[str] = frozenset()
    """The words for "number": with short digits behind them they announce no code, but a place in a queue or a list."""
    copulas: frozenset[str] = frozenset()
    """What may stand between such a word and its digits: "su número es el 17"."""
    plural: str = ""
    """The pattern of a noun in the plural, as far as it differs from other words. Digits in front of it are a count."""
    key_words: frozenset[str] = frozenset()
    """Words that announce keys of the telephone."""
    keys: Mapping[str, str] = field(default_factory=dict)
    """The names of # and *."""
    day: str = r"(\d{1,2})"
    """How the day of a date is written, with one group."""
    of: str = r"\s+"
    """What stands between day and month, and between month and year."""
    time_unit: str = ""
    """What may stand behind a time of day, as alternatives of a pattern. A time may then be written with a point."""
    before_time: str = ""
    """Words after which 9.30 is a time, as alternatives of a pattern."""
    hour_mark: str = ""
    """The letter that may separate hours and minutes: 14h30."""
    before_short_date: str = ""
    """Words after which 3/4 is a date, as alternatives of a pattern."""
    ordinal: str = ""
    """How ordinals are written, with the number as first group. Empty: there is no sign for them."""
    say_ordinal: Callable[[int, str, str], str] | None = None
    """Number, what is written behind it, and the word in front of it."""
    before_noun: Callable[[int, str], str | None] | None = None
    """A number in front of a noun, if it agrees with the noun: "veintiuna personas". Else None."""
    decline: Callable[[str, str], str] | None = None
    """The words of an amount or a measure in the case that the word in front of it asks for: "für einen Euro"."""
    nouns_have_capitals: bool = False
    """A capital letter behind a full stop does not show that a sentence has ended: "5 Min. Pause"."""
    spaced_thousands: bool = False
    """Whether 1 234 567 is one number."""
    halves: tuple[str, str] = ("", "")
    """What stands in front of a unit of which it is a half: masculine and feminine."""
    elided: str = "de "
    """ "de" in front of a vowel."""
    scales: Mapping[str, str] = field(default_factory=dict)
    """What may stand between an amount and its currency, and its words in front of the currency: "$1.2M"."""
    rates: Mapping[str, str] = field(default_factory=dict)
    """What stands behind the slash of a rate, besides the units: "20 €/h"."""
    fractions: Callable[[int, int], str] | None = None
    suffixes: Mapping[str, str] = field(default_factory=dict)
    """Abbreviations at the end of a longer word: "Hauptstr."."""
    days: Mapping[str, str] = field(default_factory=dict)
    """Names of days in their short form."""


def speller(language: str, correct: Callable[[str], str] = lambda words: words) -> Callable[[int], str]:
    """Numbers as num2words spells them in a language, without commas."""

    @lru_cache(_CACHED)
    def cardinal(value: int) -> str:
        return correct(str(num2words(value, lang=language)).replace(",", ""))

    return cardinal


def counter(cardinal: Callable[[int], str]) -> Callable[[int, Noun], str]:
    """Numbers with what they count, in a language in which the two do not agree."""

    def count(value: int, noun: Noun) -> str:
        return noun.one if value == 1 else f"{cardinal(value)} {noun.many}"

    return count


def fraction_speller(
    cardinal: Callable[[int], str],
    *,
    names: Mapping[int, str],
    name: Callable[[int], str],
    many: Callable[[str], str],
    one: str,
    of: str,
    largest: int,
) -> Callable[[int, int], str]:
    """
    Fractions as names of parts, up to the ``largest`` part; other fractions as "three of forty" with the word ``of``.

    ``names``: parts that have a name of their own. ``name``: the name of every other part. ``many``: its plural.
    """

    def fraction(above: int, below: int) -> str:
        if not 2 <= below <= largest or above >= below:
            return f"{cardinal(above)} {of} {cardinal(below)}"
        part = names.get(below) or name(below)
        return f"{one} {part}" if above == 1 else f"{cardinal(above)} {many(part)}"

    return fraction


def nouns(table: str) -> dict[str, Noun]:
    """
    ``symbols | one | many`` in each line; a "+" in front of the symbols marks a feminine noun.

    The result has each noun under its names too, because "1 Stunde" is said as "eine Stunde".
    """
    units = {}
    for line in table.strip().splitlines():
        symbols, one, many = (part.strip() for part in line.split("|"))
        noun = Noun(one, many, symbols.startswith("+"))
        units.update(dict.fromkeys([*symbols.lstrip("+").split(), one.partition(" ")[2], many], noun))
    return units


def currencies(table: str) -> dict[str, Currency]:
    """``signs | one | many | one hundredth | many hundredths`` in each line, marked as in ``nouns``."""
    found = {}
    for line in table.strip().splitlines():
        signs, one, many, *small = (part.strip() for part in line.split("|"))
        unit = Noun(one, many, signs.startswith("+"))
        hundredth = Noun(small[0], small[1], small[0].startswith(("une ", "una ", "uma ", "eine "))) if small else None
        names = [*signs.lstrip("+").split(), one.partition(" ")[2], many]
        found.update(dict.fromkeys(names, Currency(unit, hundredth)))
    return found


def dictionary(table: str) -> dict[str, str]:
    """``short = words`` in each entry; entries are separated by "|" or line breaks."""
    entries = (entry.partition("=") for line in table.strip().splitlines() for entry in line.split("|"))
    return {short.strip(): words.strip() for short, _, words in entries if short.strip()}
