"""
Whisper through faster-whisper's checkpoints: many calls on one GPU, or a handful on a processor.

Whisper recognises whole windows and returns whole texts, so an utterance is recognised again whenever its words are
requested. All calls share the model, which takes batches of utterances (``whisper/batches.py``): answers before
partials, and on a processor also beside partials that have begun. What makes an answer quick:

- its features were computed while the sound came in (``whisper/mel.py``);
- the window is cut to the utterance, 10 to 30 s in steps of 5 s (``whisper/model.py``);
- sound that was recognised already is not recognised again, and silence behind it is not recognised at all: the
  snapshot at the first pause *is* the final transcript if nothing more was said (``whisper/sound.py`` decides);
- a transcript is decoded once, or twice if the first is a loop or doubtful; a text that cannot be a caller's words is
  dropped (``whisper/hallucinations.py``).
"""

from __future__ import annotations

import asyncio
import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeVar

from inference import metrics
from inference.interfaces import OnPartial
from inference.types import AUTO, Description, EngineError, EngineFull, EngineLoading, Languages, main_language
from inference.whisper.batches import Batches, Urgency
from inference.whisper.hallucinations import (
    DOUBTS,
    LOOPS,
    SHORTEST_SPEECH,
    SPOILED,
    Hypothesis,
    Reason,
    is_doubtful,
    is_number,
    is_sure,
    objection,
)
from inference.whisper.loading import load, memory_estimate, weights_bytes
from inference.whisper.mel import RATE_HZ
from inference.whisper.options import WhisperOptions
from inference.whisper.transcription import Job, WhisperTranscription

if TYPE_CHECKING:
    from inference.whisper.model import Model

T = TypeVar("T")

GPU_ROWS = 16
CPU_ROWS = 2
"""The batch sizes for ``max_batch`` 0. On a GPU rows are nearly free; on a processor each one takes its own time and
delays the others."""
MAX_PARTIAL_ROWS = 8
"""Partials in one pass. It cannot be interrupted, and an answer that comes meanwhile must not wait long."""
MOST_FAILURES = 3
"""Consecutive failed passes after which not the sound is at fault, but the model or its device."""


