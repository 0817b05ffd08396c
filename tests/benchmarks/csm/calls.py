"""Calls through the whole engine: how long a new one waits for its first sound, and how many can speak at once."""

from __future__ import annotations

import asyncio
import random
import statistics
import tempfile
import time
import wave
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from inference.csm import checkpoint as checkpoints
from inference.csm.engine import CsmThread
from inference.csm.options import CsmOptions
from inference.engines.csm import CsmTextToSpeech
from inference.types import EngineFull
from tests.benchmarks.csm.run import CLAUSES, Run
from tests.inference.tiny_csm import SENTENCES, tiny_tokenizer

NEWCOMER = "Hello, this is a test call."
VOICE_SECONDS = 8


@contextmanager
def stored(run: Run) -> Iterator[CsmOptions]:
    """Options for an engine that uses the model of this run, with one voice."""
    load = checkpoints.load_checkpoint
    found = checkpoints.Checkpoint(run.source, tiny_tokenizer())
    checkpoints.load_checkpoint = lambda name, **_: found
    try:
        with tempfile.TemporaryDirectory() as folder:
            seconds = VOICE_SECONDS if run.cuda else 2
            noise = 3000 * np.random.default_rng(0).standard_normal(24000 * seconds)
            with wave.open(f"{folder}/ann.wav", "wb") as file:
                file.setnchannels(1)
                file.setsampwidth(2)
                file.setframerate(24000)
                file.writeframes(noise.clip(-30000, 30000).astype("<i2").tobytes())
            Path(folder, "ann.txt").write_text(" ".join(SENTENCES))
            yield CsmOptions(
                model="random weights",
                voices=folder,
                device=str(run.device),
                slots=run.slots,
                positions=1024 if run.cuda else 512,
                stall_timeout=30.0,
            )
    finally:
        checkpoints.load_checkpoint = load


@dataclass
class Load:
    """How long the engine's thread works on the model."""

    thread: CsmThread
    busy: float = 0.0
    """Seconds in steps of the model."""
    ticks: list[float] = field(default_factory=list)
    """Seconds of each tick."""

    def __post_init__(self) -> None:
        steps = self.thread._steps
        for name in ("frame", "prefill"):
            setattr(steps, name, self._timed(getattr(steps, name), name == "frame"))

    def _timed(self, step: Callable[..., Any], tick: bool) -> Callable[..., Any]:
        def timed(*arguments: Any) -> Any:
            began = time.perf_counter()
            done = step(*arguments)
            took = time.perf_counter() - began
            self.busy += took
            if tick:
                self.ticks.append(took)
            return done

        return timed


class Speakers:
    """Calls that speak without a pause. Random weights never end a clause by themselves: the guards end each one."""

    def __init__(self, engine: CsmTextToSpeech) -> None:
        self._engine = engine
        self._tasks: list[asyncio.Task[None]] = []
        self.seconds = 0.0
        """Of sound that was heard by all calls together."""
        self.refused = ""
        """Why the last call was refused."""

    @property
    def calls(self) -> int:
        return len(self._tasks)

    async def grow(self, calls: int) -> None:
        """Start calls up to this number, one after the other as real calls come."""
        while self.calls < calls:
            try:
                speech = self._engine.open()
            except EngineFull as error:
                self.refused = str(error)
                return
            self._tasks.append(asyncio.create_task(self._talk(speech, self.calls)))
            await asyncio.sleep(0.03)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        ended = await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        if broken := [error for error in ended if isinstance(error, Exception)]:
            raise broken[0]

    async def _talk(self, speech: Any, number: int) -> None:
        chance = random.Random(number)
        try:
            while True:
                async with aclosing(speech.speak(clauses(chance.sample(CLAUSES, 3)))) as chunks:
                    async for chunk in chunks:
                        self.seconds += len(chunk.pcm) / 24000
        finally:
            await speech.close()


async def clauses(texts: Sequence[str]) -> AsyncIterator[str]:
    for text in texts:
        yield text


