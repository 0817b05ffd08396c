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

_INITIAL = re.compile(r"\b[A-Za-z]\.$")
"""A full stop that need not end a sentence: "2 p.m. (Saturday only)"."""


def _bracket(match: Match) -> str:
    """A pause, unless the sentence begins, ends or pauses there anyway."""
    before = text_before(match).rstrip(' ()[]{}"*_|')
    after = text_after(match).lstrip(' ()[]{}"*_|')
    paused = not before or (before[-1] in ".!?,;:" and not _INITIAL.search(before))
    return " " if paused or not after or after[0] in ".!?,;:" else ", "


def named(names: Mapping[str, str]) -> Rule:
    """Says each of these signs by its name."""
    pattern = "|".join(map(re.escape, names))
    return rule("sign", rf"\s*(?:{pattern})\s*", lambda m: f" {names[m[0].strip()]} ", signs="".join(names))


PAUSES: tuple[Rule, ...] = (
    rule("sign", r"(?<![\w:;])[:;=]-?[)(DPp](?!\w)", " ", signs=")(DPp"),
    rule("sign", r"\s?[()]\s?", _bracket, signs="()"),
    rule("sign", r"\s*(?:[—–―]|--+|\s-+(?=\s))\s*", ", ", signs="—–―-"),
    rule("sign", r"\s*\|\s*", _bracket, signs="|"),
    rule("sign", r"(?<!\w)[-']+|[-']+(?!\w)", "", signs="-'"),
    rule("sign", r"[^\w\s.,!?;:'-]|_", " ", signs=""),
)
"""The signs of punctuation and decoration. What has no meaning alone is not said."""
