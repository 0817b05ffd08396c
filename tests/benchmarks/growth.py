"""
What calls cost the parts that all processes share: Redis, PostgreSQL, and the slots of all calls.

    python -m tests.benchmarks.growth                          # 10 calls for 20 s; slots beside 10 to 1,000 calls
    python -m tests.benchmarks.growth --calls 40 --seconds 60 --slots 1000 10000

Callers talk to a web process on PostgreSQL, whose scripted engines run in a worker behind Redis and make sound at the
rates of real ones. Redis and PostgreSQL count what they are asked: while the calls go on, from their beginning to their
end, and before there were any. These are counts, which hardly depend on what else the machine does.

Then calls take slots while others hold so many: one after another, and eight at once. These are times; the ratio of two
rows means more than either of them where the machine does other work.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import shutil
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, fields
from datetime import timedelta
from itertools import islice
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import urlopen

import psycopg
from redis import Redis
from rich.console import Console
from rich.table import Table

from tests.benchmarks.load import PUBLIC_URL, SCRIPTED, STEPS_PER_CALL, WARM_UP_SECONDS, make_clips, script, serving
from tests.real_services import PostgresServer, RedisServer, migrate, process, process_env, reserve_port

OPTIONS = {"stt": {"rate_hz": 16000, "backchannel_below": 0.45}, "tts": {"rate_hz": 24000, "chunk_seconds": 0.08}}
"""The rates of Whisper and CSM, which decide how many bytes Redis carries."""
STATISTICS_DELAY = 11.0
"""Seconds after which a connection of PostgreSQL that does nothing has reported its transactions."""
AT_ONCE = 8
"""Calls that take slots at the same moment."""
POOL = 4
"""Connections that PgBouncer shares: fewer than a web process has threads."""
TAKEN = 24
"""Slots that are taken for one figure."""


@dataclass(frozen=True)
class Counts:
    """What Redis and PostgreSQL have done so far."""

    redis_messages: float
    """Messages between the web process and the worker."""
    redis_commands: float
    redis_bytes_in: float
    redis_bytes_out: float
    queries: float
    """Queries of the web process."""
    transactions: float
    log_bytes: float
    """Of PostgreSQL's write-ahead log."""
    postgres_cpu_ms: float
    """Processor time of all processes of PostgreSQL."""
    redis_cpu_ms: float

    def __sub__(self, other: Counts) -> Counts:
        return Counts(*(getattr(self, each.name) - getattr(other, each.name) for each in fields(self)))

    def __mul__(self, factor: float) -> Counts:
        return Counts(*(getattr(self, each.name) * factor for each in fields(self)))


def postgres_cpu_ms(backend: int) -> float:
    """What the server of this backend has used, with its processes that have ended."""
    stats = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended
            stats[int(folder.name)] = (folder / "stat").read_text().rsplit(")", 1)[1].split()
    server = int(stats[backend][1])
    ticks = sum(map(int, stats[server][11:15]))
    ticks += sum(int(tick) for each in stats.values() if int(each[1]) == server for tick in each[11:13])
    return ticks * 1000 / os.sysconf("SC_CLK_TCK")


def look(redis_url: str, database_url: str, metrics_url: str) -> Counts:
    with Redis.from_url(redis_url) as client:
        commands, info, cpu = client.info("commandstats"), client.info("stats"), client.info("cpu")
    with psycopg.connect(database_url, autocommit=True) as connection:
        transactions, log_bytes = connection.execute(
            "SELECT xact_commit + xact_rollback, pg_current_wal_lsn() - '0/0'::pg_lsn FROM pg_stat_database "
            "WHERE datname = current_database()"
        ).fetchone() or (0, 0)
        postgres_cpu = postgres_cpu_ms(connection.info.backend_pid)
    with urlopen(metrics_url, timeout=30) as answer:
        queries = re.search(r"^clientcaller_database_query_seconds_count (\S+)", answer.read().decode(), re.MULTILINE)
    return Counts(
        redis_messages=sum(commands.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("publish", "zadd")),
        redis_commands=info["total_commands_processed"],
        redis_bytes_in=info["total_net_input_bytes"],
        redis_bytes_out=info["total_net_output_bytes"],
        queries=float(queries[1]) if queries else 0.0,
        transactions=float(transactions),
        log_bytes=float(log_bytes),
        postgres_cpu_ms=postgres_cpu,
        redis_cpu_ms=(cpu["used_cpu_sys"] + cpu["used_cpu_user"]) * 1000,
    )


