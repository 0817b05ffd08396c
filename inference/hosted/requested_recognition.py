"""
Recognises one utterance through a service that takes a recording in each request and answers with its words.

A request is made only when words are asked for and the last ones are outdated. What was recognised up to a pause is
kept once it is long, so that a long utterance is not sent, and paid for, again and again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from inference.hosted.invented_words import invented
from inference.hosted.utterance_sound import UtteranceSound
from inference.types import Pcm, Transcript
from inference.whisper.digits import join_digits
from inference.whisper.hallucinations import SHORTEST_SPEECH, Reason

PAUSE = 0.1
"""Seconds of silence before a position at which an utterance may be divided."""

LEAD = 0.6
"""Seconds of quiet before the first sound that are sent. What is quiet before that would only cost time and money."""


@dataclass(frozen=True, slots=True)
class Words:
    """What a service has recognised in a recording."""

    text: str
    language: str = ""
    """The language that it has found, if it says so."""


Recognise = Callable[[bytes], Awaitable[Words]]
"""Has a recording recognised, 16-bit little-endian samples. Raises ``EngineError``."""


@dataclass(slots=True)
class _Request:
    until: int
    """The position at which its sound ends."""
    task: asyncio.Task[None]
    waiters: int = 0


class RequestedTranscription:
    """One utterance. ``released`` is called once, when it is over."""

    def __init__(
        self,
        recognise: Recognise,
        rate_hz: int,
        *,
        longest: float,
        prompt: str = "",
        drop: Callable[[Reason | str], None] = lambda reason: None,
        released: Callable[[RequestedTranscription], None] = lambda utterance: None,
    ) -> None:
        """
        ``longest`` is how many seconds are sent again with what follows them. ``prompt`` is what the service was told,
        which some models repeat about silence. ``drop`` gets the reason for each text that is not believed.
        """
        self._recognise = recognise
        self._rate_hz = rate_hz
        self._longest = int(longest * rate_hz)
        self._prompt = prompt
        self._drop = drop
        self._released = released
        self._sound = UtteranceSound(rate_hz)
        self._kept = ""
        """The words of the sound that is not held any more."""
        self._latest = Transcript("", stop_counts=False)
        self._requests: list[_Request] = []
        self._is_closed = self._is_over = False

    def push(self, pcm: Pcm) -> None:
        if self._is_closed:
            return
        if self._sound.is_full(len(pcm)) and not self._requests:
            self._keep()
        self._sound.push(pcm)

    async def snapshot(self) -> Transcript:
        return await self._answer()

    async def finish(self) -> Transcript:
        self._is_closed = True
        try:
            return await self._answer()
        finally:
            self._end()

    def cancel(self) -> None:
        self._is_closed = True
        self._end()

    async def _answer(self) -> Transcript:
        """The words of everything that was pushed before."""
        asked = self._sound.samples
        while not self._is_over and not self._covers(self._latest.samples, asked):
            if self._latest.text == self._kept and self._sound.speech(asked) < SHORTEST_SPEECH:
                self._drop(Reason.TOO_SHORT)
                self._latest = replace(self._latest, samples=asked)
                break
            await self._wait_for(self._request_for(asked))
        if self._latest.samples < asked and not self._is_over:
            self._latest = replace(self._latest, samples=asked)
        return self._latest

    def _covers(self, until: int, asked: int) -> bool:
        """Whether words up to a position are those up to another, because only silence lies between."""
        return until >= asked or (until > 0 and self._sound.is_quiet(until, asked))

    def _request_for(self, asked: int) -> _Request:
        for request in self._requests:
            if self._covers(request.until, asked):
                return request
        self._divide()
        self._sound.drop_quiet(int(LEAD * self._rate_hz))
        start, until = self._sound.start, self._sound.samples
        speech = self._sound.speech(until)
        task = asyncio.create_task(self._run(self._sound.pcm(until), (until - start) / self._rate_hz, until, speech))
        task.add_done_callback(_forget_error)
        request = _Request(until, task)
        self._requests.append(request)
        return request

    async def _wait_for(self, request: _Request) -> None:
        """Wait until it has ended, and raise its error. One for which nobody waits any more is closed."""
        task = request.task
        request.waiters += 1
        try:
            await asyncio.wait([task])
        finally:
            request.waiters -= 1
            if task.done() or not request.waiters:
                task.cancel()
                with suppress(ValueError):
                    self._requests.remove(request)
        if not task.cancelled():
            task.result()

    async def _run(self, pcm: bytes, seconds: float, until: int, speech: float) -> None:
        words = await self._recognise(pcm)
        text = words.text.strip()
        if (reason := invented(text, speech=speech, seconds=seconds, prompt=self._prompt)) is not None:
            self._drop(reason)
            text = ""
        if until < self._latest.samples:
            return  # a later request was faster
        whole = join_digits(" ".join(filter(None, (self._kept, text))))
        language = words.language if text else self._latest.language
        probability = 1.0 if language else 0.0
        self._latest = Transcript(whole, until, language=language, language_probability=probability, stop_counts=False)

    def _divide(self) -> None:
        """If the last words end at a pause and are long, keep them and send their sound no more."""
        done = self._latest.samples
        if done - self._sound.start < self._longest or self._requests:
            return
        if self._sound.is_quiet(done - int(PAUSE * self._rate_hz), done):
            self._keep()

    def _keep(self) -> None:
        """Keep the last words, and hold their sound no more."""
        self._kept = self._latest.text
        self._sound.drop(self._latest.samples)

    def _end(self) -> None:
        if self._is_over:
            return
        self._is_over = True
        for request in self._requests:
            request.task.cancel()
        self._released(self)


def _forget_error(task: asyncio.Task[None]) -> None:
    """Whoever waited for the task may have been cancelled at the moment in which it failed."""
    if not task.cancelled():
        task.exception()
