"""The replies of one turn of the agent, as far as they are made and heard."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto

from inference.requests import NO_REQUESTS, ToolRequests
from media.turns.commands import Line, TurnEnded
from media.turns.events import Revision
from media.turns.lexicon import words_of
from media.turns.playout import Segment
from media.turns.timing import Timing


class Kind(Enum):
    """The source of the words of a reply."""

    REPLY = auto()
    """The language model."""
    LINE = auto()
    """Fixed words."""
    FILLER = auto()
    """Fixed words that bridge a wait."""


MOST_TRIES = 3
"""A line that the caller has interrupted so many times is not begun again: they do not want to hear it."""


@dataclass(frozen=True, slots=True)
class QueuedLine:
    """A line that the agent is to say beside its replies."""

    text: str
    tries: int = 0
    """How many times it was begun and interrupted."""


@dataclass(slots=True, eq=False)
class Reply:
    """One revision: words and speech that are being made. Until it is released, its audio is held back."""

    revision: Revision
    kind: Kind
    segment: Segment
    """Its words, and how much of their audio was received and heard."""
    timing: Timing
    """The stages of the response that it belongs to. What is said later in a turn has a timing that is not used."""
    history: tuple[Line, ...] = ()
    """The messages that the language model answers. Empty for fixed words."""
    finished: bool = False
    """The language model was told that the caller has finished."""
    early: bool = False
    """It was begun while the caller was speaking."""
    held: list[tuple[bytes, int]] = field(default_factory=list)
    """Audio that may not be sent yet, each piece with how many characters of the text are said by the end of it."""
    released: bool = False
    """The turn is the agent's, so that the audio may be sent. A speculative reply is not released."""
    skipped: bool = False
    """Fixed words of which there is nothing to say: they are empty, or the voice can speak none of them."""
    ended: bool = False
    """Nothing more comes from the engines: all has come, or the reply failed or was stopped."""
    requests: ToolRequests = NO_REQUESTS
    """The requests of the language model beside its words. Known when the reply has ended."""
    unsaid: str = ""
    """The rest of the reply, which is not said because it would be too long. Known when the reply has ended."""
    queued: QueuedLine | None = None
    """The line from the agent's queue that it says. If it is not heard to its end, the line goes back there."""

    def skip(self) -> None:
        """There is nothing to say, and that is no failure. Nothing goes on record as said, or back to the queue."""
        self.skipped = self.ended = True
        self.segment.text = ""

    @property
    def in_between(self) -> bool:
        """Fixed words that have begun to sound and are not over."""
        return self.kind is not Kind.REPLY and self.segment.received > 0 and not self.ended


def asks_the_same(one: tuple[Line, ...], other: tuple[Line, ...]) -> bool:
    """
    Whether the lines differ at most in how the last words are written.

    A question mark makes other words of them, and so does another language.
    """
    if one == other:
        return True
    if len(one) != len(other) or not one or one[:-1] != other[:-1]:
        return False
    mine, theirs = one[-1], other[-1]
    if (mine.speaker, mine.spoken) != (theirs.speaker, theirs.spoken):
        return False
    return words_of(mine.text) == words_of(theirs.text) and mine.text.endswith("?") is theirs.text.endswith("?")


