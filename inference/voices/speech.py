"""
The base of the voices that run in this process: start and close, languages and voices, clauses and their chunks.

A voice has to synthesise a clause, step by step. Everything else is here: the threads and whose turn it is, silence
and pauses, the timing of words, cancelling, and the errors.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import ClassVar, Protocol

import numpy as np

from inference.types import AudioChunk, Description, EngineError, Languages, Pcm, has_language
from inference.voices.clause import SpokenClause, SpokenUntil
from inference.voices.turns import RESERVE, SECONDS_PER_WORD, Steps, SynthesisThreads


class Sink(Protocol):
    """Takes the sound of the clause that a voice synthesises, on the voice's thread."""

    @property
    def others_wait(self) -> bool:
        """Whether another call waits for the thread: then a step should be short."""

    def __call__(self, pcm: Pcm, spoken: Sequence[SpokenUntil]) -> bool:
        """Take the next samples, and timings of words as they become known. Returns True to stop the synthesis."""


class LocalVoice(Protocol):
    """One loaded voice."""

    @property
    def rate_hz(self) -> int: ...

    @property
    def exact(self) -> bool:
        """Whether the timing of words that it gives is exact."""

    def synthesise(self, text: str, sink: Sink) -> Steps:
        """
        Synthesise a clause, and yield where another call may have its turn. May raise ``EngineError``.

        It runs on one of the engine's threads and may block. What it yields is nothing; the sound goes to ``sink``. It
        need not care about silence before and after the clause. A voice that makes the whole clause at once yields
        once.
        """


class LocalTextToSpeech:
    """The base of the engines whose voices run in this process. A subclass names itself and loads and finds voices."""

    may_speculate: ClassVar[bool] = True
    hears_caller: ClassVar[bool] = False
    name: ClassVar[str]
    """How the errors call the engine."""

    def __init__(self, *, threads: int = 1) -> None:
        self._thread_count = threads
        self._threads: SynthesisThreads | None = None
        """Between ``start`` and ``close``."""

    @property
    def rate_hz(self) -> int:
        """The rate of all voices of the engine."""
        raise NotImplementedError

    @property
    def languages(self) -> Languages:
        """The languages that the voices speak. Loads nothing."""
        raise NotImplementedError

    def describe(self) -> Description:
        raise NotImplementedError

    async def start(self) -> None:
        if self._threads is None:
            threads = SynthesisThreads(self.name, self._thread_count)
            try:
                await threads.run(self._load)
            except BaseException:
                threads.close()
                raise
            self._threads = threads

    async def close(self) -> None:
        if self._threads is not None:
            self._threads.close()
            self._threads = None

    def open(self, *, voice: str = "", language: str = "en") -> LocalSpeech:
        if self._threads is None:
            raise EngineError(f"{self.name} is not started")
        if not has_language(self.languages, language):
            known = ", ".join(sorted(self.languages or ()))
            known = known if len(known) < 60 else f"{len(self.languages or ())} others"
            raise EngineError(f"{self.name} does not speak {language!r}; it speaks {known}", permanent=True)
        return LocalSpeech(self._find(voice, language), self._threads)

    def _load(self) -> None:
        """Load the library and its voices, and speak once, so that the first caller does not wait. Blocks."""
        raise NotImplementedError

    def _find(self, voice: str, language: str) -> LocalVoice:
        """Return the voice that is named, or the one for the language. Raises a permanent error if there is none."""
        raise NotImplementedError


def speak_once(voice: LocalVoice, text: str) -> None:
    """Make the first sound of a text and throw it away: the first use of a voice is slower."""
    for _ in voice.synthesise(text, _Stop()):
        break


def whole_sound(voice: LocalVoice, text: str) -> Pcm:
    """Return all the sound of a text, as the voice makes it."""
    collector = _Collector()
    for _ in voice.synthesise(text, collector):
        pass
    return np.concatenate(collector.pcm) if collector.pcm else np.zeros(0, np.int16)


class _Collector:
    others_wait: bool = False

    def __init__(self) -> None:
        self.pcm: list[Pcm] = []

    def __call__(self, pcm: Pcm, spoken: Sequence[SpokenUntil]) -> bool:
        self.pcm.append(pcm)
        return False


