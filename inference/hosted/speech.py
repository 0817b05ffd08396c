"""
The voice of one call at a hosted service, on leased sockets.

Each ``speak()`` uses one context of the service, or a further one where the service has forgotten the first. An engine
says what its service is told and what its answers mean (``Manner``, ``Context``); the rest is the same for all of them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator

import numpy as np

from inference.hosted.context import Manner
from inference.hosted.loudness import Levelling
from inference.hosted.passage import HELD_BACK, Clause, Passage
from inference.hosted.timing import RATE_HZ
from inference.resuming import has_sound
from inference.types import AudioChunk, EngineError, EngineFull, Pcm, QuotaExhausted
from inference.voices.clause import LEADING_SILENCE, QUIET

TRIES = 2
"""How often a clause is said at most, if a socket dies before any audio of it."""

GRACE = 0.05
"""Seconds for reading what has arrived, before a service counts as stalled."""


class HostedSpeech:
    """Speaks in contexts of a service. A call has no memory there."""

    def __init__(self, manner: Manner) -> None:
        self._manner = manner
        self._utterances: set[_Utterance] = set()
        """Those that are being said."""

    async def speak(self, text: AsyncIterator[str]) -> AsyncGenerator[AudioChunk, None]:
        utterance = _Utterance(self._manner)
        self._utterances.add(utterance)
        # Its own task reads the text, so that a clause is sent when it comes and not when audio is asked for.
        reader = asyncio.create_task(utterance.read(text))
        try:
            while True:
                while (chunk := utterance.next_chunk()) is not None:
                    yield chunk
                if utterance.is_over:
                    return
                await utterance.news()
        finally:
            self._utterances.discard(utterance)
            utterance.stop()
            reader.cancel()
            await asyncio.wait([reader])

    def heard(self, samples: int) -> None:
        """Do nothing: a call has no context."""

    def caller_said(self, text: str, pcm: Pcm, rate_hz: int) -> None:
        """Do nothing: the voice does not adapt to the caller."""

    async def close(self) -> None:
        """Cancel what is being said."""
        for utterance in self._utterances:
            utterance.stop()


class _Utterance:
    """What one ``speak()`` says: the passages of its text, one after the other."""

    def __init__(self, manner: Manner) -> None:
        self.is_over = False
        """All of it was said."""
        self._manner = manner
        self._levelling = Levelling(manner.voice.loudness)
        self._text = ""
        self._text_ended = False
        self._error: EngineError | Exception | None = None
        """Why the rest of the text cannot be said; raised after what came before it."""
        self._passages: deque[Passage] = deque()
        """Those that have audio to come. The last one takes the next clause."""
        self._said = 0
        """Characters that were spoken."""
        self._samples = 0
        """Samples that were given to the listener."""
        self._silence = np.zeros(0, np.int16)
        """The end of the silence before the voice."""
        self._begun_at = 0.0
        """When the listener got the first of them."""
        self._news = asyncio.Event()

    async def read(self, text: AsyncIterator[str]) -> None:
        """Send the clauses as they come."""
        try:
            async for clause in text:
                self._add(clause)
        except Exception as error:
            self._error = self._error or error
        except asyncio.CancelledError:
            # Of the listener, who has gone, or of what makes the text: then nobody else would tell the listener.
            self._error = self._error or EngineError("the text was cancelled")
            raise
        finally:
            self._text_ended = True
            if self._passages:
                self._passages[-1].end()
            self._news.set()

    def next_chunk(self) -> AudioChunk | None:
        """Return a chunk if there is one. Raises the error of the service, or of the text."""
        while self._passages:
            passage = self._passages[0]
            if samples := passage.ready(self._lead):
                pcm, text_end, is_exact = passage.take(samples)
                pcm = self._without_silence(pcm)
                if len(pcm):
                    return self._chunk(pcm, text_end, is_exact)
                continue
            if passage.error is not None:
                raise passage.error
            if not passage.finished:
                return None
            if len(self._passages) == 1 and not self._text_ended:
                return None
            self._passages.popleft()
        if not self._text_ended:
            return None
        if self._error is not None:
            raise self._error
        if not self._samples and has_sound(self._text):
            raise EngineError(f"{self._manner.provider} made no sound")
        self.is_over = True
        if self._samples and self._said < len(self._text):
            return self._chunk(np.zeros(HELD_BACK, np.int16), len(self._text), True)
        return None

    async def news(self) -> None:
        """Wait until there may be something to do."""
        self._news.clear()
        passage = self._passages[0] if self._passages else None
        deadline, held_until = (passage.deadline, passage.held_until) if passage is not None else (None, None)
        wake_at = min((time for time in (deadline, held_until) if time is not None), default=None)
        try:
            async with asyncio.timeout_at(wake_at):
                await self._news.wait()
        except TimeoutError:
            if passage is not None and deadline is not None and asyncio.get_running_loop().time() >= deadline:
                # If the process was held up, messages have arrived that nobody has read yet.
                await asyncio.sleep(GRACE)
                if not self._news.is_set():
                    passage.give_up()

    def stop(self) -> None:
        """Nobody listens any more."""
        self._error = self._error or EngineError("the voice was closed")
        for passage in self._passages:
            passage.drop()
        self._passages.clear()
        self._text_ended = True
        self._news.set()

    @property
    def _lead(self) -> float:
        """Seconds of audio that the listener has in advance."""
        return self._samples / RATE_HZ - (asyncio.get_running_loop().time() - self._begun_at) if self._samples else 0.0

    def _without_silence(self, pcm: Pcm) -> Pcm:
        """Leave out the silence before the voice, during which the caller would wait."""
        if self._samples:
            return pcm
        self._silence = np.concatenate([self._silence, pcm])
        loud = np.flatnonzero(np.abs(self._silence.astype(np.int32)) > QUIET)
        begin = (int(loud[0]) if loud.size else len(self._silence)) - int(LEADING_SILENCE * RATE_HZ)
        self._silence = self._silence[max(0, begin) :]
        return self._silence if loud.size else self._silence[:0]

    def _chunk(self, pcm: Pcm, text_end: int, is_exact: bool) -> AudioChunk:
        if not self._samples:
            self._begun_at = asyncio.get_running_loop().time()
        self._samples += len(pcm)
        falls, self._said = text_end < self._said, max(self._said, text_end)
        return AudioChunk(self._levelling.apply(pcm), self._said, is_exact and not falls)

    def _add(self, text: str) -> None:
        if self._error is not None:
            return
        clause = Clause(text, len(self._text))
        self._text += text
        passage = self._passages[-1] if self._passages else None
        if passage is not None and passage.error is not None:
            return
        if has_sound(text):
            if passage is None or not passage.takes_more():
                if passage is not None:
                    passage.leave()
                passage = self._new_passage(clause.begin)
            passage.say(clause, self._text)
            if passage not in self._passages:
                self._passages.append(passage)
        elif passage is not None:
            passage.extend(self._text)
        self._news.set()

    def _new_passage(self, begin: int) -> Passage:
        return Passage(self._manner, begin, news=self._news.set, over=self._lost)

    def _lost(self, passage: Passage, error: EngineError) -> None:
        """Say the rest of a passage once more, on another socket, if nothing of it was heard and it makes sense."""
        rest = passage.rest
        is_useless = error.permanent or isinstance(error, EngineFull | QuotaExhausted)
        if passage.has_begun_rest or rest[0].tries >= TRIES or is_useless or not passage.may_retry:
            passage.error = error
            return
        again = self._new_passage(rest[0].begin)
        try:
            for clause in rest:
                again.say(clause, self._text)
        except EngineError as failure:
            again.drop()
            passage.error = failure
            return
        place = self._passages.index(passage) + 1
        following = self._passages[place] if place < len(self._passages) else None
        again.extend(self._text[: following.begin] if following is not None else self._text)
        self._passages.insert(place, again)
        if self._text_ended or following is not None:
            again.end()
