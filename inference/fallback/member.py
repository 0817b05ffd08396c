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
from inference.interfaces import Engine
from inference.types import ContextTooLarge, EngineError, EngineFull, EngineTimeout

logger = logging.getLogger(__name__)

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

    @property
    def healthy(self) -> bool:
        return self.started and self.breaker.closed

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
        is_refusal = error.permanent and self.kind != "llm"
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
        self.breaker.report_failure(ticket, loop_time())
        self._log_change(before)

    def _log_change(self, before: BreakerState) -> None:
        if self.breaker.state is before:
            return
        match self.breaker.state:
            case BreakerState.OPEN:
                seconds = self.breaker.retry_at - loop_time()
                logger.error("Not using the %s for %g s: it failed too often", self.name, seconds)
            case BreakerState.PROBING:
                logger.info("Trying the %s again", self.name)
            case BreakerState.CLOSED:
                logger.info("Using the %s again: it works", self.name)


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