async def hold_calls(
    url: str, *, calls: int, seconds: float, looks: list[Counts], where: tuple[str, str, str]
) -> float:
    """Hold the calls, and look when all talk and ``seconds`` later. Returns how long a call took in the mean."""
    from django.conf import settings

    from media.phone.caller import HangUp, ScriptedCaller
    from media.phone.network import PhoneNetwork

    clips = await make_clips()
    async with PhoneNetwork(
        app_url=url,
        public_url=PUBLIC_URL,
        account_sid=settings.TWILIO_ACCOUNT_SID,
        auth_token=settings.TWILIO_AUTH_TOKEN,
    ) as network:
        lines, begun = [], []
        for number in range(calls):
            caller = ScriptedCaller([*islice(script(clips, number), STEPS_PER_CALL), HangUp()])
            lines.append(await network.call_in(caller, from_number="+12025550123", to_number="+15005550006"))
            begun.append(time.monotonic())
            await asyncio.sleep(0.1)
        await asyncio.sleep(WARM_UP_SECONDS)
        for wait in (seconds, 0.0):
            looks.append(await asyncio.to_thread(look, *where))
            await asyncio.sleep(wait)
        for line in lines:
            line.hang_up()
        await asyncio.gather(*(line.wait() for line in lines))
        return statistics.mean(time.monotonic() - each for each in begun)


def start_pgbouncer(program: str, postgres: PostgresServer, stack: ExitStack) -> str:
    """Start PgBouncer, which shares ``POOL`` connections by transactions. Returns the URL of the database there."""
    folder, port = Path(stack.enter_context(tempfile.TemporaryDirectory())), reserve_port()
    shutil.chown(folder, "nobody")  # it gives up the rights of root
    host = unquote(urlsplit(postgres.url).netloc.rpartition("@")[2])
    configuration = folder / "pgbouncer.ini"
    configuration.write_text(
        f"[databases]\nclientcaller = host={host} user=postgres connect_query='SET statement_timeout = 8000'\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n"
        f"pool_mode = transaction\ndefault_pool_size = {POOL}\n"
    )
    bouncer = stack.enter_context(process(program, "-u", "nobody", configuration, env=dict(os.environ)))
    bouncer.wait_for("process up")
    return f"postgres://postgres@127.0.0.1:{port}/clientcaller"


def measure_calls(console: Console, *, calls: int, seconds: float, pgbouncer: str = "") -> None:
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        postgres, redis = PostgresServer(), RedisServer()
        stack.callback(postgres.remove)
        stack.callback(redis.stop)
        port = reserve_port()
        shared = {**SCRIPTED, "ENGINES_OPTIONS": json.dumps(OPTIONS)}
        migrate(process_env(folder, database_url=postgres.url))
        worker = stack.enter_context(
            process(
                *(sys.executable, "manage.py", "runworker", "stt", "llm", "tts", "--slots=256"),
                env=process_env(folder, redis_url=redis.url, DJANGO_SETTINGS_MODULE="clientcaller.pod", **shared),
            )
        )
        worker.wait_for("llm: loaded")
        environment = {
            "ENGINES_PROFILE": "remote",
            "REDIS_URL": redis.url,
            "DATABASE_URL": start_pgbouncer(pgbouncer, postgres, stack) if pgbouncer else postgres.url,
            "DATABASE_POOLED": "1" if pgbouncer else "0",
            "METRICS_PORT": str(port),
        }
        server = stack.enter_context(serving("product", folder, calls=calls, environment=environment, cores="0-63"))
        where = (redis.url, postgres.url, f"http://127.0.0.1:{port}/metrics")
        looks = []
        for wait in (STATISTICS_DELAY, 10.0, 0.0):
            time.sleep(wait)
            looks.append(look(*where))
        idle = (looks[2] - looks[1]) * 0.1
        first = looks[2]
        during: list[Counts] = []
        began = time.monotonic()
        length = asyncio.run(hold_calls(server.url, calls=calls, seconds=seconds, looks=during, where=where))
        time.sleep(STATISTICS_DELAY)
        whole = look(*where) - first - idle * (time.monotonic() - began)
        talking = (during[1] - during[0] - idle * seconds) * (1 / seconds / calls)
        connections = len(psycopg.connect(postgres.url).execute("SELECT FROM pg_stat_activity").fetchall())
    each = whole * (1 / calls)
    table = Table(title=f"{calls} calls of {length:.0f} s; {connections} connections of all kinds afterwards")
    for heading in ("", "a second, without calls", "a call and second, talking", "a call, beginning and end"):
        table.add_column(heading, justify="right" if heading else "left")
    for one in fields(Counts):
        quiet, rate, total = (getattr(counts, one.name) for counts in (idle, talking, each))
        table.add_row(one.name.replace("_", " "), f"{quiet:.1f}", f"{rate:.2f}", f"{total - rate * length:.1f}")
    console.print(table)


