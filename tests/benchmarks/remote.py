"""
Measure what a worker behind Redis adds to the response latency, and how many calls one worker process carries.

    python -m tests.benchmarks.remote
    python -m tests.benchmarks.remote --calls 1 128 --seconds 30

Each call talks without a pause: 1.2 s of speech in real time, then an answer of 5 s, which is made in real time in
frames of 80 ms at 24 kHz. Scripted engines, with 50 ms each for transcript, first token and first sound, serve the same
calls alternately in this process and in one worker process (all three engines, real Redis). The latency runs from the
end of the speech to the first sound of the answer; both are measured in this process. The exit status is 1 if the p95
grows by more than 10 ms with at most 100 calls, or if the worker was left, since nothing is broken here. Rounds in
which the machine was busy with something else are repeated.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "clientcaller.settings")
import django

django.setup()

import numpy as np  # noqa: E402
from redis import Redis  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from inference.backends import Engines, make_engines  # noqa: E402
from inference.types import EngineError, Message  # noqa: E402
from media.phone.measurements import percentile  # noqa: E402
from media.reply import answer  # noqa: E402
from media.turns import events as ev  # noqa: E402
from tests.benchmarks.fault_site import is_failover  # noqa: E402
from tests.inference.remote.serving import layers  # noqa: E402
from tests.real_services import Process, RedisServer, process, process_env  # noqa: E402

TARGET = 0.010
"""Seconds that workers may add to the latency at p95, with at most ``MOST_CALLS`` calls."""
MOST_CALLS = 100
MAX_LATENESS = 0.010
"""Seconds. A round counts only if this process, which makes the load, was no later than this at p99."""
TICKS = os.sysconf("SC_CLK_TCK")
OPTIONS: dict[str, dict[str, Any]] = {
    "stt": {"rate_hz": 16000},
    "llm": {},
    "tts": {"rate_hz": 24000, "chunk_seconds": 0.08, "chunk_delay": 0.08},
}
SCRIPTED = {"stt": "ScriptedSpeechToText", "llm": "ScriptedLanguageModel", "tts": "ScriptedTextToSpeech"}
REMOTE = {"stt": "RemoteSpeechToText", "llm": "RemoteLanguageModel", "tts": "RemoteTextToSpeech"}
HERE = {
    alias: {"BACKEND": f"inference.engines.scripted.{name}", "OPTIONS": OPTIONS[alias]}
    for alias, name in SCRIPTED.items()
}
THERE = {alias: {"BACKEND": f"inference.engines.remote.{name}"} for alias, name in REMOTE.items()}
SPEECH = np.random.default_rng(1).integers(-8000, 8000, 16000 // 10).astype(np.int16)
QUESTION = [Message("system", "You answer the telephone. " * 40), Message("user", "What time do you open?")]


@dataclass
class Run:
    """What was measured with one number of calls."""

    calls: int
    counting: bool = False
    """False while the calls begin, before anything is measured."""
    latencies: list[float] = field(default_factory=list)
    errors: int = 0
    failovers: int = 0
    """How often the worker was taken for dead and left, by engine."""
    worst_gap: float = 0.0
    """The longest time between two pieces of an answer, in seconds."""
    lateness: list[float] = field(default_factory=list)
    """How late this process was with each of its timers, in seconds."""
    cpu: dict[str, float] = field(default_factory=dict)
    """The share of a core that each process used."""

    def add(self, other: Run) -> None:
        self.latencies += other.latencies
        self.lateness += other.lateness
        self.errors += other.errors
        self.failovers += other.failovers
        self.worst_gap = max(self.worst_gap, other.worst_gap)
        self.cpu = other.cpu


class FailoverCount(logging.Handler):
    """Counts in the log of this process how often the worker was left."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += is_failover(record.getMessage())


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


async def call(engines: Engines, number: int, run: Run) -> None:
    now = asyncio.get_running_loop().time
    speech = engines.tts.open()
    try:
        # With the golden ratio no two calls have their frames at the same moments; neither do real callers.
        await asyncio.sleep((number * 0.6180339887) % 3.0)
        while True:
            try:
                await _turn(engines, speech, now, run)
            except EngineError as error:
                run.errors += run.counting
                print(f"call {number}: {error}", file=sys.stderr)
                await asyncio.sleep(1)
    finally:
        await speech.close()


async def _turn(engines: Engines, speech: Any, now: Any, run: Run) -> None:
    begun, counts = now(), run.counting
    utterance = engines.stt.open()
    for piece in range(1, 13):
        await asyncio.sleep(max(0.0, begun + piece * 0.1 - now()))
        utterance.push(SPEECH)
    ended = last = now()
    first = 0.0

    def emit(event: ev.Event) -> None:
        nonlocal first, last
        if not isinstance(event, ev.ReplyAudio) or not (counts and run.counting):
            return
        if first:
            run.worst_gap = max(run.worst_gap, now() - last)
        else:
            first = now()
            run.latencies.append(first - ended)
        last = now()

    await utterance.finish()
    await answer(
        ev.Revision(1, 0),
        QUESTION,
        llm=engines.llm,
        tts=engines.tts,
        speech=speech,
        language="en",
        longest=25.0,
        speculative=False,
        emit=emit,
    )


