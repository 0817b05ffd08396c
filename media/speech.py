"""
Is the caller speaking: Silero's 8 kHz model over all the calls of this process, on the loop's own thread.

The model judges windows of 32 ms. Windows that become complete within a few milliseconds of each other
run as one batch, with a row and a state for each call: 83 us for one alone, 35 us each in a batch of sixty, and
no executor hop. Its answer comes late at both ends (SPEECH.md: 52 ms at the start, 68 at
the end, median), so a change also carries the ``edge``, where the energy says that it really happened.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime  # type: ignore[import-untyped]
from numpy.typing import NDArray

from media.audio import Pcm
from media.errors import MediaError
from media.messages import RATE_HZ

logger = logging.getLogger(__name__)

WINDOW = 256
"""Samples in one judgement: 32 ms."""

_CONTEXT = 32  # samples of the window before, which the model wants again
_MODEL = "silero_vad_op18_ifless.onnx"  # the same weights as silero_vad.onnx, 30 % faster for one row
_SCALE = np.float32(1 / 32768)

_BLOCK = 32  # samples whose energy is one number: 4 ms
_PER_WINDOW = WINDOW // _BLOCK
_HISTORY = 5 * _PER_WINDOW
"""Blocks in which an edge is searched. Looking further back than 160 ms takes the quiet end of a word for silence."""
_LEAST_FLOOR = 1e-7  # -70 dBFS
_LEAST_VOICE = 1e-6  # -60 dBFS: below it lies only the rounding of mu-law
_RISE = 10.0  # a start is 10 dB over the noise
_FALL = 6.0  # an end comes within 8 dB of the noise
_RANGE = 1e-3  # ... or 30 dB under the loudest that was said just before
_FADE = 0.9  # per window: how that loudest is forgotten
_SILENT = 14  # blocks (56 ms) of quiet that end a voice: closures of stop consonants are shorter as a rule
_DIP = 7  # blocks (28 ms) of quiet that do not part a start from what follows: the closure of a stop consonant
_LEARN, _LEARN_DOWN = 0.05, 0.3  # per window: the noise floor rises slowly and falls fast; the first ones are averaged
_MAX_BATCH = 64  # rows at once, 2.3 ms: the loop is not held longer


class VoiceModelError(MediaError):
    """The voice activity model cannot be loaded."""


@dataclass(frozen=True, slots=True)
class VoiceWindow:
    """
    One judgement.

    ``position`` counts the samples of the stream judged so far. ``edge`` is the position of the latest change
    by energy: the first sample of voice if ``voiced``, else the first after the last one; it never falls.
    """

    position: int
    voiced: bool
    changed: bool
    edge: int


OnWindow = Callable[[VoiceWindow], None]


class VoiceStream:
    """The voice activity of one call; made by ``VoiceDetector.open``."""

    def __init__(self, detector: VoiceDetector, slot: int, on_window: OnWindow) -> None:
        self._detector = detector
        self._on_window = on_window
        self.slot = slot
        self.queued = False
        self.closed = False
        self._samples = np.zeros(4096, np.float32)
        self._begin, self._end = 0, _CONTEXT  # of what is waiting, the context of its first window included
        self._position = 0
        self._voiced = False
        self._edge = 0
        self._floor = _LEAST_FLOOR
        self._quiet_windows = 0
        self._loudest = 0.0

    def push(self, pcm: Pcm) -> None:
        """Take the next samples at 8 kHz, shape ``(n,)``, any n. Judgements follow within the gathering time."""
        if self.closed:
            return
        self._append(pcm)
        if not self.queued and self.has_window:
            self._detector._enqueue(self)

    def close(self) -> None:
        """No judgement comes after this. Idempotent."""
        if not self.closed:
            self.closed = True
            self._detector._release(self)

    @property
    def has_window(self) -> bool:
        return self._end - self._begin >= _CONTEXT + WINDOW

    def _append(self, pcm: Pcm) -> None:
        count = len(pcm)
        if self._end + count > len(self._samples):
            waiting = self._samples[self._begin : self._end]
            self._samples = np.empty(max(4096, 2 * (len(waiting) + count)), np.float32)
            self._samples[: len(waiting)] = waiting
            self._begin, self._end = 0, len(waiting)
        np.multiply(pcm, _SCALE, out=self._samples[self._end : self._end + count])
        self._end += count

    def take(self, row: NDArray[np.float32]) -> None:
        """Move the next window and its context into ``row``."""
        row[:] = self._samples[self._begin : self._begin + _CONTEXT + WINDOW]
        self._begin += WINDOW

    def judge(self, probability: float, power: float, peak: float, history: NDArray[np.float32]) -> None:
        """
        Take the model's word for one window, and tell whoever opened the stream.

        ``power`` is the window's mean power and ``peak`` that of its loudest block; ``history`` has the
        power of the last blocks, this window's included.
        """
        detector = self._detector
        self._position += WINDOW
        if self._voiced:
            # The model goes on for some 120 ms after a voice; where nothing sounds any more, the energy says so sooner.
            changed = probability < detector.stop or float(history[-_SILENT:].max()) < self._least_voice
        else:
            changed = probability >= detector.start and peak >= self._least_voice
        if changed:
            self._voiced = not self._voiced
            self._edge = self._find_edge(history)
        if self._voiced:
            self._loudest = max(self._loudest * _FADE, peak)
        elif probability < detector.stop:
            self._loudest = 0.0
            self._quiet_windows += 1
            learn = max(_LEARN if power > self._floor else _LEARN_DOWN, 1 / self._quiet_windows)
            self._floor = max(self._floor + learn * (power - self._floor), _LEAST_FLOOR)
        self._on_window(VoiceWindow(self._position, self._voiced, changed, self._edge))

    @property
    def _least_voice(self) -> float:
        """The power below which a sound is not the voice that has just been heard."""
        return max(self._floor * _FALL, _LEAST_VOICE, self._loudest * _RANGE)

    def _find_edge(self, history: NDArray[np.float32]) -> int:
        known = min(_HISTORY, (self._position - self._edge) // _BLOCK)
        first = self._position - known * _BLOCK
        smooth = np.convolve(history, np.ones(3, np.float32) / 3, "same")[_HISTORY - known :]
        if self._voiced:
            loud = np.flatnonzero(smooth >= max(self._floor * _RISE, _LEAST_VOICE, float(smooth.max()) * _RANGE))
            if not len(loud):
                return self._position - WINDOW
            breaks = np.flatnonzero(np.diff(loud) > _DIP)
            return first + int(loud[breaks[-1] + 1 if len(breaks) else 0]) * _BLOCK
        loud = np.flatnonzero(smooth >= self._least_voice)
        return first + (int(loud[-1]) + 1) * _BLOCK if len(loud) else first


class VoiceDetector:
    """
    Silero for all calls of the process; one is enough, and it belongs to the loop's thread.

    ``gather`` is how long a complete window may wait for those of other calls; when every open
    stream has one, nothing waits. ``start`` and ``stop`` are the probabilities at which voice begins and ends.
    Raises ``VoiceModelError`` if the model is missing.
    """

    def __init__(self, gather: float = 0.008, *, start: float = 0.5, stop: float = 0.35) -> None:
        self.start, self.stop = start, stop
        self._gather = gather
        self._session = _load_model()
        self._rate = np.array(RATE_HZ, np.int64)
        self._batch = np.zeros((_MAX_BATCH, _CONTEXT + WINDOW), np.float32)
        self._free: list[int] = []
        self._state = np.zeros((2, 0, 128), np.float32)
        self._history = np.zeros((0, _HISTORY), np.float32)
        self._open = 0
        self._ready: list[VoiceStream] = []
        self._timer: asyncio.Handle | None = None

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
        """Every judgement of a whole clip at 8 kHz, at once; needs no loop."""
        windows: list[VoiceWindow] = []
        stream = self.open(windows.append)
        stream._append(pcm)
        while stream.has_window:
            self._judge([stream])
        stream.close()
        return windows

    def _enqueue(self, stream: VoiceStream) -> None:
        stream.queued = True
        self._ready.append(stream)
        if len(self._ready) >= self._open:
            self._arm(None)
        elif self._timer is None:
            self._arm(self._gather)

    def _arm(self, delay: float | None) -> None:
        if self._timer:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_soon(self._run_batch) if delay is None else loop.call_later(delay, self._run_batch)

    def _release(self, stream: VoiceStream) -> None:
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
        if more or len(self._ready) >= _MAX_BATCH:  # a stream that brought much is heard in turns with the loop
            self._arm(None)

    def _judge(self, streams: Sequence[VoiceStream]) -> None:
        batch = self._batch[: len(streams)]
        for row, stream in zip(batch, streams, strict=True):
            stream.take(row)
        slots = [stream.slot for stream in streams]
        feed = {"input": batch, "state": self._state[:, slots], "sr": self._rate}
        probability, self._state[:, slots] = self._session.run(None, feed)
        blocks = batch[:, _CONTEXT:].reshape(len(streams), _PER_WINDOW, _BLOCK)
        power = np.einsum("ijk,ijk->ij", blocks, blocks) / _BLOCK
        history = self._history[slots]
        history[:, :-_PER_WINDOW] = history[:, _PER_WINDOW:]
        history[:, -_PER_WINDOW:] = power
        self._history[slots] = history
        facts = zip(probability[:, 0].tolist(), power.mean(1).tolist(), power.max(1).tolist(), history, strict=True)
        for stream, fact in zip(streams, facts, strict=True):
            if stream.closed:  # by the listener of another
                continue
            try:
                stream.judge(*fact)
            except Exception:  # one call's trouble is not the others'
                logger.exception("A listener to voice activity failed at %d", stream._position)


def _load_model() -> onnxruntime.InferenceSession:
    """Find the model in the ``silero-vad`` package without importing it, for its Python side wants torch."""
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
