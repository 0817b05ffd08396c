"""A circuit breaker, which says whether an engine is worth asking. Pure: its callers pass the time."""

from __future__ import annotations

from collections import deque
from enum import Enum


class BreakerState(Enum):
    CLOSED = "closed"
    """The engine works, and is asked."""
    OPEN = "open"
    """The engine has failed too often, and is not asked."""
    PROBING = "probing"
    """One request is on its way to find out whether the engine works again."""


class Breaker:
    """
    Opens after ``failures`` consecutive failures, or once ``share`` of the last ``window`` requests have failed.

    ``retry_after`` seconds later one request is let through: its success closes the breaker, its failure opens it for
    as long again. If its outcome is never reported, another request is let through after the same time.

    ``admit`` gives each request a ticket, with which its outcome is reported. An outcome from before the last change of
    state says nothing about the engine as it is now, so its ticket is no longer valid.
    """

    def __init__(self, *, failures: int = 3, share: float = 0.5, window: int = 20, retry_after: float = 10.0) -> None:
        if failures < 1 or window < 1 or not 0 < share <= 1 or retry_after < 0:
            raise ValueError("a breaker needs failures >= 1, window >= 1, 0 < share <= 1 and retry_after >= 0")
        self.state = BreakerState.CLOSED
        self.ticket = 0
        """The ticket that is valid now."""
        self.retry_at = 0.0
        """The time from which a request is let through again, while the breaker is not closed."""
        self._failures = failures
        self._share = share
        self._retry_after = retry_after
        self._consecutive_failures = 0
        self._outcomes: deque[bool] = deque(maxlen=window)
        """The outcomes of the last requests since the state changed; true is a success."""

    @property
    def closed(self) -> bool:
        return self.state is BreakerState.CLOSED

    def admit(self, now: float) -> int | None:
        """Return a ticket for a request that begins now, or None if the engine must not be asked."""
        if not self.closed:
            if now < self.retry_at:
                return None
            self._change_state(BreakerState.PROBING, now)
        return self.ticket

    def report_success(self, ticket: int, now: float) -> None:
        if ticket != self.ticket:
            return
        self._consecutive_failures = 0
        self._outcomes.append(True)
        if not self.closed:
            self._change_state(BreakerState.CLOSED, now)

    def report_failure(self, ticket: int, now: float) -> None:
        if ticket != self.ticket:
            return
        self._consecutive_failures += 1
        self._outcomes.append(False)
        is_full = len(self._outcomes) == self._outcomes.maxlen
        too_many = is_full and self._outcomes.count(False) >= self._share * len(self._outcomes)
        if not self.closed or self._consecutive_failures >= self._failures or too_many:
            self._change_state(BreakerState.OPEN, now)

    def trip(self, ticket: int, now: float, *, seconds: float) -> None:
        """Open at once, for at least so many seconds: a retry before would fail for certain."""
        if ticket == self.ticket:
            self._change_state(BreakerState.OPEN, now, max(seconds, self._retry_after))

    def _change_state(self, state: BreakerState, now: float, seconds: float | None = None) -> None:
        self.state = state
        self.ticket += 1
        self.retry_at = now + (self._retry_after if seconds is None else seconds)
        self._consecutive_failures = 0
        self._outcomes.clear()
