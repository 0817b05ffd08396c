"""
From what a language model writes to what a voice says.

``media/spoken`` has the rules: one folder for English, one file for each other language that it knows. In all other
languages only markdown, emoji and scripts that the voice cannot speak are removed. Converting a result again does not
change it.
"""

from __future__ import annotations

import re

from media.spoken.grammars import grammar_for
from media.spoken.markup import plain_text
from media.spoken.spans import say_spans

_PASSES = 4
"""A further pass sees what the one before uncovered, as in "&amp;amp;". None of the 1,500 texts of the tests' tables
needs more than one."""


def speakable(text: str, language: str = "en") -> str:
    """The text to be spoken; empty if there is nothing to say. Never raises."""
    grammar = grammar_for(language)
    for _ in range(_PASSES):
        if grammar.is_plain(text):
            return text
        before = text
        text = tidy(say_spans(plain_text(text, grammar.scripts), grammar.rules))
        if text == before:
            return text
    return tidy(re.sub(r"[^\w\s]|[\d_]", " ", text).lower())  # each pass changed it: keep its words only


_INITIALS = re.compile(r"\b[A-Za-z]\.[A-Za-z]\.$")
"""Letters with points, as in "p.m.", which keep the last point in front of a question mark."""
_GAP = re.compile(r"\s*[.,;:!?][\s.,;:!?]*|\s+")


def tidy(text: str) -> str:
    """``text`` with one space between words and one mark between clauses."""
    return _GAP.sub(_gap, text).lstrip(" .,;:!?").rstrip()


def _gap(match: re.Match[str]) -> str:
    """The marks and spaces between two words in their usual form."""
    marks = "".join(match[0].split())
    if not marks:
        return " "
    if "!" in marks or "?" in marks:
        point = "." if _INITIALS.search(match.string, max(0, match.start() - 3), match.start() + 1) else ""
        marks = point + "".join(mark for mark in marks if mark in "!?")[:2]
    elif marks.startswith("..."):
        marks = "..."
    elif "." in marks and marks not in (".,", ".;", ".:"):  # which follow an abbreviation
        marks = "."
    elif "." not in marks:
        marks = marks[-1]
    spaced = marks[-1] in ",;" or any(map(str.isspace, match[0]))
    return marks + " " if spaced else marks
