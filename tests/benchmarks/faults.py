"""
What callers notice of faults, measured at the phone: one row for each fault.

    python -m tests.benchmarks.faults                           # every row, five repetitions with five calls each
    python -m tests.benchmarks.faults --only worker-killed redis-frozen --repetitions 2 --calls 10

Everything is real (processes, Redis, sockets) but the engines, which follow a script, and the network behind the phone.
The voice is hardly faster than it is heard, so that little is left to play when it stops. ``gap``: the longest time
between two words of the answer, in which the caller hears nothing or a filler; where the caller is asking when the
fault comes: from their last sound to the first word of the answer. The exit status is 1 if a row misses its bar.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "clientcaller.settings")
import django

django.setup()

from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from media.phone.clips import Clip  # noqa: E402
from media.phone.measurements import percentile  # noqa: E402
from tests.benchmarks.fault_site import Call, Site, call_in, until  # noqa: E402
from tests.word_tones import BUSY_SECONDS  # noqa: E402

STAGGER = 0.35
"""Seconds from one call to the next, so that a fault meets each in another word."""


@dataclass(frozen=True)
class Fault:
    """One row: what breaks, when, and what callers may notice of it at most."""

    name: str
    what: str
    inject: Callable[[Site], Awaitable[None]]
    """Breaks something, and returns when it is whole again or replaced."""
    bar: float
    """The longest gap at p95, in seconds."""
    while_asking: bool = False
    """The callers are asking when it comes; else the agent is answering."""

    @property
    def cuts_line(self) -> bool:
        return "cut-off" in self.name

    @property
    def loses_worker(self) -> bool:
        """Whether its calls have to go on elsewhere; else they must stay with their worker."""
        return self.name.startswith("worker-") and self.name != "worker-busy"


async def nothing(site: Site) -> None:
    """No fault: what the other rows are compared with."""


async def kill_worker(site: Site) -> None:
    site.workers[0].signal(signal.SIGKILL)


async def freeze_worker(site: Site) -> None:
    site.workers[0].signal(signal.SIGSTOP)
    await asyncio.sleep(5.0)
    site.workers[0].signal(signal.SIGCONT)


async def stop_worker(site: Site) -> None:
    site.workers[0].signal(signal.SIGTERM)
    await asyncio.sleep(1.0)
    site.workers[0].signal(signal.SIGTERM)


async def restart_redis(site: Site) -> None:
    with site.redis.away("killed"):
        await asyncio.sleep(3.0)


async def freeze_redis(site: Site) -> None:
    with site.redis.away("frozen"):
        await asyncio.sleep(3.0)


async def cut_worker_off(site: Site) -> None:
    with site.worker_lines[0].cut():
        await asyncio.sleep(5.0)


async def cut_web_off(site: Site) -> None:
    with site.web_lines[0].cut():
        await asyncio.sleep(3.0)


async def keep_worker_busy(site: Site) -> None:
    """As a computation in its event loop does. Its calls must not leave it."""
    site.workers[0].signal(signal.SIGUSR1)
    await asyncio.sleep(BUSY_SECONDS)


async def freeze_web(site: Site) -> None:
    """As a long garbage collection does."""
    site.web.signal(signal.SIGSTOP)
    await asyncio.sleep(1.5)
    site.web.signal(signal.SIGCONT)


FAULTS = (
    Fault("none", "no fault", nothing, 0.2),
    Fault("worker-killed", "SIGKILL of the worker in mid-sentence", kill_worker, 1.0),
    Fault("worker-killed-asking", "SIGKILL of the worker in recognition", kill_worker, 2.0, while_asking=True),
    Fault("worker-frozen", "SIGSTOP of the worker in mid-sentence, 5 s", freeze_worker, 1.5),
    Fault("worker-frozen-asking", "SIGSTOP of the worker in recognition, 5 s", freeze_worker, 2.5, while_asking=True),
    Fault("worker-stopped", "SIGTERM of the worker in mid-sentence, and another 1 s later", stop_worker, 1.0),
    Fault("redis-restarted", "Redis killed in mid-sentence, back after 3 s", restart_redis, 4.0),
    Fault("redis-restarted-asking", "Redis killed in recognition, back after 3 s", restart_redis, 5.0, True),
    Fault("redis-frozen", "SIGSTOP of Redis in mid-sentence, 3 s", freeze_redis, 4.0),
    Fault("redis-frozen-asking", "SIGSTOP of Redis in recognition, 3 s", freeze_redis, 5.0, True),
    Fault("worker-cut-off", "network of the worker cut in mid-sentence for 5 s", cut_worker_off, 1.5),
    Fault("web-cut-off", "network of the web process to Redis cut in mid-sentence for 3 s", cut_web_off, 4.0),
    Fault("web-cut-off-asking", "the same in recognition", cut_web_off, 5.0, while_asking=True),
    Fault("worker-busy", "the worker's event loop is held up for 1.5 s", keep_worker_busy, 2.5),
    Fault("web-frozen", "SIGSTOP of the web process in mid-sentence, 1.5 s", freeze_web, 2.5),
)


@dataclass
class Result:
    """The figures of one row, over all of its calls."""

    fault: Fault
    gaps: list[float] = field(default_factory=list)
    twice: int = 0
    left_out: int = 0
    broken: int = 0
    fillers: list[float] = field(default_factory=list)
    """Seconds of other words within the answer, and before it where the caller was asking."""
    lost: int = 0
    """Calls that ended before the caller hung up, or got no answer."""
    failovers: int = 0
    """How often the web process has left a worker that it took for dead, by engine."""

    def add(self, call: Call) -> None:
        told = call.told()
        self.gaps.append(call.response() if self.fault.while_asking else told.gap)
        self.twice += told.twice
        self.left_out += told.left_out
        self.broken += told.broken
        self.fillers.append(told.other + (call.bridged() if self.fault.while_asking else 0.0))
        self.lost += not call.kept

    @property
    def good(self) -> bool:
        is_complete = not (self.twice or self.left_out or self.lost)
        needless = self.failovers and not self.fault.loses_worker
        return percentile(self.gaps, 0.95) <= self.fault.bar and is_complete and not needless


async def hold(site: Site, fault: Fault, question: Clip, calls: int) -> list[Call]:
    """Hold some calls at once, and break something in all of them."""
    async with site.network() as network:
        held: list[Call] = []
        for _ in range(calls):
            held.append(await call_in(network, question))
            await asyncio.sleep(STAGGER)
        # The calls are with the worker that will fail; the other one starts while the greeting is heard.
        if len(site.workers) < 2:
            await asyncio.to_thread(site.start_worker)
        last = held[-1]
        if fault.while_asking:
            await until(lambda: last.asking or last.answered)
            await asyncio.sleep(1.8)
        else:
            await until(lambda: last.answered)
            await asyncio.sleep(1.7)
        await fault.inject(site)
        await asyncio.gather(*(call.line.wait() for call in held))
    return held


def measure(site: Site, fault: Fault, question: Clip, *, repetitions: int, calls: int) -> Result:
    """Repeat a fault. Each time the oldest worker fails, and leaves for good after the calls."""
    result, before = Result(fault), site.failovers
    for _ in range(repetitions):
        for call in asyncio.run(hold(site, fault, question, calls)):
            result.add(call)
        result.failovers = site.failovers - before
        site.end_worker(site.workers[0])
    return result


def make_question() -> Clip:
    """What the callers ask, made by the voice of the ``laptop`` profile."""
    from tests.media.scripted_call import voice

    return Clip.of(voice("Will you let me know when you are all available again on Monday morning?"), name="question")


def print_report(console: Console, results: Sequence[Result], calls: int) -> None:
    table = Table(title=f"What callers notice of faults; {calls} calls a row")
    for heading in (
        "fault",
        "gap p50 s",
        "p95",
        "max",
        "bar",
        "said twice",
        "left out",
        "broken off",
        "fillers s",
        "lost",
        "failovers",
    ):
        table.add_column(heading, justify="left" if heading == "fault" else "right")
    for result in results:
        p50, p95 = percentile(result.gaps, 0.5), percentile(result.gaps, 0.95)
        figures = f"{p50:.2f}", f"{p95:.2f}", f"{max(result.gaps):.2f}", f"{result.fault.bar:.1f}"
        counts = (
            result.twice,
            result.left_out,
            result.broken,
            f"{max(result.fillers):.1f}",
            result.lost,
            result.failovers,
        )
        style = "" if result.good else "red"
        table.add_row(result.fault.what, *figures, *map(str, counts), style=style)
    console.print(table)


def main() -> None:
    names = [fault.name for fault in FAULTS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="ROW", help=", ".join(names))
    parser.add_argument("--repetitions", type=int, default=5, help="of each row (default: %(default)d)")
    parser.add_argument("--calls", type=int, default=5, help="calls at once (default: %(default)d)")
    parser.add_argument("--log", type=Path, help="a file for the log of the web process")
    options = parser.parse_args()
    question, results, console = make_question(), [], Console(width=160)
    for lines in (False, True):
        faults = [fault for fault in FAULTS if fault.name in options.only and fault.cuts_line is lines]
        if not faults:
            continue
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            site = Site(Path(folder), stack, lines=lines)
            for fault in faults:
                measured = measure(site, fault, question, repetitions=options.repetitions, calls=options.calls)
                console.print(f"{fault.name}: {', '.join(f'{gap:.2f}' for gap in measured.gaps)}")
                results.append(measured)
            if options.log:
                options.log.write_text(site.web.text)
    print_report(console, results, options.repetitions * options.calls)
    raise SystemExit(0 if all(result.good for result in results) else 1)


if __name__ == "__main__":
    main()
