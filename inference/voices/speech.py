"""
Runs a synthesiser from a C library on one thread: streams, cancels, and trims silence.

These libraries synthesise a clause hundreds of times faster than it lasts, so one thread serves all calls of the
process. They also need a single thread, because their state is global.
"""

from __future__ import annotations

import asyncio
import threading
from bisect import bisect_right
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass, field
from math import ceil
from typing import ClassVar, Protocol

import numpy as np

from inference.types import AudioChunk, EngineError, Pcm

MIN_CHUNK, MAX_CHUNK = 0.02, 0.06
"""Seconds. Cancelling takes effect, and ``text_end`` advances, once per chunk."""

LEADING_SILENCE = 0.03
SENTENCE_PAUSE = 0.15
CLAUSE_PAUSE = 0.08
"""
Seconds of silence before a clause, after a sentence and after any other clause. They replace the library's own: Flite
adds about 200 ms before and after a clause, during which the caller would wait; eSpeak NG adds none, so that sentences
would run together.
"""

HELD_BACK = 0.01
"""Seconds of sound that are held until the clause ends, so that there is always a last chunk to carry its end."""

QUIET = 160
"""Samples up to this (-46 dBFS) are silence. The silence of both libraries is nearly digital zero."""


@dataclass(frozen=True, slots=True)
class SpokenUntil:
    """At ``sample`` of a clause, ``text_end`` of its characters have been spoken."""

    sample: int
    text_end: int


Sink = Callable[[Pcm, Sequence[SpokenUntil]], bool]
"""Takes the next samples and the timing of words, on the library's thread. Returns True to stop the synthesis."""


class NativeVoice(Protocol):
    """One loaded voice of a library. ``synthesise`` blocks and may raise ``EngineError``."""

    @property
    def rate_hz(self) -> int: ...

    def synthesise(self, text: str, sink: Sink) -> None: ...


@dataclass(slots=True)
class NativeClause:
    """Cuts the sound of one clause into chunks: trims its silence and says how far in the text each chunk ends."""

    text: str
    rate_hz: int
    offset: int = 0
    """Characters of the clauses before this one."""
    spoken: list[SpokenUntil] = field(default_factory=list)
    """The timing of words that is known so far."""
    _held: Pcm = field(default_factory=lambda: np.zeros(0, np.int16))
    """Sound that is not in a chunk yet."""
    _position: int = 0
    """The library's sample number of the first held sample."""
    _voiced: bool = False
    """Whether the silence before the voice has ended."""

    def feed(self, pcm: Pcm, spoken: Sequence[SpokenUntil]) -> Iterator[AudioChunk]:
        """Take the next sound from the library and yield the chunks that are complete."""
        self.spoken.extend(spoken)
        held = np.concatenate((self._held, pcm))
        loud = np.flatnonzero(np.abs(held.astype(np.int32)) > QUIET)
        lead = int(LEADING_SILENCE * self.rate_hz)
        if not self._voiced:
            drop = max(0, (int(loud[0]) if loud.size else len(held)) - lead)
            held, self._position, loud = held[drop:], self._position + drop, loud - drop
            self._voiced = bool(loud.size)
        # Hold silence until voice follows it: only then is it a pause and not the end.
        end = min(int(loud[-1]) + 1, len(held) - int(HELD_BACK * self.rate_hz)) if loud.size else 0
        if end < MIN_CHUNK * self.rate_hz:
            end = 0
        self._held = held[end:]
        yield from self._chunks(held[:end])

    def finish(self) -> Iterator[AudioChunk]:
        """Yield the rest of the voice and the pause after it. The last chunk ends the text."""
        loud = np.flatnonzero(np.abs(self._held.astype(np.int32)) > QUIET)
        voiced = int(loud[-1]) + 1 if loud.size else 0
        pause = SENTENCE_PAUSE if self.text.rstrip().endswith((".", "!", "?")) else CLAUSE_PAUSE
        rest = np.zeros(voiced + int(pause * self.rate_hz), np.int16)
        rest[: len(self._held)] = self._held[: len(rest)]
        *chunks, last = self._chunks(rest)
        yield from chunks
        yield AudioChunk(last.pcm, self.offset + len(self.text), exact=True)

    def _chunks(self, pcm: Pcm) -> Iterator[AudioChunk]:
        for piece in np.array_split(pcm, ceil(len(pcm) / (MAX_CHUNK * self.rate_hz))) if len(pcm) else ():
            self._position += len(piece)
            known = bisect_right(self.spoken, self._position, key=lambda until: until.sample)
            text_end = min(self.spoken[known - 1].text_end, len(self.text)) if known else 0
            yield AudioChunk(piece, self.offset + text_end, exact=True)


