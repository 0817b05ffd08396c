"""Combines several voices; the next one continues with the next word."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from inference.fallback.member import Member, Trial, combine, loop_time
from inference.fallback.members import FallbackEngine
from inference.fallback.script import Script, ScriptReader
from inference.interfaces import MovingSpeech, Speech, TextToSpeech
from inference.resampling import Resampler
from inference.resuming import has_sound
from inference.types import NO_SOUND, AudioChunk, EngineError, Pcm

logger = logging.getLogger(__name__)

CLOSE_TIMEOUT = 5.0
"""Seconds for closing the voice of one engine. One that hangs must not hold up the end of a call."""


class FallbackTextToSpeech(FallbackEngine[TextToSpeech]):
    """
    ``deadline`` is how many seconds an engine may take to the next sound, whenever it owes one.

    If an engine fails in mid-sentence, the next one goes on with the broken-off word, or with its clause if the caller
    has heard nothing of that. The call then stays with it for
    ``retry_after`` seconds. The rate is that of the first engine that knows its rate at the start; the sound of the
    others is resampled to it. An engine uses its default voice for a voice that it does not have, unless its ``VOICES``
    name another one. An unknown voice is refused only by the first engine.
    """

    kind = "tts"

    def __init__(self, *, deadline: float = 1.0, **options: Any) -> None:
        super().__init__(deadline=deadline, **options)
        self._whole: FallbackTextToSpeech | None = None
        """The fallback of which this is the ``preferred`` engine."""

    @cached_property
    def preferred(self) -> FallbackTextToSpeech:
        """The first engine that has the language and no other, for what is to be said in its voice or not at all."""
        first = copy(self)
        first.members, first._whole = self.members[:1], self
        return first

    def members_with(self, language: str) -> list[Member[TextToSpeech]]:
        return super().members_with(language) if self._whole is None else self._whole.members_with(language)[:1]

    @property
    def rate_hz(self) -> int:
        return self.fact("rate_hz")

    @property
    def hears_caller(self) -> bool:
        return any(member.engine.hears_caller for member in self.members)

    def open(self, *, voice: str = "", language: str = "en") -> FallbackSpeech:
        speech = FallbackSpeech(self, voice, language)
        speech.open()
        return speech


@dataclass(slots=True)
class _Part:
    """The part of a ``speak()`` that one engine has said."""

    member: Member[TextToSpeech]
    speech: Speech
    samples: int = 0
    """The length of its sound at the rate of the fallback."""


class FallbackSpeech:
    """The voice of one call, spoken by as many engines as it takes."""

    def __init__(self, engine: FallbackTextToSpeech, voice: str, language: str) -> None:
        self._engine = engine
        self._voice = voice
        self._language = language
        self._members = engine.members_with(language)
        """The engines that may speak, in order of preference."""
        self._open_speeches: dict[Member[TextToSpeech], Speech] = {}
        self._parts: list[_Part] = []
        """The parts of the last ``speak()``, in order."""
        self.sent: Callable[[], int] = lambda: sys.maxsize
        """Set by the owner (``MovingSpeech``). Until then, all sound counts as sent."""
        self._avoided_until: dict[Member[TextToSpeech], float] = {}
        """Until this time of the loop the call asks the others first, because this engine has failed it."""

    def open(self) -> None:
        """Open the voice of the engine that would speak now. Raises what this engine would raise alone."""
        failure: EngineError | None = None
        for member in (member for member in self._members if member.healthy):
            try:
                self._open_speech(member, member.breaker.ticket)
                return
            except EngineError as error:
                if error.permanent and member is self._members[0]:
                    raise
                failure = combine(failure, error)
        if failure is not None:
            raise failure

    async def speak(self, text: AsyncIterator[str]) -> AsyncGenerator[AudioChunk, None]:
        self._parts = []
        script = Script(text)
        said = begin = 0
        failure: EngineError | None = None
        try:
            for member, ticket in self._engine.candidates(sorted(self._members, key=self._is_avoided)):
                try:
                    async with aclosing(self._speak_with(member, ticket, script, begin)) as chunks:
                        async for chunk in chunks:
                            said = chunk.text_end
                            yield chunk
                    return
                except EngineError as error:
                    if script.error is not None:
                        raise script.error from None
                    failure = combine(failure, error)
                    self._avoided_until[member] = loop_time() + self._engine.retry_after
                    begin = script.resume_at(said, sent=self.sent())
                    if script.ended and not has_sound(script.text[begin:]):
                        return
                    if said:
                        # At once: what is sent until the next engine speaks would be heard twice.
                        said = begin
                        yield AudioChunk(NO_SOUND, begin, again_from=begin)
            raise failure or self._engine.none_started_error(self._engine.members)
        finally:
            await script.close()

    def heard(self, samples: int) -> None:
        for number, part in enumerate(self._parts, start=1):
            heard = samples if number == len(self._parts) else min(samples, part.samples)
            samples -= heard
            if self._open_speeches.get(part.member) is part.speech:
                try:
                    part.speech.heard(heard * part.member.engine.rate_hz // self._engine.rate_hz)
                except EngineError as error:
                    logger.warning("The %s could not note how much was heard: %s", part.member.name, error)

    def caller_said(self, text: str, pcm: Pcm, rate_hz: int) -> None:
        for member, speech in self._open_speeches.items():
            if member.engine.hears_caller:
                speech.caller_said(text, pcm, rate_hz)

    async def close(self) -> None:
        speeches, self._open_speeches = self._open_speeches, {}
        await asyncio.gather(*(_close(member, speech) for member, speech in speeches.items()))

    def _is_avoided(self, member: Member[TextToSpeech]) -> bool:
        return loop_time() < self._avoided_until.get(member, 0.0)

    def _open_speech(self, member: Member[TextToSpeech], ticket: int) -> Speech:
        if member not in self._open_speeches:
            voice = member.voices.get(self._voice, self._voice)
            try:
                with member.failures_reported(ticket):
                    speech = member.engine.open(voice=voice, language=self._language)
            except EngineError as error:
                if not (error.permanent and voice and member is not self._members[0]):
                    raise
                with member.failures_reported(ticket):
                    speech = member.engine.open(voice="", language=self._language)
            self._open_speeches[member] = speech
        return self._open_speeches[member]

    async def _speak_with(
        self, member: Member[TextToSpeech], ticket: int, script: Script, begin: int
    ) -> AsyncGenerator[AudioChunk, None]:
        """Say the script from character ``begin`` on."""
        speech = self._open_speech(member, ticket)
        if isinstance(speech, MovingSpeech):
            speech.sent = lambda: max(0, self.sent() - begin)
        part = _Part(member, speech)
        self._parts.append(part)
        resampler = Resampler(member.engine.rate_hz, self._engine.rate_hz)
        reader = ScriptReader(script, begin, deadline=member.deadline, name=member.name)
        try:
            with Trial(member, ticket, lambda: script.error is not None) as trial:
                async with aclosing(speech.speak(reader)) as chunks:
                    while (chunk := await reader.next_chunk(chunks)) is not None:
                        again_from = None if chunk.again_from is None else begin + chunk.again_from
                        reader.said = max(reader.said if again_from is None else again_from, begin + chunk.text_end)
                        pcm = resampler.push(chunk.pcm)
                        part.samples += len(pcm)
                        trial.produced = trial.produced or len(chunk.pcm) > 0
                        yield AudioChunk(pcm, reader.said, chunk.exact, again_from)
                if script.error is not None:
                    raise script.error
                if not trial.produced and has_sound(script.text[begin : reader.position]):
                    raise EngineError(f"the {member.name} made no sound")
        except EngineError:
            if script.error is None and self._open_speeches.get(member) is speech:
                del self._open_speeches[member]
                self._engine.run_in_background(_close(member, speech))
            raise
        if len(tail := resampler.flush()):
            part.samples += len(tail)
            yield AudioChunk(tail, reader.said)


async def _close(member: Member[TextToSpeech], speech: Speech) -> None:
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT):
            await speech.close()
    except (EngineError, TimeoutError) as error:
        reason = str(error) or f"it took more than {CLOSE_TIMEOUT:g} s"
        logger.info("Closing a voice of the %s failed: %s", member.name, reason)
