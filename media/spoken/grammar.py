"""What is known of one language: its rules, its scripts, and which texts need no rule."""

from __future__ import annotations

import re
from dataclasses import dataclass

from media.spoken.scripts import LATIN
from media.spoken.spans import Rule

_PLAIN = re.compile(r"[A-Za-zÀ-ÖØ-öø-ž]+(?:(?:[,.!?]? |['-])[A-Za-zÀ-ÖØ-öø-ž]+)*[,.!?]?")
"""Words with single marks and spaces between them."""
_MARKS = str.maketrans("-", " ", ",!?")


@dataclass(frozen=True, slots=True)
class Grammar:
    rules: tuple[Rule, ...] = ()
    scripts: frozenset[str] = LATIN
    """The scripts that a voice of the language speaks."""
    words: frozenset[str] = frozenset()
    """The words that a rule may change: abbreviations, titles, short names of days."""
    suffixes: tuple[str, ...] = ()
    """The ends of words that a rule may change."""

    def is_plain(self, text: str) -> bool:
        """Whether no rule can change anything in ``text``, as in most clauses."""
        return (
            bool(self.rules)
            and _PLAIN.fullmatch(text) is not None
            and self.words.isdisjoint(text.translate(_MARKS).split())
            and not any(suffix in text for suffix in self.suffixes)
        )
