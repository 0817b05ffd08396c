"""How long has neither side said anything?"""

from __future__ import annotations

from enum import Enum, auto

from media.turns.clock import samples
from media.turns.options import ConversationOptions


class SilenceMove(Enum):
    """What to do about a silence."""

    WAIT = auto()
    ASK = auto()
    """Ask whether the caller is still there."""
    HANG_UP = auto()
    """The caller was asked already and has not answered."""


class Silence:
    """Measures the silence after the agent has finished and before the caller begins, in samples of the stream."""

    def __init__(self, options: ConversationOptions) -> None:
        self._options = options
        self._since = 0
        """The position from which the present silence counts."""
        self._silences = 0
        """How many silences were too long since the caller last said something or pressed a key."""

    def begin(self, position: int) -> None:
        """Neither side speaks from here on."""
        self._since = position

    def broken(self) -> None:
        """The caller has said something or pressed a key: they are there."""
        self._silences = 0

    @property
    def wake_position(self) -> int:
        """The position at which the silence is too long."""
        return self._since + samples(self._options.still_there_after)

    def judge(self, position: int) -> SilenceMove:
        """What to do now that the stream has come to this position. A silence that is too long counts."""
        if position < self.wake_position:
            return SilenceMove.WAIT
        self._silences += 1
        return SilenceMove.ASK if self._silences == 1 else SilenceMove.HANG_UP
