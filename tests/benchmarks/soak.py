"""
Calls that begin and end all the time: is anything left of them in the web process?

    python -m tests.benchmarks.soak                        # make bench-soak: 40 calls at once for 120 minutes
    python -m tests.benchmarks.soak --calls 20 --minutes 4
    python -m tests.benchmarks.soak --workers 0         # the engines run in the web process

Each caller asks one to four questions, hangs up and calls again; one of five hangs up in the greeting. The scripted
engines run in two workers behind Redis, and the database is SQLite. After the first calls, and again when the last call
is over, the benchmark counts the tasks, threads and open files of the web process, the files that wait in its spool,
the leases, open tokens and open calls in the database, and the threads and open files of the workers and the keys of
Redis. In the last half the memory of each process may grow by 1 MB for each 100 calls. The exit status is 1 if more is
left than at the start, if a caller was not answered, or if a worker was left: nothing is broken here.
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from django.conf import settings
from redis import Redis
from rich.console import Console
from rich.table import Table

from media.phone.caller import HangUp, Say, ScriptedCaller, Step, Wait, WaitForAgent
from media.phone.clips import Clip
from media.phone.leg import PhoneCall
from media.phone.network import PhoneNetwork
from tests.benchmarks.fault_site import ALIASES, is_failover
from tests.benchmarks.load import OBSERVED, PUBLIC_URL, SCRIPTED, SETTLED, Server, make_clips, resident_mb, serving
from tests.real_services import Process, RedisServer, process, process_env

MOST_MB_PER_100_CALLS = 1.0
LOOK_INTERVAL = 5.0
"""Seconds between two looks at the memory."""
SHARES = (0, 10, 25, 50, 75, 100)
"""Per cent of the calls after which the report gives the memory."""
MOST_SHOWN = 10
"""Calls that were not answered to the end of which the course is printed."""
TOLD = ("status", "verb", "text", "code", "reason")
UNTOLD = ("agent_audio_received", "mark", "mark_sent", "media")
MOST_LEFT = {"threads": 2, "open files": 6, "threads of the workers": 4, "open files of the workers": 12}
"""What a process may have more of than after the first calls: pools of threads and connections that fill by chance."""


@dataclass
class Pod:
    """The workers of the engines, and the Redis between them and the web process."""

    redis: RedisServer
    workers: list[Process]

    @property
    def memory_mb(self) -> float:
        """The resident memory of all workers now."""
        return sum(resident_mb(worker.pid) for worker in self.workers)

    def count(self) -> dict[str, int]:
        """What there is of each thing that sessions begin and must end."""
        folders = [Path(f"/proc/{worker.pid}") for worker in self.workers]
        with Redis.from_url(self.redis.url) as client:
            return {
                "threads of the workers": sum(len([*(folder / "task").iterdir()]) for folder in folders),
                "open files of the workers": sum(len([*(folder / "fd").iterdir()]) for folder in folders),
                "keys of Redis": client.dbsize(),
            }


@dataclass
class Soak:
    """The calls so far, and the memory in the course of them."""

    until: float
    """When no call begins any more; ``time.monotonic``."""
    ended: int = 0
    unanswered: int = 0
    memory: list[tuple[float, int, float]] = field(default_factory=list)
    """Time, calls that have ended, MB of the web process."""
    worker_memory: list[tuple[float, int, float]] = field(default_factory=list)
    """The same of all workers."""

    def look(self, server: Server, pod: Pod | None) -> None:
        self.memory.append((time.monotonic(), self.ended, server.memory_mb))
        if pod:
            self.worker_memory.append((time.monotonic(), self.ended, pod.memory_mb))


Script = Callable[[Clip, int], Iterator[Step]]


def script(clip: Clip, number: int) -> Iterator[Step]:
    """The conversation of the call with this number."""
    if number % 5 == 4:
        yield WaitForAgent("start")
        yield Wait(0.1 * (number % 7))
    else:
        yield WaitForAgent()
        for _ in range(1 + number % 4):
            yield Say(clip)
            yield WaitForAgent()
    yield HangUp()


def told(line: PhoneCall) -> str:
    """What happened on the line, in the order of it."""
    named = [
        " ".join([f"{event['at']:.2f} {event['event']}", *(str(event[name]) for name in TOLD if name in event)])
        for event in line.tape.events
        if event["event"] not in UNTOLD
    ]
    return "; ".join(named)


async def call_again_and_again(
    network: PhoneNetwork, soak: Soak, clip: Clip, script: Script, first: int, step: int
) -> None:
    number = first
    while time.monotonic() < soak.until:
        caller = ScriptedCaller([*script(clip, number)])
        line = await network.call_in(caller, from_number="+12025550123", to_number="+15005550006")
        await line.wait()
        # The network keeps each call with its tape, which would be the memory of hours.
        network.calls.pop(line.sid, None)
        soak.ended += 1
        if caller.gave_up or not caller.hung_up:
            soak.unanswered += 1
            if soak.unanswered <= MOST_SHOWN:
                print(f"call {number}, {line.sid}, was not answered to the end: {told(line)}", flush=True)
        number += step


async def watch_memory(server: Server, pod: Pod | None, soak: Soak) -> None:
    while True:
        soak.look(server, pod)
        await asyncio.sleep(LOOK_INTERVAL)


async def hold(
    server: Server, clip: Clip, *, calls: int, seconds: float, script: Script = script, pod: Pod | None = None
) -> Soak:
    """Hold so many calls at once for this long, and until the last of them has ended."""
    soak = Soak(time.monotonic() + seconds)
    async with PhoneNetwork(
        app_url=server.url,
        public_url=PUBLIC_URL,
        account_sid=settings.TWILIO_ACCOUNT_SID,
        auth_token=settings.TWILIO_AUTH_TOKEN,
    ) as network:
        watching = asyncio.ensure_future(watch_memory(server, pod, soak))
        async with asyncio.TaskGroup() as group:
            for number in range(calls):
                group.create_task(call_again_and_again(network, soak, clip, script, number, calls))
                await asyncio.sleep(min(0.1, 3.0 / calls))
        watching.cancel()
    soak.look(server, pod)
    return soak


def count(server: Server, folder: Path, pod: Pod | None = None) -> dict[str, int]:
    """What there is of each thing that calls begin and must end."""
    process = Path(f"/proc/{server.process.pid}")
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    counts = {
        "tasks": sum(server.observe().tasks.values()),
        "threads": int(status["Threads"]),
        "open files": len([*(process / "fd").iterdir()]),
    }
    spool = folder / "spool"
    waiting = [file for part in ("recordings", "facts") for file in (spool / part).rglob("*") if file.is_file()]
    counts["files in the spool"] = sum(file.stat().st_size > 0 for file in waiting)
    with sqlite3.connect(f"file:{folder / 'db.sqlite3'}?mode=ro", uri=True) as database:
        for name, query in {
            "leases": "SELECT count(*) FROM calls_lease",
            "open tokens": "SELECT count(*) FROM calls_streamtoken WHERE used_at IS NULL",
            "open calls": "SELECT count(*) FROM calls_call WHERE ended_at IS NULL",
        }.items():
            counts[name] = database.execute(query).fetchone()[0]
    return {**counts, **(pod.count() if pod else {})}


def settle(server: Server, folder: Path, wanted: dict[str, int], pod: Pod | None = None) -> dict[str, int]:
    """Count when nothing is more than ``wanted`` any more, or what belonged to calls had time to end."""
    deadline = time.monotonic() + SETTLED
    while left(wanted, counts := count(server, folder, pod)) and time.monotonic() < deadline:
        time.sleep(0.5)
    return counts


def left(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    """What there is more of than before, beyond what may be."""
    return {name: after[name] - before[name] for name in before if after[name] - before[name] > MOST_LEFT.get(name, 0)}


def growth(memory: list[tuple[float, int, float]]) -> float:
    """MB for each 100 calls in the last half of the time."""
    half = (memory[0][0] + memory[-1][0]) / 2
    _, calls, size = next(look for look in memory if look[0] >= half)
    _, all_calls, last = memory[-1]
    return 100 * (last - size) / max(1, all_calls - calls)


def course(soak: Soak) -> list[tuple[int, float]]:
    """The calls that had ended and the memory in MB, at each of ``SHARES``."""
    looks = [next(look for look in soak.memory if look[1] * 100 >= share * soak.ended) for share in SHARES]
    return [(ended, size) for _, ended, size in looks]


def report(soak: Soak, before: dict[str, int], after: dict[str, int], failovers: int) -> int:
    table = Table(title=f"{soak.ended} calls, {soak.unanswered} of them not answered to the end; {failovers} failovers")
    for heading in ("", "after the first calls", "at the end"):
        table.add_column(heading, justify="right" if heading else "left")
    for name in before:
        table.add_row(name, str(before[name]), str(after[name]))
    memories = {"": soak.memory, " of the workers": soak.worker_memory}
    growths = {whose: growth(memory) for whose, memory in memories.items() if memory}
    for whose, grown in growths.items():
        memory = memories[whose]
        table.add_row(f"memory{whose}, MB", f"{memory[0][2]:.1f}", f"{memory[-1][2]:.1f}")
        table.add_row(f"MB{whose} for each 100 calls, last half", "", f"{grown:.2f}")
    console = Console(width=100)
    console.print(table)
    console.print("Memory: " + ", ".join(f"{mb:.0f} MB after {calls} calls" for calls, mb in course(soak)))
    is_worse = left(before, after) or soak.unanswered or failovers or max(growths.values()) > MOST_MB_PER_100_CALLS
    return int(bool(is_worse))


def start_pod(folder: Path, workers: int, stack: ExitStack) -> Pod:
    """Start Redis and so many workers, and wait until they serve."""
    redis = RedisServer()
    stack.callback(redis.stop)
    environment = process_env(folder, redis_url=redis.url, DJANGO_SETTINGS_MODULE="clientcaller.pod", **SCRIPTED)
    command = (sys.executable, "manage.py", "runworker", *ALIASES)
    pod = Pod(redis, [stack.enter_context(process(*command, env=environment)) for _ in range(workers)])
    for worker in pod.workers:
        for _ in ALIASES:
            worker.wait_for("loaded on")
    return pod


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=40, help="at once (default: %(default)d)")
    parser.add_argument("--minutes", type=float, default=120.0)
    parser.add_argument(
        "--workers", type=int, default=2, help="of the engines (default: %(default)d; 0: in the web process)"
    )
    options = parser.parse_args()
    clip = asyncio.run(make_clips())["question"]
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        pod = start_pod(folder, options.workers, stack) if options.workers else None
        environment = {"ENGINES_PROFILE": "remote", "REDIS_URL": pod.redis.url} if pod else SCRIPTED
        # All cores: this measures what is left, not how fast it goes.
        server = stack.enter_context(
            serving(
                "uvicorn",
                folder,
                calls=options.calls,
                environment=environment,
                cores="0-63",
                application=OBSERVED,
            )
        )
        asyncio.run(hold(server, clip, calls=options.calls, seconds=15.0))
        time.sleep(SETTLED)
        before = count(server, folder, pod)
        soak = asyncio.run(hold(server, clip, calls=options.calls, seconds=60 * options.minutes, pod=pod))
        after = settle(server, folder, before, pod)
        failovers = sum(map(is_failover, server.log.read_text(errors="replace").splitlines()))
    sys.exit(report(soak, before, after, failovers))


if __name__ == "__main__":
    main()
