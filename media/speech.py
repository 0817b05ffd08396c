"""
Voice activity: whether the caller is speaking, by Silero's 8 kHz model for all the calls of this process.

The model judges windows of 32 ms on the loop's own thread. Windows that are complete within a few milliseconds of each
other run as one batch, with a row and a state for each call: that takes 83 µs for one alone and 35 µs each in a batch
of sixty; a hop to another thread would cost more. The model's answer comes late at both ends, by 50 ms
at the start and 70 at the end in the median over recordings of people, so a change also carries its ``edge``: where the
energy says that it happened.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime  # type: ignore[import-untyped]
from numpy.typing import NDArray

from inference.types import Pcm
from media.errors import MediaError
from media.messages import RATE_HZ

logger = logging.getLogger(__name__)

WINDOW = 256
"""Samples in one judgement: 32 ms."""

_CONTEXT = 32
"""Samples of the previous window that the model needs in front of the next one."""
_MODEL = "silero_vad_op18_ifless.onnx"
"""It has the weights of silero_vad.onnx and is 30 % faster for one row."""
_SCALE = np.float32(1 / 32768)

_GAIN = np.float32(4)
"""
12 dB for the model alone. Without it, the model misses a quarter of the spoken digits that are 20 dB too soft. With
more, it misses words in noise; it also takes more breaths for voices.
"""
_DITHER_LENGTH = 8192
_DITHER = np.random.default_rng(0).normal(scale=10 ** (-70 / 20), size=_DITHER_LENGTH).astype(np.float32)
"""
Noise at -70 dBFS, the loudness of a quiet line, that is added to the sound and repeated.

The model has hardly met digital silence: it notices fewer words behind it than behind this noise.
"""
_DITHER = np.concatenate([_DITHER, _DITHER[: _CONTEXT + WINDOW]])

_BLOCK = 32
"""Samples whose energy is one number: 4 ms, the resolution of an edge."""
_PER_WINDOW = WINDOW // _BLOCK
_HISTORY = 15 * _PER_WINDOW
"""Blocks in which the start of a voice is searched: the model notices some voices 350 ms late."""
_END_HISTORY = 5 * _PER_WINDOW
"""Blocks in which its end is searched. Further back than 160 ms, the quiet end of a word would be taken for silence."""

# Powers are relative to full scale; factors of power are given in dB as well.
_LEAST_FLOOR = 1e-7
"""-70 dBFS: the power of the dither."""
_LEAST_VOICE = 2.5e-7
"""-66 dBFS: below it there is only the dither and the rounding of mu-law."""
_SURE = 0.9
"""The probability from which the model is sure. No noise is above a voice then, however high the floor was learnt."""
_RISE = 4.0
"""6 dB: where the model is not sure, a voice starts so far above the noise ..."""
_FALL = 6.0
"""... and ends as close as 8 dB to it."""
_CLEAR, _LEAST_CLEAR = 300.0, 4e-5
"""
25 dB above the learnt noise and above -44 dBFS, a sound is so clear that less of the model is enough: where a line cuts
off everything below 300 Hz, the model is unsure of voices that anybody hears.
"""
_RANGE = 2e-3
"""A voice ends 27 dB below the loudest sound just before."""
_FADE = 0.9
"""The share of that loudest sound which is left after each window, so that a quieter sentence can follow."""
_SILENT = 16
"""Blocks (64 ms) of quiet that end a voice of which the model is sure: the closure of a stop consonant is shorter."""
_EDGE = 2.5
"""4 dB: a block so far above the noise speaks for a voice where an edge is searched. Less is the noise's own change."""
_MOST_EVIDENCE = 2.3
"""One block speaks for or against a voice with 10 dB (as a natural logarithm) at most, so that a click is no start."""
_LATE = 560
"""The model is sure until 70 ms after the end of a voice, or less: where noise covers the end, it was not earlier."""
_NO_VOICE = 0.1
"""Below this probability, and only there, a window may be noise ..."""
_DELAY = 12
"""... if so many windows (384 ms) after it are too: the model notices some voices 350 ms late."""
_LEARN, _LEARN_DOWN = 0.05, 0.3
"""The noise floor follows a window of noise by this share, up and down. The first are averaged."""
_VOICE_OVER_NOISE = 10.0
"""10 dB: a noise floor that is not as far below a sure voice was learnt from a voice, and is lowered."""
_MAX_BATCH = 64
"""Rows at once: they take 2.3 ms, for which the loop does nothing else."""


