"""Single signs, where no other rule knows what they are part of: said by name, as a pause, or not at all."""

from __future__ import annotations

import re
from collections.abc import Mapping

from media.spoken.spans import Match, Rule, rule, text_after, text_before

_GREEK = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigma sigma tau"
    " upsilon phi chi psi omega".split()
)
GREEK_NAMES = {chr(ord("α") + index): name for index, name in enumerate(_GREEK)}
GREEK_NAMES |= {letter.upper(): name for letter, name in GREEK_NAMES.items()}

_INITIAL = re.compile(
    r"\b(?:[A-Za-z]|St|Ave|Blvd|Rd|Dr|Ln|Hwy|Str|Inc|Ltd|Co|Jr|Sr|hrs?|mins?|lbs?|approx|etc|max|min|ca|tel|fl|flr|mi|mo|yr|wk|no)\.$"
)
"""A full stop that need not end a sentence: "2 p.m. (Saturday only)", "100 Main St. (2nd floor)"."""
_PRESSED = re.compile(
    r"\b(?:press|presse[nz]?|dial|enter|hit|push|drücken|tasten?|wählen|tapez|appuyez|composez|pulse|marque|oprima|prema"
    r"|digiti|pressione|digite|druk|toets|kies)\b[^.!?]{0,24}$",
    re.I,
)
"""Before a key in brackets: "Press (1)"."""


_KEY = re.compile(r"\b(?:key|sign|button|taste|touche|tecla|tasto|toets|pound|hash|star)\s*$", re.I)


def _is_pressed(match: Match) -> bool:
    """Whether the sign in brackets is a key to press, which the words in front of it do not name yet."""
    before = text_before(match)
    return _PRESSED.search(before) is not None and _KEY.search(before) is None


def _bracket(match: Match) -> str:
    """A pause, unless the sentence begins, ends or pauses there anyway."""
    before = text_before(match).rstrip(' ()[]{}"*_|')
    after = text_after(match).lstrip(' ()[]{}"*_|')
    paused = not before or (before[-1] in ".!?,;:" and not _INITIAL.search(before))
    return " " if paused or not after or after[0] in ".!?,;:" else ", "


def _opens_item(match: Match) -> bool:
    """Whether the bracket behind the letter or number closes none: "A) today B) tomorrow"."""
    before = text_before(match)
    return before.count("(") <= before.count(")")


def named(names: Mapping[str, str]) -> Rule:
    """Says each of these signs by its name."""
    pattern = "|".join(map(re.escape, names))
    return rule("sign", rf"\s*(?:{pattern})\s*", lambda m: f" {names[m[0].strip()]} ", signs="".join(names))


_MENU = re.compile(
    r"\b(?:go to|go|open|under|click(?: on)?|select|menu|tap|choose|navigate to|gehen|öffnen|unter|klicken|wählen|allez"
    r"|ouvrez|cliquez|choisissez|vaya|abra|pulse|seleccione|vada|apra|selezioni|vá|clique|selecione|ga|open|kies)\b[^.!?]*$",
    re.I,
)
"""Before the first menu of a path."""
_NAME_BEFORE = re.compile(r"(?:^|[\s\"'*(])[A-ZÀ-Þ][\w-]+[\"'*]*$")
_NAME_AFTER = re.compile(r"[\"'*]*[A-ZÀ-Þ]\w")
_ARROW = re.compile("[→⇒]|[-=]>")


def _is_path(match: Match) -> bool:
    """Whether one step follows another: "Settings > Wi-Fi", "Settings → Wi-Fi → Reset". "Rome → Milan" is a way."""
    before, after = text_before(match), text_after(match)
    if match[0].strip() == ">":
        return _NAME_BEFORE.search(before) is not None and _NAME_AFTER.match(after) is not None
    if before[-1:].isdigit() or after[:1].isdigit():
        return False
    clause = re.split("[.,;!?]", before)[-1] + re.split("[.,;!?]", after)[0]
    return after[:1].islower() or bool(_ARROW.search(clause) or _MENU.search(before))


PATHS: tuple[Rule, ...] = (
    rule("sign", r"(?<=[\w\"'*])\s?(?:[→⇒>]|[-=]>)\s?(?=[\w\"'*])", ", ", _is_path, signs="→⇒>"),
)
"""Signs between the menus or steps of a path. They come before the other names of these signs."""

PAUSES: tuple[Rule, ...] = (
    rule(
        "sign",
        r"\s?\(([\d#*])\)",
        lambda m: f" {m[1]}",
        _is_pressed,
        signs="(",
    ),
    rule("sign", r"(?<![\w:;])[:;=]-?[)(DPp](?!\w)", " ", signs=")(DPp"),
    rule("sign", r"\s?[()]\s?", _bracket, signs="()"),
    rule("sign", r"(?<=[^\s.,;:!?(])\s(?=(?:[A-Ha-h]|\d{1,2})\)\s)", ", ", _opens_item, signs=")"),
    rule("sign", r"\s*(?:[—–―]|--+|\s-+(?=\s))\s*", ", ", signs="—–―-"),
    rule("sign", r"\s*\|\s*", _bracket, signs="|"),
    rule("sign", r"(?<=\w)\s+/\s+(?=\w)", ", ", signs="/"),
    rule("sign", r"(?<=[A-Za-zÀ-ÿ][a-zà-ÿ])[.!?](?=[A-ZÀ-Þ][a-zà-ÿ])", lambda m: f"{m[0]} ", signs=".!?"),
    rule("sign", r"(?<!\w)[-']+|[-']+(?!\w)", "", signs="-'"),
    rule("sign", r"[^\w\s.,!?;:'-]|_", " ", signs=""),
)
"""The signs of punctuation and decoration. What has no meaning alone is not said."""
