"""The Whisper engine on a tiny model behind a gate, with which tests hold back and replace its passes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import pytest

from inference.engines.whisper import FasterWhisperSpeechToText
from inference.whisper.mel import RATE_HZ
from inference.whisper.options import WhisperOptions
from tests.inference.contract import band_noise

LOW, HIGH = band_noise(100, 1500, 1.2, RATE_HZ), band_noise(2200, 3900, 1.2, RATE_HZ)
SILENCE = np.zeros(RATE_HZ, np.int16)
LINE = (30 * np.random.default_rng(2).standard_normal(RATE_HZ)).astype(np.int16)


class Gate:
    """Wraps the model: records each pass, can hold a pass back, and can answer instead of the model."""

    def __init__(self, model, loop: asyncio.AbstractEventLoop) -> None:
        self.model = model
        self.passes = []
        """The pieces of each pass."""
        self.says = None
        """If set, gives the hypothesis for a piece instead of the model."""
        self.entered = asyncio.Event()
        """Set when a pass has begun."""
        self.finished: asyncio.Queue[int] = asyncio.Queue()
        """The rows of each pass whose results have reached the calls."""
        self._loop = loop
        self._open = threading.Event()
        self.open()

    def __getattr__(self, name):
        return getattr(self.model, name)

    def open(self) -> None:
        self._open.set()

    def shut(self) -> None:
        self._open.clear()
        self.entered.clear()

    @property
    def rows(self) -> list[int]:
        return [len(pieces) for pieces in self.passes]

    @property
    def samples(self) -> list[int]:
        """The length of each row of each pass. Its last two frames look beyond the sound."""
        return [len(piece.spectrum.rows) * 160 for pieces in self.passes for piece in pieces]

    def transcribe(self, pieces):
        self.passes.append(pieces)
        self._loop.call_soon_threadsafe(self.entered.set)
        assert self._open.wait(60)
        if self.says is not None:
            return [self.says(piece) for piece in pieces]
        return self.model.transcribe(pieces)


@asynccontextmanager
async def running(folder, **options) -> AsyncIterator[tuple[FasterWhisperSpeechToText, Gate]]:
    engine = FasterWhisperSpeechToText(WhisperOptions(model=str(folder), device="cpu", cpu_threads=1, **options))
    load, loop = engine._load, asyncio.get_running_loop()
    engine._load = lambda: Gate(load(), loop)
    await engine.start()
    gate, hand_out = engine._model, engine._finish_batch

    def heard(jobs, hearing) -> None:
        hand_out(jobs, hearing)
        gate.finished.put_nowait(len(jobs))

    engine._finish_batch = heard
    yield engine, gate
    gate.open()
    await engine.close()


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def hold(engine, gate) -> asyncio.Task:
    """Keep the model busy with the answer of another call until the gate is opened."""
    gate.shut()
    other = engine.open()
    other.push(LOW)
    holding = asyncio.ensure_future(other.snapshot())
    await gate.entered.wait()
    gate.passes.clear()
    return holding


def at_once(coroutine):
    """The result of a coroutine that must not wait for anything."""
    with pytest.raises(StopIteration) as done:
        coroutine.send(None)
    return done.value.value


async def recognised(engine, sound=LOW) -> str:
    utterance = engine.open()
    utterance.push(sound)
    return (await utterance.finish()).text