async def first_sound(speech: Any) -> float:
    """Seconds from the text to the first sound on the event loop. Closes the call."""
    began = time.perf_counter()
    async with aclosing(speech.speak(clauses([NEWCOMER]))) as chunks:
        async for chunk in chunks:
            if len(chunk.pcm):
                break
    took = time.perf_counter() - began
    await speech.close()
    return took


def talking(run: Run) -> None:
    """How long a new call waits for its first sound while other calls speak."""
    with stored(run) as options:
        asyncio.run(_talking(run, CsmTextToSpeech(options)))


async def _talking(run: Run, engine: CsmTextToSpeech) -> None:
    began = time.monotonic()
    await engine.start()
    run.report("engine started", time.monotonic() - began, "s", "with voice and graphs, without loading weights")
    thread = engine._loaded.thread
    load, speakers = Load(thread), Speakers(engine)
    counters = thread.scheduler.counters
    try:
        await _waits(run, engine, "alone", run.sizes.trials // 3 + 1)
        await speakers.grow(run.sizes.others)
        await asyncio.sleep(2.0)
        counters.underruns = 0
        load.busy, load.ticks, since = 0.0, [], time.perf_counter()
        others = f"{speakers.calls} others speak"
        await _waits(run, engine, others, run.sizes.trials)
        await _waits(run, engine, f"{others}, voice not prefilled", run.sizes.trials, cold=True)
        share = load.busy / (time.perf_counter() - since)
        run.report("share of time in the model meanwhile", 100 * share, "%", f"{len(load.ticks)} ticks")
        run.report("a tick meanwhile", 1000 * statistics.median(load.ticks), "ms", f"most {1000 * max(load.ticks):.1f}")
        run.report("underruns meanwhile", float(counters.underruns), "", f"how clauses ended: {engine.counts}")
    finally:
        await speakers.stop()
        await engine.close()


async def _waits(run: Run, engine: Any, when: str, trials: int, *, cold: bool = False) -> None:
    chance, taken = random.Random(1), []
    for _ in range(trials):
        speech = engine.open()
        if not cold:
            await asyncio.sleep(0.25 + 0.1 * chance.random())  # the caller is speaking; the voice is prefilled
        taken.append(1000 * await first_sound(speech))
        await asyncio.sleep(0.1 * chance.random())
    taken.sort()
    p50, p95 = (taken[round(share * (len(taken) - 1))] for share in (0.5, 0.95))
    run.report(f"first sound, {when}, p50", p50, "ms", f"{trials} calls, until the event loop has it")
    run.report(f"first sound, {when}, p95", p95, "ms", f"most {taken[-1]:.1f}")


def capacity(run: Run) -> None:
    """How many calls can speak at once without a pause until one of them runs out of sound."""
    with stored(run) as options:
        asyncio.run(_capacity(run, CsmTextToSpeech(options)))


async def _capacity(run: Run, engine: CsmTextToSpeech) -> None:
    await engine.start()
    thread = engine._loaded.thread
    load, speakers = Load(thread), Speakers(engine)
    counters = thread.scheduler.counters
    try:
        for calls in run.sizes.capacities:
            if calls > run.slots or run.left < run.sizes.capacity_seconds + 10:
                break
            await speakers.grow(calls)
            if speakers.calls < calls:
                run.report(f"more than {speakers.calls} calls", "refused", "", speakers.refused[:60])
                break
            await asyncio.sleep(2.0)
            counters.underruns, before = 0, (counters.ticks, counters.batch)
            load.busy, load.ticks, said, since = 0.0, [], speakers.seconds, time.perf_counter()
            await asyncio.sleep(run.sizes.capacity_seconds)
            passed = time.perf_counter() - since
            ticks, batch = counters.ticks - before[0], counters.batch - before[1]
            pace = (speakers.seconds - said) / passed / calls
            run.report(f"{calls} calls speaking: underruns", float(counters.underruns), "", f"in {passed:.0f} s")
            run.report(f"{calls} calls speaking: sound", pace, "s/s", f"a call; ticks of {batch / max(ticks, 1):.0f}")
            run.report(f"{calls} calls speaking: load", 100 * load.busy / passed, "%", "of the engine's time")
            if counters.underruns:
                break
    finally:
        await speakers.stop()
        await engine.close()