@dataclass(slots=True, eq=False)
class AgentTurn:
    """The agent has the floor: the replies of this turn, in the order in which they sound."""

    started: float
    """Session clock."""
    timing: Timing
    """The stages of the response to the caller."""
    waiting_since: float
    """The moment from which the wait for a filler counts: when fixed words were last asked for, or the turn began."""
    protected: bool = False
    """The caller cannot interrupt it."""
    only_words_count: bool = False
    """A noise or an echo has stopped it once: from then on a voice stops it by its words alone."""
    insists: bool = False
    """The agent has ended the caller's turn: a voice that goes on does not take it back."""
    replies: list[Reply] = field(default_factory=list)
    """Those that have no sound yet come last."""
    failures: int = 0
    """The number of replies of the language model that have failed in this turn."""
    fillers: int = 0
    """The number of fillers that were asked for."""
    fillers_before: int = 0
    """The number of fillers that the caller has heard while their words were awaited: others come first."""
    in_callers_turn: bool = False
    """It is a filler until the caller's words are known, of which the language model is not told."""
    fallback: bool = False
    """An engine was slow or failed, and fixed words stand for what it did not deliver."""

    @property
    def pending(self) -> bool:
        """Nothing of it has been sent yet."""
        return self.timing.sent is None

    def waits_until(self, quiet_at: float, filler_after: float) -> float:
        """When the caller has waited long enough for the engines, if what was sent has been heard at ``quiet_at``."""
        return max(self.waiting_since, quiet_at) + filler_after

    @property
    def unfinished(self) -> list[Reply]:
        """The replies that the engines are still making."""
        return [reply for reply in self.replies if not reply.ended]

    @property
    def replying(self) -> bool:
        """The language model is making a reply."""
        return any(reply.kind is Kind.REPLY for reply in self.unfinished)

    @property
    def complete(self) -> bool:
        """All of its words were made into speech."""
        return all(reply.segment.complete for reply in self.replies if reply.kind is not Kind.FILLER)

    @property
    def answered(self) -> bool:
        """The language model has made a whole reply."""
        return any(reply.kind is Kind.REPLY and reply.segment.complete for reply in self.replies)

    @property
    def speechless(self) -> bool:
        """Its last words were fixed ones, and the voice has failed to say them."""
        tried = (reply for reply in reversed(self.replies) if reply.kind is not Kind.FILLER and not reply.skipped)
        last = next(tried, None)
        return last is not None and last.kind is Kind.LINE and not last.segment.received

    @property
    def said(self) -> str:
        return " ".join(reply.segment.text.strip() for reply in self.replies if reply.segment.received)

    @property
    def heard(self) -> str:
        """The words heard, in order. Words that come after one that was not heard were not heard either."""
        return " ".join(text for _, text in self._heard())

    @property
    def heard_in_answer(self) -> str:
        """The words heard without the fillers, unless there were no others. A small language model imitates fillers."""
        heard = self._heard()
        return " ".join(text for kind, text in heard if kind is not Kind.FILLER) or " ".join(text for _, text in heard)

    def _heard(self) -> list[tuple[Kind, str]]:
        heard: list[tuple[Kind, str]] = []
        for reply in self.replies:
            if not reply.segment.received:
                continue
            text = reply.segment.heard_text.strip()
            if text:
                heard.append((reply.kind, text))
            if text != reply.segment.text.strip():
                break
        return heard

    @property
    def unheard_lines(self) -> list[QueuedLine]:
        """The queued lines that were not heard to their end and are to be said again."""
        lines: list[QueuedLine] = []
        for reply in self.replies:
            line = reply.queued
            if line is not None and reply.segment.heard_text != reply.segment.text:
                again = QueuedLine(line.text, line.tries + bool(reply.segment.heard))
                if again.tries < MOST_TRIES:
                    lines.append(again)
        return lines

    @property
    def unsaid(self) -> str:
        """The rest of the language model's reply, which is not said."""
        return next((reply.unsaid for reply in reversed(self.replies) if reply.unsaid), "")

    def rest_after(self, heard: str) -> str:
        """The words of this turn that the caller has not heard."""
        return f"{self.said.removeprefix(heard)} {self.unsaid}".strip()

    @property
    def requests(self) -> list[ToolRequests]:
        return [reply.requests for reply in self.replies if reply.requests]

    def put_first_unheard(self, reply: Reply) -> None:
        """The reply gets its first sound: it comes behind those that have sounded, before those that have not."""
        self.replies.remove(reply)
        self.replies.insert(sum(1 for other in self.replies if other.segment.received), reply)

    def record(self, now: float, *, interrupted: bool) -> TurnEnded | None:
        """The turn as it goes on record, over now; None if nothing of it was sent."""
        if self.timing.sent is None:
            return None
        return TurnEnded(
            number=0,
            speaker="agent",
            said=self.said,
            heard=self.heard,
            started=self.timing.sent,
            ended=now,
            interrupted=interrupted,
            fallback=self.fallback,
            stages=self.timing.stages(),
        )
