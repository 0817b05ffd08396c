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


CONTEXT = 120
"""Characters of the text before a clause that decide what the clause contains: more than any rule looks at."""


def speakable(text: str, language: str = "en", *, before: str = "") -> str:
    """
    The text to be spoken; empty if there is nothing to say. Never raises.

    ``before`` is what was said before it, as it was written. "2, or # to end." has a key if "Press 1," was before it.
    """
    grammar = grammar_for(language)
    if grammar.is_plain(text):
        return text
    context = f"{plain_text(before[-CONTEXT:], grammar.scripts).rstrip()} " if before.strip() and grammar.rules else ""
    for _ in range(_PASSES):
        if grammar.is_plain(text):
            return text
        unchanged = text
        text = context + plain_text(text, grammar.scripts)
        text = tidy(say_spans(text, grammar.rules, len(context)))
        if text == unchanged:
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