class FasterWhisperSpeechToText:
    """One model on one device, which recognises the utterances of all calls; the options say which and how."""

    rate_hz: ClassVar[int] = RATE_HZ
    may_speculate: ClassVar[bool] = True
    options_class: ClassVar[type[WhisperOptions]] = WhisperOptions

    def __init__(self, options: WhisperOptions) -> None:
        self.gives_partials = options.partials
        self.partial_samples = int(options.partial_seconds * RATE_HZ)
        """A partial is requested each time the utterance has grown by so much, if it is wanted soon."""
        self.unhurried_partial_samples = int(options.unhurried_partial_seconds * RATE_HZ)
        """The same if it is not."""
        self.counts: Counter[str] = Counter()
        """Counts of the texts that were dropped, by the reason, and of the work that was done."""
        self.broken = ""
        """The reason why the engine cannot serve any call until it is started again; empty if it can."""
        self._options = options
        self._device = options.device
        """As in the options; once started, ``cuda`` or ``cpu``."""
        self._load: Callable[[], Model] = partial(load, options)
        self._model: Model | None = None
        """Between ``start`` and ``close``."""
        self._thread: ThreadPoolExecutor | None = None
        """The threads that use the model, one for each lane; from ``start`` to ``close``."""
        self._loading = asyncio.Lock()
        """Held while the engine starts or closes."""
        self._batches: Batches[Job] = self._new_batches(CPU_ROWS)
        """The jobs that wait for a pass."""
        self._running: dict[Urgency, list[Job]] = {urgency: [] for urgency in Urgency}
        """The jobs of the passes in progress. On a processor, an answer does not wait for partials that have begun."""
        self._failures = 0
        """Consecutive failed passes."""
        self._timer: asyncio.TimerHandle | None = None
        """Set while a batch waits for more rows."""
        self._open: weakref.WeakSet[WhisperTranscription] = weakref.WeakSet()
        """Weak references, so that an utterance that its owner dropped without a call does not count for ever."""

    async def start(self) -> None:
        async with self._loading:
            if self._model is not None:
                return
            self._thread = self._thread or ThreadPoolExecutor(len(Urgency), thread_name_prefix="whisper")
            model = await self._run(self._load)
            rows = self._options.max_batch or (GPU_ROWS if model.device == "cuda" else CPU_ROWS)
            await self._run(lambda: model.warm_up(rows))
            self._device, self._batches, self._model = model.device, self._new_batches(rows), model
            self._failures, self.broken = 0, ""

    async def close(self) -> None:
        async with self._loading:
            if self._timer is not None:
                self._timer.cancel()
            thread, self._thread, self._model = self._thread, None, None
            for job in [*self._batches.clear(), *chain(*self._running.values())]:
                job.fail(EngineError("the recogniser was closed"))
            if thread is not None:
                await asyncio.to_thread(thread.shutdown)

    @property
    def languages(self) -> Languages:
        """Before the start, the name tells only that a model is English."""
        if self._model is not None:
            return self._model.languages
        return frozenset(("en",)) if self._options.model.rstrip("/").endswith(".en") else None

    @property
    def queued(self) -> int:
        """Requests that wait for a pass of the model."""
        return len(self._batches)

    def describe(self) -> Description:
        name = self._options.model
        weights = weights_bytes(name, self._options.download_root)
        rows = self._options.max_batch or (CPU_ROWS if self._device == "cpu" else GPU_ROWS)
        return Description(
            weights=f"the folder {name}" if Path(name).is_dir() else f"{name}, from the model hub",
            memory_bytes=memory_estimate(weights, device=self._device, max_rows=rows),
            device=self._device,
            capacity=self._options.max_utterances,
        )

    def open(
        self,
        *,
        language: str = "en",
        hint: str = "",
        on_partial: OnPartial | None = None,
        others: Sequence[str] = (),
        keyterms: Sequence[str] = (),
    ) -> WhisperTranscription:
        """
        ``hint`` is not used: Whisper tends to repeat words that its prompt contains.

        ``keyterms`` are added to the option ``hotwords``, as many as there is room for.
        """
        if self._model is None:
            if self._loading.locked():
                raise EngineLoading("the recogniser is still loading its model")
            raise EngineError("the recogniser has not been started")
        code = self._model.language(language)
        if not code:
            raise EngineError(
                f"the Whisper model {self._options.model} does not know the language {language!r}", permanent=True
            )
        most = self._options.max_utterances
        if len(self._open) >= most:
            raise EngineFull(f"the recogniser has {most} utterances open, which is its limit (`max_utterances`)")
        known = {self._model.language(each): main_language(each) for each in (*others, language)}
        utterance = WhisperTranscription(
            self,
            self._model,
            code,
            on_partial if self.gives_partials else None,
            languages={each: name for each, name in known.items() if each not in ("", AUTO)},
            keyterms=self._model.encode_keyterms(tuple(keyterms)),
        )
        self._open.add(utterance)
        return utterance

    # -- for utterances

    def request(self, utterance: WhisperTranscription, urgency: Urgency) -> Job:
        """The job that will recognise the utterance, shared by all requests before it begins; or ``EngineFull``."""
        if self._model is None:
            raise EngineError("the recogniser is closed")
        job = utterance.waiting
        if job is None:
            job = Job(utterance, urgency, asyncio.get_running_loop())
            self._batches.add(job, now=job.asked_at)
            utterance.waiting = job
        elif urgency < job.urgency:
            self._batches.check(urgency)
            job.urgency = urgency
        self._start_batch()
        return job

    def withdraw(self, job: Job) -> None:
        """The job is not wanted any more. If it has begun, it goes on, because its batch has other rows."""
        self._batches.discard(job)
        if job.utterance.waiting is job:
            job.utterance.waiting = None

    def release(self, utterance: WhisperTranscription) -> None:
        self._open.discard(utterance)

    # -- passes of the model

    def _new_batches(self, rows: int) -> Batches[Job]:
        return Batches(
            max_rows=rows,
            max_partial_rows=min(MAX_PARTIAL_ROWS, max(1, rows // 2)),
            gather=self._options.gather if rows > 1 else 0.0,
            max_waiting=self._options.max_waiting,
        )

    def _start_batch(self) -> None:
        """Start the next batch on its thread, if the model is free for it and a batch is ready."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._model is not None and not self._running[Urgency.ANSWER]:
            partials = not self._running[Urgency.PARTIAL]
            if not partials and self._model.device != "cpu":
                return
            loop = asyncio.get_running_loop()
            batch = self._batches.take(now=loop.time(), partials=partials)
            if not batch:
                due = self._batches.due(partials=partials)
                if due is not None:
                    self._timer = loop.call_at(due, self._start_batch)
                return
            self._begin(batch)

    def _begin(self, batch: list[Job]) -> None:
        assert self._model is not None
        urgency = batch[0].urgency
        if urgency is Urgency.ANSWER:
            now = asyncio.get_running_loop().time()
            for job in batch:
                metrics.ENGINE_QUEUE_WAIT.labels("stt").observe(now - job.asked_at)
        pieces = {job: job.begin() for job in batch}
        for job, piece in pieces.items():
            if piece.speech < SHORTEST_SPEECH:
                self._conclude(job, Hypothesis())
        jobs = self._running[urgency] = [job for job in batch if pieces[job].speech >= SHORTEST_SPEECH]
        if jobs:
            decoding = self._run(partial(self._model.transcribe, [pieces[job] for job in jobs]))
            decoding.add_done_callback(partial(self._finish_batch, jobs))

    def _finish_batch(self, jobs: list[Job], decoding: asyncio.Future[list[Hypothesis]]) -> None:
        for urgency, running in self._running.items():
            if running is jobs:
                self._running[urgency] = []
        error = decoding.exception() if not decoding.cancelled() else EngineError("the recogniser was closed")
        if self._model is None:
            return
        self._failures = self._failures + 1 if error is not None else 0
        self.broken = f"recognition failed {self._failures} times in a row" if self._failures >= MOST_FAILURES else ""
        if error is None:
            self.counts["batches"] += 1
            self.counts["rows"] += len(jobs)
            for job, hypothesis in zip(jobs, decoding.result(), strict=True):
                self._conclude(job, hypothesis)
        else:
            self.counts["failed"] += len(jobs)
            for job in jobs:
                job.fail(error if isinstance(error, EngineError) else EngineError(f"recognition failed: {error}"))
        self._start_batch()

    def _conclude(self, job: Job, hypothesis: Hypothesis) -> None:
        reason = objection(hypothesis)
        if reason is not None:
            self.counts[reason] += 1
        if self._needs_second_attempt(job, hypothesis, reason) and self._retry(job, hypothesis, reason):
            return
        if job.dropped in DOUBTS and is_doubtful(hypothesis) and not is_number(hypothesis.text):
            reason = job.dropped
        if job.doubted is not None:
            hypothesis, reason = self._choose(job, job.doubted, hypothesis, reason)
        job.succeed(hypothesis if reason is None else replace(hypothesis, text=""), believed=reason is None)

    def _needs_second_attempt(self, job: Job, hypothesis: Hypothesis, reason: Reason | None) -> bool:
        assert job.piece is not None
        hotwords = self._has_hotwords(job)
        if reason is None:
            return (hotwords or job.is_answer) and not is_sure(hypothesis, hotwords=hotwords)
        if reason in DOUBTS:
            return job.is_answer
        return reason in LOOPS or (reason in SPOILED and (hotwords or bool(job.piece.prefix)))

    def _has_hotwords(self, job: Job) -> bool:
        """Whether the first attempt is told which words to expect."""
        assert self._model is not None
        return bool(self._model.hotwords or job.utterance.keyterms)

    def _choose(
        self, job: Job, first: Hypothesis, second: Hypothesis, reason: Reason | None
    ) -> tuple[Hypothesis, Reason | None]:
        """Choose between a doubtful text and that of the second attempt, which is dropped for this reason, if any."""
        if self._has_hotwords(job) and reason not in LOOPS:
            # If there are words in the sound, the caller more likely said those that were found with hotwords.
            are_words = reason is None and not is_doubtful(second)
            return first, None if are_words else reason or Reason.NO_SPEECH
        return (second if reason is None and second.logprob > first.logprob else first), None

    def _retry(self, job: Job, hypothesis: Hypothesis, reason: Reason | None) -> bool:
        """Recognise it once more, unless this was the second attempt already or nobody wants it."""
        assert job.piece is not None
        is_last = job.utterance.waiting is None and job.utterance.running is job
        if not job.is_wanted or job.piece.plain or not is_last:
            return False
        self.counts["retried"] += 1
        job.plain, job.piece = True, None
        job.doubted, job.dropped = (hypothesis if reason is None else None), reason
        job.utterance.running, job.utterance.waiting = None, job
        self._batches.put_back(job, asked_at=job.asked_at)
        return True

    def _run(self, function: Callable[[], T]) -> asyncio.Future[T]:
        """Call the function on a thread of the model."""
        if self._thread is None:
            raise EngineError("the recogniser is closed")
        return asyncio.get_running_loop().run_in_executor(self._thread, function)
