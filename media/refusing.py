"""Refuses new calls while the engines of this process are full or an account is used up, and finds out when it ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from django.db import Error as DatabaseError

from calls.services import Refusal
from inference.backends import Engines
from inference.checking import has_quota
from inference.health import health_of
from media.background import BackgroundTasks

logger = logging.getLogger(__name__)

TRY_QUOTA = 60.0
"""Seconds between two trials of an account that is used up. Each costs one utterance at most, and no caller."""
HOLD_AGAIN = 10.0
"""Seconds after which the dialler is held again: an operator may have let it go, or the database was unavailable."""


class Refusing:
    """
    Watches ``engines.availability``: while it refuses calls, dialling is held, and an account that is used up is tried.

    ``hold`` and ``release`` pause the dialler, which may run in another process. They are for this process alone: the
    pauses of others go on. Calls that are live go on, too.
    """

    def __init__(
        self,
        engines: Engines,
        *,
        tasks: BackgroundTasks,
        hold: Callable[[str, float], Awaitable[None]],
        release: Callable[[], Awaitable[None]],
    ) -> None:
        self._engines = engines
        self._tasks = tasks
        self._hold = hold
        self._release = release
        self._loop: asyncio.AbstractEventLoop | None = None
        """The loop of the process, once it has begun: other threads ask what time it has."""
        self._watching: asyncio.Task[None] | None = None

    def begin(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._engines.availability.on_refusal = self._watch

    def refusal(self) -> Refusal | None:
        """Why a new call must be refused now. Any thread may ask."""
        refusal = self._engines.availability.refusal(self._now())
        return None if refusal is None else Refusal(refusal.why, is_busy=refusal.until is not None)

    def refuses(self, *, is_busy: bool) -> bool:
        """Whether calls are refused because an engine is full, or else because an account is used up."""
        return (refusal := self.refusal()) is not None and refusal.is_busy is is_busy

    def details(self) -> dict[str, Any]:
        """For ``/readyz``: why calls are refused, and the state of each engine of a fallback. Any thread may ask."""
        refusal, now = self.refusal(), self._now()
        engines = {
            alias: [{"name": each.name, "state": each.state, "retry_in": round(each.retry_in, 1)} for each in healths]
            for alias in ("stt", "llm", "tts")
            if (healths := health_of(getattr(self._engines, alias), now=now))
        }
        return {"refuses_calls": refusal.why if refusal is not None else "", "engines": engines}

    def _now(self) -> float:
        return self._loop.time() if self._loop is not None else 0.0

    def _watch(self) -> None:
        if self._watching is None or self._watching.done():
            self._watching = self._tasks.start(self._refuse())

    async def _refuse(self) -> None:
        """Hold the dialler until calls are taken again."""
        availability = self._engines.availability
        # Once more if an engine refuses during the release, which would otherwise be noticed by nobody.
        while availability.refusal(self._now()) is not None:
            await self._hold_until_it_is_over()
            await self._release_dialler()
        logger.info("New calls are taken again")

    async def _hold_until_it_is_over(self) -> None:
        availability = self._engines.availability
        was_busy: bool | None = None
        while (refusal := availability.refusal(self._now())) is not None:
            is_busy = refusal.until is not None
            if is_busy is not was_busy:
                what = "an engine is full" if is_busy else "an account is used up"
                logger.error("New calls are refused and none is dialled, because %s: %s", what, refusal.why)
                was_busy = is_busy
            until = self._now() + TRY_QUOTA if refusal.until is None else refusal.until
            # A trial takes a while, so that an account is held for longer than until its next one.
            await self._hold_dialler(refusal.why, until, and_then=0.0 if is_busy else TRY_QUOTA)
            if not is_busy and await has_quota(self._engines):
                availability.quota_is_back()

    async def _hold_dialler(self, why: str, until: float, *, and_then: float) -> None:
        """Hold it for so many seconds longer than ``until``, in the loop's time. Returns at ``until``."""
        while True:
            left = max(0.0, until - self._now())
            with suppress(DatabaseError):  # dialling needs the database as well
                await self._hold(why, left + and_then)
            await asyncio.sleep(min(left, HOLD_AGAIN))
            if self._now() >= until:
                return

    async def _release_dialler(self) -> None:
        with suppress(DatabaseError):  # then the pause ends by itself
            await self._release()
