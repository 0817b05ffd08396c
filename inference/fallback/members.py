"""
Several engines as one: the first healthy one serves, and the next one takes over where it does not deliver.

    {"BACKEND": "inference.engines.fallback.FallbackTextToSpeech",
     "OPTIONS": {"engines": [{"BACKEND": "...CsmTextToSpeech", "OPTIONS": {...}, "DEADLINE": 0.8},
                             {"BACKEND": "...EspeakTextToSpeech", "VOICES": {"ada": "en-gb"}}]}}

A request has ``deadline`` seconds (``DEADLINE`` for one engine) until its first output; then the next engine gets it
whole, and the first is cancelled at its source. An engine that fails again and again is left alone for
``retry_after`` seconds (``breaker.py``); one whose ``start()`` failed is started again as often, and is not asked
before. If all are left alone they are asked nevertheless, the one that is due first before the others.

A full engine, a context that is too large and a voice that is unknown say nothing of an engine's health.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, TypeVar

from inference.backends import make_engine
from inference.fallback.breaker import Breaker, State
from inference.types import (
    ContextTooLarge,
    Description,
    EngineError,
    EngineFull,
    EngineLoading,
    EngineTimeout,
)

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

MAX_KEPT = 30.0
"""Seconds of an utterance that are kept for the next engine: as much as Whisper hears at once, 1 MB at 16 kHz."""
CLOSE_TIMEOUT = 5.0
"""For a voice to be closed: nothing waits for one that hangs."""


@dataclass(slots=True)
class Counts:
    """What became of the requests to one engine; skipped is what went past it, as it was ill, away or full."""

    served: int = 0
    failed: int = 0
    timed_out: int = 0
    skipped: int = 0


@dataclass(eq=False)
class Member:
    """One of the engines, and what is known of its health."""

    kind: str
    name: str
    engine: Any
    deadline: float
    voices: Mapping[str, str]
    breaker: Breaker
    counts: Counts = field(default_factory=Counts)
    started: bool = False
    start_error: EngineError | None = None
    tried: asyncio.Event = field(default_factory=asyncio.Event)
    """Its start has succeeded, failed for the first time, or been called off."""
    starter: asyncio.Task[None] | None = None

    @property
    def healthy(self) -> bool:
        return self.started and self.breaker.closed

    def trial(self, ticket: int, excused: Callable[[], bool] = lambda: False) -> Trial:
        return Trial(self, ticket, excused)

    def open(self, ticket: int, **options: Any) -> Any:
        try:
            return self.engine.open(**options)
        except EngineError as error:
            self.failed(ticket, error)
            raise

    def admit(self) -> int | None:
        return self._tell(self.breaker.admit)

    def served(self, ticket: int) -> None:
        self.counts.served += 1
        self._tell(self.breaker.succeeded, ticket)

    def failed(self, ticket: int, error: EngineError) -> None:
        # What a language model refuses for good is its key or its name, and others a voice that was asked for.
        refused = error.permanent and self.kind != "llm"
        if refused or isinstance(error, EngineFull | ContextTooLarge):
            logger.info("The %s cannot take this one: %s", self.name, error)
            self.counts.skipped += 1
            return
        logger.warning("The %s does not deliver: %s", self.name, error)
        if isinstance(error, EngineTimeout):
            self.counts.timed_out += 1
        else:
            self.counts.failed += 1
        self._tell(self.breaker.failed, ticket)

    def _tell(self, tell: Callable[..., Result], *ticket: int) -> Result:
        before, answer = self.breaker.state, tell(*ticket, now())
        if (state := self.breaker.state) is not before:
            level = logging.ERROR if state is State.OPEN else logging.INFO
            logger.log(level, "The %s is %s", self.name, state.value)
        return answer


class Trial:
    """
    One request to one engine, whose outcome goes to its health.

    Whatever an engine raises comes out as ``EngineError``. Who stops listening before the first output tells
    nothing; ``excused`` says whether an error was somebody else's.
    """

    def __init__(self, member: Member, ticket: int, excused: Callable[[], bool]) -> None:
        self._member = member
        self._ticket = ticket
        self._excused = excused
        self.produced = False

    def __enter__(self) -> Trial:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not isinstance(error, Exception):
            if self.produced:
                self._member.served(self._ticket)
        elif isinstance(error, EngineError):
            if not self._excused():
                self._member.failed(self._ticket, error)
        elif not self._excused():
            logger.error("The %s met something unknown", self._member.name, exc_info=error)
            failure = EngineError(f"the {self._member.name} failed: {error!r}")
            self._member.failed(self._ticket, failure)
            raise failure from error


class FallbackEngine:
    """What the three have in common: members, their health, their start."""

    kind: str

    def __init__(
        self,
        *,
        engines: Sequence[Mapping[str, Any]],
        deadline: float,
        failures: int = 3,
        share: float = 0.5,
        window: int = 20,
        retry_after: float = 10.0,
        start_patience: float = 10.0,
    ) -> None:
        try:
            breakers = [
                Breaker(failures=failures, share=share, window=window, retry_after=retry_after) for _ in engines
            ]
        except ValueError as error:
            raise EngineError(f"the fallback for {self.kind}: {error}", permanent=True) from error
        self._members = [
            self._make(index, entry, deadline, breaker)
            for index, (entry, breaker) in enumerate(zip(engines, breakers, strict=True))
        ]
        if not self._members:
            raise EngineError(f"the fallback for {self.kind} needs at least one engine in OPTIONS", permanent=True)
        self._retry_after = retry_after
        self._start_patience = start_patience
        self._chores: set[asyncio.Task[None]] = set()
        self._facts: dict[str, Any] = {}

    def _make(self, index: int, entry: Mapping[str, Any], deadline: float, breaker: Breaker) -> Member:
        place = f"{self.kind}, engines[{index}]"
        known = {"BACKEND", "OPTIONS", "DEADLINE", *(("VOICES",) if self.kind == "tts" else ())}
        if not isinstance(entry, Mapping) or not known.issuperset(entry):
            raise EngineError(f"ENGINES[{place!r}] takes {', '.join(sorted(known))}, not {entry!r}", permanent=True)
        engine = make_engine(place, entry)
        name = f"{self.kind} engine {index + 1} ({type(engine).__name__})"
        deadline = float(entry.get("DEADLINE", deadline))
        return Member(self.kind, name, engine, deadline, entry.get("VOICES", {}), breaker)

    @property
    def may_speculate(self) -> bool:
        """Whether the one may that would be asked now."""
        try:
            return bool(self._preferred.engine.may_speculate)
        except EngineError:  # it does not know yet
            return False

    @property
    def counts(self) -> dict[str, Counts]:
        """By engine, in order of preference."""
        return {member.name: member.counts for member in self._members}

    def describe(self) -> Description:
        """All of them in words; memory of those on the first one's device, places of the first one."""
        first, *others = [member.engine.describe() for member in self._members]
        weights = [first.weights, *(f"{other.weights} (on {other.device})" for other in others)]
        memory_bytes = sum(each.memory_bytes for each in (first, *others) if each.device == first.device)
        return Description("; then ".join(weights), memory_bytes, first.device, first.capacity)

    async def start(self) -> None:
        """
        Start all of them; the others go on in the background once one has started and ``start_patience`` is over.

        Raises ``EngineError`` if none starts.
        """
        for member in self._members:
            if member.starter is None:
                member.tried.clear()
                member.starter = asyncio.create_task(self._keep_starting(member))
        waits = [asyncio.create_task(member.tried.wait()) for member in self._members]
        try:
            await asyncio.wait(waits, timeout=self._start_patience)
            while not self._has_started and (trying := [wait for wait in waits if not wait.done()]):
                await asyncio.wait(trying, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if self._has_started:
            return
        errors = [member.start_error for member in self._members if member.start_error is not None]
        await self.close()
        reasons = "; ".join(map(str, errors)) or "it was closed meanwhile"
        permanent = bool(errors) and all(error.permanent for error in errors)
        raise EngineError(f"no {self.kind} engine starts: {reasons}", permanent=permanent)

    async def close(self) -> None:
        tasks = [member.starter for member in self._members if member.starter is not None]
        tasks += self._chores
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for member in self._members:
            member.starter, member.started, member.start_error = None, False, None
        closing = (member.engine.close() for member in self._members)
        for member, error in zip(self._members, await asyncio.gather(*closing, return_exceptions=True), strict=True):
            if isinstance(error, BaseException):
                logger.error("The %s could not be closed: %s", member.name, error)

    def _fact(self, name: str) -> Any:
        """An attribute of the first engine that knows it: some do not before their start. Once started it stays."""
        if name in self._facts:
            return self._facts[name]
        failure: EngineError | None = None
        for member in self._members:
            try:
                fact = getattr(member.engine, name)
            except EngineError as error:
                failure = failure or error
                continue
            if self._has_started:
                self._facts[name] = fact
            return fact
        assert failure is not None
        raise failure

    @property
    def _has_started(self) -> bool:
        return any(member.started for member in self._members)

    @property
    def _preferred(self) -> Member:
        """Who would be asked now."""
        return next((member for member in self._members if member.healthy), self._members[0])

    async def _keep_starting(self, member: Member) -> None:
        """Try to start it until it has."""
        try:
            while not member.started:
                try:
                    await member.engine.start()
                except Exception as error:
                    failure = error if isinstance(error, EngineError) else EngineError(repr(error))
                    if str(failure) != str(member.start_error):
                        logger.error(
                            "The %s does not start, and is tried again: %s",
                            member.name,
                            failure,
                            exc_info=failure is not error,
                        )
                    member.start_error = failure
                    member.tried.set()
                    await asyncio.sleep(self._retry_after)
                else:
                    if member.start_error is not None:
                        logger.info("The %s has started after all", member.name)
                    member.started, member.start_error = True, None
        finally:
            member.tried.set()

    def _candidates(self, members: Sequence[Member]) -> Iterator[tuple[Member, int]]:
        """Whom to ask, one after the other, each with its ticket. Ends when nobody is left who is worth it."""
        asked = False
        for member in members:
            ticket = member.admit() if member.started else None
            if ticket is None:
                member.counts.skipped += 1
            else:
                asked = True
                yield member, ticket
        if not asked:
            # An answer that may not come is better than none for certain.
            left_alone = [member for member in members if member.started]
            for member in sorted(left_alone, key=lambda each: each.breaker.retry_at):
                yield member, member.breaker.ticket

    def _nobody(self, members: Sequence[Member]) -> EngineError:
        errors = "; ".join(str(member.start_error) for member in members if member.start_error is not None)
        return EngineLoading(f"no {self.kind} engine has started{': ' if errors else ''}{errors}")

    def _chore(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)


async def answer_by(due: float, answer: Awaitable[Result], member: Member) -> Result:
    try:
        async with asyncio.timeout_at(due):
            return await answer
    except TimeoutError as error:
        raise EngineTimeout(f"the {member.name} gave nothing in the time that it had") from error


def now() -> float:
    return asyncio.get_running_loop().time()
