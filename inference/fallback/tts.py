"""Several voices as one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from copy import copy
from dataclasses import dataclass
from typing import Any, TypeVar

from inference.fallback.members import FallbackEngine, Member, now
from inference.interfaces import Speech
from inference.resampling import Resampler
from inference.types import (
    AudioChunk,
    EngineError,
    EngineTimeout,
    Pcm,
)

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

MAX_KEPT = 30.0
"""Seconds of an utterance that are kept for the next engine: as much as Whisper hears at once, 1 MB at 16 kHz."""
CLOSE_TIMEOUT = 5.0
"""For a voice to be closed: nothing waits for one that hangs."""


class FallbackTextToSpeech(FallbackEngine):
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

    def open(self, *, voice: str = "", language: str = "en") -> FallbackSpeech:
        speech = FallbackSpeech(self, voice, language)
        speech.open()
        return speech


@dataclass(slots=True)
class _Part:
    """What one voice said of a ``speak()``."""

    member: Member
    speech: Speech
    samples: int = 0


class FallbackSpeech:
    """The speech of one call, in as many voices as it took."""

    def __init__(self, fallback: FallbackTextToSpeech, voice: str, language: str) -> None:
        self._fallback = fallback
        self._members = fallback._members
        self._voice = voice
        self._language = language
        self._open: dict[Member, Speech] = {}
        self._parts: list[_Part] = []
        self._avoided: dict[Member, float] = {}

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
                    self._avoided[member] = now() + self._fallback._retry_after
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

    def _is_avoided(self, member: Member) -> bool:
        return now() < self._avoided.get(member, 0.0)

    def _speech(self, member: Member, ticket: int) -> Speech:
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

    async def _say(self, member: Member, ticket: int, script: _Script, begin: int) -> AsyncGenerator[AudioChunk, None]:
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
            self._watch.reschedule(now() + self._deadline)
        if not clause:
            raise StopAsyncIteration
        return clause

    async def next_chunk(self, chunks: AsyncGenerator[AudioChunk, None], member: Member) -> AudioChunk | None:
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


async def _close(member: Member, speech: Speech) -> None:
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT):
            await speech.close()
    except (EngineError, TimeoutError) as error:
        logger.info("A voice of the %s could not be closed: %s", member.name, error)


def _sounds(text: str) -> bool:
    return any(character.isalnum() for character in text)
