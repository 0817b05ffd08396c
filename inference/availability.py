"""Whether another call should be taken, by the errors that calls have met. Pure: its callers pass the time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from inference.types import EngineError, EngineFull, QuotaExhausted

SHORTEST, LONGEST = 1.0, 300.0
"""Seconds for which no call is taken after an engine was full: a limit for what a provider says. Beyond the longest,
the next call finds out."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why no new call should be taken now."""

    why: str
    until: float | None
    """The time from which calls should be taken again. None: when the account has credit again."""


class Availability:
    """
    Notes what the calls of a process meet that concerns the next call.

    An error reaches a call only if no engine of a fallback could serve: then the next call would fare no better.
    """

    def __init__(self) -> None:
        self.on_refusal: Callable[[], None] = lambda: None
        """Called when calls should no longer be taken, or for longer than was known."""
        self._full = ""
        self._full_until = 0.0
        self._no_quota = ""

    def note(self, error: EngineError, now: float) -> None:
        """Take an error of an engine in a call. Only a full engine and an account that is used up count."""
        if isinstance(error, QuotaExhausted):
            self._no_quota = str(error)
        elif isinstance(error, EngineFull):
            self._full = str(error)
            self._full_until = max(self._full_until, now + min(max(error.retry_after, SHORTEST), LONGEST))
        else:
            return
        self.on_refusal()

    def quota_is_back(self) -> None:
        """The account was tried, and has credit again."""
        self._no_quota = ""

    def refusal(self, now: float) -> Refusal | None:
        if self._no_quota:
            return Refusal(self._no_quota, None)
        return Refusal(self._full, self._full_until) if now < self._full_until else None