def measure_slots(console: Console, numbers: list[int]) -> None:
    """Take slots beside so many calls, on a PostgreSQL of their own."""
    from django.conf import settings
    from django.db import connection, connections, transaction
    from django.utils import timezone

    from calls.models import Agent, Call, Lease
    from calls.services.slots import renew_lease, take_slot

    def take(call: Call) -> float:
        began = time.perf_counter()
        with transaction.atomic():
            assert take_slot(call, timezone.now())
        return time.perf_counter() - began

    agent = Agent.objects.create(name="Anna", prompt="Answer.")
    table = Table(title=f"Taking one of the slots, ms: median and longest of {TAKEN}")
    for heading in ("calls that hold one", "one after another", f"{AT_ONCE} at once", "renewing a lease"):
        table.add_column(heading, justify="right")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for number in numbers:
            settings.MAX_LIVE_CALLS = number + 3 * TAKEN
            settings.OUTBOUND_MAX_CALLS = settings.MAX_LIVE_CALLS * 4 // 5
            until = timezone.now() + timedelta(minutes=10)
            calls = [Call(direction="inbound", agent=agent, status="in-progress") for _ in range(number + 2 * TAKEN)]
            Call.objects.bulk_create(calls)
            held, new = calls[:number], calls[number:]
            Lease.objects.bulk_create(
                Lease(call=call, slot=slot, stream=1, expires_at=until) for slot, call in enumerate(held)
            )
            with connection.cursor() as cursor:
                cursor.execute("ANALYZE")
            alone = [take(call) for call in new[:TAKEN]]
            together = [*pool.map(take, new[TAKEN:])]
            renewals = []
            for call in held[:TAKEN]:
                began = time.perf_counter()
                renew_lease(call_id=call.pk, stream=1)
                renewals.append(time.perf_counter() - began)
            times = ((statistics.median(each) * 1000, max(each) * 1000) for each in (alone, together, renewals))
            table.add_row(str(number), *("{:.1f}, {:.1f}".format(*pair) for pair in times))
            Lease.objects.all().delete()
        [*pool.map(lambda _: connections.close_all(), range(AT_ONCE))]
    connections.close_all()
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=10, help="at once; 0: none (default: %(default)d)")
    parser.add_argument("--seconds", type=float, default=20.0, help="that are counted (default: %(default)g)")
    parser.add_argument("--pgbouncer", default="", metavar="PROGRAM", help="put this PgBouncer before PostgreSQL")
    parser.add_argument("--slots", type=int, nargs="*", default=[10, 100, 1000], help="calls that hold a slot")
    options = parser.parse_args()
    console = Console(width=120)
    if options.calls:
        measure_calls(console, calls=options.calls, seconds=options.seconds, pgbouncer=options.pgbouncer)
    if options.slots:
        server = PostgresServer()
        try:
            with tempfile.TemporaryDirectory() as folder:
                migrate(process_env(Path(folder), database_url=server.url))
            os.environ["DATABASE_URL"] = server.url
            from django.conf import settings
            from django.db import connections

            import clientcaller.settings

            settings.DATABASES["default"] = clientcaller.settings.environment.database("DATABASE_URL", "")
            del connections["default"]
            connections.settings = connections.configure_settings(settings.DATABASES)
            measure_slots(console, options.slots)
        finally:
            server.remove()


if __name__ == "__main__":
    main()
