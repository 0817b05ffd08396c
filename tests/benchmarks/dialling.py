"""
Is a call dialled twice, or lost, when ten thousand calls are due at once and processes die?

    python -m tests.benchmarks.dialling
    python -m tests.benchmarks.dialling --calls 1000 --database sqlite --rate 50

Two workers, a web server, Redis and PostgreSQL run in processes of their own. A telephone network in which every number
is busy runs in this process. After a quarter of the calls one worker is killed (SIGKILL) and another one is started,
after the half Redis restarts, and after three quarters PostgreSQL. With ``--database sqlite`` there is neither Redis
nor PostgreSQL. The cost of a claim is measured first, in a process that has the database to itself. The exit status
is 1 if a call is dialled twice or lost.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "clientcaller.settings")
import django

django.setup()

from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from media.phone.measurements import percentile  # noqa: E402
from tests.calls.installation import Installation, ask_database, installation, survive  # noqa: E402
from tests.real_services import PostgresServer, RedisServer, migrate, process_env  # noqa: E402

CLAIMS = 1000
"""Calls that are claimed to measure the cost of a claim."""
SHARES = (10, 25, 50, 75, 100)
"""Per cent of the calls after which the workers' memory is measured."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--database", choices=("postgres", "sqlite"), default="postgres")
    parser.add_argument("--rate", type=float, default=100.0, help="the most calls per second")
    options = parser.parse_args()
    if not 100 <= options.calls <= 10_000:
        parser.error("--calls must be from 100 to 10000")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        postgres = redis = None
        if options.database == "postgres":
            postgres, redis = PostgresServer(), RedisServer()
            stack.callback(postgres.remove)
            stack.callback(redis.stop)
        for part in ("claims", "dialled"):
            (folder / part).mkdir()
        cost = claim_cost(folder / "claims", postgres)
        figures = asyncio.run(dial(options, folder / "dialled", postgres, redis))
    sys.exit(report(options, cost, figures))


def claim_cost(folder: Path, postgres: PostgresServer | None) -> dict[str, Any]:
    url = postgres.create_database("claims") if postgres else ""
    env = process_env(folder, database_url=url, MAX_LIVE_CALLS="100", CALLS_PER_SECOND="1000")
    migrate(env)
    ask_database(env, "place", str(CLAIMS))
    return ask_database(env, "claims", patience=120.0)


async def dial(
    options: argparse.Namespace, folder: Path, postgres: PostgresServer | None, redis: RedisServer | None
) -> dict[str, Any]:
    async with installation(
        folder,
        database_url=postgres.url if postgres else "",
        redis_url=redis.url if redis else "",
        include="",
        settings="clientcaller.settings",
        CALLS_PER_SECOND=str(options.rate),
        MAX_LIVE_CALLS="300",
        OUTBOUND_MAX_CALLS="250",
    ) as here:
        started = time.monotonic()
        memory: dict[int, dict[int, float | None]] = {}
        memory_watch = asyncio.ensure_future(watch_memory(here, options.calls, memory))
        database = await survive(here, options.calls, redis=redis, postgres=postgres)
        took = time.monotonic() - started
        memory_watch.cancel()
        await asyncio.wait({memory_watch})
        dialled = here.calls_by_number()
        not_busy = sum(count for status, count in database["by_status"].items() if status != "busy")
        return {
            "twice": sum(count > 1 for count in dialled.values()),
            "lost": options.calls - len(dialled) + not_busy,
            "took": took,
            "memory": memory,
            **database,
        }


async def watch_memory(here: Installation, calls: int, memory: dict[int, dict[int, float | None]]) -> None:
    """Fill in ``memory`` by share and worker."""
    for share in SHARES:
        await here.wait_until_dialled(calls * share // 100)
        memory[share] = {n: resident_mb(worker.pid) for n, worker in enumerate(here.workers)}


def resident_mb(pid: int) -> float | None:
    """Return the resident memory of a process, or None if it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return None
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS")), None)


def report(options: argparse.Namespace, cost: dict[str, Any], figures: dict[str, Any]) -> int:
    middle, slow = statistics.median(cost["ms"]), percentile(cost["ms"], 0.95)
    table = Table(title=f"{options.calls} calls due at once, {options.database}, at most {options.rate:g} per second")
    table.add_column("")
    table.add_column("", justify="right")
    rows = {
        "dialled twice": figures["twice"],
        "lost": figures["lost"],
        "attempts left open, slots still held": f"{figures['open_attempts']}, {figures['leases']}",
        "attempts that were not sent, and repeated": figures["attempts_not_sent"],
        "seconds": f"{figures['took']:.0f}",
        "claiming, ms per call: median, p95": f"{middle:.1f}, {slow:.1f}",
        "claiming, queries per call": f"{cost['queries']:.1f}",
    }
    for worker, name in enumerate(("the killed worker", "the surviving worker", "the new worker")):
        sizes = [figures["memory"].get(share, {}).get(worker) for share in SHARES]
        shown = ", ".join("-" if size is None else f"{size:.0f}" for size in sizes)
        rows[f"MB at {', '.join(map(str, SHARES))} %: {name}"] = shown
    for name, figure in rows.items():
        table.add_row(name, str(figure))
    Console(width=120).print(table)
    return int(figures["twice"] > 0 or figures["lost"] > 0)


if __name__ == "__main__":
    main()
