"""Recognises one utterance by Whisper, from its first sample to its final words, in one job after the other."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Protocol

from inference.interfaces import OnPartial
from inference.types import AUTO, EngineError, Pcm, Transcript
from inference.whisper.agreement import agreed_text, is_spaced
from inference.whisper.batches import Urgency
from inference.whisper.digits import join_digits
from inference.whisper.hallucinations import SHORTEST_SPEECH, Hypothesis, Reason
from inference.whisper.model import SHORTEST_FOR_LANGUAGE, Model, Piece, Shape, shape_of
from inference.whisper.sound import LONGEST, Sound

log = logging.getLogger(__name__)


class Recogniser(Protocol):
    """The methods of the engine that an utterance uses."""

    counts: Counter[str]
    partial_samples: int
    unhurried_partial_samples: int

    def request(self, utterance: WhisperTranscription, urgency: Urgency) -> Job:
        """The job that will recognise the utterance, shared by all requests before it begins."""

    def withdraw(self, job: Job) -> None:
        """The job is not wanted any more."""

    def release(self, utterance: WhisperTranscription) -> None:
        """The utterance is over."""


class WhisperTranscription:
    """
    The sound that is not recognised for good yet, the words of the sound that is, and the last answer.

    Both the sound and the work stay bounded: beyond one window, the first part of the sound is recognised for good.
    """

    def __init__(
        self,
        recogniser: Recogniser,
        model: Model,
        language: str,
        on_partial: OnPartial | None,
        *,
        languages: Mapping[str, str] = MappingProxyType({}),
        keyterms: tuple[int, ...] = (),
    ) -> None:
        self.hurried = True
        """Whether partials are wanted soon; set by the owner."""
        self.sound = Sound(model.filters)
        self.keyterms = keyterms
        """The tokens of the words to expect in it, besides those of every utterance."""
        self.waiting: Job | None = None
        """The job that waits for a pass."""
        self.running: Job | None = None
        """The job that is in a pass; of two, the later one."""
        self._recogniser = recogniser
        self._model = model
        self._language = language
        """Whisper's own code, or ``AUTO``."""
        self._languages = languages
        """The languages that may be spoken: Whisper's own codes, each with that by which it was asked for."""
        self._found, self._found_probability = "", 0.0
        """The language that was found in the sound of the last words that were believed, if it was looked for."""
        self._spoken = language
        """The language in which these words are, unless another one is found; ``AUTO`` if that was asked for."""
        self._spaced = is_spaced(language)
        self._on_partial = on_partial
        self._final_parts: list[str] = []
        """The words of the parts that are recognised for good and no longer held as sound."""
        self._latest = Transcript("")
        """The last answer, or the last words that could be one."""
        self._final: Transcript | None = None
        """Set by the end: the answer to all requests from then on."""
        self._closed = False
        """Whether ``finish`` or ``cancel`` was called, so that no more sound is taken."""
        self._partial_asked = 0
        """The number of samples at which a partial was requested last."""
        self._hypothesis = Transcript("")
        """The last hypothesis for a partial; the next one is compared with it."""
        self._hypothesis_tokens: tuple[int, ...] = ()
        self._prefix: tuple[int, ...] = ()
        """The tokens on which the last two hypotheses agreed, with which the next partial must begin."""
        self._reported = ""
        """The words of the last partial."""
        self._settled = False
        """Whether the hypothesis behind it had no other words."""

    def push(self, pcm: Pcm) -> None:
        if self._closed or not len(pcm):
            return
        before = self.sound.samples
        self.sound.push(pcm)
        self._recogniser.counts["samples_dropped"] += before + len(pcm) - self.sound.samples
        if self.sound.held >= LONGEST:
            self._finalise_first_part()
        if self._on_partial is not None and self.sound.samples >= self._partial_asked + self._partial_step():
            self._partial_asked = self.sound.samples
            self._request_partial()

    async def snapshot(self) -> Transcript:
        return await self._answer()

    async def finish(self) -> Transcript:
        self._close()
        final = await self._answer()
        self._end(final)
        return final

    def cancel(self) -> None:
        self._close()
        self._end(self._final or self._latest)

    # -- for jobs

    def next_piece(self, job: Job) -> Piece:
        """
        Return the sound that this job recognises, which begins now.

        It is the first part of the sound if more is held than fits into a window, else all of it.
        """
        job.is_first_part = self.sound.held >= LONGEST
        is_mere_partial = job.urgency is Urgency.PARTIAL and not job.plain and not job.is_first_part
        prefix = self._prefix if is_mere_partial else ()
        if job.is_first_part:
            spectrum, speech, job.until = self.sound.cut_first()
        else:
            spectrum, speech = self.sound.cut()
            job.until = self.sound.samples
        # With a prefix it can be no answer, and the language was looked for before.
        looks = not prefix and speech >= SHORTEST_FOR_LANGUAGE
        others = frozenset(self._languages) - {self._spoken} if looks else frozenset()
        return Piece(spectrum, speech, self._spoken, prefix, job.plain, others, keyterms=self.keyterms)

    def accept(self, job: Job, hypothesis: Hypothesis, *, believed: bool) -> None:
        """Take the result of this job. A text that was not believed is empty."""
        assert job.piece is not None
        if job.start != self.sound.start:
            return  # A part of its sound was recognised for good in the meantime.
        if hypothesis.found and hypothesis.text:
            self._take_language(hypothesis)
        if job.is_first_part:
            self._final_parts += [hypothesis.text] if hypothesis.text else []
            self._forget_before(job.until)
            if job.until > self._latest.samples:
                self._latest = self._transcript("", job.until, hypothesis.confidence)
            return
        transcript = self._transcript(hypothesis.text, job.until, hypothesis.confidence)
        if not job.piece.prefix and job.until >= self._latest.samples:
            self._latest = replace(transcript, text=join_digits(transcript.text))
        if job.is_partial and believed and not self._closed and self._on_partial is not None:
            self._report(self._on_partial, transcript, hypothesis.tokens)

    def _take_language(self, hypothesis: Hypothesis) -> None:
        self._found = self._languages.get(hypothesis.found, hypothesis.found)
        self._found_probability = hypothesis.found_probability
        if self._language != AUTO and self._spoken != hypothesis.language:
            self._spoken = hypothesis.language
            self._prefix = self._hypothesis_tokens = ()
        self._spaced = is_spaced(hypothesis.language)

    # -- answers

    async def _answer(self) -> Transcript:
        """The words of everything that was pushed before this call."""
        asked = self.sound.samples
        has_waited = False
        while self._final is None and not self._is_covered(asked):
            await self._recognise(asked)
            has_waited = True
        if self._final is not None:
            return self._final
        self._recogniser.counts["answers"] += 1
        self._recogniser.counts["answered_at_once"] += int(not has_waited)
        if self._latest.samples < asked:
            self._latest = replace(self._latest, samples=asked)
        return self._latest

    async def _recognise(self, asked: int) -> None:
        """Wait for one job, which may cover the sound up to ``asked``."""
        if self.sound.speech() < SHORTEST_SPEECH:
            self._recogniser.counts[Reason.TOO_SHORT] += 1
            self._latest = self._transcript("", asked, 1.0)
            return
        job = self.running
        if job is None or not job.will_cover(asked):
            job = self._recogniser.request(self, Urgency.ANSWER)
        job.waiters += 1
        try:
            await asyncio.shield(job.done)
        finally:
            job.waiters -= 1
            if not job.waiters and job is self.waiting and not job.finalises:
                job.urgency = Urgency.PARTIAL
                if self._closed or not job.is_partial:
                    self._recogniser.withdraw(job)

    def _is_covered(self, asked: int) -> bool:
        """Whether the last answer has all words up to there, because only silence was pushed since, or nothing."""
        return self._latest.samples >= asked or self.sound.is_quiet(self._latest.samples, asked)

    # -- long utterances

    def _finalise_first_part(self) -> None:
        """Make room: have the first part of the sound recognised for good."""
        if self.running is not None or (self.waiting is not None and self.waiting.finalises):
            return
        if self._is_covered(self.sound.samples):
            self._final_parts = [self._latest.text] if self._latest.text else []
            self._forget_before(self.sound.samples)
            return
        try:
            self._recogniser.request(self, Urgency.ANSWER).finalises = True
        except EngineError as error:
            log.debug("A long utterance cannot be shortened yet: %s", error)

    def _forget_before(self, until: int) -> None:
        self.sound.drop(until)
        self._prefix = self._hypothesis_tokens = ()

    # -- partials

    def _partial_step(self) -> int:
        """
        The samples by which the utterance grows from one partial to the next.

        Where partials are to be rare, they become rarer as it grows, because each one costs as much as the final words.
        """
        often, rarely = self._recogniser.partial_samples, self._recogniser.unhurried_partial_samples
        if self.hurried:
            return often
        return max(rarely, self._partial_asked) if rarely > often else rarely

    def _request_partial(self) -> None:
        if self.running is not None or self._is_covered(self.sound.samples) or self.sound.speech() < SHORTEST_SPEECH:
            return
        try:
            self._recogniser.request(self, Urgency.PARTIAL).is_partial = True
        except EngineError as error:
            log.debug("Left out a partial transcript: %s", error)

    def _report(self, on_partial: OnPartial, transcript: Transcript, tokens: tuple[int, ...]) -> None:
        """Report the words on which this hypothesis and the one before agree, if they are more than before."""
        before, self._hypothesis = self._hypothesis, transcript
        if self._language != AUTO:  # the language might be another one next time
            self._prefix = self._model.safe_prefix(self._hypothesis_tokens, tokens, self._spoken)
        self._hypothesis_tokens = tokens
        agreed = agreed_text(before.text, transcript.text, spaced=self._spaced)
        settled = len(agreed) == len(transcript.text) > 0
        words = join_digits(agreed)
        if len(words) > len(self._reported) or (settled and words == self._reported and not self._settled):
            self._reported, self._settled = words, settled
            self._recogniser.counts["partials"] += 1
            try:
                on_partial(replace(transcript, text=words, samples=before.samples, settled=settled))
            except Exception:
                log.exception("Reporting a partial transcript failed; the utterance goes on")

    def _transcript(self, text: str, samples: int, confidence: float) -> Transcript:
        words = (" " if self._spaced else "").join(filter(None, [*self._final_parts, text]))
        return Transcript(
            words,
            samples,
            confidence,
            language=self._found,
            language_probability=self._found_probability,
            stop_counts=False,
        )

    # -- the end

    def _close(self) -> None:
        self._closed = True
        job = self.waiting
        if job is not None and not job.waiters:
            self._recogniser.withdraw(job)

    def _end(self, final: Transcript) -> None:
        """The answer is final: all requests get it, and no more sound or work is held."""
        if self._final is not None:
            return
        self._final = final
        for job in (self.waiting, self.running):
            if job is not None:
                self._recogniser.withdraw(job)
                if not job.done.done():
                    job.done.set_result(None)
        self.running = None
        self._recogniser.release(self)