async def measure(setting: Mapping[str, Any], calls: int, seconds: float, others: Mapping[str, int]) -> Run:
    engines = make_engines(setting)
    await engines.start()
    run, failovers = Run(calls), FailoverCount()
    logging.getLogger("inference.remote").addHandler(failovers)
    talks = [asyncio.ensure_future(call(engines, number, run)) for number in range(calls)]
    await asyncio.sleep(4)
    run.counting = True
    pids = {"here": os.getpid(), **others}
    before, begun = {name: cpu_seconds(pid) for name, pid in pids.items()}, time.monotonic()
    due = begun
    while (due := due + 0.01) < begun + seconds:
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        run.lateness.append(max(0.0, time.monotonic() - due))
    spent = time.monotonic() - begun
    run.counting = False
    run.cpu = {name: (cpu_seconds(pid) - before[name]) / spent for name, pid in pids.items()}
    for talk in talks:
        talk.cancel()
    await asyncio.gather(*talks, return_exceptions=True)
    await engines.close()
    logging.getLogger("inference.remote").removeHandler(failovers)
    run.failovers = failovers.count
    return run


def report(console: Console, runs: list[tuple[Run, Run]]) -> float:
    """Print the table. Return the most that was added at p95 with at most ``MOST_CALLS`` calls, in ms."""
    table = Table(title="Scripted engines in this process, and in one worker process behind Redis")
    for name in ("calls", "turns", "here p50/p95 ms", "there p50/p95 ms", "added p50/p95 ms", "longest pause"):
        table.add_column(name, justify="right")
    for name in ("client CPU here/there", "worker CPU", "Redis CPU", "client late p99 ms", "errors", "failovers"):
        table.add_column(name, justify="right")
    worst = 0.0
    for here, there in runs:
        figures = [[percentile(run.latencies, share) * 1000 for share in (0.5, 0.95)] for run in (here, there)]
        added = [b - a for a, b in zip(*figures, strict=True)]
        if here.calls <= MOST_CALLS:
            worst = max(worst, added[1])
        table.add_row(
            str(here.calls),
            f"{len(here.latencies)}, {len(there.latencies)}",
            *("{:.1f} / {:.1f}".format(*pair) for pair in (*figures, added)),
            f"{there.worst_gap * 1000:.0f} ms",
            f"{here.cpu['here']:.0%} / {there.cpu['here']:.0%}",
            f"{there.cpu['worker']:.0%}",
            f"{there.cpu['redis']:.0%}",
            f"{percentile(here.lateness, 0.99) * 1000:.1f} / {percentile(there.lateness, 0.99) * 1000:.1f}",
            f"{here.errors}, {there.errors}",
            str(there.failovers),
        )
    console.print(table)
    return worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, nargs="+", default=[10, 60, 128], help="numbers of calls to measure")
    parser.add_argument(
        "--seconds", type=float, default=20.0, help="seconds that are measured in each round (default: %(default)s)"
    )
    parser.add_argument(
        "--rounds",
        type=int,
        default=2,
        help="rounds in this process and in a worker, alternately (default: %(default)s)",
    )
    options = parser.parse_args()
    console = Console(width=170)
    redis = RedisServer()
    try:
        with tempfile.TemporaryDirectory() as folder:
            env = process_env(
                Path(folder),
                redis_url=redis.url,
                ENGINES_PROFILE="scripted",
                ENGINES_OPTIONS=json.dumps(OPTIONS),
                DJANGO_SETTINGS_MODULE="clientcaller.pod",
            )
            with (
                layers(redis.url),
                process(
                    sys.executable, "manage.py", "runworker", "stt", "llm", "tts", "--slots=256", env=env
                ) as worker,
            ):
                worker.wait_for("llm: loaded")
                runs = [_pair(calls, options, worker, redis, console) for calls in options.calls]
                worst = report(console, runs)
                for line in worker.lines:
                    if " INFO " not in line:
                        console.print(line, markup=False)
    finally:
        redis.stop()
    if worst > TARGET * 1000:
        raise SystemExit(f"Workers added {worst:.1f} ms at p95; the target is {TARGET * 1000:g} ms.")
    if failovers := sum(there.failovers for _, there in runs):
        raise SystemExit(f"The worker was left {failovers} times without a fault.")


def _pair(
    calls: int, options: argparse.Namespace, worker: Process, redis: RedisServer, console: Console
) -> tuple[Run, Run]:
    here, there = Run(calls), Run(calls)
    others = {"worker": worker.pid, "redis": Redis.from_url(redis.url).info()["process_id"]}
    counted = 0
    for _ in range(3 * options.rounds):
        pair = [
            asyncio.run(measure(setting, calls, options.seconds, pids))
            for setting, pids in ((HERE, {}), (THERE, others))
        ]
        lateness = max(percentile(run.lateness, 0.99) for run in pair)
        figures = ", ".join(f"p95 {percentile(run.latencies, 0.95) * 1000:.1f} ms" for run in pair)
        if lateness > MAX_LATENESS:
            console.print(f"{calls} calls: {figures}; not counted: this process was {lateness * 1000:.0f} ms late")
            continue
        here.add(pair[0])
        there.add(pair[1])
        if (counted := counted + 1) == options.rounds:
            return here, there
    raise SystemExit("The machine is too busy to measure anything.")


if __name__ == "__main__":
    main()
