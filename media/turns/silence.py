"""Measures how long neither side has said anything."""

from __future__ import annotations

from enum import Enum, auto

from media.turns.clock import samples
from media.turns.options import ConversationOptions


class SilenceMove(Enum):
    """The moves in a silence."""

    WAIT = auto()
    REASSURE = auto()
    """The caller has asked for time and is still away: say that the agent is still there."""
    ASK = auto()
    """Ask whether the caller is still there."""
    HANG_UP = auto()
    """The caller was asked already and has not answered."""


WAITS = 2
"""How many times the agent waits ``wait_when_asked`` for a caller who has asked for time, before it asks for them."""


class Silence:
    """Measures the silence after the agent has finished and before the caller begins, in samples of the stream."""

    def __init__(self, options: ConversationOptions) -> None:
        self._options = options
        self._since = 0
        """The position from which the present silence counts."""
        self._silences = 0
        """How many silences were too long since the caller last said something or pressed a key."""
        self._waits = 0
        """How many of the ``WAITS`` are left. None is unless the caller has asked for time."""
        self._waiting_since: int | None = None
        """The position from which the present one of these waits counts. Set when it has begun."""

    def begin(self, position: int) -> None:
        """Neither side speaks from here on. What is said during a wait does not start the wait anew."""
        self._since = position
        if self._waits and self._waiting_since is None:
            self._waiting_since = position

    @property
    def asked(self) -> bool:
        """The caller was asked whether they are there, and has not answered."""
        return self._silences > 0

    def broken(self) -> None:
        """The caller has said something or pressed a key: they are there."""
        self._silences = 0

    def give_time(self) -> None:
        """The caller has asked for time, or the agent has offered it."""
        if not self._waits:
            self._waits = WAITS
            self._waiting_since = None

    def take_back_time(self) -> None:
        """The caller has come back to the conversation."""
        self._waits = 0

    @property
    def wake_position(self) -> int:
        """The position at which the silence is too long."""
        usual = self._since + samples(self._options.still_there_after)
        if self._waits and self._waiting_since is not None:
            return max(usual, self._waiting_since + samples(self._options.wait_when_asked))
        return usual

    def judge(self, position: int) -> SilenceMove:
        """What to do now that the stream has come to this position. A silence that is too long counts."""
        if position < self.wake_position:
            return SilenceMove.WAIT
        if self._waits:
            self._waits -= 1
            self._waiting_since = None
            if self._waits:
                return SilenceMove.REASSURE
        self._silences += 1
        return SilenceMove.ASK if self._silences == 1 else SilenceMove.HANG_UP
