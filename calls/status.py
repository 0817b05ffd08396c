"""The legal moves of a call's status, as one table."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class Status(StrEnum):
    """In Twilio's words. ``initiated`` appears only in callbacks; ``completed`` means that somebody answered."""

    QUEUED = "queued"
    INITIATED = "initiated"
    RINGING = "ringing"
    IN_PROGRESS = "in-progress"
    COMPLETED = "completed"
    BUSY = "busy"
    NO_ANSWER = "no-answer"
    FAILED = "failed"
    CANCELED = "canceled"


_ENDS = {Status.COMPLETED, Status.BUSY, Status.NO_ANSWER, Status.FAILED, Status.CANCELED}

MOVES: Mapping[Status, frozenset[Status]] = MappingProxyType(
    {
        # Callbacks overtake each other and get lost, so a step may be skipped; none is ever taken back.
        Status.QUEUED: frozenset({Status.INITIATED, Status.RINGING, Status.IN_PROGRESS, *_ENDS}),
        Status.INITIATED: frozenset({Status.RINGING, Status.IN_PROGRESS, *_ENDS}),
        Status.RINGING: frozenset({Status.IN_PROGRESS, *_ENDS}),
        Status.IN_PROGRESS: frozenset({Status.COMPLETED, Status.FAILED}),
        Status.COMPLETED: frozenset(),
        Status.BUSY: frozenset(),
        Status.NO_ANSWER: frozenset(),
        Status.FAILED: frozenset(),
        Status.CANCELED: frozenset(),
    }
)

TERMINAL = frozenset(status for status, moves in MOVES.items() if not moves)

UNANSWERED = frozenset({Status.QUEUED, Status.INITIATED, Status.RINGING})
"""From these an outbound call, unlike an attempt, may go back to ``queued``: for another attempt."""


def may_move(old: str, new: str) -> bool:
    """Whether a call may go from ``old`` to ``new``. Staying is not a move; an unknown status raises ``ValueError``."""
    return Status(new) in MOVES[Status(old)]