class Job:
    """
    One request to recognise an utterance: for an answer, for a partial, to finalise its first part, or for several.

    It recognises what has been pushed by the time it begins.
    """

    def __init__(self, utterance: WhisperTranscription, urgency: Urgency, loop: asyncio.AbstractEventLoop) -> None:
        self.utterance = utterance
        self.urgency = urgency
        self.asked_at = loop.time()
        """The time at which it was first asked for, on the loop's clock."""
        self.done: asyncio.Future[None] = loop.create_future()
        """Its result is in the utterance; its error is in the future."""
        self.waiters = 0
        """The number of answers that wait for it."""
        self.is_partial = False
        """Whether its words are to be reported as a partial."""
        self.finalises = False
        """Whether it is to make room in a long utterance."""
        self.plain = False
        """Whether this is its second attempt, which differs from the first one and has no prefix."""
        self.doubted: Hypothesis | None = None
        """The text of the first attempt, if it may be believed but is doubtful."""
        self.dropped: Reason | None = None
        """Why the text of the first attempt was dropped, if it was."""
        self.piece: Piece | None = None
        """Set when it begins."""
        self.start = 0
        """Once begun: where the sound that it recognises begins, in samples of the utterance."""
        self.until = 0
        """Once begun: where the sound that it recognises ends, in samples of the utterance."""
        self.is_first_part = False
        """Once begun: whether that is only the first part of a long utterance."""

    @property
    def shape(self) -> Shape:
        return shape_of(self.utterance.sound.frames, self.utterance.keyterms, plain=self.plain)

    @property
    def is_answer(self) -> bool:
        """Whether it is more than a partial."""
        return self.waiters > 0 or self.finalises

    @property
    def is_wanted(self) -> bool:
        return not self.done.done() and (self.is_answer or self.is_partial)

    def begin(self) -> Piece:
        self.utterance.waiting, self.utterance.running = None, self
        self.piece = self.utterance.next_piece(self)
        self.start = self.utterance.sound.start
        return self.piece

    def will_cover(self, asked: int) -> bool:
        """Whether the running job also answers a request for everything up to the sample ``asked``."""
        return (
            self.piece is not None
            and not self.piece.prefix
            and not self.is_first_part
            and self.utterance.sound.is_quiet(self.until, asked)
        )

    def succeed(self, hypothesis: Hypothesis, *, believed: bool) -> None:
        if self.utterance.running is self:
            self.utterance.running = None
        if not self.done.done():
            self.utterance.accept(self, hypothesis, believed=believed)
            self.done.set_result(None)

    def fail(self, error: EngineError) -> None:
        utterance = self.utterance
        utterance.running = None if utterance.running is self else utterance.running
        utterance.waiting = None if utterance.waiting is self else utterance.waiting
        if self.done.done():
            return
        if self.is_first_part:
            log.warning("Lost the first part of a long utterance: %s", error)
            utterance.sound.drop(self.until)
        elif self.is_partial:
            log.warning("A partial transcript failed; the utterance goes on: %s", error)
        self.done.set_exception(error)
        self.done.exception()  # marks the error as retrieved, because perhaps no answer waits for it
