"""Follows the language that the caller speaks, and decides when the agent changes to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from media.turns.clock import samples
from media.turns.commands import AS_BEFORE, ChangeLanguage, Command, Noted, Spoken
from media.turns.history import History
from media.turns.options import ConversationOptions
from media.turns.stock_phrases import tags_of
from media.turns.utterance import Utterance

TURNS = 2
"""Turns in succession in another language after which the agent changes to it. One may be a greeting, a name or a
sentence to somebody else in the room, and recognition may be wrong once."""
SURE = 0.6
"""The probability from which a language counts. ``inference/whisper/model.py`` has the measurement."""
LONG_ENOUGH = 1.0
"""Seconds of voice from which a turn counts: in "hola" or "ja" the language cannot be told for sure, and people say
such words in any language."""


class Speaks(Protocol):
    """A part of the conversation that says or understands words."""

    def change_language(self, options: ConversationOptions) -> None:
        """Go on with these options, which are those of another language."""


class ChangingLanguage:
    """
    Counts the caller's turns in another language, and has the agent change to it if it may.

    A turn that is too short, or of which recognition is not sure, counts for nothing: neither for another language nor
    for the present one. The way back is the same as the way there. Commands go to ``emit``; ``parts`` are told of the
    change.
    """

    def __init__(
        self,
        options: ConversationOptions,
        emit: Callable[[Command], None],
        *,
        history: History,
        parts: Sequence[Speaks],
    ) -> None:
        self.options = options
        """The options of the language that the agent speaks."""
        self._known = {_main(each.language): each for each in (*options.others, options)}
        """The options of each language that the agent may speak."""
        self._emit = emit
        self._history = history
        self._parts = parts
        self._tells = options.changed
        """The language model has yet to be told in which language it answers."""
        self._candidate = ""
        """The language of the last turn that counted, if it was not the agent's."""
        self._turns = 0
        """The number of turns in succession that were in it."""

    def is_due(self, utterance: Utterance) -> bool:
        """Whether the agent changes its language if this is a turn."""
        found = self._found(utterance)
        return found != self._present and found in self._known and self._turns_in(found) >= TURNS

    def note(self, utterance: Utterance) -> Spoken:
        """Return what the language model is told of the language of this turn."""
        found = self._found(utterance)
        if self.is_due(utterance):
            return Spoken(found, self._known[found].language)
        if found != self._present and found in self._known:
            return Spoken(found, self.options.language)
        return Spoken("", self.options.language) if self._tells else AS_BEFORE

    def hear(self, utterance: Utterance, now: float) -> Spoken:
        """The caller's turn is over: change the language if that is due. Returns what the language model is told."""
        found, note, is_due = self._found(utterance), self.note(utterance), self.is_due(utterance)
        self._tells = self._tells and not note.answer_in
        if not found:
            return note
        self._turns = self._turns_in(found)
        self._candidate = found if found != self._present else ""
        if is_due:
            self._change(self._known[found])
        elif self._candidate and self._turns == TURNS:
            self._emit(Noted("language-noticed", now, {"language": found}))
        return note

    def _change(self, options: ConversationOptions) -> None:
        self.options, self._candidate, self._turns = options, "", 0
        for part in self._parts:
            part.change_language(options)
        self._emit(ChangeLanguage(options.language))

    @property
    def _present(self) -> str:
        return _main(self.options.language)

    def _found(self, utterance: Utterance) -> str:
        """The language of the words, where recognition is sure of it; else empty."""
        is_sure = utterance.language_probability >= SURE and utterance.voiced >= samples(LONG_ENOUGH)
        return _main(utterance.language) if is_sure else ""

    def _turns_in(self, found: str) -> int:
        """The number of turns in succession in this language, with the one in hand."""
        if found != self._candidate:
            return 1
        # A caller who goes on before the agent has said anything is still in the same turn.
        return self._turns + (0 if self._history.caller_spoke_last else 1)


def _main(language: str) -> str:
    """The first part of a language code: ``pt`` of ``pt-BR``."""
    return tags_of(language)[0]
