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
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import aclosing, suppress
from copy import copy
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

from inference.backends import make_engine
from inference.fallback.breaker import Breaker, State
from inference.interfaces import Speech, Transcription
from inference.resampling import Resampler
from inference.types import (
    NO_TOOLS,
    AudioChunk,
    ContextTooLarge,
    Description,
    EngineError,
    EngineFull,
    EngineLoading,
    EngineTimeout,
    Message,
    Pcm,
    TextDelta,
    Tools,
    Transcript,
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
class _Member:
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

    def trial(self, ticket: int, excused: Callable[[], bool] = lambda: False) -> _Trial:
        return _Trial(self, ticket, excused)

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
        before, answer = self.breaker.state, tell(*ticket, _now())
        if (state := self.breaker.state) is not before:
            level = logging.ERROR if state is State.OPEN else logging.INFO
            logger.log(level, "The %s is %s", self.name, state.value)
        return answer


class _Trial:
    """
    One request to one engine, whose outcome goes to its health.

    Whatever an engine raises comes out as ``EngineError``. Who stops listening before the first output tells
    nothing; ``excused`` says whether an error was somebody else's.
    """

    def __init__(self, member: _Member, ticket: int, excused: Callable[[], bool]) -> None:
        self._member = member
        self._ticket = ticket
        self._excused = excused
        self.produced = False

    def __enter__(self) -> _Trial:
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


class _Fallback:
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

    def _make(self, index: int, entry: Mapping[str, Any], deadline: float, breaker: Breaker) -> _Member:
        place = f"{self.kind}, engines[{index}]"
        known = {"BACKEND", "OPTIONS", "DEADLINE", *(("VOICES",) if self.kind == "tts" else ())}
        if not isinstance(entry, Mapping) or not known.issuperset(entry):
            raise EngineError(f"ENGINES[{place!r}] takes {', '.join(sorted(known))}, not {entry!r}", permanent=True)
        engine = make_engine(place, entry)
        name = f"{self.kind} engine {index + 1} ({type(engine).__name__})"
        deadline = float(entry.get("DEADLINE", deadline))
        return _Member(self.kind, name, engine, deadline, entry.get("VOICES", {}), breaker)

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
    def _preferred(self) -> _Member:
        """Who would be asked now."""
        return next((member for member in self._members if member.healthy), self._members[0])

    async def _keep_starting(self, member: _Member) -> None:
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

    def _candidates(self, members: Sequence[_Member]) -> Iterator[tuple[_Member, int]]:
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

    def _nobody(self, members: Sequence[_Member]) -> EngineError:
        errors = "; ".join(str(member.start_error) for member in members if member.start_error is not None)
        return EngineLoading(f"no {self.kind} engine has started{': ' if errors else ''}{errors}")

    def _chore(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)


class FallbackLanguageModel(_Fallback):
    """
    ``deadline`` runs to the first words of a reply, ``stall`` between its pieces.

    Once words are out, another engine could only begin anew: a reply that breaks off then raises, and the
    conversation answers for it. A reply without a word counts as failed. Where tokens are paid for
    (``may_speculate``) no engine is asked on a guess.
    """

    kind = "llm"

    def __init__(self, *, deadline: float = 1.0, stall: float = 2.0, **options: Any) -> None:
        super().__init__(deadline=deadline, **options)
        self._stall = stall

    async def stream(
        self, messages: Sequence[Message], *, speculative: bool = False, tools: Tools = NO_TOOLS
    ) -> AsyncGenerator[TextDelta, None]:
        failure: EngineError | None = None
        willing = self._members
        if speculative:
            if not self.may_speculate:
                raise EngineError("the llm engine that is asked now takes no request on a guess")
            willing = [member for member in willing if not member.started or member.engine.may_speculate]
        for member, ticket in self._candidates(willing):
            begun = False
            try:
                async with aclosing(self._reply(member, ticket, messages, speculative, tools)) as deltas:
                    async for delta in deltas:
                        begun = True
                        yield delta
                return
            except EngineError as error:
                if begun:
                    raise
                failure = error
        raise failure or self._nobody(willing)

    async def warm(self, messages: Sequence[Message], *, tools: Tools = NO_TOOLS) -> None:
        """Warms the one that would be asked now."""
        if self._preferred.healthy:
            await self._preferred.engine.warm(messages, tools=tools)

    async def _reply(
        self, member: _Member, ticket: int, messages: Sequence[Message], speculative: bool, tools: Tools
    ) -> AsyncGenerator[TextDelta, None]:
        held: list[TextDelta] = []  # what says nothing yet
        due = _now() + member.deadline
        with member.trial(ticket) as trial:
            stream = member.engine.stream(messages, speculative=speculative, tools=tools)
            async with aclosing(stream) as deltas:
                while (delta := await _until(due, anext(deltas, None), member)) is not None:
                    held.append(delta)
                    if delta.text.strip() or delta.requests:
                        trial.produced = True
                    if trial.produced:
                        for each in held:
                            yield each
                        held.clear()
                        due = _now() + self._stall
            if not trial.produced:
                raise EngineError(f"the {member.name} gave an empty reply")


class FallbackTextToSpeech(_Fallback):
    """
    ``deadline`` runs to the next sound, whenever an engine owes one.

    When an engine fails in mid-sentence the next one goes on with the next word. That call then stays with it for
    ``retry_after`` seconds. The rate is the first engine's that knows it when they start, and what others say is
    resampled to it. A voice that the others do not have is their default voice; ``VOICES`` of one says which of its
    voices stands for which.
    """

    kind = "tts"

    preferred: FallbackTextToSpeech
    """The first engine and no other: for what is to be said in its voice or not at all."""

    def __init__(self, *, deadline: float = 1.0, **options: Any) -> None:
        super().__init__(deadline=deadline, **options)
        self.preferred = copy(self)
        self.preferred._members = self._members[:1]

    @property
    def rate_hz(self) -> int:
        return int(self._fact("rate_hz"))

    @property
    def hears_caller(self) -> bool:
        return any(member.engine.hears_caller for member in self._members)

    def open(self, *, voice: str = "", language: str = "en") -> _Voice:
        speech = _Voice(self, voice, language)
        speech.open()
        return speech


@dataclass(slots=True)
class _Part:
    """What one voice said of a ``speak()``."""

    member: _Member
    speech: Speech
    samples: int = 0


class _Voice:
    """The speech of one call, in as many voices as it took."""

    def __init__(self, fallback: FallbackTextToSpeech, voice: str, language: str) -> None:
        self._fallback = fallback
        self._members = fallback._members
        self._voice = voice
        self._language = language
        self._open: dict[_Member, Speech] = {}
        self._parts: list[_Part] = []
        self._avoided: dict[_Member, float] = {}

    def open(self) -> None:
        """Prepare the voice that would speak now; raises what a single engine would raise."""
        failure: EngineError | None = None
        for member in (member for member in self._members if member.healthy):
            try:
                self._speech(member, member.breaker.ticket)
                return
            except EngineError as error:
                if error.permanent and member is self._members[0]:
                    raise
                failure = error
        if failure is not None:
            raise failure

    async def speak(self, text: AsyncIterator[str]) -> AsyncGenerator[AudioChunk, None]:
        self._parts = []
        script = _Script(text)
        said = begin = 0
        failure: EngineError | None = None
        try:
            for member, ticket in self._fallback._candidates(sorted(self._members, key=self._is_avoided)):
                try:
                    async with aclosing(self._say(member, ticket, script, begin)) as chunks:
                        async for chunk in chunks:
                            said = chunk.text_end
                            yield chunk
                    return
                except EngineError as error:
                    if script.error is not None:
                        raise script.error from None
                    failure = error
                    self._avoided[member] = _now() + self._fallback._retry_after
                    begin = script.next_word(said)
                    if script.ended and begin == len(script.text):
                        return
            raise failure or self._fallback._nobody(self._members)
        finally:
            await script.close()

    def heard(self, samples: int) -> None:
        for number, part in enumerate(self._parts, start=1):
            heard = samples if number == len(self._parts) else min(samples, part.samples)
            samples -= heard
            if self._open.get(part.member) is part.speech:
                try:
                    part.speech.heard(heard * part.member.engine.rate_hz // self._fallback.rate_hz)
                except EngineError as error:
                    logger.warning("The %s does not take what was heard: %s", part.member.name, error)

    def caller_said(self, text: str, pcm: Pcm, rate_hz: int) -> None:
        for member, speech in self._open.items():
            if member.engine.hears_caller:
                speech.caller_said(text, pcm, rate_hz)

    async def close(self) -> None:
        speeches, self._open = self._open, {}
        await asyncio.gather(*(_close(member, speech) for member, speech in speeches.items()))

    def _is_avoided(self, member: _Member) -> bool:
        return _now() < self._avoided.get(member, 0.0)

    def _speech(self, member: _Member, ticket: int) -> Speech:
        if member not in self._open:
            voice = member.voices.get(self._voice, self._voice)
            try:
                speech = member.open(ticket, voice=voice, language=self._language)
            except EngineError as error:
                if not (error.permanent and voice and member is not self._fallback._members[0]):
                    raise
                speech = member.open(ticket, voice="", language=self._language)
            self._open[member] = speech
        return self._open[member]

    async def _say(self, member: _Member, ticket: int, script: _Script, begin: int) -> AsyncGenerator[AudioChunk, None]:
        speech = self._speech(member, ticket)
        part = _Part(member, speech)
        self._parts.append(part)
        resampler = Resampler(member.engine.rate_hz, self._fallback.rate_hz)
        reader = _Reader(script, begin)
        try:
            with member.trial(ticket, lambda: script.error is not None) as trial:
                async with aclosing(speech.speak(reader)) as chunks:
                    while (chunk := await reader.next_chunk(chunks, member)) is not None:
                        reader.said = max(reader.said, begin + chunk.text_end)
                        pcm = resampler.push(chunk.pcm)
                        part.samples += len(pcm)
                        trial.produced = trial.produced or len(chunk.pcm) > 0
                        yield AudioChunk(pcm, reader.said, chunk.exact)
                if script.error is not None:
                    raise script.error
                if not trial.produced and _sounds(script.text[begin : reader.position]):
                    raise EngineError(f"the {member.name} made no sound")
        except EngineError:
            if script.error is None and self._open.get(member) is speech:
                del self._open[member]
                self._fallback._chore(_close(member, speech))
            raise
        if len(tail := resampler.flush()):
            part.samples += len(tail)
            yield AudioChunk(tail, reader.said)


class _Script:
    """The text of one ``speak()``: read once, a clause at a time as somebody asks for it, and kept for the next."""

    def __init__(self, source: AsyncIterator[str]) -> None:
        self._source = source
        self._reading: asyncio.Task[None] | None = None
        self._ends: list[int] = []
        self.text = ""
        self.ended = False
        self.error: Exception | None = None

    async def clause_from(self, position: int) -> str:
        """What there is from this character to the end of its clause, which may have to be waited for; or ``""``."""
        while position >= len(self.text) and not self.ended:
            # Whoever stops waiting leaves the reading to the one who takes over.
            self._reading = self._reading or asyncio.create_task(self._read())
            await asyncio.shield(self._reading)
        if self.error is not None:
            raise self.error
        return self.text[position : self._clause_end(position)]

    def next_word(self, position: int) -> int:
        """Where to go on if it was said up to this character: behind the word that was broken off."""
        if position == 0 or position in self._ends:
            return position
        end = self._clause_end(position)
        while position < end and not (self.text[position - 1].isspace() or self.text[position].isspace()):
            position += 1
        return position if _sounds(self.text[position:end]) else end

    async def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])

    def _clause_end(self, position: int) -> int:
        return next((end for end in self._ends if end > position), len(self.text))

    async def _read(self) -> None:
        try:
            self.text += await anext(self._source)
            self._ends.append(len(self.text))
        except StopAsyncIteration:
            self.ended = True
        except Exception as error:
            self.ended = True
            self.error = error
        finally:
            self._reading = None