class _Stop:
    others_wait: bool = False

    def __call__(self, pcm: Pcm, spoken: Sequence[SpokenUntil]) -> bool:
        return True


def refuse_other_language(engine: str, voice: str, speaks: frozenset[str], language: str) -> None:
    """Raise a permanent error unless a voice that was named speaks the language of the call."""
    if not has_language(speaks, language):
        known = ", ".join(sorted(map(repr, speaks)))
        raise EngineError(f"the voice {voice!r} of {engine} speaks {known}, not {language!r}", permanent=True)


class LocalSpeech:
    """Speaks with one voice in one call. A call has no context."""

    def __init__(self, voice: LocalVoice, threads: SynthesisThreads) -> None:
        self._voice = voice
        self._threads = threads

    async def speak(self, text: AsyncIterator[str]) -> AsyncGenerator[AudioChunk, None]:
        offset, heard_until = 0, 0.0
        async for clause in text:
            async with aclosing(self._speak_clause(clause, offset, heard_until)) as chunks:
                async for chunk in chunks:
                    heard_until = max(heard_until, time.monotonic()) + len(chunk.pcm) / self._voice.rate_hz
                    yield chunk
            offset += len(clause)

    def heard(self, samples: int) -> None:
        """Do nothing: a call has no context."""

    def caller_said(self, text: str, pcm: Pcm, rate_hz: int) -> None:
        """Do nothing: a call has no context."""

    async def close(self) -> None:
        """Do nothing: there is nothing to release."""

    async def _speak_clause(self, text: str, offset: int, heard_until: float) -> AsyncGenerator[AudioChunk, None]:
        if not any(character.isalnum() for character in text):
            return
        clause = SpokenClause(text, self._voice.rate_hz, offset, exact=self._voice.exact)
        job = _ClauseJob(self._voice, clause, self._threads, heard_until)
        self._threads.submit(job)
        try:
            while (item := await job.arrived.get()) is not None:
                if isinstance(item, EngineError):
                    raise item
                yield item
        finally:
            job.stopped = True


class _ClauseJob:
    """One clause on its way from the voice's thread to the loop's; implements ``turns.Job`` and ``Sink``."""

    def __init__(self, voice: LocalVoice, clause: SpokenClause, threads: SynthesisThreads, heard_until: float) -> None:
        self.arrived: asyncio.Queue[AudioChunk | EngineError | None] = asyncio.Queue()
        """The chunks, and at the end an error or None."""
        self.stopped = False
        """Set on the loop's thread, read on the voice's."""
        words = clause.text.count(" ") + 1
        self.needed_at = max(heard_until - RESERVE, time.monotonic() + SECONDS_PER_WORD * words)
        self._heard_until = heard_until
        """When the caller has heard everything that was delivered."""
        self._voice = voice
        self._clause = clause
        self._threads = threads
        self._loop = asyncio.get_running_loop()

    @property
    def others_wait(self) -> bool:
        return self._threads.others_wait

    def steps(self) -> Steps:
        yield from self._voice.synthesise(self._clause.text, self)

    def __call__(self, pcm: Pcm, spoken: Sequence[SpokenUntil]) -> bool:
        for chunk in self._clause.feed(pcm, spoken):
            self._deliver(chunk)
        return self.stopped

    def done(self, error: EngineError | None) -> None:
        if error is None and not self.stopped:
            for chunk in self._clause.finish():
                self._deliver(chunk)
        self._deliver(error)

    def _deliver(self, item: AudioChunk | EngineError | None) -> None:
        if isinstance(item, AudioChunk):
            seconds = len(item.pcm) / self._clause.rate_hz
            self._heard_until = max(self._heard_until, time.monotonic()) + seconds
            self.needed_at = self._heard_until - RESERVE
        if not self.stopped:
            try:
                self._loop.call_soon_threadsafe(self.arrived.put_nowait, item)
            except RuntimeError:  # the loop is closed, so the chunks are not needed any more
                self.stopped = True
