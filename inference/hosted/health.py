"""Remembers the last refusal of a service over HTTP, so that calls need not meet it one after the other."""

from __future__ import annotations

import asyncio

from inference.types import EngineError, EngineFull, QuotaExhausted

QUOTA_SECONDS = 30.0
"""Seconds to send no further request after a quota was exhausted. The next one finds out whether credit was added."""


class Health:
    """Notes how requests end. Its methods are called on the loop's thread."""

    def __init__(self) -> None:
        self._error: EngineError | None = None
        """The last refusal, while it is believed to last."""
        self._until = 0.0
        """The time on the loop's clock until which it is."""

    def check(self) -> None:
        """Raise the refusal that still lasts."""
        left = self._until - asyncio.get_running_loop().time()
        if self._error is None or left <= 0:
            return
        if isinstance(self._error, EngineFull):
            raise EngineFull(str(self._error), retry_after=left)
        raise self._error.with_traceback(None)  # it is kept, and would keep the frames of everybody who was refused

    def succeed(self) -> None:
        """A request was answered."""
        self._error = None

    def fail(self, error: EngineError) -> None:
        """A request has failed. Only refusals for the sake of others than this request are remembered."""
        now = asyncio.get_running_loop().time()
        if isinstance(error, EngineFull):
            self._error, self._until = error, now + error.retry_after
        elif isinstance(error, QuotaExhausted):
            self._error, self._until = error, now + QUOTA_SECONDS
