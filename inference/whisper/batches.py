"""
Decides which utterances the model recognises next, and together. Pure: it gets the time as an argument.

A pass cannot be interrupted, and all rows of a batch have the same shape. A caller waits for an answer; a partial
transcript is merely useful.
"""

from __future__ import annotations

from collections.abc import Hashable
from enum import IntEnum
from typing import Generic, Protocol, TypeVar

from inference.types import EngineFull


class Urgency(IntEnum):
    ANSWER = 0
    """A caller waits for it."""
    PARTIAL = 1
    """It is useful if it comes soon."""


class Waiting(Protocol):
    """A request that waits here. Both properties may change while it waits."""

    @property
    def urgency(self) -> Urgency: ...

    @property
    def shape(self) -> Hashable:
        """The value that all rows of a batch must share."""


R = TypeVar("R", bound=Waiting)


class Batches(Generic[R]):
    """
    Requests in the order in which they came; ``take`` picks the next batch once the model is free.

    Answers go first. The one that has waited longest decides the shape, and others of that shape join it. Until it has
    waited for ``gather`` seconds the batch may still grow, so that calls that end a sentence at the same moment share
    one pass. Partials are taken only when no answer waits, and only a few at a time, so that an answer that comes
    meanwhile does not wait long.
    """

    def __init__(self, *, max_rows: int, max_partial_rows: int, gather: float, max_waiting: int) -> None:
        self._max_rows = {Urgency.ANSWER: max_rows, Urgency.PARTIAL: max_partial_rows}
        self._gather = gather
        self._max_waiting = max_waiting
        """For each urgency."""
        self._asked_at: dict[R, float] = {}
        """The time at which each waiting request came, the oldest first."""

    def __len__(self) -> int:
        return len(self._asked_at)

    def add(self, request: R, *, now: float) -> None:
        """Raise ``EngineFull`` if ``max_waiting`` requests of this urgency wait already."""
        self.check(request.urgency)
        self._asked_at[request] = now

    def check(self, urgency: Urgency) -> None:
        """Raise ``EngineFull`` if no further request of this urgency may wait."""
        if sum(request.urgency is urgency for request in self._asked_at) >= self._max_waiting:
            raise EngineFull(f"the recogniser is behind: {self._max_waiting} utterances wait already (`max_waiting`)")

    def put_back(self, request: R, *, asked_at: float) -> None:
        """Let a request that was taken wait once more, at its old position."""
        self._asked_at[request] = asked_at
        self._asked_at = dict(sorted(self._asked_at.items(), key=lambda item: item[1]))

    def discard(self, request: R) -> None:
        self._asked_at.pop(request, None)

    def clear(self) -> list[R]:
        """Remove and return all requests."""
        waiting = list(self._asked_at)
        self._asked_at.clear()
        return waiting

    def take(self, *, now: float, partials: bool = True) -> list[R]:
        """
        Remove and return the batch that should begin now; empty if none waits, or if it may still grow.

        ``partials``: whether it may be one of partials.
        """
        urgency = min((request.urgency for request in self._asked_at), default=Urgency.PARTIAL)
        if urgency is Urgency.PARTIAL and not partials:
            return []
        waiting = [request for request in self._asked_at if request.urgency is urgency]
        rows = [request for request in waiting if request.shape == waiting[0].shape][: self._max_rows[urgency]]
        if urgency is Urgency.ANSWER and len(rows) < self._max_rows[urgency]:
            due = self.due()
            if due is not None and now < due:
                return []
        for request in rows:
            del self._asked_at[request]
        return rows

    def due(self, *, partials: bool = True) -> float | None:
        """The time by which ``take`` returns a batch; None if nothing waits that it may return."""
        answers = [asked_at for request, asked_at in self._asked_at.items() if request.urgency is Urgency.ANSWER]
        if answers:
            return answers[0] + self._gather
        return next(iter(self._asked_at.values()), None) if partials else None
