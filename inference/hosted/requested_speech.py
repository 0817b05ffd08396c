"""
Speaks through a service that synthesises one clause for each request.

The next clause is requested while one is spoken, so that no gap is heard between them. Its sound is kept until it is
due. Closing the speech ends every request at once.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace

import numpy as np

from inference.types import AudioChunk, EngineError, Pcm
from inference.voices.clause import SpokenClause
from inference.voices.loudness import ACTIVE_DBFS, active_level, limit_and_quantise

AHEAD = 1
"""Clauses that are requested beside the one that is spoken. More would be paid for in vain at an interruption."""
CHARACTERS_PER_SECOND = 15.0
"""How fast a voice speaks, until one of its clauses was heard."""

MOST_DB = 12.0
"""The gain stays within this: more would lift a server's noise, or means that the measurement is wrong."""
STEP_DB = 1.0
"""The gain changes by so much from one clause to the next: a caller does not notice it."""
MEMORY = 20.0
"""Seconds of speech over which the level is averaged."""
SHORTEST = 0.5
FAINTEST_DBFS = -55.0
"""A clause that is shorter (in seconds) or softer tells nothing of a voice."""

Deliver = Callable[[Pcm], None]
Synthesise = Callable[[str, Deliver], Awaitable[None]]
"""Requests a text and delivers its sound as it comes. Returns at its end; raises ``EngineError``."""


class VoiceProfile:
    """What is known of one voice at a server, learnt from the clauses that it has said: its level and its pace."""

    def __init__(self, rate_hz: int, *, gain_db: float | None = None) -> None:
        """``gain_db`` sets the gain; None has it measured."""
        self.gain_db = gain_db or 0.0
        """The gain of the next clause. A clause has one gain from its beginning to its end."""
        self.characters_per_second = CHARACTERS_PER_SECOND
        self._rate_hz = rate_hz
        self._is_measured = gain_db is None
        self._power = 0.0
        """The mean square of its speech, full scale being 1."""
        self._seconds = 0.0
        """The speech from which that comes."""

    def learn(self, text: str, pcm: Pcm, *, at_once: bool = False) -> None:
        """Take a whole clause as the server sent it. ``at_once``: nobody hears this voice yet."""
        seconds, level = len(pcm) / self._rate_hz, active_level(pcm, self._rate_hz)
        if seconds < SHORTEST or level < FAINTEST_DBFS:
            return
        if len(text) > 10:
            pace = min(30.0, max(5.0, len(text) / seconds))
            self.characters_per_second += 0.2 * (pace - self.characters_per_second)
        if self._is_measured:
            self._seconds = min(MEMORY, self._seconds + seconds)
            self._power += (10 ** (level / 10) - self._power) * min(1.0, seconds / self._seconds)
            wanted = ACTIVE_DBFS - 10 * math.log10(self._power)
            step = 2 * MOST_DB if at_once else STEP_DB
            self.gain_db += min(step, max(-step, min(MOST_DB, max(-MOST_DB, wanted)) - self.gain_db))

    def amplify(self, pcm: Pcm, gain_db: float) -> Pcm:
        """Return the sound with this gain, without clipping."""
        return limit_and_quantise(pcm * np.float32(1 / 32768), 10 ** (gain_db / 20)) if gain_db else pcm


