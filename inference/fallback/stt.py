"""Several recognisers as one."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from inference.fallback.members import FallbackEngine, Member, answer_by, now
from inference.interfaces import Transcription
from inference.resampling import Resampler
from inference.types import (
    EngineError,
    Pcm,
    Transcript,
)

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

MAX_KEPT = 30.0
"""Seconds of an utterance that are kept for the next engine: as much as Whisper hears at once, 1 MB at 16 kHz."""
CLOSE_TIMEOUT = 5.0
"""For a voice to be closed: nothing waits for one that hangs."""


class FallbackSpeechToText(FallbackEngine):
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
    ) -> FallbackTranscription:
        return FallbackTranscription(
            self, {"language": language, "hint": hint}, on_partial if self.gives_partials else None
        )


@dataclass(eq=False)
class _Ear:
    """One engine that hears an utterance, from sample ``begin`` of it on."""

    member: Member
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


class FallbackTranscription:
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
                    transcript = await answer_by(now() + ear.member.deadline, answer, ear.member)
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
