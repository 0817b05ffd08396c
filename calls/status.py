"""The moves that a call's status may make, as one table."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class Status(StrEnum):
    """The status in Twilio's words. ``initiated`` occurs in callbacks only; ``completed`` means: it was answered."""

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
        # Callbacks overtake each other and get lost, so a step may be skipped. No step is ever taken back.
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
"""The statuses in which a call has ended."""

UNANSWERED = frozenset({Status.QUEUED, Status.INITIATED, Status.RINGING})
"""The statuses before the answer. An outbound call, unlike an attempt, may return from them to ``queued``: a retry."""


def may_move(old: str, new: str) -> bool:
    """Whether a call may go from ``old`` to ``new``. Staying is not a move; an unknown status raises ``ValueError``."""
    return Status(new) in MOVES[Status(old)]
