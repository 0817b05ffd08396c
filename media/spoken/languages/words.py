"""The rules for words and signs that the languages other than English share: days, abbreviations, rates, signs."""

from __future__ import annotations

import re
from collections.abc import Callable

from media.spoken.languages.language import Language
from media.spoken.signs import GREEK_NAMES, PATHS, PAUSES, named
from media.spoken.spans import Match, Rule, full_stop, rule, text_after, text_before

DASH = r"\s?[-–—]\s?"


def alternatives(symbols: list[str]) -> str:
    return "|".join(re.escape(s) + (r"\b" if s[-1].isalpha() else "") for s in sorted(symbols, key=len, reverse=True))


def rates_of(language: Language) -> dict[str, str]:
    """What may stand behind the slash of a rate, and its name."""
    units = {unit: noun.one.partition(" ")[2] for unit, noun in language.units.items() if unit.isalpha()}
    return units | dict(language.rates)


def days_of(language: Language) -> dict[str, str]:
    """The short names of days, with a small and with a capital letter."""
    return dict(language.days) | {short.capitalize(): name for short, name in language.days.items()}


def word_rules(language: Language) -> tuple[Rule, ...]:
    words = dict(language.words)
    days = days_of(language)
    slash = language.signs["/"]
    rates = rates_of(language)
    return (
        *(
            [
                rule(
                    "day",
                    rf"(?<!\w)({alternatives(list(days))})\.?",
                    lambda m: days[m[1]] + full_stop(m),
                    _names_day(list(days)),
                    signs="",
                )
            ]
            if days
            else []
        ),
        rule("abbreviation", rf"(?<![\w.])(?:{_shorts(list(words))})", lambda m: words[m[0]] + stop(m), signs=""),
        *(_suffix(short, name) for short, name in language.suffixes.items()),
        rule("rate", rf"(?<=[€$£%\w])\s?/\s?(?={PERIODS})", f" {language.per} ", signs="/"),
        rule(
            "rate",
            rf"(?<=[€$£%\w])\s?/\s?({alternatives(list(rates))})(?!\w)\.?",
            lambda m: f" {language.per} {rates[m[1]]}{full_stop(m)}",
            signs="/",
        ),
        rule("sign", r"(?<=\w)/(?=\w)", f" {slash} ", signs="/"),
        rule("sign", r"(?<=\d)\s?x\s?(?=\d)", f" {language.signs['×']} ", signs="x"),
        rule("sign", r"#\s?(?=\d)", f"{language.signs['#']} ", signs="#"),
        *PATHS,
        rule("sign", r"(?<![<=-])>(?=\s|\d)", f" {language.signs['>']} ", signs=">"),
        rule("sign", r"<(?=\s|\d)", f" {language.signs['<']} ", signs="<"),
        rule("sign", r"±", f" {language.plus} {language.minus} ", signs="±"),
        named({**GREEK_NAMES, **{sign: name for sign, name in language.signs.items() if sign not in "/#<>"}}),
        *PAUSES,
    )


PERIODS = (
    r"(?:Stunden?|Tag|Woche|Monat|Jahr|Person|Nacht|Stück|heure|jour|semaine|mois|an|année|personne|nuit|hora|día|semana"
    r"|mes|año|persona|noche|ora|giorno|settimana|mese|anno|persona|notte|dia|mês|ano|pessoa|noite|uur|dag|week|maand"
    r"|jaar|persoon|nacht|kg|km|h)\b"
)
"""What stands behind the slash of a rate in any of these languages."""


def _suffix(short: str, name: str) -> Rule:
    return rule("abbreviation", rf"([^\W\d_]+){re.escape(short)}", lambda m: m[1] + name, signs=".")


def changeable_words(language: Language) -> frozenset[str]:
    """The words that a rule may change although no sign or digit is beside them."""
    words = [word for short in language.words for word in short.split()]
    days = days_of(language)
    return frozenset([*words, *days, *(f"{day}." for day in days)])


def _shorts(words: list[str]) -> str:
    """As alternatives of a pattern. A letter may follow only the sign at an end, as in "n°12"."""
    ordered = sorted(words, key=len, reverse=True)
    return "|".join(re.escape(word) + (r"(?!\w)" if word[-1].isalnum() else "") for word in ordered)


def stop(match: Match) -> str:
    """At the end of the text a full stop ends the sentence; elsewhere nouns have capitals too, so it may not."""
    return "." if match[0].endswith(".") and not text_after(match).strip() else ""


def _names_day(days: list[str]) -> Callable[[Match], bool]:
    """Short names of days are words of their own, so they need a time, a date or another day beside them."""
    day = alternatives(days)
    after = re.compile(rf"\.?(?:{DASH}|,?\s|:\s?)(?:{day}|\d)|\.\s?[-–]|:\s")
    before = re.compile(rf"(?:{day})\.?(?:{DASH}|,\s|\s\S{{1,3}}\s)$")

    def accepts(match: Match) -> bool:
        return bool(after.match(match.string, match.end(1)) or before.search(text_before(match)))

    return accepts
