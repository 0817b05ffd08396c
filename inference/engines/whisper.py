"""
Whisper on the processor, with faster-whisper: real recognition for a handful of calls without a GPU.

Whisper hears whole windows and gives whole texts, so an utterance is recognised again whenever its words are asked
for. One thread does that for all calls, the most urgent first: ``snapshot`` and ``finish`` before partials. Requests
about one utterance that wait together are answered by one piece of work, and sound that was recognised already is not
recognised again.

The window is cut to the utterance: 10, 15 or 30 s. On two cores an answer of ``small.en`` then takes 0.8, 1.2 or
3.3 s, and one of ``base.en`` 0.2, 0.3 or 1.2 s (int8, 15 tokens). The usual transcription loop is bypassed: it always
pads to 30 s, and its retries at other temperatures have no place in a conversation. What it would have guarded
against is guarded here.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import math
import re
import zlib
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from inference.types import EngineError, Pcm, Transcript

if TYPE_CHECKING:
    from faster_whisper import WhisperModel

log = logging.getLogger(__name__)
T = TypeVar("T")

RATE_HZ = 16000
FRAME_SAMPLES = 160
WINDOW_FRAMES = (1000, 1500, 3000)
"""Below 10 s, and without about 2 s of silence at the end, Whisper starts to invent (whisper.cpp #1855)."""
MARGIN_FRAMES = 200
LONGEST_SAMPLES = 30 * RATE_HZ
"""What one window holds. Of a longer utterance the first part is recognised for good and its sound dropped."""
CUT_SEARCH_SAMPLES = 10 * RATE_HZ
"""The cut is made at the quietest moment of the last 10 s of the window."""
BLOCK_SAMPLES = RATE_HZ // 50

SHORTEST_SPEECH = 0.25
SHORT_SPEECH = 0.6
VOICE_RMS = 100
"""Blocks of 20 ms below this, or 20 dB below the loudest, are no speech."""
MOST_COMPRESSION = 2.4
MOST_TOKENS_PER_SECOND = 8
MOST_WORDS_PER_SECOND = 6.0
LEAST_LOGPROB = -1.0
MOST_NO_SPEECH = 0.6
STOCK_PHRASES = frozenset(
    {
        "bye",
        "bye bye",
        "please subscribe",
        "so",
        "subtitles by the amara org community",
        "thank you",
        "thank you for watching",
        "thank you so much for watching",
        "thank you very much",
        "thanks",
        "thanks for watching",
        "you",
    }
)
"""What Whisper says of noise, from the captions that it learned from."""


@dataclass(frozen=True, slots=True)
class Heard:
    """One window as the model heard it; ``speech`` is the seconds of sound that may be speech."""

    text: str
    seconds: float
    speech: float
    logprob: float
    no_speech: float

    @property
    def believable(self) -> bool:
        """Whether these can be the words of a caller rather than the model's inventions about noise."""
        words = bare_words(self.text)
        return not (
            not words
            or (self.no_speech > MOST_NO_SPEECH and self.logprob < LEAST_LOGPROB)
            or (" ".join(words) in STOCK_PHRASES and (self.speech < SHORT_SPEECH or self.logprob < LEAST_LOGPROB))
            or len(words) > MOST_WORDS_PER_SECOND * self.seconds + 2
            or compression(self.text) > MOST_COMPRESSION
        )


class FasterWhisperSpeechToText:
    """
    ``model`` is the name of a faster-whisper model, such as ``small.en``, or the folder of a converted one.

    A model that is not a folder is looked for in ``download_root`` (the hub's usual cache if empty) and, unless
    ``local_files_only``, downloaded. ``cpu_threads`` 0 leaves the number to CTranslate2. With ``partials``, words are
    reported each ``partial_seconds`` of sound as soon as two hypotheses in a row agree on them.
    """

    rate_hz: ClassVar[int] = RATE_HZ
    may_speculate: ClassVar[bool] = True

    def __init__(
        self,
        *,
        model: str = "small.en",
        compute_type: str = "int8",
        cpu_threads: int = 0,
        download_root: str = "",
        local_files_only: bool = False,
        partials: bool = True,
        partial_seconds: float = 0.6,
    ) -> None:
        self.gives_partials = partials
        self.partial_samples = int(partial_seconds * RATE_HZ)
        self._name = model
        self._compute_type = compute_type
        self._cpu_threads = cpu_threads
        self._download_root = download_root or None
        self._local_files_only = local_files_only
        self._model: WhisperModel | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._loading = asyncio.Lock()
        self._queue = _Queue()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        async with self._loading:
            if self._model is not None:
                return
            self._thread = self._thread or ThreadPoolExecutor(1, thread_name_prefix="whisper")
            self._model = await self._run(self._load)
            await self._run(lambda: self._hear(_WARM_UP, "en"))

    async def close(self) -> None:
        async with self._loading:
            for task in self._tasks:
                task.cancel()
            self._queue.refuse(EngineError("the recogniser was closed"))
            thread, self._thread = self._thread, None
            if thread is not None:
                await asyncio.to_thread(thread.shutdown)
            self._model = None

    def open(
        self, *, language: str = "en", hint: str = "", on_partial: Callable[[Transcript], None] | None = None
    ) -> _Utterance:
        """``hint`` is not used: Whisper, told what was said before, tends to hear it again."""
        if self._model is None:
            raise EngineError("the recogniser has not been started")
        code = language.partition("-")[0].lower()
        if code not in self._model.supported_languages:
            raise EngineError(f"the model {self._name} does not know the language {language!r}", permanent=True)
        return _Utterance(self, code, on_partial if self.gives_partials else None)

    def turn(self, urgency: Urgency) -> AbstractAsyncContextManager[None]:
        """Wait for this urgency's turn at the thread and hold it."""
        return self._queue.turn(urgency)

    async def hear(self, pcm: Pcm, language: str) -> Heard:
        """Recognise one window of at most 30 s."""
        return await self._run(lambda: self._hear(pcm, language))

    def keep(self, coroutine: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Run this beside the call; closing the engine ends it."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _run(self, function: Callable[[], T]) -> T:
        if self._thread is None:
            raise EngineError("the recogniser is closed")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, function)
        except RuntimeError as error:
            raise EngineError(f"recognition failed: {error}") from error

    # On the thread

    def _load(self) -> WhisperModel:
        try:
            from faster_whisper import WhisperModel

            model = WhisperModel(
                self._name,
                device="cpu",
                compute_type=self._compute_type,
                cpu_threads=self._cpu_threads,
                download_root=self._download_root,
                local_files_only=self._local_files_only,
            )
        except ImportError as error:
            raise EngineError(
                f"faster-whisper is not installed (pip install -r requirements/cpu.txt): {error}", permanent=True
            ) from error
        except Exception as error:  # the hub, the tokenizer and CTranslate2 each raise their own
            raise EngineError(
                f"cannot load the Whisper model {self._name!r}: {error}. Let this machine reach the model hub once, "
                "or bring a converted model here and give its folder as the option `model`.",
                permanent=True,
            ) from error
        if model.feature_extractor.sampling_rate != RATE_HZ:
            raise EngineError(f"the Whisper model {self._name!r} does not hear {RATE_HZ} Hz", permanent=True)
        return model

    def _hear(self, pcm: Pcm, language: str) -> Heard:
        from ctranslate2 import StorageView
        from faster_whisper.tokenizer import Tokenizer

        model, seconds, speech = self._model, len(pcm) / RATE_HZ, speech_seconds(pcm)
        if model is None or speech < SHORTEST_SPEECH:
            return Heard("", seconds, speech, 0.0, 1.0)
        needed = len(pcm) // FRAME_SAMPLES + MARGIN_FRAMES
        frames = next((frames for frames in WINDOW_FRAMES if frames >= needed), WINDOW_FRAMES[-1])
        # Silence is added to the sound and not to its features: so were the windows filled that Whisper learned from.
        sound = np.zeros(frames * FRAME_SAMPLES, np.float32)
        sound[: len(pcm)] = pcm
        features = model.feature_extractor(sound / 32768, padding=0)[np.newaxis]
        tokenizer = Tokenizer(model.hf_tokenizer, model.model.is_multilingual, task="transcribe", language=language)
        prompt = [*tokenizer.sot_sequence, tokenizer.no_timestamps]
        result = model.model.generate(
            StorageView.from_array(np.ascontiguousarray(features, np.float32)),
            [prompt],
            beam_size=1,
            repetition_penalty=1.05,
            max_length=min(len(prompt) + int(MOST_TOKENS_PER_SECOND * seconds) + 16, model.max_length),
            return_scores=True,
            return_no_speech_prob=True,
        )[0]
        tokens = result.sequences_ids[0]
        logprob = result.scores[0] * len(tokens) / (len(tokens) + 1)  # the end of text counts as one
        return Heard(tokenizer.decode(tokens).strip(), seconds, speech, logprob, result.no_speech_prob)


class _Utterance:
    """
    The sound that is not yet recognised for good, the words of what is, and the last answer.

    Both the sound and the work stay bounded: past one window the first part of the sound becomes ``_settled`` text.
    """

    def __init__(
        self, engine: FasterWhisperSpeechToText, language: str, on_partial: Callable[[Transcript], None] | None
    ) -> None:
        self._engine = engine
        self._language = language
        self._on_partial = on_partial
        self._chunks: list[Pcm] = []
        self._held = 0
        self._samples = 0
        self._settled: list[str] = []
        self._latest = Transcript("")
        self._final: Transcript | None = None
        self._closed = False
        self._shortening: asyncio.Task[None] | None = None
        self._partial: asyncio.Task[None] | None = None
        self._partial_at = engine.partial_samples
        self._hypothesis = Transcript("")
        self._reported_words = 0

    def push(self, pcm: Pcm) -> None:
        # Twice the window is held only if the thread is half a minute behind: no answer would come in time.
        if self._closed or not len(pcm) or self._held + len(pcm) > 2 * LONGEST_SAMPLES:
            return
        self._chunks.append(pcm.copy())
        self._held += len(pcm)
        self._samples += len(pcm)
        if self._held >= LONGEST_SAMPLES and (self._shortening is None or self._shortening.done()):
            self._shortening = self._engine.keep(self._shorten())
        if (
            self._on_partial is not None
            and self._samples >= self._partial_at
            and (self._partial is None or self._partial.done())
        ):
            self._partial_at = self._samples + self._engine.partial_samples
            self._partial = self._engine.keep(self._report(self._on_partial))

    async def snapshot(self) -> Transcript:
        return self._final or await self._answer(Urgency.ANSWER)

    async def finish(self) -> Transcript:
        self._close()
        if self._final is None:
            self._final = await self._answer(Urgency.ANSWER)
            self._chunks.clear()
        return self._final

    def cancel(self) -> None:
        self._close()
        self._final = self._final or self._latest
        self._chunks.clear()
        if self._shortening is not None:
            self._shortening.cancel()

    def _close(self) -> None:
        self._closed = True
        if self._partial is not None:
            self._partial.cancel()

    async def _answer(self, urgency: Urgency) -> Transcript:
        asked = self._samples
        async with self._engine.turn(urgency):
            if self._latest.samples < asked:
                while self._held > LONGEST_SAMPLES:
                    await self._settle()
                samples = self._samples
                heard = await self._engine.hear(self._sound(), self._language)
                self._latest = self._transcript(heard, samples)
            return self._latest

    async def _shorten(self) -> None:
        async with self._engine.turn(Urgency.ANSWER):
            if self._held >= LONGEST_SAMPLES:
                await self._settle()

    async def _settle(self) -> None:
        """Recognise for good what lies before the quietest moment near the end of the first window."""
        first = self._sound()[:LONGEST_SAMPLES]
        cut = quietest_moment(first)
        try:
            heard = await self._engine.hear(first[:cut], self._language)
        except EngineError as error:
            log.warning("A part of a long utterance is lost: %s", error)
        else:
            if heard.believable:
                self._settled.append(heard.text)
        self._chunks = [self._sound()[cut:]]
        self._held -= cut

    async def _report(self, on_partial: Callable[[Transcript], None]) -> None:
        """Report the words on which this hypothesis and the one before agree, if they are more than before."""
        try:
            before, self._hypothesis = self._hypothesis, await self._answer(Urgency.PARTIAL)
        except EngineError as error:
            log.warning("A partial transcript failed: %s", error)
            return
        words = agreed_words(before.text, self._hypothesis.text)
        if len(words) > self._reported_words:
            self._reported_words = len(words)
            on_partial(Transcript(" ".join(words), before.samples, self._hypothesis.confidence))

    def _sound(self) -> Pcm:
        if len(self._chunks) != 1:
            self._chunks = [np.concatenate([np.zeros(0, np.int16), *self._chunks])]
        return self._chunks[0]

    def _transcript(self, heard: Heard, samples: int) -> Transcript:
        text = heard.text if heard.believable else ""
        return Transcript(" ".join(filter(None, [*self._settled, text])), samples, math.exp(min(heard.logprob, 0.0)))


class Urgency(IntEnum):
    ANSWER = 0
    PARTIAL = 1


class _Queue:
    """One turn at a time, the most urgent first, else in the order of asking."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Urgency, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()
        self._taken = False

    @asynccontextmanager
    async def turn(self, urgency: Urgency) -> AsyncIterator[None]:
        if self._taken:
            mine = asyncio.get_running_loop().create_future()
            heapq.heappush(self._waiting, (urgency, next(self._numbers), mine))
            try:
                await mine
            except asyncio.CancelledError:
                if mine.done() and not mine.cancelled() and mine.exception() is None:
                    self._pass_on()  # it had just become ours
                raise
        self._taken = True
        try:
            yield
        finally:
            self._pass_on()

    def refuse(self, error: EngineError) -> None:
        """Whoever waits gets ``error``."""
        while self._waiting:
            *_, future = heapq.heappop(self._waiting)
            if not future.done():
                future.set_exception(error)

    def _pass_on(self) -> None:
        self._taken = False
        while self._waiting and not self._taken:
            *_, future = heapq.heappop(self._waiting)
            if not future.done():
                future.set_result(None)
                self._taken = True


_WARM_UP: Pcm = (3000 * np.random.default_rng(0).standard_normal(RATE_HZ)).clip(-32768, 32767).astype(np.int16)


def bare_words(text: str) -> list[str]:
    """The words without case and punctuation."""
    return re.findall(r"[^\W_]+(?:'[^\W_]+)*", text.lower())


def agreed_words(before: str, after: str) -> list[str]:
    """The words at the beginning of ``after`` that ``before`` has too, whatever their case and punctuation."""
    words = after.split()
    pairs = zip(before.split(), words, strict=False)
    return words[: sum(1 for _ in itertools.takewhile(lambda pair: bare_words(pair[0]) == bare_words(pair[1]), pairs))]


def compression(text: str) -> float:
    """How many times shorter zlib makes the text: what repeats itself shrinks much."""
    raw = text.encode()
    return len(raw) / len(zlib.compress(raw))


def speech_seconds(pcm: Pcm) -> float:
    """How much of the sound is loud enough for speech."""
    levels = _levels(pcm)
    floor = max(VOICE_RMS, levels.max(initial=0.0) / 10)
    return float(np.count_nonzero(levels > floor) * BLOCK_SAMPLES / RATE_HZ)


def quietest_moment(pcm: Pcm) -> int:
    """The sample in the middle of the quietest 200 ms of the last ``CUT_SEARCH_SAMPLES``."""
    start = max(0, len(pcm) - CUT_SEARCH_SAMPLES)
    loudness = np.convolve(_levels(pcm[start:]), np.ones(10), mode="valid")
    return start + (int(loudness.argmin()) + 5) * BLOCK_SAMPLES


def _levels(pcm: Pcm) -> NDArray[np.floating]:
    """Root mean square of each whole block of 20 ms."""
    blocks = pcm[: len(pcm) - len(pcm) % BLOCK_SAMPLES].reshape(-1, BLOCK_SAMPLES).astype(np.float32)
    levels: NDArray[np.floating] = np.sqrt(np.mean(blocks * blocks, axis=1))
    return levels
