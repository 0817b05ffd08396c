"""The beginning of the call: the disclosure, then the greeting."""

from __future__ import annotations

from media.turns.events import CallStarted
from media.turns.options import ConversationOptions
from media.turns.playout import FinalMark

DISCLOSURE_MARK_TIMEOUT = 1.0
"""
Seconds for which the mark behind the disclosure is awaited, from when it should have been heard. The greeting waits for
it as well: longer would be a silence at the start of the call.
"""


class Opening:
    """
    The disclosure, which the caller hears to its end before anything is recorded, and the first words after it.

    It is ``Conversation`` that has them said.
    """

    def __init__(self, options: ConversationOptions) -> None:
        self._options = options
        self._resumed = False
        """This stream replaces one that was lost during the call. Known when the call starts."""
        self.disclosing = False
        """The disclosure is being said: from the start of the call until the caller has heard it, or the call ends."""
        self.mark: FinalMark | None = None
        """The mark behind the disclosure. Set when all of it was sent and should have been heard."""

    def start(self, event: CallStarted) -> None:
        self._resumed = event.resumed
        self.disclosing = bool(self._options.disclosure.strip()) and not event.disclosed

    @property
    def first_words(self) -> str:
        """The first words of the agent after the disclosure; empty if the caller speaks first."""
        return self._options.resumed if self._resumed else self._options.greeting

    @property
    def protected(self) -> bool:
        """The caller cannot interrupt the first words."""
        return not (self._resumed or self._options.greeting_interruptible)

    def mark_reached(self, name: str, now: float) -> None:
        if self.mark is not None and self.mark.name == name:
            self.mark.due = now

    def end(self) -> None:
        """The caller has heard the disclosure, or will not hear it."""
        self.disclosing = False
        self.mark = None
