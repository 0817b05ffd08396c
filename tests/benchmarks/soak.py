"""
Calls that begin and end all the time: is anything left of them in the web process?

    python -m tests.benchmarks.soak                        # make bench-soak: 40 calls at once for 120 minutes
    python -m tests.benchmarks.soak --calls 20 --minutes 4

Each caller asks one to four questions, hangs up and calls again; one of five hangs up in the greeting. The server has
scripted engines and a database on SQLite. After the first calls, and again when the last call is over, the benchmark
counts the tasks, threads and open files of the process, the files that wait in its spool, and the leases, open tokens
and open calls in the database. In the last half the memory may grow by 1 MB for each 100 calls. The exit status is 1 if
more is left than at the start, or if a caller was not answered.
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from django.conf import settings
from rich.console import Console
from rich.table import Table

from media.phone.caller import HangUp, Say, ScriptedCaller, Step, Wait, WaitForAgent
from media.phone.clips import Clip
from media.phone.network import PhoneNetwork
from tests.benchmarks.load import OBSERVED, PUBLIC_URL, SETTLED, Server, make_clips, serving

MOST_MB_PER_100_CALLS = 1.0
LOOK_INTERVAL = 5.0
"""Seconds between two looks at the memory."""
SHARES = (0, 10, 25, 50, 75, 100)
"""Per cent of the calls after which the report gives the memory."""
MOST_LEFT = {"threads": 2, "open files": 6}
"""What a process may have more of than after the first calls: pools of threads and connections that fill by chance."""


@dataclass
class Soak:
    """The calls so far, and the memory in the course of them."""

    until: float
    """When no call begins any more; ``time.monotonic``."""
    ended: int = 0
    unanswered: int = 0
    memory: list[tuple[float, int, float]] = field(default_factory=list)
    """Time, calls that have ended, MB."""


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
        soak.unanswered += bool(caller.gave_up) or not caller.hung_up
        number += step


async def watch_memory(server: Server, soak: Soak) -> None:
    while True:
        soak.memory.append((time.monotonic(), soak.ended, server.memory_mb))
        await asyncio.sleep(LOOK_INTERVAL)


async def hold(server: Server, clip: Clip, *, calls: int, seconds: float, script: Script = script) -> Soak:
    """Hold so many calls at once for this long, and until the last of them has ended."""
    soak = Soak(time.monotonic() + seconds)
    async with PhoneNetwork(
        app_url=server.url,
        public_url=PUBLIC_URL,
        account_sid=settings.TWILIO_ACCOUNT_SID,
        auth_token=settings.TWILIO_AUTH_TOKEN,
    ) as network:
        watching = asyncio.ensure_future(watch_memory(server, soak))
        async with asyncio.TaskGroup() as group:
            for number in range(calls):
                group.create_task(call_again_and_again(network, soak, clip, script, number, calls))
                await asyncio.sleep(min(0.1, 3.0 / calls))
        watching.cancel()
    soak.memory.append((time.monotonic(), soak.ended, server.memory_mb))
    return soak


def count(server: Server, folder: Path) -> dict[str, int]:
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
    return counts


def settle(server: Server, folder: Path, wanted: dict[str, int]) -> dict[str, int]:
    """Count when nothing is more than ``wanted`` any more, or what belonged to calls had time to end."""
    deadline = time.monotonic() + SETTLED
    while left(wanted, counts := count(server, folder)) and time.monotonic() < deadline:
        time.sleep(0.5)
    return counts


def left(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    """What there is more of than before, beyond what may be."""
    return {name: after[name] - before[name] for name in before if after[name] - before[name] > MOST_LEFT.get(name, 0)}


def growth(soak: Soak) -> float:
    """MB for each 100 calls in the last half of the time."""
    half = (soak.memory[0][0] + soak.memory[-1][0]) / 2
    _, calls, size = next(look for look in soak.memory if look[0] >= half)
    _, all_calls, last = soak.memory[-1]
    return 100 * (last - size) / max(1, all_calls - calls)


def course(soak: Soak) -> list[tuple[int, float]]:
    """The calls that had ended and the memory in MB, at each of ``SHARES``."""
    looks = [next(look for look in soak.memory if look[1] * 100 >= share * soak.ended) for share in SHARES]
    return [(ended, size) for _, ended, size in looks]


def report(soak: Soak, before: dict[str, int], after: dict[str, int]) -> int:
    table = Table(title=f"{soak.ended} calls, {soak.unanswered} of them not answered to the end")
    for heading in ("", "after the first calls", "at the end"):
        table.add_column(heading, justify="right" if heading else "left")
    for name in before:
        table.add_row(name, str(before[name]), str(after[name]))
    table.add_row("memory, MB", f"{soak.memory[0][2]:.1f}", f"{soak.memory[-1][2]:.1f}")
    table.add_row("MB for each 100 calls, last half", "", f"{growth(soak):.2f}")
    console = Console(width=100)
    console.print(table)
    console.print("Memory: " + ", ".join(f"{mb:.0f} MB after {calls} calls" for calls, mb in course(soak)))
    return int(bool(left(before, after)) or soak.unanswered > 0 or growth(soak) > MOST_MB_PER_100_CALLS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=40, help="at once (default: %(default)d)")
    parser.add_argument("--minutes", type=float, default=120.0)
    options = parser.parse_args()
    clip = asyncio.run(make_clips())["question"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # All cores: this measures what is left, not how fast it goes.
        with serving("uvicorn", folder, calls=options.calls, cores="0-63", application=OBSERVED) as server:
            asyncio.run(hold(server, clip, calls=options.calls, seconds=15.0))
            time.sleep(SETTLED)
            before = count(server, folder)
            soak = asyncio.run(hold(server, clip, calls=options.calls, seconds=60 * options.minutes))
            after = settle(server, folder, before)
    sys.exit(report(soak, before, after))


if __name__ == "__main__":
    main()
