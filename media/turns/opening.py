"""The beginning of the call: the hello of the person who is called, the disclosure, then the greeting."""

from __future__ import annotations

from enum import Enum, auto

from media.turns.answered import is_hello
from media.turns.endpointing import COMPLETE
from media.turns.events import CallStarted
from media.turns.lexicon import lexicon_of, words_of
from media.turns.options import ConversationOptions
from media.turns.playout import FinalMark
from media.turns.utterance import Utterance

DISCLOSURE_MARK_TIMEOUT = 1.0
"""
Seconds for which the mark behind the disclosure is awaited, from when it should have been heard. The greeting waits for
it as well: longer would be a silence at the start of the call.
"""
ENOUGH_OF_GREETING = 0.5
"""The share of the greeting that tells who is calling: names come in its first half, and a question in its second."""
MOST_GREETINGS = 2
"""How often the greeting is begun: whoever interrupts it a second time does not want to hear it."""


class Stage(Enum):
    """The progress of the opening."""

    WAITING = auto()
    """The agent waits for the callee to speak first, or to finish what they say before the greeting."""
    DISCLOSING = auto()
    """The disclosure is being said: until the caller has heard it, or the call ends."""
    GREETING = auto()
    """The first words after it are being said."""
    OVER = auto()


class Opening:
    """
    The disclosure, which the caller hears to its end before anything is recorded, and the first words after it.

    On an outbound call the callee may speak before. The greeting answers a hello; it comes before the answer to
    anything else, so that the callee learns who is calling from the agent's own words, and the language model reads
    the greeting before the words that it answers. It is ``FloorControl`` that has them said.
    """

    def __init__(self, options: ConversationOptions) -> None:
        self._options = options
        self._lexicon = lexicon_of(options.language)
        self._stage = Stage.OVER
        self._resumed = False
        """This stream replaces one that was lost during the call. Known when the call starts."""
        self._callee_first = False
        """The callee may speak first. Known when the call starts."""
        self._owes_disclosure = False
        """The disclosure is still to be said."""
        self._wait_until = 0.0
        """When the agent waits for a voice no longer; session clock."""
        self._greetings = 0
        """How often the greeting was begun."""
        self._question = ""
        """The words of the callee that are answered after the greeting."""
        self.mark: FinalMark | None = None
        """The mark behind the disclosure. Set when all of it was sent and should have been heard."""

    def start(self, event: CallStarted, now: float) -> None:
        options = self._options
        self._resumed = event.resumed
        self._owes_disclosure = bool(options.disclosure.strip()) and not event.disclosed
        self._callee_first = options.outbound and options.callee_first > 0 and not event.resumed
        if self._callee_first and (self._owes_disclosure or options.greeting.strip()):
            self._stage = Stage.WAITING
            self._wait_until = now + options.callee_first

    # -- what the agent says --------------------------------------------------------------------------

    @property
    def owes_disclosure(self) -> bool:
        """The caller has not heard the disclosure, so nothing may be recorded."""
        return self._owes_disclosure

    @property
    def disclosing(self) -> bool:
        """The disclosure is being said."""
        return self._stage is Stage.DISCLOSING

    @property
    def first_words(self) -> str:
        """The first words of the agent after the disclosure; empty if the caller speaks first."""
        return self._options.resumed if self._resumed else self._options.greeting

    def begin(self) -> tuple[str, bool]:
        """Return what the agent says now, which may be nothing, and whether the caller cannot interrupt it."""
        if self._owes_disclosure:
            self._stage = Stage.DISCLOSING
            return self._options.disclosure, True
        self._stage = Stage.GREETING
        self._greetings += 1
        return self.first_words, not (self._resumed or self._options.greeting_interruptible)

    def mark_reached(self, name: str, now: float) -> None:
        if self.mark is not None and self.mark.name == name:
            self.mark.due = now

    def disclosed(self) -> None:
        """The caller has heard the disclosure."""
        self._owes_disclosure = False
        self.end()

    def spoken(self, heard: str, now: float) -> None:
        """The agent's turn is over, of which this was heard. Too little of the greeting is none: it is begun again."""
        if self._stage is not Stage.GREETING:
            return
        self._stage = Stage.OVER
        enough = len(words_of(heard)) >= ENOUGH_OF_GREETING * len(words_of(self.first_words))
        if self._callee_first and not enough and self._greetings < MOST_GREETINGS:
            self._stage, self._wait_until = Stage.WAITING, now

    def withdrawn(self, now: float) -> None:
        """The agent's turn is taken back before any of it has sounded, because the callee goes on."""
        if self._stage is Stage.GREETING and self._callee_first:
            self._greetings -= 1
            self._stage, self._wait_until = Stage.WAITING, now

    def await_person(self, until: float) -> None:
        """A telephone's assistant has answered, and the person may come until this time; session clock."""
        self._stage, self._wait_until = Stage.WAITING, until

    def end(self) -> None:
        """The caller has heard the disclosure or the first words, or will not hear them."""
        self._stage = Stage.OVER
        self.mark = None

    # -- what the callee says -------------------------------------------------------------------------

    @property
    def waiting(self) -> bool:
        """It is the callee who speaks first, or who has gone on before the greeting could begin."""
        return self._stage is Stage.WAITING

    def deadline(self, utterance: Utterance | None) -> float | None:
        """When the agent begins though it has heard no words; None while there is a voice, or nothing to begin."""
        if not self.waiting:
            return None
        pause = utterance.pause if utterance is not None else None
        silent = utterance is None or (pause is not None and pause.words is not None and not pause.words.text)
        return self._wait_until if silent else None

    def hello_is_over(self, utterance: Utterance, position: int) -> bool:
        """Whether the callee has answered the telephone, and has been silent for the wait of a whole turn."""
        pause = utterance.pause
        if not self.waiting or pause is None or pause.words is None:
            return False
        return pause.silence(position) >= COMPLETE and is_hello(pause.words.text, self._lexicon)

    def is_answered(self, text: str, *, unfinished: bool = False) -> bool:
        """Whether the greeting, which is still to come or is being said, answers these words; see ``is_hello``."""
        if not self._callee_first or self._stage is Stage.OVER:
            return False
        return is_hello(text, self._lexicon, unfinished=unfinished)

    def has_answered(self, utterance: Utterance) -> bool:
        """Whether the greeting, which has come to its end, answers what the caller has said meanwhile."""
        over = utterance.pause is not None and utterance.pause.words is not None
        return (
            over and self._stage is Stage.GREETING and not utterance.after_question and self.is_answered(utterance.text)
        )

    def keep_question(self, text: str) -> None:
        """The callee has said more than a hello: it is answered after the greeting."""
        self._question = f"{self._question} {text}".strip()

    def take_question(self) -> str:
        """Return the words that are to be answered after what is being said now."""
        if self._stage is Stage.DISCLOSING and self.first_words:
            return ""
        question, self._question = self._question, ""
        return question
