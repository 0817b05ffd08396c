"""
Lets another engine finish a reply that has broken off. Pure.

The engine is shown the words so far and asked to go on behind them. Some begin again nevertheless: what they repeat of
these words is dropped.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from inference.requests import NO_REQUESTS
from inference.types import Message, TextDelta

_WORD = re.compile(r"\S+")


class Continuation:
    """The rest of one reply, of which ``said`` was passed on."""

    def __init__(self, said: str) -> None:
        self._said = said
        self._words = _words(said)
        self._held: list[TextDelta] | None = []
        """What may be a repetition; None once that is decided."""

    def messages(self, messages: Sequence[Message]) -> list[Message]:
        """The request for the rest."""
        return [*messages, Message("assistant", self._said.strip()), Message("broken-off", "")]

    def push(self, delta: TextDelta) -> list[TextDelta]:
        """Return what of the reply may be passed on by now."""
        if self._held is None:
            return [delta]
        self._held.append(delta)
        text = "".join(held.text for held in self._held)
        complete = _words(text) if text[-1:].isspace() else _words(text)[:-1]
        if len(complete) < len(self._words) and self._repeats(complete):
            return []
        return self._decide(complete)

    def finish(self) -> list[TextDelta]:
        """The reply has ended: return the rest of it."""
        return self._decide(_words("".join(held.text for held in self._held or ())))

    def _repeats(self, words: list[str]) -> bool:
        """Whether these words are the beginning of those that were said. Of the last one, half may have been said."""
        *whole, last = self._words
        return words[: len(whole)] == whole[: len(words)] and (
            len(words) <= len(whole) or words[len(whole)].startswith(last)
        )

    def _decide(self, words: list[str]) -> list[TextDelta]:
        """Pass on what was held, without the repetition that begins with these words."""
        held, self._held = self._held or [], None
        text, requests = "".join(delta.text for delta in held), NO_REQUESTS
        for delta in held:
            requests |= delta.requests
        if words and self._repeats(words):
            if len(words) < len(self._words):
                text = ""  # it has ended before it came to anything new
            else:
                match = [*_WORD.finditer(text)][len(self._words) - 1]
                text = text[match.start() + len(self._said.split()[-1]) :]
        elif text and text[0].isalnum() and not self._said[-1:].isspace():
            text = f" {text}"
        return [TextDelta(text, requests, any(delta.is_cut for delta in held))] if held else []


def _words(text: str) -> list[str]:
    return [re.sub(r"\W", "", word).lower() for word in _WORD.findall(text)]
