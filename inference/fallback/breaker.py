"""Whether an engine is worth asking: a circuit breaker that is told the time. Pure."""

from __future__ import annotations

from collections import deque
from enum import Enum


class State(Enum):
    CLOSED = "healthy"
    OPEN = "left alone"
    PROBING = "tried again"


class Breaker:
    """
    Opens after ``failures`` in a row, or once ``share`` of the last ``window`` requests failed.

    ``retry_after`` seconds later one request is let through: it closes the breaker, or opens it for as long again.
    A probe that never tells how it went makes room for another one after the same time.

    ``admit`` deals each request a ticket, with which its outcome is told. What was asked before the last change of
    state says nothing about the engine of now: such tickets are void.
    """

    def __init__(self, *, failures: int = 3, share: float = 0.5, window: int = 20, retry_after: float = 10.0) -> None:
        if failures < 1 or window < 1 or not 0 < share <= 1 or retry_after < 0:
            raise ValueError("a breaker takes failures >= 1, window >= 1, 0 < share <= 1 and retry_after >= 0")
        self._failures = failures
        self._share = share
        self._retry_after = retry_after
        self._row = 0
        self._outcomes: deque[bool] = deque(maxlen=window)
        self.state = State.CLOSED
        self.ticket = 0
        """The one that is valid now."""
        self.retry_at = 0.0

    @property
    def closed(self) -> bool:
        return self.state is State.CLOSED

    def admit(self, now: float) -> int | None:
        """A ticket for a request that begins now; None if the engine is to be left alone."""
        if not self.closed:
            if now < self.retry_at:
                return None
            self._change(State.PROBING, now)
        return self.ticket

    def succeeded(self, ticket: int, now: float) -> None:
        if ticket != self.ticket:
            return
        self._row = 0
        self._outcomes.append(True)
        if not self.closed:
            self._change(State.CLOSED, now)

    def failed(self, ticket: int, now: float) -> None:
        if ticket != self.ticket:
            return
        self._row += 1
        self._outcomes.append(False)
        full = len(self._outcomes) == self._outcomes.maxlen
        many = full and self._outcomes.count(False) >= self._share * len(self._outcomes)
        if not self.closed or self._row >= self._failures or many:
            self._change(State.OPEN, now)

    def _change(self, state: State, now: float) -> None:
        self.state = state
        self.ticket += 1
        self.retry_at = now + self._retry_after
        self._row = 0
        self._outcomes.clear()
