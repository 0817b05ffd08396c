"""
What the synthesisers that live in a C library share: one thread, streaming, cancelling, trimming.

A clause is spoken hundreds of times faster than it lasts, so one thread serves every call of the
process; it is also what such libraries need, for their state is global.
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
from typing import Protocol

import numpy as np

from inference.types import AudioChunk, EngineError, Pcm

MIN_CHUNK, MAX_CHUNK = 0.02, 0.06
"""A chunk is the grain of cancelling and of ``text_end``."""

LEADING_SILENCE = 0.03
SENTENCE_PAUSE = 0.15
CLAUSE_PAUSE = 0.08
"""
The silence around a clause is set here and not by the library: Flite puts about 200 ms before a clause and
as much behind it, dead air that the caller would wait through; eSpeak NG puts none, and sentences run together.
"""

HELD_BACK = 0.01
"""Kept until the clause is over, so that there is always a last chunk to carry the end of the text."""

QUIET = 160
"""Samples below this (-46 dBFS) are silence; both libraries' own silence is nearly digital zero."""


@dataclass(frozen=True, slots=True)
class SpokenUntil:
    """By ``sample`` of a clause, ``text_end`` of its characters have been spoken."""

    sample: int
    text_end: int


Sink = Callable[[Pcm, Sequence[SpokenUntil]], bool]
"""Takes the next samples and what became known about words, on the library's thread; True stops the synthesis."""


class NativeVoice(Protocol):
    """One voice of a library, ready to speak. ``synthesise`` blocks and may raise ``EngineError``."""

    @property
    def rate_hz(self) -> int: ...

    def synthesise(self, text: str, sink: Sink) -> None: ...


@dataclass(slots=True)
class NativeClause:
    """One clause on its way out: silence is trimmed, and chunks know how much of the text they end."""

    text: str
    rate_hz: int
    offset: int = 0
    spoken: list[SpokenUntil] = field(default_factory=list)
    _held: Pcm = field(default_factory=lambda: np.zeros(0, np.int16))
    _position: int = 0
    """Of the first held sample, in the library's own count."""
    _voiced: bool = False

    def feed(self, pcm: Pcm, spoken: Sequence[SpokenUntil]) -> Iterator[AudioChunk]:
        self.spoken.extend(spoken)
        held = np.concatenate((self._held, pcm))
        loud = np.flatnonzero(np.abs(held.astype(np.int32)) > QUIET)
        lead = int(LEADING_SILENCE * self.rate_hz)
        if not self._voiced:
            drop = max(0, (int(loud[0]) if loud.size else len(held)) - lead)
            held, self._position, loud = held[drop:], self._position + drop, loud - drop
            self._voiced = bool(loud.size)
        # Silence waits until a voice follows it: only then is it a pause and not the end.
        end = min(int(loud[-1]) + 1, len(held) - int(HELD_BACK * self.rate_hz)) if loud.size else 0
        if end < MIN_CHUNK * self.rate_hz:
            end = 0
        self._held = held[end:]
        yield from self._chunks(held[:end])

    def finish(self) -> Iterator[AudioChunk]:
        """What is left, and the pause behind it; the last chunk ends the text."""
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
            known = bisect_right(self.spoken, self._position, key=lambda mark: mark.sample)
            text_end = min(self.spoken[known - 1].text_end, len(self.text)) if known else 0
            yield AudioChunk(piece, self.offset + text_end, exact=True)


class NativeSpeech:
    """``Speech`` in a voice of a C library; nothing of a call is remembered."""

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
        pass

    def caller_said(self, text: str, pcm: Pcm, rate_hz: int) -> None:
        pass

    async def close(self) -> None:
        pass

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
                except RuntimeError:  # the loop has closed: nobody listens any more
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
            raise EngineError("the synthesiser is closed") from error
        try:
            while (item := await arrived.get()) is not None:
                if isinstance(item, EngineError):
                    raise item
                yield item
        finally:
            stop.set()
