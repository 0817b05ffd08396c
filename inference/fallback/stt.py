"""Combines several recognisers; the next one hears the utterance from its start."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from inference.fallback.member import Member, Trial, answer_by, combine, loop_time
from inference.fallback.members import FallbackEngine
from inference.interfaces import DelayedTranscription, OnPartial, PacedTranscription, SpeechToText, Transcription
from inference.resampling import Resampler
from inference.types import EngineError, Pcm, Transcript

MAX_KEPT = 30.0
"""Seconds of an utterance that are kept for the next engine: as much as Whisper hears at once, 1 MB at 16 kHz."""


class FallbackSpeechToText(FallbackEngine[SpeechToText]):
    """
    ``deadline`` is how many seconds an engine may take to answer a request for words.

    The last 30 s of an utterance are kept, so that the next engine hears it from the start. The rate is that of the
    first engine that knows its rate at the start; the others get resampled sound.
    """

    kind = "stt"

    def __init__(self, *, deadline: float = 0.7, **options: Any) -> None:
        super().__init__(deadline=deadline, **options)

    @property
    def rate_hz(self) -> int:
        return self.fact("rate_hz")

    @property
    def gives_partials(self) -> bool:
        return bool(self.fact("gives_partials"))

    def open(
        self,
        *,
        language: str = "en",
        hint: str = "",
        on_partial: OnPartial | None = None,
        others: Sequence[str] = (),
        keyterms: Sequence[str] = (),
    ) -> FallbackTranscription:
        on_partial = on_partial if self.gives_partials else None
        return FallbackTranscription(self, language, hint, on_partial, others, keyterms)


@dataclass(eq=False)
class _Listener:
    """One engine that hears the utterance."""

    member: Member[SpeechToText]
    ticket: int
    begin: int
    """The sample of the utterance with which the sound that it hears begins."""
    resampler: Resampler
    transcription: Transcription | None = None
    """None until it is opened."""
    paced: PacedTranscription | None = None
    """The same, if it wants to know whether words are urgent."""
    pending: int = 0
    """Requests for words that it has not answered yet."""

    def push(self, pcm: Pcm, *, hurried: bool) -> None:
        assert self.transcription is not None
        with self.member.failures_reported(self.ticket):
            if self.paced is not None:
                self.paced.hurried = hurried
            self.transcription.push(self.resampler.push(pcm))

    def cancel(self) -> None:
        if self.transcription is not None:
            self.transcription.cancel()


class FallbackTranscription:
    """One utterance, heard by as many engines as it takes, one after the other."""

    def __init__(
        self,
        engine: FallbackSpeechToText,
        language: str,
        hint: str,
        on_partial: OnPartial | None,
        others: Sequence[str],
        keyterms: Sequence[str],
    ) -> None:
        self.hurried = True
        """Whether partials are wanted soon; set by the owner. The engine that hears the utterance learns it."""
        self._engine = engine
        self._language = language
        self._others = others
        self._keyterms = keyterms
        self._hint = hint
        self._on_partial = on_partial
        self._rate_hz = engine.rate_hz
        self._sound: deque[Pcm] = deque()
        """The sound that is kept for the next engine, in the pieces that were pushed."""
        self._dropped = 0
        """Samples at the start of the utterance that are no longer kept."""
        self._samples = 0
        """Samples of the utterance so far."""
        self._final: Transcript | None = None
        self._closed = False
        """No more sound is taken: ``finish`` or ``cancel`` was called."""
        self._cancelled = False
        self._listener: _Listener | None = None
        """The engine that hears the utterance now; None after all have failed."""
        self._candidates: Iterator[tuple[Member[SpeechToText], int]] = iter(())
        """The engines that were not asked since all of them had failed."""
        self._listen()

    def push(self, pcm: Pcm) -> None:
        if self._closed:
            return
        pcm = pcm.copy()
        self._sound.append(pcm)
        self._samples += len(pcm)
        while self._samples - self._dropped - len(self._sound[0]) >= MAX_KEPT * self._rate_hz:
            self._dropped += len(self._sound.popleft())
        if (listener := self._listener) is not None:
            try:
                listener.push(pcm, hurried=self.hurried)
            except EngineError as error:
                with suppress(EngineError):  # the next request for words raises it
                    self._replace(listener, error)

    @property
    def delayed(self) -> bool:
        """Whether the engine that hears the utterance is out of reach."""
        heard_by = self._listener.transcription if self._listener is not None else None
        return isinstance(heard_by, DelayedTranscription) and heard_by.delayed

    async def snapshot(self) -> Transcript:
        return await self._request(finishing=False)

    async def finish(self) -> Transcript:
        self._closed = True
        self._final = await self._request(finishing=True)
        self._sound.clear()
        if self._listener is not None:
            self._listener.cancel()  # another engine may have taken over before this one finished
        return self._final

    def cancel(self) -> None:
        self._closed = self._cancelled = True
        self._sound.clear()
        if self._listener is not None:
            self._listener.cancel()

    def _listen(self) -> _Listener:
        """Begin again with the first engine. Each engine is asked once before any is asked again."""
        if self._cancelled:
            raise EngineError("the utterance was cancelled")
        self._candidates = self._engine.candidates(self._engine.members_with(self._language))
        return self._next_listener(None)

    def _next_listener(self, failure: EngineError | None) -> _Listener:
        for member, ticket in self._candidates:
            listener = _Listener(member, ticket, self._dropped, Resampler(self._rate_hz, member.engine.rate_hz))
            on_partial = partial(self._pass_on_partial, listener) if self._on_partial else None
            try:
                with member.failures_reported(ticket):
                    listener.transcription = member.engine.open(
                        language=self._language,
                        hint=self._hint,
                        on_partial=on_partial,
                        others=self._others,
                        keyterms=self._keyterms,
                    )
                    if isinstance(listener.transcription, PacedTranscription):
                        listener.paced = listener.transcription
                for pcm in self._sound:
                    listener.push(pcm, hurried=self.hurried)
            except EngineError as error:
                failure = combine(failure, error)
                self._cancel_if_unused(listener)
                continue
            self._listener = listener
            return listener
        raise failure or self._engine.none_started_error(self._engine.members)

    def _replace(self, listener: _Listener, error: EngineError) -> None:
        """Let the next engine hear the utterance because ``listener`` failed, unless that was done already."""
        if listener is self._listener:
            self._listener = None
            self._cancel_if_unused(listener)
            self._next_listener(error)

    def _cancel_if_unused(self, listener: _Listener) -> None:
        # A pending request of the engine goes on until its own deadline.
        if listener is not self._listener and not listener.pending:
            listener.cancel()

    async def _request(self, *, finishing: bool) -> Transcript:
        while self._final is None:
            listener = self._listener or self._listen()
            assert listener.transcription is not None
            listener.pending += 1
            member = listener.member
            try:
                with Trial(member, listener.ticket, partial(self._is_excused, listener)) as trial:
                    answer = listener.transcription.finish() if finishing else listener.transcription.snapshot()
                    transcript = await answer_by(loop_time() + member.deadline, answer, member.name)
                    trial.produced = True
                return self._in_own_samples(transcript, listener)
            except EngineError as error:
                if self._cancelled:
                    raise
                if self._final is None:
                    self._replace(listener, error)
            finally:
                listener.pending -= 1
                self._cancel_if_unused(listener)
        return self._final

    def _is_excused(self, listener: _Listener) -> bool:
        """Whether the engine is not to blame for an error: the utterance no longer needs it."""
        return self._cancelled or listener is not self._listener

    def _pass_on_partial(self, listener: _Listener, transcript: Transcript) -> None:
        if listener is self._listener and not self._closed and self._on_partial is not None:
            self._on_partial(self._in_own_samples(transcript, listener))

    def _in_own_samples(self, transcript: Transcript, listener: _Listener) -> Transcript:
        """The transcript, with ``samples`` counted in the whole utterance and at the rate of the fallback."""
        samples = listener.begin + transcript.samples * self._rate_hz // listener.member.engine.rate_hz
        return replace(transcript, samples=min(samples, self._samples))