class _Reader:
    """What one engine reads of a script from ``begin`` on, and the time it may take while it owes sound."""

    def __init__(self, script: _Script, begin: int) -> None:
        self._script = script
        self._told_end = False
        self._watch: asyncio.Timeout | None = None
        self._deadline = 0.0
        self.position = self.said = begin

    def __aiter__(self) -> _Reader:
        return self

    async def __anext__(self) -> str:
        clause = await self._script.clause_from(self.position)
        self.position += len(clause)
        self._told_end = not clause
        if self._watch is not None and self._watch.when() is None and self._owed:
            self._watch.reschedule(_now() + self._deadline)
        if not clause:
            raise StopAsyncIteration
        return clause

    async def next_chunk(self, chunks: AsyncGenerator[AudioChunk, None], member: _Member) -> AudioChunk | None:
        """None at the end. While the engine waits for text, and has said what it was given, it may take its time."""
        self._deadline = member.deadline
        try:
            async with asyncio.timeout(member.deadline if self._owed else None) as self._watch:
                return await anext(chunks, None)
        except TimeoutError as error:
            raise EngineTimeout(f"the {member.name} made no sound for {member.deadline:g} s") from error
        finally:
            self._watch = None

    @property
    def _owed(self) -> bool:
        return self._told_end or _sounds(self._script.text[self.said : self.position])


