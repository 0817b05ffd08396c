"""
Decides where a voice goes on that has broken off, so that no word is left out and none is said twice. Pure.

A clause of which the caller has heard nothing is said again as a whole, because that sounds best. Of any other clause
the broken-off word and those behind it are said, without that word if nearly all of it was heard.
"""

from __future__ import annotations

from collections.abc import Sequence

UNDERSTOOD = 0.75
"""Share of a word from which it counts as heard: to say it again would be to say it twice."""


def resume_at(text: str, clause_ends: Sequence[int], *, said: int, sent: int) -> int:
    """
    Return the character with which the voice goes on.

    ``said``: the characters that its sound says so far. ``sent``: those that can no longer be taken back. The clauses
    of the text end with the characters ``clause_ends``.
    """
    start = max((end for end in clause_ends if end <= said), default=0)
    if said == start or sent <= start:
        return start
    end = min((end for end in clause_ends if end > said), default=len(text))
    position = said
    while position > start and not text[position - 1].isspace():
        position -= 1
    word = next(iter(text[position:end].split()), "")
    letters = max((number for number, each in enumerate(word, start=1) if each.isalnum()), default=0)
    if said >= position + letters or min(said, sent) >= position + UNDERSTOOD * letters:
        position += len(word)
    while position < end and text[position].isspace():
        position += 1
    return position if has_sound(text[position:end]) else end


def has_sound(text: str) -> bool:
    """Whether saying the text makes a sound; punctuation alone makes none."""
    return any(character.isalnum() for character in text)