@dataclass(slots=True)
class _Clause:
    text: str
    offset: int
    """Characters before it."""
    arrived: asyncio.Queue[Pcm | EngineError | None] = field(default_factory=asyncio.Queue)
    """Its sound; None at its end."""
    has_begun: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when its first sound has come, or none will."""
    has_failed: bool = False
    """Whether the rest of it cannot be said."""
    samples: int = 0
    """Samples that have come."""
    is_whole: bool = False
    """Whether all of them have."""


class RequestedSpeech:
    """The voice of one call. ``closed`` is called once, when the call no longer needs it."""

    def __init__(
        self,
        synthesise: Synthesise,
        voice: VoiceProfile,
        rate_hz: int,
        *,
        longest_text: int = 4096,
        closed: Callable[[RequestedSpeech], None] = lambda speech: None,
    ) -> None:
        self._synthesise = synthesise
        self._voice = voice
        self._rate_hz = rate_hz
        self._longest_text = longest_text
        self._closed = closed

    def heard(self, samples: int) -> None:
        """Do nothing: the service remembers nothing of a call."""

    def caller_said(self, text: str, pcm: Pcm, rate_hz: int) -> None:
        """Do nothing: the service remembers nothing of a call."""

    async def close(self) -> None:
        self._closed(self)

    async def speak(self, text: AsyncIterator[str]) -> AsyncGenerator[AudioChunk, None]:
        line: asyncio.Queue[_Clause | BaseException | int] = asyncio.Queue()
        room = asyncio.Semaphore(1 + AHEAD)
        tasks: list[asyncio.Task[None]] = []
        tasks.append(asyncio.create_task(self._request_all(text, line, room, tasks)))
        spoken = -1
        try:
            while not isinstance(clause := await line.get(), int):
                if isinstance(clause, BaseException):
                    raise clause
                async with aclosing(self._say(clause)) as chunks:
                    async for chunk in chunks:
                        spoken = chunk.text_end
                        yield chunk
                room.release()
            if 0 <= spoken < clause:  # what says nothing counts as spoken
                yield AudioChunk(np.zeros(0, np.int16), clause, exact=True)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _request_all(
        self,
        text: AsyncIterator[str],
        line: asyncio.Queue[_Clause | BaseException | int],
        room: asyncio.Semaphore,
        tasks: list[asyncio.Task[None]],
    ) -> None:
        """Put the clauses, or the error of the text, into the line; at its end the number of characters."""
        offset = 0
        try:
            async for given in text:
                for part in parts_of(given, self._longest_text):
                    if any(character.isalnum() for character in part):
                        await room.acquire()
                        clause = _Clause(part, offset)
                        tasks.append(asyncio.create_task(self._request(clause)))
                        line.put_nowait(clause)
                        # A server with one processor should first do what the caller waits for.
                        await clause.has_begun.wait()
                        if clause.has_failed:
                            return  # nothing after it will be heard
                    offset += len(part)
            line.put_nowait(offset)
        except Exception as error:
            line.put_nowait(error)

    async def _request(self, clause: _Clause) -> None:
        sound: list[Pcm] = []

        def deliver(pcm: Pcm) -> None:
            if len(pcm):
                sound.append(pcm)
                clause.samples += len(pcm)
                clause.arrived.put_nowait(pcm)
                clause.has_begun.set()

        end: EngineError | None = None
        try:
            await self._synthesise(clause.text, deliver)
            if not sound:
                end = EngineError("the server sent no sound for a clause")
        except EngineError as error:
            end = error
        except Exception as error:
            end = EngineError(f"speech synthesis failed: {type(error).__name__}: {error}")
        clause.is_whole, clause.has_failed = end is None, end is not None
        clause.has_begun.set()
        clause.arrived.put_nowait(end)
        if end is None:
            self._voice.learn(clause.text, np.concatenate(sound))

    async def _say(self, clause: _Clause) -> AsyncGenerator[AudioChunk, None]:
        gain_db = self._voice.gain_db
        shape = SpokenClause(clause.text, self._rate_hz, clause.offset, exact=False)
        size, said = len(clause.text), 0
        end = clause.offset

        def estimated(chunk: AudioChunk) -> AudioChunk:
            nonlocal said, end
            said += len(chunk.pcm)
            whole = self._rate_hz * size / self._voice.characters_per_second
            whole = clause.samples if clause.is_whole else max(whole, clause.samples)
            end = max(end, clause.offset + min(size - 1, int(size * said / max(whole, 1.0))))
            return replace(chunk, text_end=end)

        while (pcm := await clause.arrived.get()) is not None:
            if isinstance(pcm, EngineError):
                raise pcm
            for chunk in shape.feed(self._voice.amplify(pcm, gain_db), ()):
                yield estimated(chunk)
        *chunks, last = shape.finish()
        for chunk in chunks:
            yield estimated(chunk)
        yield last


def parts_of(text: str, longest: int) -> list[str]:
    """Divide a text that is too long for one request, at blanks where there are some. Nothing is lost."""
    parts: list[str] = []
    while len(text) > longest:
        cut = text.rfind(" ", longest // 2, longest) + 1 or longest
        parts.append(text[:cut])
        text = text[cut:]
    return [*parts, text]