class FallbackSpeechToText(_Fallback):
    """
    ``deadline`` runs from asking for the words to having them.

    The sound of an utterance is kept (its last 30 s), so that the next engine hears it from the start. The
    rate is the first engine's that knows it when they start; others get resampled sound.
    """

    kind = "stt"

    def __init__(self, *, deadline: float = 0.7, **options: Any) -> None:
        super().__init__(deadline=deadline, **options)

    @property
    def rate_hz(self) -> int:
        return int(self._fact("rate_hz"))

    @property
    def gives_partials(self) -> bool:
        return bool(self._fact("gives_partials"))

    def open(
        self, *, language: str = "en", hint: str = "", on_partial: Callable[[Transcript], None] | None = None
    ) -> _Utterance:
        return _Utterance(self, {"language": language, "hint": hint}, on_partial if self.gives_partials else None)


@dataclass(eq=False)
class _Ear:
    """One engine that hears an utterance, from sample ``begin`` of it on."""

    member: _Member
    ticket: int
    begin: int
    resampler: Resampler
    utterance: Transcription | None = None
    asked: int = 0
    """Answers that are being waited for."""

    def push(self, pcm: Pcm) -> None:
        assert self.utterance is not None
        try:
            self.utterance.push(self.resampler.push(pcm))
        except EngineError as error:
            self.member.failed(self.ticket, error)
            raise

    def cancel(self) -> None:
        if self.utterance is not None:
            self.utterance.cancel()