class NativeTextToSpeech:
    """The base of the engines on C libraries, with the one thread on which each calls its library."""

    may_speculate: ClassVar[bool] = True
    hears_caller: ClassVar[bool] = False

    def __init__(self, thread_name: str) -> None:
        self._thread_name = thread_name
        self._executor: ThreadPoolExecutor | None = None
        """Between ``start`` and ``close``."""

    async def start(self) -> None:
        if self._executor is None:
            executor = ThreadPoolExecutor(1, self._thread_name)
            try:
                await asyncio.get_running_loop().run_in_executor(executor, self._load)
            except BaseException:
                executor.shutdown(wait=False)
                raise
            self._executor = executor

    async def close(self) -> None:
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)
            self._executor = None

    def _load(self) -> None:
        """Load the library and its voices, and speak once, so that the first caller does not wait. Blocks."""
        raise NotImplementedError


class NativeSpeech:
    """Speaks with a voice of a C library. A call has no context."""

    def __init__(self, voice: NativeVoice, executor: ThreadPoolExecutor) -> None:
        self._voice = voice
        self._executor = executor

    async def speak(self, text: AsyncIterator[str]) -> AsyncGenerator[AudioChunk, None]:
        offset = 0
        async for clause in text:
            async with aclosing(self._speak_clause(NativeClause(clause, self._voice.rate_hz, offset))) as chunks:
                async for chunk in chunks:
                    yield chunk
            offset += len(clause)

    def heard(self, samples: int) -> None:
        """Do nothing: a call has no context."""

    def caller_said(self, text: str, pcm: Pcm, rate_hz: int) -> None:
        """Do nothing: a call has no context."""

    async def close(self) -> None:
        """Do nothing: there is nothing to release."""

    async def _speak_clause(self, clause: NativeClause) -> AsyncGenerator[AudioChunk, None]:
        if not any(character.isalnum() for character in clause.text):
            return
        loop = asyncio.get_running_loop()
        arrived: asyncio.Queue[AudioChunk | EngineError | None] = asyncio.Queue()
        stop = threading.Event()

        def deliver(item: AudioChunk | EngineError | None) -> None:
            if not stop.is_set():
                try:
                    loop.call_soon_threadsafe(arrived.put_nowait, item)
                except RuntimeError:  # the loop is closed, so the chunks are not needed any more
                    stop.set()

        def sink(pcm: Pcm, spoken: Sequence[SpokenUntil]) -> bool:
            for chunk in clause.feed(pcm, spoken):
                deliver(chunk)
            return stop.is_set()

        def synthesise() -> None:
            if stop.is_set():
                return
            try:
                self._voice.synthesise(clause.text, sink)
                for chunk in clause.finish():
                    deliver(chunk)
                deliver(None)
            except EngineError as error:
                deliver(error)
            except Exception as error:
                deliver(EngineError(f"speech synthesis failed: {type(error).__name__}: {error}"))

        try:
            self._executor.submit(synthesise)
        except RuntimeError as error:
            raise EngineError("the speech engine is closed") from error
        try:
            while (item := await arrived.get()) is not None:
                if isinstance(item, EngineError):
                    raise item
                yield item
        finally:
            stop.set()
