"""Tracks the health and the requests of one engine of a fallback."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Generic, TypeVar

from inference.fallback.breaker import Breaker, BreakerState
from inference.health import EngineHealth
from inference.interfaces import Engine
from inference.types import ContextTooLarge, EngineError, EngineFull, EngineTimeout, QuotaExhausted

logger = logging.getLogger(__name__)

QUOTA_RETRY = 60.0
"""Seconds for which an engine whose account is used up is not asked. The operator has to act, which takes longer."""

EngineT = TypeVar("EngineT", bound=Engine)
Result = TypeVar("Result")


@dataclass(slots=True)
class Counts:
    """Counts of the requests to one engine, by their outcome."""

    served: int = 0
    failed: int = 0
    timed_out: int = 0
    skipped: int = 0
    """Requests that went to another engine because this one was unhealthy, not started, full or unsuitable."""


@dataclass(eq=False)
class Member(Generic[EngineT]):
    """One engine of a fallback."""

    kind: str
    """``stt``, ``llm`` or ``tts``."""
    name: str
    """The name of the engine in the log and in errors."""
    engine: EngineT
    deadline: float
    """Seconds until its first output; each kind of engine says from when."""
    voices: Mapping[str, str]
    """Maps the name of a voice that is asked for to the voice of this engine that stands for it."""
    breaker: Breaker
    counts: Counts = field(default_factory=Counts)
    started: bool = False
    start_error: EngineError | None = None
    """The error of the last attempt to start it; None once it has started."""
    start_tried: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when it has started, has failed to start for the first time, or is no longer being started."""
    starter: asyncio.Task[None] | None = None
    """Tries to start it until it has started."""
    last_error: EngineError | None = None
    """The last error of a request."""

    @property
    def healthy(self) -> bool:
        return self.started and self.breaker.closed

    def health(self, now: float) -> EngineHealth:
        error = self.last_error if self.started else self.start_error
        state, retry_in = "ready", 0.0
        if not self.started:
            state = "not started"
        elif not self.breaker.closed:
            state = "no quota" if isinstance(error, QuotaExhausted) else "failing"
            retry_in = max(0.0, self.breaker.retry_at - now)
        counts = self.counts
        return EngineHealth(
            self.name,
            state,
            retry_in,
            counts.served,
            counts.failed,
            counts.timed_out,
            counts.skipped,
            str(error) if error is not None else "",
        )

    def admit(self) -> int | None:
        """Return a ticket for a request, or None if the engine must not be asked now."""
        before, ticket = self.breaker.state, self.breaker.admit(loop_time())
        self._log_change(before)
        return ticket

    @contextmanager
    def failures_reported(self, ticket: int) -> Iterator[None]:
        """Report an ``EngineError`` of the block as a failure; a success is reported by a trial."""
        try:
            yield
        except EngineError as error:
            self.report_failure(ticket, error)
            raise

    def report_success(self, ticket: int) -> None:
        self.counts.served += 1
        before = self.breaker.state
        self.breaker.report_success(ticket, loop_time())
        self._log_change(before)

    def report_failure(self, ticket: int, error: EngineError) -> None:
        # A language model refuses for good when its key or its name is wrong. Other engines do when they lack the voice
        # that was asked for, which says nothing of their health.
        self.last_error = error
        has_no_quota = isinstance(error, QuotaExhausted)
        is_refusal = error.permanent and self.kind != "llm" and not has_no_quota
        if is_refusal or isinstance(error, EngineFull | ContextTooLarge):
            logger.info("The %s cannot take a request: %s", self.name, error)
            self.counts.skipped += 1
            return
        logger.warning("The %s failed: %s", self.name, error)
        if isinstance(error, EngineTimeout):
            self.counts.timed_out += 1
        else:
            self.counts.failed += 1
        before = self.breaker.state
        if has_no_quota:
            self.breaker.trip(ticket, loop_time(), seconds=QUOTA_RETRY)
        else:
            self.breaker.report_failure(ticket, loop_time())
        self._log_change(before)

    def _log_change(self, before: BreakerState) -> None:
        if self.breaker.state is before:
            return
        match self.breaker.state:
            case BreakerState.OPEN:
                seconds = self.breaker.retry_at - loop_time()
                why = "its account is used up" if isinstance(self.last_error, QuotaExhausted) else "it failed too often"
                logger.error("Not using the %s for %g s: %s", self.name, seconds, why)
            case BreakerState.PROBING:
                logger.info("Trying the %s again", self.name)
            case BreakerState.CLOSED:
                logger.info("Using the %s again: it works", self.name)


def combine(earlier: EngineError | None, later: EngineError) -> EngineError:
    """
    The error that a fallback raises when these two of its engines could not serve.

    If one of them is only full, and the other is so as well or has no quota, the fallback is full until the first of
    them may be asked again. If one has failed in another way, the next call may fare better: its error, the later of
    two, says what went wrong.
    """
    errors = [error for error in (earlier, later) if error is not None]
    full = [error for error in errors if isinstance(error, EngineFull)]
    others = [error for error in errors if not isinstance(error, EngineFull | QuotaExhausted)]
    if others:
        return others[-1]
    return min(full, key=lambda error: error.retry_after) if full else later


class Trial:
    """
    One request to one engine, as a context whose outcome is reported to the engine's health.

    Any error of the engine leaves the context as an ``EngineError``. If the listener stops before the first output,
    nothing is reported. ``is_excused`` says whether the engine is not to blame for an error.
    """

    def __init__(self, member: Member[EngineT], ticket: int, is_excused: Callable[[], bool] = lambda: False) -> None:
        self.produced = False
        """Set by the user of the context when the engine has produced output."""
        self._member = member
        self._ticket = ticket
        self._is_excused = is_excused

    def __enter__(self) -> Trial:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not isinstance(error, Exception):
            if self.produced:
                self._member.report_success(self._ticket)
        elif isinstance(error, EngineError):
            if not self._is_excused():
                self._member.report_failure(self._ticket, error)
        elif not self._is_excused():
            logger.error("Unexpected error in the %s", self._member.name, exc_info=error)
            failure = EngineError(f"unexpected error in the {self._member.name}: {type(error).__name__}: {error}")
            self._member.report_failure(self._ticket, failure)
            raise failure from error


async def answer_by(deadline: float, answer: Awaitable[Result], name: str) -> Result:
    """Await the answer of the engine of this name. Raises ``EngineTimeout`` at ``deadline``, a time of the loop."""
    try:
        async with asyncio.timeout_at(deadline):
            return await answer
    except TimeoutError as error:
        raise EngineTimeout(f"the {name} gave no output within its deadline") from error


def loop_time() -> float:
    return asyncio.get_running_loop().time()