class _Utterance:
    def __init__(
        self,
        fallback: FallbackSpeechToText,
        options: Mapping[str, Any],
        on_partial: Callable[[Transcript], None] | None,
    ) -> None:
        self._fallback = fallback
        self._options = options
        self._on_partial = on_partial
        self._rate_hz = fallback.rate_hz
        self._sound: deque[Pcm] = deque()
        self._dropped = 0
        self._samples = 0
        self._final: Transcript | None = None
        self._closed = self._cancelled = False
        self._ear: _Ear | None = None
        self._listen()

    def push(self, pcm: Pcm) -> None:
        if self._closed:
            return
        pcm = pcm.copy()
        self._sound.append(pcm)
        self._samples += len(pcm)
        while self._samples - self._dropped - len(self._sound[0]) >= MAX_KEPT * self._rate_hz:
            self._dropped += len(self._sound.popleft())
        if (ear := self._ear) is not None:
            try:
                ear.push(pcm)
            except EngineError as error:
                with suppress(EngineError):  # told to whoever asks for the words
                    self._hand_over(ear, error)

    async def snapshot(self) -> Transcript:
        return await self._ask(finishing=False)

    async def finish(self) -> Transcript:
        self._closed = True
        self._final = await self._ask(finishing=True)
        self._sound.clear()
        if self._ear is not None:
            self._ear.cancel()  # it need not be the one that finished
        return self._final

    def cancel(self) -> None:
        self._closed = self._cancelled = True
        self._sound.clear()
        if self._ear is not None:
            self._ear.cancel()

    def _listen(self) -> _Ear:
        """Begin with the first of all engines; every one of them is asked once before the first is asked again."""
        if self._cancelled:
            raise EngineError("the utterance was cancelled")
        self._candidates = self._fallback._candidates(self._fallback._members)
        return self._next_ear(None)

    def _next_ear(self, failure: EngineError | None) -> _Ear:
        for member, ticket in self._candidates:
            ear = _Ear(member, ticket, self._dropped, Resampler(self._rate_hz, member.engine.rate_hz))
            heard = self._on_partial and self._partials_of(ear)
            try:
                ear.utterance = member.open(ticket, **self._options, on_partial=heard)
                for pcm in self._sound:
                    ear.push(pcm)
            except EngineError as error:
                failure = error
                self._let_go(ear)
                continue
            self._ear = ear
            return ear
        raise failure or self._fallback._nobody(self._fallback._members)

    def _hand_over(self, ear: _Ear, error: EngineError) -> None:
        """``ear`` failed: let the next engine hear it all, unless that was done already."""
        if ear is self._ear:
            self._ear = None
            self._let_go(ear)
            self._next_ear(error)

    def _let_go(self, ear: _Ear) -> None:
        # An answer of it that is still waited for ends by its own deadline.
        if ear is not self._ear and not ear.asked:
            ear.cancel()

    async def _ask(self, *, finishing: bool) -> Transcript:
        while self._final is None:
            ear = self._ear or self._listen()
            assert ear.utterance is not None
            ear.asked += 1
            try:
                with ear.member.trial(ear.ticket, partial(self._needs_no_more, ear)) as trial:
                    answer = ear.utterance.finish() if finishing else ear.utterance.snapshot()
                    transcript = await _until(_now() + ear.member.deadline, answer, ear.member)
                    trial.produced = True
                return self._own(transcript, ear)
            except EngineError as error:
                if self._cancelled:
                    raise
                if self._final is None:
                    self._hand_over(ear, error)
            finally:
                ear.asked -= 1
                self._let_go(ear)
        return self._final

    def _needs_no_more(self, ear: _Ear) -> bool:
        return self._cancelled or ear is not self._ear

    def _partials_of(self, ear: _Ear) -> Callable[[Transcript], None]:
        def heard(transcript: Transcript) -> None:
            if ear is self._ear and not self._closed and self._on_partial is not None:
                self._on_partial(self._own(transcript, ear))

        return heard

    def _own(self, transcript: Transcript, ear: _Ear) -> Transcript:
        """In samples of the whole utterance, at our own rate."""
        samples = ear.begin + transcript.samples * self._rate_hz // ear.member.engine.rate_hz
        return Transcript(transcript.text, min(samples, self._samples), transcript.confidence)


async def _until(due: float, answer: Awaitable[Result], member: _Member) -> Result:
    try:
        async with asyncio.timeout_at(due):
            return await answer
    except TimeoutError as error:
        raise EngineTimeout(f"the {member.name} gave nothing in the time that it had") from error


async def _close(member: _Member, speech: Speech) -> None:
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT):
            await speech.close()
    except (EngineError, TimeoutError) as error:
        logger.info("A voice of the %s could not be closed: %s", member.name, error)


def _sounds(text: str) -> bool:
    return any(character.isalnum() for character in text)


def _now() -> float:
    return asyncio.get_running_loop().time()
