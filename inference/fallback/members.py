"""
Makes several engines work as one: the first healthy one serves, and the next one takes over if it fails.

    {"BACKEND": "inference.engines.fallback.FallbackTextToSpeech",
     "OPTIONS": {"engines": [{"BACKEND": "...CsmTextToSpeech", "OPTIONS": {...}, "DEADLINE": 0.8},
                             {"BACKEND": "...EspeakTextToSpeech", "VOICES": {"ada": "en-gb"}}]}}

A request has ``deadline`` seconds (``DEADLINE`` for a single engine) until its first output. Then the next engine gets
the whole request, and the first one is cancelled at its source. An engine that fails repeatedly is not asked for
``retry_after`` seconds (``breaker.py``). An engine whose ``start()`` failed is started again after the same time, less
and less often if the error is permanent, and is not asked before it has started. If no engine may be asked, all of them
are, beginning with the one that is due first. ``NAME`` is what an engine is called in the log; without it, that is the
name of its class.

A full engine, a context that is too large and an unknown voice say nothing about the health of an engine. One whose
account is used up is not asked for a minute.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Generic

from inference.backends import make_engine
from inference.fallback.breaker import Breaker
from inference.fallback.member import Counts, EngineT, Member
from inference.health import EngineHealth
from inference.types import Description, EngineError, EngineLoading, Languages, has_language, union_of_languages

logger = logging.getLogger(__name__)

OFTEN = 2
"""So many permanent errors of a start are answered as others are: an operator may be about to mend it."""
SHORTEST_RETRY = 0.05
"""Seconds between two attempts at least: with ``retry_after=0`` a start that fails at once would take a whole core."""
LONGEST_RETRY = 300.0
"""Seconds between two attempts to start an engine whose errors are permanent, unless ``retry_after`` is longer."""


class FallbackEngine(Generic[EngineT]):
    """The part that the three fallbacks share: their engines, how they start, and which of them is asked."""

    kind: ClassVar[str]

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
        """
        Make the engines that the options describe.

        ``failures``, ``share``, ``window`` and ``retry_after`` are those of ``Breaker``. ``start_patience`` is how many
        seconds ``start`` waits for the other engines once one has started.
        """
        if not engines:
            raise EngineError(f"the fallback for {self.kind} needs at least one engine in OPTIONS", permanent=True)
        self.members: list[Member[EngineT]] = []
        """The engines in order of preference."""
        for index, entry in enumerate(engines):
            try:
                breaker = Breaker(failures=failures, share=share, window=window, retry_after=retry_after)
            except ValueError as error:
                raise EngineError(f"the fallback for {self.kind}: {error}", permanent=True) from error
            self.members.append(_make_member(self.kind, index, entry, deadline, breaker))
        self.retry_after = retry_after
        self._start_patience = start_patience
        self._background_tasks: set[asyncio.Task[None]] = set()
        self._facts: dict[str, int] = {}
        """Attributes of the engines that were asked for after the start. From then on they stay the same."""

    @property
    def may_speculate(self) -> bool:
        """Whether the engine may that would be asked now; false while it does not know."""
        try:
            return bool(self.first_choice.engine.may_speculate)
        except EngineError:
            return False

    @property
    def counts(self) -> dict[str, Counts]:
        """Counts of the requests by their outcome, for the name of each engine, in order of preference."""
        return {member.name: member.counts for member in self.members}

    def health(self, now: float) -> tuple[EngineHealth, ...]:
        """How each engine is doing, in order of preference."""
        return tuple(member.health(now) for member in self.members)

    def describe(self) -> Description:
        """The weights of all engines, the memory of those on the first one's device, and the capacity of the first."""
        first, *others = [member.engine.describe() for member in self.members]
        weights = [first.weights, *(f"{other.weights} (on {other.device})" for other in others)]
        memory_bytes = sum(each.memory_bytes for each in (first, *others) if each.device == first.device)
        return Description("; then ".join(weights), memory_bytes, first.device, first.capacity)

    @property
    def languages(self) -> Languages:
        """The languages of all engines together; None while one of them does not know its own."""
        return union_of_languages(map(_languages_of, self.members))

    def members_with(self, language: str) -> list[Member[EngineT]]:
        """Return the engines that have a language, or do not know whether they do; all engines if there are none."""
        those = [each for each in self.members if has_language(_languages_of(each), language) is not False]
        return those or self.members

    @property
    def any_started(self) -> bool:
        return any(member.started for member in self.members)

    @property
    def first_choice(self) -> Member[EngineT]:
        """The engine that would be asked now."""
        return next((member for member in self.members if member.healthy), self.members[0])

    def fact(self, name: str) -> int:
        """
        An attribute of the first engine that knows it; some engines know theirs only once they have started.

        When an engine has started, the answer is kept: it must not change during a call.
        """
        if name in self._facts:
            return self._facts[name]
        failure: EngineError | None = None
        for member in self.members:
            try:
                fact = int(getattr(member.engine, name))
            except EngineError as error:
                failure = failure or error
                continue
            if self.any_started:
                self._facts[name] = fact
            return fact
        assert failure is not None
        raise failure

    # -- which engine is asked --------------------------------------------------------------------------

    def candidates(self, members: Sequence[Member[EngineT]]) -> Iterator[tuple[Member[EngineT], int]]:
        """Yield the engines to ask one after the other, each with its ticket. Ends when no other is worth asking."""
        asked = False
        for member in members:
            ticket = member.admit() if member.started else None
            if ticket is None:
                member.counts.skipped += 1
            else:
                asked = True
                yield member, ticket
        if not asked:
            # To ask an engine that may fail is better than to fail for certain.
            started = [member for member in members if member.started]
            for member in sorted(started, key=lambda each: each.breaker.retry_at):
                yield member, member.breaker.ticket

    def none_started_error(self, members: Sequence[Member[EngineT]]) -> EngineError:
        errors = "; ".join(str(member.start_error) for member in members if member.start_error is not None)
        return EngineLoading(f"no {self.kind} engine has started{': ' if errors else ''}{errors}")

    # -- start and end ----------------------------------------------------------------------------------

    async def start(self) -> None:
        """
        Start all engines. Returns when one has started, and all others have, or ``start_patience`` is over.

        The others are started in the background. Raises ``EngineError`` if none starts.
        """
        for member in self.members:
            if member.starter is None:
                member.start_tried.clear()
                member.starter = asyncio.create_task(self._start_until_it_has(member))
        waits = [asyncio.create_task(member.start_tried.wait()) for member in self.members]
        try:
            await asyncio.wait(waits, timeout=self._start_patience)
            while not self.any_started and (untried := [wait for wait in waits if not wait.done()]):
                await asyncio.wait(untried, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if self.any_started:
            return
        errors = [member.start_error for member in self.members if member.start_error is not None]
        await self.close()
        reasons = "; ".join(map(str, errors)) or "it was closed meanwhile"
        permanent = bool(errors) and all(error.permanent for error in errors)
        raise EngineError(f"no {self.kind} engine starts: {reasons}", permanent=permanent)

    async def close(self) -> None:
        tasks = [member.starter for member in self.members if member.starter is not None]
        tasks += self._background_tasks
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for member in self.members:
            member.starter, member.started, member.start_error = None, False, None
        closing = (member.engine.close() for member in self.members)
        for member, error in zip(self.members, await asyncio.gather(*closing, return_exceptions=True), strict=True):
            if isinstance(error, BaseException):
                logger.error("Closing the %s failed: %s", member.name, error)

    async def _start_until_it_has(self, member: Member[EngineT]) -> None:
        """
        Try again every ``retry_after`` seconds.

        After a few errors that will not pass by themselves, try less and less often: a start may take a core for
        seconds, which the calls of the other engines need.
        """
        hopeless = 0
        pause = usual = max(self.retry_after, SHORTEST_RETRY)
        try:
            while not member.started:
                try:
                    await member.engine.start()
                except Exception as error:
                    failure = error if isinstance(error, EngineError) else EngineError(repr(error))
                    if str(failure) != str(member.start_error):
                        logger.error(
                            "The %s does not start, trying again every %g s%s: %s",
                            member.name,
                            self.retry_after,
                            ", later less often" if failure.permanent else "",
                            failure,
                            exc_info=failure is not error,
                        )
                    member.start_error = failure
                    member.start_tried.set()
                    hopeless = hopeless + 1 if failure.permanent else 0
                    pause = min(2 * pause, LONGEST_RETRY) if hopeless > OFTEN else usual
                    await asyncio.sleep(max(pause, usual))
                else:
                    if member.start_error is not None:
                        logger.info("The %s has started", member.name)
                    member.started, member.start_error = True, None
        finally:
            member.start_tried.set()

    def run_in_background(self, work: Coroutine[Any, Any, None]) -> None:
        """Run what no call waits for, such as closing a voice that has failed; ``close`` cancels it."""
        task = asyncio.create_task(work)
        self._background_tasks.add(task)
        task.add_done_callback(self._background_tasks.discard)


def _languages_of(member: Member[Any]) -> Languages:
    languages: Languages = getattr(member.engine, "languages", None)  # a language model has none
    return languages


def _make_member(kind: str, index: int, entry: Mapping[str, Any], deadline: float, breaker: Breaker) -> Member[EngineT]:
    location = f"{kind}, engines[{index}]"
    known = {"BACKEND", "OPTIONS", "NAME", "DEADLINE", *(("VOICES",) if kind == "tts" else ())}
    if not isinstance(entry, Mapping) or not known.issuperset(entry):
        # Only the names: a value may be an API key.
        given = (
            ", ".join(map(str, entry)) if isinstance(entry, Mapping) else f"a value of the type {type(entry).__name__}"
        )
        raise EngineError(f"ENGINES[{location!r}] takes {', '.join(sorted(known))}, not {given}", permanent=True)
    engine = make_engine(location, entry)
    name = f"{kind} engine {index + 1} ({entry.get('NAME') or type(engine).__name__})"
    return Member(kind, name, engine, float(entry.get("DEADLINE", deadline)), entry.get("VOICES", {}), breaker)
