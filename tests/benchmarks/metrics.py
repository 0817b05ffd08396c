"""
What metrics cost the process that carries calls: processor time for counting and for each scrape.

    python -m tests.benchmarks.metrics                         # 100 calls; four minutes
    python -m tests.benchmarks.metrics --calls 10 --rounds 2 --seconds 3   # tries it

Counting is switched off and on in the same server while the same calls go on, window by window, so that what else the
machine does falls on both. Since counting costs less than windows differ, the run also counts how often something is
counted, and times one count by itself: their product is the figure that the goal is for.

It ends with status 1 if a goal is missed: 0.2 ms of processor time for each call and second, 20 ms for a scrape at p95.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import statistics
import sys
import tempfile
import time
import timeit
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from urllib.request import urlopen

from tests.benchmarks.load import (
    PUBLIC_URL,
    SCRIPTED,
    STEPS_PER_CALL,
    WARM_UP_SECONDS,
    Server,
    make_clips,
    script,
    serving,
)

from django.conf import settings  # isort: skip  (the module above sets Django up)
from media.metrics import RESPONSE_LATENCY  # isort: skip
from media.phone.caller import HangUp, ScriptedCaller  # isort: skip
from media.phone.measurements import percentile  # isort: skip
from media.phone.network import PhoneNetwork  # isort: skip
from tests.real_services import reserve_port  # isort: skip

MOST_COUNTING_MS, MOST_SCRAPE_MS = 0.2, 20.0
"""The goals: for each call and second, and for each scrape at p95."""
SCRAPES_A_SECOND = 5
"""Many times what Prometheus does, so that their processor time can be measured."""


@dataclass
class Windows:
    """The processor time of each window of one kind, in milliseconds for each call and second."""

    cpu: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    """The p99 of the event loop's lag, in milliseconds."""


@dataclass
class Figures:
    off: Windows = field(default_factory=Windows)
    on: Windows = field(default_factory=Windows)
    scraped: Windows = field(default_factory=Windows)
    counted: list[float] = field(default_factory=list)
    """Counts for each call and second."""
    scrapes: list[float] = field(default_factory=list)
    """Milliseconds that Prometheus would wait for each."""
    scrape_cpu: list[float] = field(default_factory=list)
    """Milliseconds of processor time of single ones."""
    size: int = 0
    series: int = 0


def scrape(port: int) -> tuple[float, str]:
    began = time.perf_counter()
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    return (time.perf_counter() - began) * 1000, text


def lags(text: str) -> dict[float, float]:
    """The cumulative counts of the event loop's lag by the upper bounds in seconds."""
    found = re.findall(r'clientcaller_event_loop_lag_seconds_bucket\{le="([^"]+)"\} (\S+)', text)
    return {float(bound): float(count) for bound, count in found}


def p99(before: dict[float, float], after: dict[float, float]) -> float:
    """The bound in milliseconds below which 99 % of the looks between two scrapes were."""
    grown = {bound: after[bound] - before[bound] for bound in after}
    total = max(grown.values(), default=0.0)
    return min((bound for bound, count in grown.items() if count >= 0.99 * total), default=float("nan")) * 1000


def switch(server: Server, figures: Figures, *, on: bool) -> int:
    with urlopen(f"{server.url}/benchmark?counting={int(on)}", timeout=30) as answer:
        told = json.load(answer)
    figures.scrape_cpu.append(told["scrape_ms"])
    return int(told["counted"])


async def window(server: Server, port: int, figures: Figures, windows: Windows, *, calls: int, seconds: float) -> None:
    """Measure for so many seconds, with scrapes if the window is one of those."""
    counting = windows is not figures.off
    await asyncio.to_thread(switch, server, figures, on=counting)
    before = lags((await asyncio.to_thread(scrape, port))[1])
    began, cpu = time.monotonic(), server.cpu_seconds
    if windows is figures.scraped:
        for number in range(1, int(seconds * SCRAPES_A_SECOND)):
            took, text = await asyncio.to_thread(scrape, port)
            figures.scrapes.append(took)
            figures.size, figures.series = len(text), sum(line[:1] not in "#" for line in text.splitlines() if line)
            await asyncio.sleep(max(0.0, began + number / SCRAPES_A_SECOND - time.monotonic()))
    await asyncio.sleep(max(0.0, began + seconds - time.monotonic()))
    spent, cpu = time.monotonic() - began, server.cpu_seconds - cpu
    windows.cpu.append(cpu / spent / calls * 1000)
    counted = await asyncio.to_thread(switch, server, figures, on=counting)
    if windows is figures.on:
        figures.counted.append(counted / spent / calls)
    if counting:
        windows.late.append(p99(before, lags((await asyncio.to_thread(scrape, port))[1])))


