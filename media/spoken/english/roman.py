"""Roman numerals in English: "Henry VIII" is Henry the Eighth, "World War II" is World War two."""

from __future__ import annotations

import re

from media.spoken.english.numerals import cardinal, ordinal
from media.spoken.spans import Match, Rule, Start, rule, text_before

_RULERS = (
    "Albert|Alexander|Alfonso|Benedict|Carl|Catherine|Charles|Christian|Clement|Constantine|Edward|Elizabeth|Ferdinand"
    "|Francis|Frederick|George|Gregory|Gustav|Haakon|Harald|Henry|Innocent|Ivan|James|John|John Paul|Joseph|Leo|Leopold"
    "|Louis|Margrethe|Mary|Maximilian|Mehmed|Mohammed|Napoleon|Nicholas|Olav|Otto|Paul|Peter|Philip|Pius|Rama|Ramses"
    "|Ramesses|Richard|Robert|Rudolf|Thutmose|Urban|Victor|Vittorio Emanuele|Wilhelm|William"
)
"""First names of kings, queens and popes, and so of people who are numbered."""
_NUMBERED = (
    "War|Part|Chapter|Act|Scene|Volume|Book|Phase|Type|Level|Stage|Class|Section|Title|Article|Bowl|Grade|Category"
    "|Group|Mark|Version|Appendix|Unit|Step|Tier|Schedule|Division|Zone|Round|Region|Episode|Season|Lesson|Module"
)
_ROMAN = r"(?=[IVXL])(?:XL|L?X{0,3})(?:IX|IV|V?I{0,3})"
"""I to LXXXIX."""
_VALUES = {"I": 1, "V": 5, "X": 10, "L": 50}
_GOES_ON = re.compile(
    r"\s*(?:$|[.,;:!?)(-])|\s(?:of|was|is|and|or|in|to|has|had|ended|began|reigned|died|ruled|wrote|became)\b"
)
"""What may follow the numeral I. Otherwise it is the person who speaks: "the part I like"."""


def value(numeral: str) -> int:
    """XIV is 14."""
    values = [_VALUES[letter] for letter in numeral]
    following = [*values[1:], 0]
    return sum(-one if one < after else one for one, after in zip(values, following, strict=True))


def _ruler(match: Match) -> str:
    return f"{match[1]} the {ordinal(value(match[2])).capitalize()}"


def _numbered(match: Match) -> str:
    return f"{match[1]} {cardinal(value(match[2]))}"


def _is_numeral(match: Match) -> bool:
    """Whether I, V or X is a numeral and no word, letter or initial: "Type X", "James V. Smith"."""
    if len(match[2]) == 1 and _INITIAL_AFTER.match(match.string, match.end()):
        return _TITLE_BEFORE.search(text_before(match)) is not None
    if match[1] in _MOSTLY_CALLERS and len(match[2]) == 1:
        return _TITLE_BEFORE.search(text_before(match)) is not None
    if match[2] == "I":
        return _GOES_ON.match(match.string, match.end()) is not None
    return len(match[2]) > 1 or match[1] in _COUNTED_FROM_ONE or match[1] in _RULERS.split("|")


_INITIAL_AFTER = re.compile(r"\.\s[A-Z]")
_TITLE_BEFORE = re.compile(r"\b(?:King|Queen|Pope|Emperor|Empress|Prince|Tsar|Czar)\s$")
_MOSTLY_CALLERS = frozenset(_RULERS.split("|")) - frozenset("Elizabeth Henry Louis Napoleon Pius Ramses".split())
"""First names that people on the phone have too: "Peter V" is as likely a Peter whose name begins with V."""
_COUNTED_FROM_ONE = frozenset("War Part Chapter Act Scene Volume Book Section Title Article Bowl Appendix".split())

_LONGER = "II III IV VI VII VIII IX XI XII XIII XIV XV XVI XVII XVIII XIX XX XXI XXII XXIII XXIV XXV".split()
"""The numerals that are no words themselves, as far as people number things."""
WORDS = frozenset([*re.findall(r"\w+", f"{_RULERS}|{_NUMBERED}"), *_LONGER, *(f"{numeral}." for numeral in _LONGER)])
"""The words by which a text shows that these rules may change it."""

RULES: tuple[Rule, ...] = (
    rule(
        "numeral",
        rf"\b({_RULERS}) ({_ROMAN})\b(?!\.?[A-Z]|'(?!s\b))",
        _ruler,
        _is_numeral,
        signs="IVXL",
        start=Start.CAPITAL,
    ),
    rule(
        "numeral",
        rf"\b({_NUMBERED}) ({_ROMAN})\b(?!\.?[A-Z]|'(?!s\b))",
        _numbered,
        _is_numeral,
        signs="IVXL",
        start=Start.CAPITAL,
    ),
    rule(
        "numeral",
        rf"\b({_NUMBERED.lower()}) (?=[IVX]{{2}})({_ROMAN})\b(?!\.?[A-Z]|'(?!s\b))",
        _numbered,
        signs="IVXL",
    ),
)