class VoiceModelError(MediaError):
    """The voice activity model cannot be loaded."""


@dataclass(frozen=True, slots=True)
class VoiceWindow:
    """The judgement on one window of a stream."""

    position: int
    """The samples of the stream that were judged so far."""
    voiced: bool
    changed: bool
    """``voiced`` differs from the window before."""
    edge: int
    """The position of the latest change by energy: the first sample of voice if ``voiced``, else the first one after
    the voice. It never decreases."""


OnWindow = Callable[[VoiceWindow], None]


class VoiceStream:
    """The voice activity of one call; made by ``VoiceDetector.open``."""

    def __init__(self, detector: VoiceDetector, slot: int, on_window: OnWindow) -> None:
        self._detector = detector
        self._on_window = on_window
        self.slot = slot
        """The row of the detector's state that belongs to this stream."""
        self.queued = False
        """A window waits for the next batch."""
        self.closed = False
        self.position = 0
        """The samples that were judged."""
        self._samples = np.zeros(4096, np.float32)
        self._begin, self._end = 0, _CONTEXT
        """The part of ``_samples`` that waits, with the context of its first window."""
        self._voiced = False
        self._edge = 0
        """The position of the latest change."""
        self._floor = _LEAST_FLOOR
        """The power of the noise between the words."""
        self._learnt_windows = 0
        """The windows that the noise floor was learnt from."""
        self._waiting: deque[float] = deque()
        """The power of the latest windows without voice, from which the floor is learnt unless a voice follows."""
        self._loudest = 0.0
        """The power of the loudest block of the voice that is heard; it fades. 0 while nothing is heard."""
        self._previous = 0.0
        """The probability of the window before."""
        self._sure_until = 0
        """The position up to which the model was last sure."""

    def push(self, pcm: Pcm) -> None:
        """Take the next samples at 8 kHz, shape ``(n,)``, any n. Judgements follow within the gathering time."""
        if self.closed:
            return
        self.append(pcm)
        if not self.queued and self.has_window:
            self._detector.enqueue(self)

    def close(self) -> None:
        """No judgement comes after this. Idempotent."""
        if not self.closed:
            self.closed = True
            self._detector.release(self)

    @property
    def has_window(self) -> bool:
        """Whether a complete window waits."""
        return self._end - self._begin >= _CONTEXT + WINDOW

    def append(self, pcm: Pcm) -> None:
        """Take the next samples without asking for a judgement."""
        count = len(pcm)
        if self._end + count > len(self._samples):
            waiting = self._samples[self._begin : self._end]
            self._samples = np.empty(max(4096, 2 * (len(waiting) + count)), np.float32)
            self._samples[: len(waiting)] = waiting
            self._begin, self._end = 0, len(waiting)
        np.multiply(pcm, _SCALE, out=self._samples[self._end : self._end + count])
        self._end += count

    def take(self, row: NDArray[np.float32]) -> None:
        """Move the next window, behind its context, into ``row``, and add the dither."""
        at = self.position % _DITHER_LENGTH
        sound = self._samples[self._begin : self._begin + _CONTEXT + WINDOW]
        np.add(sound, _DITHER[at : at + _CONTEXT + WINDOW], out=row)
        self._begin += WINDOW

    def judge(self, probability: float, power: float, peak: float, history: NDArray[np.float32]) -> None:
        """
        Judge one window and report it to ``on_window``.

        ``probability`` is the model's, ``power`` the window's mean power and ``peak`` that of its loudest block;
        ``history`` has the power of the last blocks, those of this window included.
        """
        self.position += WINDOW
        sure = probability >= _SURE
        if sure:
            self._sure_until = self.position
        changed = self._stops(probability, peak, history) if self._voiced else self._starts(probability, peak)
        self._previous = probability
        if changed:
            self._voiced = not self._voiced
        self._learn(probability, power)
        if changed:
            self._edge = self._find_edge(history)
        if self._voiced:
            self._loudest = max(self._loudest * _FADE, peak)
            if sure:
                self._floor = max(min(self._floor, self._loudest / _VOICE_OVER_NOISE), _LEAST_FLOOR)
        elif probability < self._detector.stop:
            self._loudest = 0.0
        self._on_window(VoiceWindow(self.position, self._voiced, changed, self._edge))

    def _starts(self, probability: float, peak: float) -> bool:
        detector = self._detector
        start, twice = detector.clear if self._is_clear(peak) else (detector.start, detector.start_twice)
        heard = probability >= start or min(probability, self._previous) >= twice
        return heard and peak >= self._least_voice(0 if probability >= _SURE else _RISE)

    def _stops(self, probability: float, peak: float, history: NDArray[np.float32]) -> bool:
        """The model reports voice for some 120 ms after its end; where all is quiet, the energy shows it sooner."""
        if probability >= _SURE:
            return float(history[-_SILENT:].max()) < self._least_voice(0)
        stop = min(self._detector.stop, self._detector.clear[1]) if self._is_clear(peak) else self._detector.stop
        return probability < stop or peak < self._least_voice(_FALL)

    def _is_clear(self, peak: float) -> bool:
        return self._learnt_windows > 0 and peak >= max(self._floor * _CLEAR, _LEAST_CLEAR)

    def _least_voice(self, over_noise: float) -> float:
        """The power below which a sound is no voice, given the voice just before and a factor over the noise."""
        return max(self._floor * over_noise, _LEAST_VOICE, self._loudest * _RANGE)

    def _learn(self, probability: float, power: float) -> None:
        """Learn the noise floor from what is surely no voice."""
        if not self._voiced and probability < _NO_VOICE:
            self._waiting.append(power)
            if len(self._waiting) > _DELAY:
                power = self._waiting.popleft()
                self._learnt_windows += 1
                learn = max(_LEARN if power > self._floor else _LEARN_DOWN, 1 / self._learnt_windows)
                self._floor = max(self._floor + learn * (power - self._floor), _LEAST_FLOOR)
            return
        if self._waiting and not self._learnt_windows:  # a voice so soon after the start: the quietest has to do
            self._floor = max(min(self._waiting), _LEAST_FLOOR)
        self._waiting.clear()

    def _find_edge(self, history: NDArray[np.float32]) -> int:
        """
        The position at which the energy changed, no earlier than the edge before.

        Each block speaks for or against a voice, the more the further it is from the least power of one. The edge lies
        where the blocks on the side of the voice speak for it most, taken together. So neither a gap in the voice nor
        a click beside it moves the edge, in noise as little as in silence.
        """
        known = min(_HISTORY if self._voiced else _END_HISTORY, (self.position - self._edge) // _BLOCK)
        first = self.position - known * _BLOCK
        smooth = np.convolve(history, np.ones(3, np.float32) / 3, "same")[_HISTORY - known :]
        loudest = float(smooth.max(initial=0)) if self._voiced else self._loudest
        least = max(self._floor * _EDGE, _LEAST_VOICE, loudest * _RANGE)
        evidence = np.log(np.maximum(smooth, 1e-12) / least).clip(-_MOST_EVIDENCE, _MOST_EVIDENCE)
        total = np.concatenate([np.zeros(1), evidence.cumsum()])
        if self._voiced:
            return first + int(total.argmin()) * _BLOCK
        return max(first + int(total.argmax()) * _BLOCK, self._sure_until - _LATE)


class VoiceDetector:
    """
    Voice activity for all calls of the process; one detector is enough, and it is used on the loop's thread.

    ``gather`` is how many seconds a complete window may wait for those of other calls; once every open stream has one,
    the batch runs at once. Voice begins at the probability ``start``, or ``start_twice`` in two windows in succession,
    and ends below ``stop``. A sound that is far above the noise is a voice at the probabilities ``clear``, and
    while it has the second of them. Raises ``VoiceModelError`` if the model is missing.
    """

    def __init__(
        self,
        gather: float = 0.008,
        *,
        start: float = 0.75,
        start_twice: float = 0.4,
        clear: tuple[float, float] = (0.5, 0.15),
        stop: float = 0.35,
    ) -> None:
        self.start, self.start_twice, self.clear, self.stop = start, start_twice, clear, stop
        self._gather = gather
        self._session = _load_model()
        self._rate = np.array(RATE_HZ, np.int64)
        self._batch = np.zeros((_MAX_BATCH, _CONTEXT + WINDOW), np.float32)
        self._free: list[int] = []
        """The rows of ``_state`` and ``_history`` that no stream has; more are made when there are none left."""
        self._state = np.zeros((2, 0, 128), np.float32)
        """The model's memory of each stream."""
        self._history = np.zeros((0, _HISTORY), np.float32)
        """The power of each stream's last blocks."""
        self._open = 0
        """The number of open streams."""
        self._ready: list[VoiceStream] = []
        """The streams whose windows wait for the next batch, in their order."""
        self._timer: asyncio.Handle | None = None
        """Runs the next batch; None while none waits."""

    def open(self, on_window: OnWindow) -> VoiceStream:
        """Begin a stream at position 0. ``on_window`` is called on the loop, once for each window and in order."""
        if not self._free:
            slots = len(self._history)
            self._free = list(range(2 * slots + 7, slots - 1, -1))
            self._state = np.pad(self._state, ((0, 0), (0, slots + 8), (0, 0)))
            self._history = np.pad(self._history, ((0, slots + 8), (0, 0)))
        slot = self._free.pop()
        self._state[:, slot] = 0
        self._history[slot] = 0
        self._open += 1
        return VoiceStream(self, slot, on_window)

    def run(self, pcm: Pcm) -> list[VoiceWindow]:
        """Every judgement on a whole clip at 8 kHz; needs no event loop."""
        windows: list[VoiceWindow] = []
        stream = self.open(windows.append)
        stream.append(pcm)
        while stream.has_window:
            self._judge([stream])
        stream.close()
        return windows

    def enqueue(self, stream: VoiceStream) -> None:
        """Judge the stream's next window in the next batch."""
        stream.queued = True
        self._ready.append(stream)
        if len(self._ready) >= self._open:
            self._schedule(None)
        elif self._timer is None:
            self._schedule(self._gather)

    def _schedule(self, delay: float | None) -> None:
        if self._timer:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_soon(self._run_batch) if delay is None else loop.call_later(delay, self._run_batch)

    def release(self, stream: VoiceStream) -> None:
        """Forget a stream that was closed."""
        self._free.append(stream.slot)
        self._open -= 1
        if stream.queued:
            self._ready.remove(stream)
        if not self._ready and self._timer:
            self._timer.cancel()
            self._timer = None

    def _run_batch(self) -> None:
        self._timer = None
        streams, self._ready = self._ready[:_MAX_BATCH], self._ready[_MAX_BATCH:]
        for stream in streams:
            stream.queued = False
        self._judge(streams)
        more = [stream for stream in streams if not stream.closed and not stream.queued and stream.has_window]
        for stream in more:
            stream.queued = True
        self._ready += more
        if more or len(self._ready) >= _MAX_BATCH:  # between the windows of a long piece, the loop does other work
            self._schedule(None)

    def _judge(self, streams: Sequence[VoiceStream]) -> None:
        batch = self._batch[: len(streams)]
        for row, stream in zip(batch, streams, strict=True):
            stream.take(row)
        blocks = batch[:, _CONTEXT:].reshape(len(streams), _PER_WINDOW, _BLOCK)
        power = np.einsum("ijk,ijk->ij", blocks, blocks) / _BLOCK
        np.multiply(batch, _GAIN, out=batch)
        np.clip(batch, -1, 1, out=batch)
        slots = [stream.slot for stream in streams]
        feed = {"input": batch, "state": self._state[:, slots], "sr": self._rate}
        probability, self._state[:, slots] = self._session.run(None, feed)
        history = self._history[slots]
        history[:, :-_PER_WINDOW] = history[:, _PER_WINDOW:]
        history[:, -_PER_WINDOW:] = power
        self._history[slots] = history
        rows = zip(probability[:, 0].tolist(), power.mean(1).tolist(), power.max(1).tolist(), history, strict=True)
        for stream, row in zip(streams, rows, strict=True):
            if stream.closed:  # while the judgement on another stream was reported
                continue
            try:
                stream.judge(*row)
            except Exception:  # an error in one call must not cost the others their judgements
                logger.exception("Unexpected error in handling voice activity at sample %d", stream.position)


def _load_model() -> onnxruntime.InferenceSession:
    """Find the model in the ``silero-vad`` package without importing it, because its Python code needs torch."""
    package = importlib.util.find_spec("silero_vad")
    if package is None or package.origin is None:
        raise VoiceModelError("The silero-vad package is missing: pip install --no-deps -r requirements/no-deps.txt")
    path = Path(package.origin).parent / "data" / _MODEL
    if not path.exists():
        raise VoiceModelError(f"The installed silero-vad package has no {_MODEL}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