async def measure(server: Server, port: int, options: argparse.Namespace) -> Figures:
    clips = await make_clips()
    figures = Figures()
    async with PhoneNetwork(
        app_url=server.url,
        public_url=PUBLIC_URL,
        account_sid=settings.TWILIO_ACCOUNT_SID,
        auth_token=settings.TWILIO_AUTH_TOKEN,
    ) as network:
        lines = []
        for number in range(options.calls):
            caller = ScriptedCaller([*islice(script(clips, number), STEPS_PER_CALL), HangUp()])
            lines.append(await network.call_in(caller, from_number="+12025550123", to_number="+15005550006"))
            await asyncio.sleep(0.05)
        await asyncio.sleep(WARM_UP_SECONDS)
        for _ in range(options.rounds):
            for windows in (figures.off, figures.on, figures.scraped):
                await window(server, port, figures, windows, calls=options.calls, seconds=options.seconds)
        for line in lines:
            line.hang_up()
        await asyncio.gather(*(line.wait() for line in lines))
    return figures


def cost_of_a_count() -> float:
    """Milliseconds of the dearest count: a value in the last but one bucket of a histogram."""
    return min(timeit.repeat(lambda: RESPONSE_LATENCY.observe(9.0), number=20_000, repeat=5)) / 20_000 * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=100, help="calls at once (default: %(default)d)")
    parser.add_argument("--rounds", type=int, default=8, help="windows of each kind (default: %(default)d)")
    parser.add_argument("--seconds", type=float, default=8.0, help="seconds of a window (default: %(default)g)")
    options = parser.parse_args()
    os.sched_setaffinity(0, {1} if (os.cpu_count() or 1) > 1 else {0})
    port = reserve_port()
    environment = {**SCRIPTED, "METRICS_PORT": str(port)}
    with tempfile.TemporaryDirectory() as directory:
        application = "tests.benchmarks.metrics_server:application"
        with serving(
            "uvicorn", Path(directory), calls=options.calls, environment=environment, application=application
        ) as server:
            figures = asyncio.run(measure(server, port, options))
    sys.exit(report(figures, options.calls))


def report(figures: Figures, calls: int) -> int:
    off, on, scraped = (statistics.median(kind.cpu) for kind in (figures.off, figures.on, figures.scraped))
    counted, each = statistics.median(figures.counted), cost_of_a_count()
    scrape = percentile(figures.scrape_cpu, 0.95)
    print(f"{calls} calls, medians of {len(figures.on.cpu)} windows")
    print(f"CPU for each call and second: {off:.2f} ms without counting, {on:.2f} ms with it: ratio {on / off:.3f}")
    print(
        f"counts for each call and second: {counted:.1f}, of {each * 1000:.1f} us at most: {counted * each:.4f} ms "
        f"(goal: {MOST_COUNTING_MS} ms)"
    )
    print(
        f"CPU of a scrape: {percentile(figures.scrape_cpu, 0.5):.1f} ms, p95 {scrape:.1f} ms (goal: {MOST_SCRAPE_MS:g} "
        f"ms); with its request {(scraped - on) * calls / SCRAPES_A_SECOND:.1f} ms"
    )
    print(
        f"Prometheus waits {percentile(figures.scrapes, 0.5):.1f} ms, p95 {percentile(figures.scrapes, 0.95):.1f} ms "
        f"for {figures.series} series in {figures.size} bytes"
    )
    print(
        f"event loop late, p99: {statistics.median(figures.on.late):g} ms, and with {SCRAPES_A_SECOND} scrapes a "
        f"second {statistics.median(figures.scraped.late):g} ms (bounds of buckets)"
    )
    return int(counted * each > MOST_COUNTING_MS or scrape > MOST_SCRAPE_MS)


if __name__ == "__main__":
    main()
