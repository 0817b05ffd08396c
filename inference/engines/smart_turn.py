"""
Smart Turn v3 (pipecat-ai, BSD-2-Clause): whether somebody has finished speaking, by the sound of their last 8 s.

It is a small Whisper encoder with a classifier behind it, as an ONNX file. One score costs about 75 ms of a core, and
a batch costs as much as its scores one by one, so one thread makes them one after the other. Scores that would come too
late are refused.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import onnxruntime  # type: ignore[import-untyped]

from inference.options import PATH
from inference.turn_features import FRAMES, MELS, SECONDS, features
from inference.types import Description, EngineError, EngineFull, Pcm

_MEMORY_FACTOR = 8
"""Memory that the model needs once it has made scores, as a multiple of its file: 71 MB for 8.7 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SmartTurnOptions:
    model: str = field(metadata=PATH)
    """The ONNX file. It is part of the Python package ``pipecat-ai``, as ``smart-turn-v3.2-cpu.onnx``."""

    max_waiting: int = 3
    """Scores that wait or are being made; more are refused. The last of three comes after about 225 ms, and most turns
    are decided soon after that."""

    def __post_init__(self) -> None:
        if self.max_waiting < 1:
            raise EngineError("max_waiting of the turn model must be at least 1", permanent=True)


class SmartTurnModel:
    """One model, which scores the pauses of all calls of the process."""

    rate_hz: ClassVar[int] = 8000
    """The rate of the telephone. The model works at 16 kHz, and its thread converts the sound."""
    longest: ClassVar[float] = float(SECONDS)
    may_speculate: ClassVar[bool] = True
    options_class: ClassVar[type[SmartTurnOptions]] = SmartTurnOptions

    def __init__(self, options: SmartTurnOptions) -> None:
        self._options = options
        self._thread: ThreadPoolExecutor | None = None
        self._session: onnxruntime.InferenceSession | None = None
        """Between ``start`` and ``close``."""
        self._waiting = 0
        """The scores that are awaited."""

    async def start(self) -> None:
        if self._session is not None:
            return
        self._thread = self._thread or ThreadPoolExecutor(1, thread_name_prefix="turn-model")
        self._session = await asyncio.get_running_loop().run_in_executor(self._thread, self._load)

    async def close(self) -> None:
        thread, self._thread, self._session = self._thread, None, None
        if thread is not None:
            await asyncio.to_thread(thread.shutdown, cancel_futures=True)

    def describe(self) -> Description:
        path = Path(self._options.model)
        size = path.stat().st_size if path.is_file() else 0
        return Description(f"the file {path}", memory_bytes=_MEMORY_FACTOR * size)

    async def score(self, pcm: Pcm) -> float:
        session, thread = self._session, self._thread
        if session is None or thread is None:
            raise EngineError("the turn model has not been started")
        if self._waiting >= self._options.max_waiting:
            raise EngineFull(f"the turn model has {self._waiting} scores to make, which is its limit (`max_waiting`)")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(thread, self._score, session, pcm)
        finally:
            self._waiting -= 1

    def _load(self) -> onnxruntime.InferenceSession:
        path = Path(self._options.model)
        if not path.is_file():
            raise EngineError(f"the model of the turn engine is not there: {path}", permanent=True)
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = settings.inter_op_num_threads = 1
        settings.log_severity_level = 3
        try:
            session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
        except Exception as error:  # the package has no base class for its errors
            raise EngineError(f"{path} is no ONNX model: {error}", permanent=True) from error
        inputs = [(given.name, given.shape[1:]) for given in session.get_inputs()]
        if inputs != [("input_features", [MELS, FRAMES])]:
            raise EngineError(f"{path} is no Smart Turn v3: it takes {inputs}", permanent=True)
        self._score(session, np.zeros(0, np.int16))  # the first run is slower
        return session

    def _score(self, session: onnxruntime.InferenceSession, pcm: Pcm) -> float:
        try:
            (scores,) = session.run(None, {"input_features": features(pcm, self.rate_hz)[None]})
            score = float(scores[0, 0])
        except Exception as error:
            raise EngineError(f"the turn model failed: {type(error).__name__}: {error}") from error
        if not 0 <= score <= 1:
            raise EngineError(f"the turn model gave {score}, which is no probability")
        return score
