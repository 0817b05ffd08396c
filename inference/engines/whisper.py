"""
Whisper through faster-whisper's checkpoints: many calls on one GPU, or a handful on a processor.

Whisper hears whole windows and gives whole texts, so an utterance is recognised again whenever its words are asked
for. What is shared over the calls is the model: one thread, which takes batches of utterances (``whisper/batches.py``),
answers before partials. What makes an answer quick:

- its features were made while the sound came in (``whisper/mel.py``);
- the window is cut to the utterance, 10, 15 or 30 s (``whisper/model.py``);
- sound that was recognised already is not recognised again, and silence behind it is not recognised at all: the
  snapshot at the first pause *is* the final transcript if nothing more was said (``whisper/sound.py`` decides);
- a transcript is decoded once, and what cannot be a caller's words is dropped (``whisper/guards.py``).
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeVar

from inference.types import Description, EngineError, EngineFull, EngineLoading, Pcm, Transcript
from inference.whisper.batches import Batches, Urgency
from inference.whisper.guards import RETRIED, SHORTEST_SPEECH, Heard, Reason, agreed_text, is_spaced, objection
from inference.whisper.mel import RATE_HZ
from inference.whisper.model import Piece, load, memory_estimate, weights_bytes, window_for
from inference.whisper.sound import LONGEST, Sound

if TYPE_CHECKING:
    from inference.whisper.model import Model

log = logging.getLogger(__name__)
T = TypeVar("T")

GPU_ROWS = 16
CPU_ROWS = 2
"""``max_batch`` if it is 0. On a GPU rows are nearly free; on a processor each takes its time and delays the others."""
MAX_PARTIAL_ROWS = 8
MOST_FAILURES = 3
"""Passes in a row, after which it is the model or its device that is at fault, and not a sound."""


class FasterWhisperSpeechToText:
    """
    ``model`` is the name of a faster-whisper model, such as ``large-v3-turbo``, or the folder of a converted one.

    A model that is not a folder is looked for in ``download_root`` (the hub's usual cache if empty) and, unless
    ``local_files_only``, downloaded. ``device`` is "cuda", "cpu" or "auto"; ``compute_type`` "default" is float16 or
    int8. ``cpu_threads`` 0 leaves the number to CTranslate2.

    With ``partials``, words are reported each ``partial_seconds`` of sound as soon as two hypotheses in a row agree on
    them. ``hotwords`` are names and words that the model shall expect on every call.

    Up to ``max_batch`` utterances are heard in one pass (0: as the device allows); an answer waits ``gather`` seconds
    for others to join it. More than ``max_utterances`` open ones, or ``max_waiting`` answers at once, raise
    ``EngineFull``. ``counts`` tells how often each guard spoke, and what became of the work.
    """

    rate_hz: ClassVar[int] = RATE_HZ
    may_speculate: ClassVar[bool] = True

    def __init__(
        self,
        *,
        model: str = "small.en",
        device: str = "auto",
        device_index: int = 0,
        compute_type: str = "default",
        cpu_threads: int = 0,
        download_root: str = "",
        local_files_only: bool = False,
        partials: bool = True,
        partial_seconds: float = 0.6,
        hotwords: str = "",
        max_batch: int = 0,
        gather: float = 0.003,
        max_utterances: int = 256,
        max_waiting: int = 32,
    ) -> None:
        self.gives_partials = partials
        self.partial_samples = int(partial_seconds * RATE_HZ)
        self.counts: Counter[str] = Counter()
        self._name = model
        self._device = device
        self._load: Callable[[], Model] = partial(
            load,
            model,
            device=device,
            device_index=device_index,
            compute_type=compute_type,
            cpu_threads=cpu_threads,
            download_root=download_root,
            local_files_only=local_files_only,
            hotwords=hotwords,
        )
        self._download_root = download_root
        self._max_batch = max_batch
        self._gather = gather
        self._max_utterances = max_utterances
        self._max_waiting = max_waiting
        self._model: Model | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._loading = asyncio.Lock()
        self._batches: Batches[_Job] = self._no_batches(CPU_ROWS)
        self._running: list[_Job] = []
        self._failures = 0
        self.broken = ""
        self._timer: asyncio.TimerHandle | None = None
        # Weakly: one that its owner forgot without a word does not take a place for ever.
        self._open: weakref.WeakSet[_Utterance] = weakref.WeakSet()

    async def start(self) -> None:
        async with self._loading:
            if self._model is not None:
                return
            self._thread = self._thread or ThreadPoolExecutor(1, thread_name_prefix="whisper")
            model = await self._run(self._load)
            rows = self._max_batch or (GPU_ROWS if model.device == "cuda" else CPU_ROWS)
            await self._run(lambda: model.warm_up(rows))
            self._device, self._batches, self._model = model.device, self._no_batches(rows), model
            self._failures, self.broken = 0, ""

    async def close(self) -> None:
        async with self._loading:
            if self._timer is not None:
                self._timer.cancel()
            thread, self._thread, self._model = self._thread, None, None
            for job in [*self._batches.clear(), *self._running]:
                job.fail(EngineError("the recogniser was closed"))
            if thread is not None:
                await asyncio.to_thread(thread.shutdown)

    def describe(self) -> Description:
        weights = weights_bytes(self._name, self._download_root)
        rows = self._max_batch or (CPU_ROWS if self._device == "cpu" else GPU_ROWS)
        return Description(
            weights=f"the folder {self._name}" if Path(self._name).is_dir() else f"{self._name}, from the model hub",
            memory_bytes=memory_estimate(weights, device=self._device, max_rows=rows),
            device=self._device,
            capacity=self._max_utterances,
        )

    def open(
        self, *, language: str = "en", hint: str = "", on_partial: Callable[[Transcript], None] | None = None
    ) -> _Utterance:
        """``hint`` is not used: Whisper, told what was said before, tends to hear it again."""
        if self._model is None:
            if self._loading.locked():
                raise EngineLoading("the recogniser is still loading its model")
            raise EngineError("the recogniser has not been started")
        code = self._model.language(language)
        if not code:
            raise EngineError(f"the model {self._name} does not know the language {language!r}", permanent=True)
        if len(self._open) >= self._max_utterances:
            raise EngineFull(f"the recogniser has {self._max_utterances} utterances open, as many as it takes")
        utterance = _Utterance(self, self._model, code, on_partial if self.gives_partials else None)
        self._open.add(utterance)
        return utterance

    # For utterances

    def ask(self, utterance: _Utterance, urgency: Urgency) -> _Job:
        """Have it heard: one job for all who ask before it begins. Raises ``EngineFull``."""
        if self._model is None:
            raise EngineError("the recogniser is closed")
        job = utterance.waiting
        if job is None:
            job = _Job(utterance, urgency, asyncio.get_running_loop())
            self._batches.add(job, now=job.asked_at)
            utterance.waiting = job
        elif urgency < job.urgency:
            self._batches.check(urgency)
            job.urgency = urgency
        self._pump()
        return job

    def withdraw(self, job: _Job) -> None:
        """Nobody needs it any more; if it has begun, it goes on for the sake of the others in its batch."""
        self._batches.discard(job)
        if job.utterance.waiting is job:
            job.utterance.waiting = None

    def release(self, utterance: _Utterance) -> None:
        self._open.discard(utterance)

    # Work

    def _no_batches(self, rows: int) -> Batches[_Job]:
        return Batches(
            max_rows=rows,
            max_partial_rows=min(MAX_PARTIAL_ROWS, max(1, rows // 2)),
            gather=self._gather if rows > 1 else 0.0,
            max_waiting=self._max_waiting,
        )

    def _pump(self) -> None:
        """Give the thread its next batch, if it is free and there is one."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._model is not None and not self._running:
            loop = asyncio.get_running_loop()
            batch = self._batches.take(now=loop.time())
            if not batch:
                due = self._batches.due()
                if due is not None:
                    self._timer = loop.call_at(due, self._pump)
                return
            pieces = {job: job.begin() for job in batch}
            for job, piece in pieces.items():
                if piece.speech < SHORTEST_SPEECH:
                    self._deliver(job, Heard())
            self._running = [job for job in batch if pieces[job].speech >= SHORTEST_SPEECH]
            if self._running:
                hearing = self._run(partial(self._model.hear, [pieces[job] for job in self._running]))
                hearing.add_done_callback(partial(self._heard, self._running))

    def _heard(self, jobs: list[_Job], hearing: asyncio.Future[list[Heard]]) -> None:
        self._running = []
        error = hearing.exception() if not hearing.cancelled() else EngineError("the recogniser was closed")
        if self._model is None:
            return
        self._failures = self._failures + 1 if error is not None else 0
        self.broken = f"recognition failed {self._failures} times on end" if self._failures >= MOST_FAILURES else ""
        if error is None:
            self.counts["batches"] += 1
            self.counts["rows"] += len(jobs)
            for job, heard in zip(jobs, hearing.result(), strict=True):
                self._deliver(job, heard)
        else:
            self.counts["failed"] += len(jobs)
            for job in jobs:
                job.fail(error if isinstance(error, EngineError) else EngineError(f"recognition failed: {error}"))
        self._pump()

    def _deliver(self, job: _Job, heard: Heard) -> None:
        reason = objection(heard)
        if reason is not None:
            self.counts[reason] += 1
            if reason in RETRIED and self._retry(job):
                return
        job.succeed(heard if reason is None else replace(heard, text=""), believed=reason is None)

    def _retry(self, job: _Job) -> bool:
        """Hear it once more without prefix and hotwords, if it had either and somebody still wants it."""
        assert self._model is not None
        assert job.piece is not None
        helped = job.piece.prefix or self._model.has_hotwords
        if not job.is_wanted or job.piece.plain or not helped or job.utterance.waiting is not None:
            return False
        self.counts["retried"] += 1
        job.plain, job.piece = True, None
        job.utterance.running, job.utterance.waiting = None, job
        self._batches.put_back(job, asked_at=job.asked_at)
        return True

    def _run(self, function: Callable[[], T]) -> asyncio.Future[T]:
        if self._thread is None:
            raise EngineError("the recogniser is closed")
        return asyncio.get_running_loop().run_in_executor(self._thread, function)


class _Job:
    """
    One wish to have an utterance heard: as an answer, as a partial, to settle its first part, or several of these.

    What is heard is what has been pushed by the time it begins.
    """

    def __init__(self, utterance: _Utterance, urgency: Urgency, loop: asyncio.AbstractEventLoop) -> None:
        self.utterance = utterance
        self.urgency = urgency
        self.asked_at = loop.time()
        self.done: asyncio.Future[None] = loop.create_future()
        self.waiters = 0
        self.reports = False
        self.settles = False
        self.plain = False
        self.piece: Piece | None = None
        self.until = 0
        """Once begun: where, in samples of the utterance, the sound that it hears ends."""
        self.cuts = False
        """Once begun: whether that is only the first part of a long utterance."""

    @property
    def shape(self) -> tuple[int, bool]:
        return window_for(self.utterance.sound.frames), self.plain

    @property
    def is_wanted(self) -> bool:
        return not self.done.done() and (self.waiters > 0 or self.reports or self.settles)

    def begin(self) -> Piece:
        self.utterance.waiting, self.utterance.running = None, self
        self.piece = self.utterance.piece(self)
        return self.piece

    def will_cover(self, asked: int) -> bool:
        """Whether what it hears, having begun, is an answer to somebody who asks only now."""
        return (
            self.piece is not None
            and not self.piece.prefix
            and not self.cuts
            and self.utterance.sound.is_quiet(self.until, asked)
        )

    def succeed(self, heard: Heard, *, believed: bool) -> None:
        self.utterance.running = None
        if not self.done.done():
            self.utterance.take(self, heard, believed=believed)
            self.done.set_result(None)

    def fail(self, error: EngineError) -> None:
        utterance = self.utterance
        utterance.running = None if utterance.running is self else utterance.running
        utterance.waiting = None if utterance.waiting is self else utterance.waiting
        if self.done.done():
            return
        if self.cuts:
            log.warning("A part of a long utterance is lost: %s", error)
            utterance.sound.drop(self.until)
        elif self.reports:
            log.warning("A partial transcript failed: %s", error)
        self.done.set_exception(error)
        self.done.exception()  # it may be that nobody waits, which is no error of its own


class _Utterance:
    """
    The sound that is not yet recognised for good, the words of what is, and the last answer.

    Both the sound and the work stay bounded: past one window the first part of the sound becomes ``_settled`` text.
    """

    def __init__(
        self,
        engine: FasterWhisperSpeechToText,
        model: Model,
        language: str,
        on_partial: Callable[[Transcript], None] | None,
    ) -> None:
        self.sound = Sound(model.filters)
        self.waiting: _Job | None = None
        self.running: _Job | None = None
        self._engine = engine
        self._model = model
        self._language = language
        self._spaced = is_spaced(language)
        self._on_partial = on_partial
        self._settled: list[str] = []
        self._latest = Transcript("")
        self._final: Transcript | None = None
        self._closed = False
        self._partial_at = engine.partial_samples
        self._hypothesis = Transcript("")
        self._hypothesis_tokens: tuple[int, ...] = ()
        self._prefix: tuple[int, ...] = ()
        self._reported = ""

    def push(self, pcm: Pcm) -> None:
        if self._closed or not len(pcm):
            return
        before = self.sound.samples
        self.sound.push(pcm)
        self._engine.counts["samples_dropped"] += before + len(pcm) - self.sound.samples
        if self.sound.held >= LONGEST:
            self._settle()
        if self._on_partial is not None and self.sound.samples >= self._partial_at:
            self._partial_at = self.sound.samples + self._engine.partial_samples
            self._want_partial()

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

    # For jobs

    def piece(self, job: _Job) -> Piece:
        """What this job shall hear: the first part of what is held if it is too much, else all of it."""
        prefix = self._prefix if job.urgency is Urgency.PARTIAL and not job.plain else ()
        job.cuts = self.sound.held >= LONGEST
        if job.cuts:
            spectrum, speech, job.until = self.sound.cut_first()
            return Piece(spectrum, speech, self._language, (), job.plain)
        job.until = self.sound.samples
        spectrum, speech = self.sound.cut()
        return Piece(spectrum, speech, self._language, prefix, job.plain)

    def take(self, job: _Job, heard: Heard, *, believed: bool) -> None:
        assert job.piece is not None
        if job.cuts:
            self._settled += [heard.text] if heard.text else []
            self._forget_before(job.until)
            if job.until > self._latest.samples:
                self._latest = self._transcript("", job.until, heard.confidence)
            return
        transcript = self._transcript(heard.text, job.until, heard.confidence)
        if not job.piece.prefix:
            self._latest = transcript
        if job.reports and believed and not self._closed and self._on_partial is not None:
            self._report(self._on_partial, transcript, heard.tokens)

    # Answers

    async def _answer(self) -> Transcript:
        asked = self.sound.samples
        heard = False
        while self._final is None and not self._is_covered(asked):
            await self._hear(asked)
            heard = True
        if self._final is not None:
            return self._final
        self._engine.counts["answers"] += 1
        self._engine.counts["answered_at_once"] += int(not heard)
        if self._latest.samples < asked:
            self._latest = replace(self._latest, samples=asked)
        return self._latest

    async def _hear(self, asked: int) -> None:
        if self.sound.speech() < SHORTEST_SPEECH:
            self._engine.counts[Reason.TOO_SHORT] += 1
            self._latest = self._transcript("", asked, 1.0)
            return
        job = self.running
        if job is None or not job.will_cover(asked):
            job = self._engine.ask(self, Urgency.ANSWER)
        job.waiters += 1
        try:
            await asyncio.shield(job.done)
        finally:
            job.waiters -= 1
            if not job.waiters and job is self.waiting and not job.settles:
                job.urgency = Urgency.PARTIAL
                if self._closed or not job.reports:
                    self._engine.withdraw(job)

    def _is_covered(self, asked: int) -> bool:
        """Whether the last answer holds all words until there: nothing was pushed since, or only silence."""
        return self._latest.samples >= asked or self.sound.is_quiet(self._latest.samples, asked)

    # Long utterances

    def _settle(self) -> None:
        """Make room: recognise the first part for good."""
        if self.running is not None or (self.waiting is not None and self.waiting.settles):
            return
        if self._is_covered(self.sound.samples):
            self._settled = [self._latest.text] if self._latest.text else []
            self._forget_before(self.sound.samples)
            return
        try:
            self._engine.ask(self, Urgency.ANSWER).settles = True
        except EngineError as error:
            log.debug("A long utterance waits to be shortened: %s", error)

    def _forget_before(self, until: int) -> None:
        self.sound.drop(until)
        self._prefix = self._hypothesis_tokens = ()

    # Partials

    def _want_partial(self) -> None:
        if self.running is not None or self._is_covered(self.sound.samples) or self.sound.speech() < SHORTEST_SPEECH:
            return
        try:
            self._engine.ask(self, Urgency.PARTIAL).reports = True
        except EngineError as error:
            log.debug("A partial transcript is left out: %s", error)

    def _report(
        self, on_partial: Callable[[Transcript], None], transcript: Transcript, tokens: tuple[int, ...]
    ) -> None:
        """Report the words on which this hypothesis and the one before agree, if they are more than before."""
        before, self._hypothesis = self._hypothesis, transcript
        self._prefix = self._model.safe_prefix(self._hypothesis_tokens, tokens, self._language)
        self._hypothesis_tokens = tokens
        words = agreed_text(before.text, transcript.text, spaced=self._spaced)
        if len(words) > len(self._reported):
            self._reported = words
            self._engine.counts["partials"] += 1
            try:
                on_partial(Transcript(words, before.samples, transcript.confidence))
            except Exception:
                log.exception("A partial transcript could not be handed on")

    def _transcript(self, text: str, samples: int, confidence: float) -> Transcript:
        words = (" " if self._spaced else "").join(filter(None, [*self._settled, text]))
        return Transcript(words, samples, confidence)

    # The end

    def _close(self) -> None:
        self._closed = True
        job = self.waiting
        if job is not None and not job.waiters:
            self._engine.withdraw(job)

    def _end(self, final: Transcript) -> None:
        """There is an answer for good: whoever still waits gets it, and nothing more is done or held."""
        if self._final is not None:
            return
        self._final = final
        for job in (self.waiting, self.running):
            if job is not None:
                self._engine.withdraw(job)
                if not job.done.done():
                    job.done.set_result(None)
        self.running = None
        self._engine.release(self)
