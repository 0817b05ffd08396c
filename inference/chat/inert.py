"""Makes text from outside inert: a model that repeats it requests nothing and begins no other turn."""

from __future__ import annotations

import re
import unicodedata

from inference.chat.reply_syntax import Found, ReplySyntax, Turn
from inference.chat.request_text import RequestReader

_SYNTAX = ReplySyntax(RequestReader())
_SPACES = re.compile(r"[ \t]{2,}")


def inert(text: str) -> str:
    """
    Return ``text`` without what a model's reply may request with, and without control tokens of chat templates.

    What the caller says, what an operator has the agent say and the values of variables are data. The prompt says how
    a request is written, so the same writing in data could be obeyed, or repeated by the model. Characters that only
    look like others, or are invisible, hide nothing.
    """
    plain = unicodedata.normalize("NFKC", "".join(filter(_visible, text)))
    cleaned = _without_commands(plain)
    return text if cleaned == plain else _SPACES.sub(" ", cleaned).strip()


def _visible(character: str) -> bool:
    return unicodedata.category(character) != "Cf"


def _without_commands(text: str) -> str:
    """Leave out commands until none is left: one may be hidden inside another."""
    while True:
        kept, end = [], 0
        for at, found in _SYNTAX.parts(text):
            if _commands(found):
                kept.append(text[end:at])
                end = max(found.end, at + 1)
        if not end:
            return text
        text = "".join((*kept, text[end:]))


def _commands(found: Found) -> bool:
    control = found.turn in (Turn.BEGINS, Turn.NONE) or (found.turn is Turn.OTHERS and found.block is None)
    return bool(found.requests) or found.block is not None or control
