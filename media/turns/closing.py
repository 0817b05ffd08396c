"""Decides what ends the call, and knows when it is over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from media.turns.commands import Command, HangUp, Noted, Transfer
from media.turns.options import ConversationOptions
from media.turns.playout import FinalMark

LAST_WORDS = 15.0
"""
Seconds that the last words may take beyond the maximum duration; then the call is hung up even if they did not get
through. The longest stock phrase takes about 5 s to say, and slow engines may need as long again.
"""


@dataclass(frozen=True, slots=True)
class Ending:
    """An end of the call that is decided, but the last words are still to be said and heard."""

    reason: str
    """Why; it goes on record."""
    revocable: bool = False
    """Whether the call goes on if the caller says something before it ends."""
    transfer: str | None = None
    """The target to which the call is transferred. Empty: the number that is on record. None: it is hung up."""

    @property
    def to_a_machine(self) -> bool:
        """The last words are a message to voicemail, so what sounds at the other end is not a caller who speaks."""
        return self.reason in (VOICEMAIL.reason, MENU.reason)

    @property
    def reason_if_unsaid(self) -> str:
        """The reason on record if the voice has failed and the last words cannot be said."""
        return ENGINES_FAILED.reason if self.transfer is None else self.reason


BY_AGENT = Ending("agent-ended", revocable=True)
SILENCE = Ending("silence", revocable=True)
NOBODY_LISTENS = Ending("silence")
"""A voice goes on and on whatever the agent says."""
MAX_DURATION = Ending("max-duration")
ENGINES_FAILED = Ending("engines-failed")
OPTED_OUT = Ending("opted-out")
VOICEMAIL = Ending("voicemail")
MENU = Ending("menu")


def transferred(target: str, *, revocable: bool) -> Ending:
    return Ending("transferred", revocable, target)


@dataclass(frozen=True, slots=True)
class TimeLimit:
    """When a call that has started must end; session clock."""

    warn_at: float
    ends_at: float


class Closing:
    """
    Decides what may end the call, and knows when it is over.

    Commands go to ``emit``. It is ``Conversation`` that has the last words said.
    """

    def __init__(self, options: ConversationOptions, emit: Callable[[Command], None]) -> None:
        self._options = options
        self._emit = emit
        self.ending: Ending | None = None
        """The end of the call. Set when it is decided, None again when the caller revokes it."""
        self.limit: TimeLimit | None = None
        """Set when the call starts."""
        self._warned = False
        """The moment to warn the caller of the time limit has passed."""
        self._mark: FinalMark | None = None
        """The mark behind the last words, from when they are out until the caller speaks again or the call ends."""

    # -- what is decided --------------------------------------------------------------------------------

    @property
    def irrevocable(self) -> bool:
        """The call is ending, and nothing that the caller says changes it."""
        return self.ending is not None and not self.ending.revocable

    @property
    def to_a_machine(self) -> bool:
        return self.ending is not None and self.ending.to_a_machine

    @property
    def with_caller(self) -> bool:
        """Whether it is the caller who is on the line, and nobody else is about to talk with them."""
        return self.ending is None or (self.ending.transfer is None and not self.ending.to_a_machine)

    @property
    def finishing(self) -> bool:
        """Both sides have said what they wanted, and the call is to end or to be transferred."""
        return self.ending not in (None, SILENCE)

    def decide(self, ending: Ending) -> None:
        """The call ends like this, in place of what was decided before."""
        self.ending = ending
        self._mark = None

    def revoke(self) -> None:
        """The caller has said something that is to be answered: the call goes on."""
        self.ending = None

    # -- what the language model requests ----------------------------------------------------------------------

    def accept(self, tool: str, now: float, *, allowed: bool = True, **details: str) -> bool:
        """Whether a request is carried out; none is while the call is ending already. The answer goes on record."""
        accepted = allowed and self.ending is None
        self._emit(Noted("tool-call", now, {"tool": tool, **details, "accepted": accepted}))
        return accepted

    def find_target(self, name: str) -> str | None:
        """The transfer target of this name, in any case; None if there is none."""
        targets = {target.casefold(): target for target in self._options.transfer_targets}
        return targets.get(name.casefold())

    # -- time --------------------------------------------------------------------------------------------------

    def start(self, now: float) -> None:
        """The call has started."""
        ends_at = now + self._options.max_duration
        self.limit = TimeLimit(warn_at=ends_at - self._options.warn_before, ends_at=ends_at)

    def take_warning(self, now: float) -> bool:
        """Whether it is time to warn the caller that the call will end; true at most once."""
        if self._warned or self.limit is None or now < self.limit.warn_at:
            return False
        self._warned = True
        return bool(self._options.warning) and self._options.max_duration > self._options.warn_before

    def time_is_up(self, now: float) -> bool:
        """Whether the call has lasted too long, or, if it is ending irrevocably, its last words have."""
        return self.limit is not None and self._mark is None and now >= self._ends_at(self.limit)

    def await_mark(self, mark: FinalMark) -> None:
        """The last words are out, and this mark is behind them: hang up when it is due."""
        self._mark = mark

    def await_caller(self) -> None:
        """The caller speaks after the last words: what they say may revoke the end."""
        self._mark = None

    def mark_reached(self, name: str, now: float) -> None:
        if self._mark is not None and self._mark.name == name:
            self._mark.due = now

    def last_words_heard(self, now: float) -> bool:
        """The last words are out, and the caller has heard them, or should have."""
        return self._mark is not None and now >= self._mark.due

    @property
    def deadline(self) -> float | None:
        """When ``take_warning``, ``time_is_up`` or ``last_words_heard`` may change; None before the call starts."""
        if self.limit is None:
            return None
        due = self._ends_at(self.limit) if self._mark is None else self._mark.due
        return due if self._warned else min(due, self.limit.warn_at)

    def _ends_at(self, limit: TimeLimit) -> float:
        return limit.ends_at + (LAST_WORDS if self.irrevocable else 0.0)

    def hang_up(self, reason: str = "") -> None:
        """Carry out what was decided. Without a reason, that of the ending goes on record."""
        ending = self.ending or BY_AGENT
        if ending.transfer is not None:
            self._emit(Transfer(ending.transfer))
        self._emit(HangUp(reason or ending.reason))
