"""What the engine's thread does in Python for each tick, with a model that takes no time."""

from __future__ import annotations

import asyncio
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from inference.csm.context import Context, ContextSegment
from inference.csm.engine import CsmThread, deliver_items
from inference.csm.replies import Clause, SpokenReply
from inference.csm.scheduler import Scheduler
from inference.csm.speaker import Speaker
from inference.csm.steps import HostFrames
from inference.types import AudioChunk
from tests.benchmarks.csm.run import CLAUSES, Run


class InstantModel:
    """Takes the place of model and steps and makes any frame at once, so that only the host's work is measured."""

    positions, codebooks, device = 1024, 32, torch.device("cpu")

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.buckets = [2**n for n in range(rows.bit_length())]
        self.mimi = SimpleNamespace(rate_hz=24000, frame_samples=1920, reset=lambda row: None)
        dice = np.random.default_rng(0)
        self._frames = [
            HostFrames(
                dice.integers(-3000, 3000, (rows, 1920)).astype(np.int16),
                dice.integers(1, 2048, (rows, 32)),
                np.full(rows, -20.0, np.float32),
                np.zeros(rows, np.int64),
            )
            for _ in range(97)
        ]
        self._number = 0

    def bucket(self, rows: int) -> int:
        return next(bucket for bucket in self.buckets if bucket >= rows)

    def frame(self, rows: Sequence[int], fresh: Sequence[int]) -> HostFrames:
        self._number += 1
        return self._frames[self._number % 97]

    def prefill(self, row: int, positions: Any) -> None: ...

    def rewind(self, row: int, length: int) -> None: ...

    def swap_rows(self, a: int, b: int, *, positions: int) -> None: ...

    def set_sampling(self, row: int, *, temperature: float, top_k: int, gain: float) -> None: ...


class DeferredLoop:
    """Takes the place of an event loop and keeps the calls until ``run``."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def call_soon_threadsafe(self, *call: Any) -> None:
        self.calls.append(call)

    def run(self) -> None:
        calls, self.calls = self.calls, []
        for function, *arguments in calls:
            function(*arguments)


class EngineOnThisThread(CsmThread):
    """The engine on the calling thread, on a clock that jumps to the end of each wait."""

    def __init__(self, calls: int) -> None:
        self.now, self.waited = 0.0, 0
        machine: Any = InstantModel(calls)
        super().__init__(
            lambda: (machine, machine),
            Scheduler(calls, buckets=machine.buckets),
            tokenize=lambda text: tuple(range(4, 4 + len(text) // 4)),
            temperature=0.9,
            top_k=50,
            clock=lambda: self.now,
        )
        self._build()
        self._thread = threading.current_thread()

    def _do_posted(self, *, block: bool = True, timeout: float | None = None) -> bool:
        if not block:
            return super()._do_posted(block=False)
        self.waited += 1
        self.now += timeout or 0.0
        return True


def host(run: Run) -> None:
    """What the engine's thread does in Python for each tick, with a model that takes no time."""
    ticks = 400 if run.cuda else 150
    for calls in (32, 64):
        total, by_part = _ticked(calls, ticks)
        note = ", ".join(f"{name} {value:.0f}" for name, value in sorted(by_part.items(), key=lambda item: -item[1]))
        run.report(f"host, a tick for {calls} calls", statistics.median(total) / 1000, "ms", f"µs: {note}")
        run.report(f"host, a tick for {calls} calls, p95", sorted(total)[round(0.95 * (len(total) - 1))] / 1000, "ms")
    for name, value in asyncio.run(_wake_up()).items():
        run.report(name, value, "µs")


def _ticked(calls: int, ticks: int) -> tuple[list[float], dict[str, float]]:
    """Microseconds of each tick; and of each part, the mean over as many further ticks."""
    thread, loop = EngineOnThisThread(calls), DeferredLoop()
    prompt = ContextSegment(tuple(range(4, 44)), np.random.default_rng(1).integers(1, 2048, (100, 32)).astype(np.int16))
    over: list[Any] = []
    """Slots whose reply is over."""

    def speak(slot: Any) -> None:
        reply = SpokenReply(lambda item: over.append(slot) if item is None else None)
        thread.post(slot, Speaker.begin_reply, reply)
        text_start = 0
        for text in CLAUSES:
            thread.post(slot, Speaker.add_clauses, reply, [Clause(text, thread._tokenize(text), text_start)])
            text_start += len(text)
        thread.post(slot, Speaker.end_text, reply)

    for number in range(calls):
        context = Context(prompt, codebooks=32, positions=1023, most_seconds=24.0, keep_seconds=16.0)
        over.append(thread.join(context, gain=1.0, loop=loop))  # type: ignore[arg-type]
        thread.now += 0.01 * (number % 8)

    def tick() -> float:
        """Run rounds until the next wait; microseconds if all calls got a frame, else 0."""
        for slot in over:
            speak(slot)
        over.clear()
        waited, before, took = thread.waited, thread.scheduler.counters.frames, 0.0
        while thread.waited == waited:
            began = time.perf_counter()
            thread.round()
            took += time.perf_counter() - began
            thread.now += 0.001
        loop.run()
        return took * 1e6 if thread.scheduler.counters.frames - before >= calls else 0.0

    full: list[float] = []
    while len(full) < ticks:
        if took := tick():
            full.append(took)
    spent: dict[str, float] = defaultdict(float)
    _time_parts(thread, spent)
    number = 0
    while number < ticks:
        number += bool(tick())
    return full[20:], {name: 1e6 * seconds / ticks for name, seconds in spent.items()}


def _time_parts(thread: CsmThread, spent: dict[str, float]) -> None:
    """Add up the time of the parts, including the measurement itself."""
    for owner, name in (
        (thread.scheduler, "plan"),
        (thread.scheduler, "record_tick"),
        (thread, "_make_frames"),
        (thread, "_prefill"),
        (thread, "_hand_out"),
        *((slot.speaker, "_begin_clause") for slot in thread._slots.values()),
        *((slot.speaker, "_prefill_context") for slot in thread._slots.values()),
    ):
        if method := getattr(owner, name, None):
            setattr(owner, name, _added(method, name.strip("_"), spent))


def _added(method: Callable[..., Any], name: str, spent: dict[str, float]) -> Callable[..., Any]:
    def added(*arguments: Any, **options: Any) -> Any:
        began = time.perf_counter()
        try:
            return method(*arguments, **options)
        finally:
            spent[name] += time.perf_counter() - began

    return added


async def _wake_up() -> dict[str, float]:
    """The time to wake the event loop from the engine's thread, and until the sound of 32 calls has arrived."""
    loop, queue = asyncio.get_running_loop(), asyncio.Queue[Any]()
    chunk = AudioChunk(np.zeros(1920, np.int16), 0)
    items = [(SpokenReply(queue.put_nowait), chunk) for _ in range(32)]
    cost, arrival = [], []

    def wake() -> float:
        began = time.perf_counter()
        loop.call_soon_threadsafe(deliver_items, items)
        cost.append(time.perf_counter() - began)
        return began

    for _ in range(200):
        woken = asyncio.get_running_loop().run_in_executor(None, wake)
        for _ in items:
            await queue.get()
        ended = time.perf_counter()
        arrival.append(ended - await woken)
    return {
        "host, waking the event loop": 1e6 * statistics.median(cost),
        "host, until 32 calls have their sound": 1e6 * statistics.median(arrival),
    }
