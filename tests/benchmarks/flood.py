"""
What strangers and readers can do to calls: every kind of request, hundreds at once, while calls are live.

    python -m tests.benchmarks.flood                            # 500 clients of each kind, 30 s, 20 calls
    python -m tests.benchmarks.flood --kinds list forged --clients 100 --seconds 10 --calls 5

One web process runs on processor 0, on PostgreSQL with 100 connections. Everything else runs on processor 1: the
database, the clients (which give way to the others) and the callers. A new call comes twice a second, and its signed
webhook is timed. The callers measure gaps and latencies as in the load benchmark, and a run counts only if they were at
most 20 ms late at p99.

The exit status is 1 if a signed webhook was not answered within 500 ms or was sent away, if the agent's voice had a gap
at the phone, if the server answered 500, or if a run does not count.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
from rich.console import Console
from rich.table import Table
from twilio.request_validator import RequestValidator

from media.phone.measurements import percentile
from tests.benchmarks.load import (
    MAX_LATENESS,
    PRODUCTION,
    PUBLIC_URL,
    Server,
    make_clips,
    measure_calls,
    ms,
    serving,
    settings,
)
from tests.real_services import PostgresServer

CONNECTIONS = 100
"""Of PostgreSQL: its default."""
STORED_CALLS, RECORDED_MINUTES = 600, 120
LONGEST_ANSWER = 0.5
"""Seconds within which every signed webhook must be answered."""
FAILURE = "500"
"""The status that no request may cause, whatever it is."""
PROBE_INTERVAL = 0.5

Request = Callable[[dict[str, str]], bytes]


# -- the requests -------------------------------------------------------------------------------------------


def get(path: str, *headers: str, method: str = "GET") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


def post(path: str, body: bytes, *headers: str) -> bytes:
    return get(path, f"Content-Length: {len(body)}", *headers, method="POST") + body


FORM = "Content-Type: application/x-www-form-urlencoded"
CALL_FORM = b"CallSid=CA" + b"0" * 32 + b"&AccountSid=AC" + b"1" * 32 + b"&From=%2B12025550123&To=%2B15005550006"


def upgrade(path: str) -> bytes:
    nonce = base64.b64encode(os.urandom(16)).decode()
    return get(
        path, "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {nonce}"
    )


ASKED: dict[str, Request] = {
    "list": lambda have: get("/api/calls/?page_size=200", f"Authorization: Bearer {have['key']}"),
    "detail": lambda have: get(f"/api/calls/{have['call']}/", f"Authorization: Bearer {have['key']}"),
    "stats": lambda have: get("/api/stats/", f"Authorization: Bearer {have['key']}"),
    "schema": lambda have: get("/api/schema/"),
    "no key": lambda have: get("/api/calls/"),
    "wrong key": lambda have: get("/api/calls/", "Authorization: Bearer wrong"),
    "large body": lambda have: post("/api/calls/", b"{" + b" " * 2_000_000, "Content-Type: application/json"),
    "forged": lambda have: post("/twilio/voice/", CALL_FORM, FORM, "X-Twilio-Signature: bm90IHRoZSBzaWduYXR1cmU="),
    "unsigned": lambda have: post("/twilio/voice/", CALL_FORM, FORM),
    "login page": lambda have: get("/admin/login/"),
    "login guess": lambda have: post("/admin/login/", b"username=operator&password=guess", FORM),
    "probe": lambda have: get("/readyz"),
    "unknown": lambda have: get("/wp-login.php"),
    "recording head": lambda have: get(f"/api/recordings/{have['recording']}/", method="HEAD"),
    "recording range": lambda have: get(f"/api/recordings/{have['recording']}/", "Range: bytes=0-65535"),
    "events head": lambda have: get(
        f"/api/calls/{have['live']}/events/", f"Authorization: Bearer {have['key']}", method="HEAD"
    ),
    "forged stream": lambda have: upgrade("/twilio/media/token"),
    "sent ahead": lambda have: 500 * get("/wp-login.php"),
    "tiny pieces": lambda have: (
        get("/api/calls/", "Transfer-Encoding: chunked", method="POST") + 40_000 * b"1\r\nx\r\n"
    ),
}
"""Requests that are answered. Each client sends the next one as soon as it has the answer."""
HELD: dict[str, Request] = {
    "nothing sent": lambda have: b"",
    "half a head": lambda have: b"GET /api/calls/ HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ",
    "half a body": lambda have: get("/api/calls/", "Content-Length: 1000000", method="POST") + b"{",
    "half a form": lambda have: get("/twilio/voice/", "Content-Length: 65000", FORM, method="POST") + b"x" * 64_000,
    "events": lambda have: get(
        f"/api/calls/{have['live']}/events/", f"Authorization: Bearer {have['key']}", "Accept: text/event-stream"
    ),
    "recording unread": lambda have: get(f"/api/recordings/{have['recording']}/"),
}
"""What clients send and then wait. They connect anew when the server closes."""
UNREAD = ("events", "recording unread")
"""Of these, answers that their clients do not read. They do not notice that the server closes."""
KINDS = [*ASKED, *HELD]
NONE, ALL = "none", "all"
"""No clients, for comparison, and clients of all kinds at once."""


# -- the clients (a process of their own) -------------------------------------------------------------------


async def read_answer(reader: asyncio.StreamReader, *, has_body: bool) -> str:
    """Read one answer to its end. Returns its status."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    status = head.split(b" ", 2)[1].decode()
    if not has_body:
        return status
    if b"content-length:" in head:
        await reader.readexactly(int(head.partition(b"content-length:")[2].partition(b"\r\n")[0]))
    elif b"chunked" in head:
        while size := int(await reader.readuntil(b"\r\n"), 16):
            await reader.readexactly(size + 2)
        await reader.readexactly(2)
    return status


async def client(kind: str, port: int, have: dict[str, str], until: float, statuses: Counter[str]) -> None:
    while time.monotonic() < until:
        writer = None
        try:
            async with asyncio.timeout(until - time.monotonic()):
                reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=65536)
                if kind in HELD:
                    writer.write(HELD[kind](have))
                    statuses["held"] += 1
                    if kind in UNREAD:
                        writer.transport.pause_reading()
                    while await reader.read(65536):
                        pass
                    continue
                while True:
                    sent = ASKED[kind](have)
                    writer.write(sent)
                    statuses[await read_answer(reader, has_body=not sent.startswith(b"HEAD"))] += 1
                    if kind == "forged stream":
                        break
        except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
            statuses[type(error).__name__] += 1
            await asyncio.sleep(0.05)
        finally:
            if writer is not None:
                writer.transport.abort()


async def attack(kind: str, port: int, have: dict[str, str], clients: int, seconds: float) -> Counter[str]:
    statuses: Counter[str] = Counter()
    until = time.monotonic() + seconds
    kinds = cycle(KINDS if kind == ALL else [kind])
    await asyncio.gather(*(client(next(kinds), port, have, until, statuses) for _ in range(clients)))
    return statuses


# -- the measurement ----------------------------------------------------------------------------------------


@dataclass
class Webhooks:
    """The answers to the signed webhooks of new calls."""

    seconds: list[float] = field(default_factory=list)
    refused: int = 0


@asynccontextmanager
async def new_calls(
    url: str, webhooks: Webhooks, *, interval: float = PROBE_INTERVAL, public_url: str = PUBLIC_URL
) -> AsyncIterator[None]:
    """Let a new call come at intervals, until the end of the block."""

    async def call_in() -> None:
        form = {
            "CallSid": f"CA{os.urandom(16).hex()}",
            "AccountSid": settings.TWILIO_ACCOUNT_SID,
            "From": "+12025550199",
            "To": "+15005550006",
            "CallStatus": "ringing",
            "Direction": "inbound",
        }
        signature = RequestValidator(settings.TWILIO_AUTH_TOKEN).compute_signature(f"{public_url}/twilio/voice/", form)
        began = time.monotonic()
        with suppress(aiohttp.ClientError, TimeoutError):
            async with session.post(
                f"{url}/twilio/voice/", data=form, headers={"X-Twilio-Signature": signature}
            ) as answer:
                text = await answer.text()
                webhooks.seconds.append(time.monotonic() - began)
                webhooks.refused += "<Connect" not in text
                return
        webhooks.refused += 1

    async def go_on() -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                group.create_task(call_in())
                await asyncio.sleep(interval)

    # Twilio connects anew for each request.
    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(15)) as session:
        going_on = asyncio.ensure_future(go_on())
        try:
            yield
        finally:
            going_on.cancel()
            with suppress(asyncio.CancelledError):
                await going_on


async def watch_connections(url: str, most: list[int]) -> None:
    """Note the most connections to the database at any time."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        while True:
            row = await (await connection.execute(query)).fetchone()
            most[0] = max(most[0], row[0] if row else 0)
            await asyncio.sleep(0.2)


async def measure(
    kind: str, server: Server, clips: Any, have: dict[str, str], database: str, options: argparse.Namespace
) -> dict[str, str]:
    webhooks, most = Webhooks(), [0]
    watching = asyncio.ensure_future(watch_connections(database, most))
    attackers = None
    if kind != NONE:
        arguments = [
            kind,
            server.url.rpartition(":")[2],
            json.dumps(have),
            str(options.clients),
            str(options.seconds + 5),
        ]
        command = ["nice", "-n", "34", sys.executable, "-m", "tests.benchmarks.flood", "--attack", *arguments]
        attackers = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    async with new_calls(server.url, webhooks):
        run = await measure_calls(server, clips, calls=options.calls, seconds=options.seconds)
    watching.cancel()
    answers: dict[str, int] = {}
    if attackers is not None:
        output, _ = await attackers.communicate()
        answers = json.loads(output)
    gaps = run.measured.gaps
    missed = find_misses(webhooks, answers, gaps=len(gaps), failed=run.failed, lateness=run.lateness)
    return {
        "requests": kind,
        "answers": ", ".join(f"{status} {count}" for status, count in sorted(answers.items())),
        "signed": str(len(webhooks.seconds)),
        "p50 ms": f"{ms(percentile(webhooks.seconds, 0.5)):.0f}",
        "longest ms": f"{ms(max(webhooks.seconds, default=float('nan'))):.0f}",
        "sent away": str(webhooks.refused + run.failed),
        "gaps": str(len(gaps)),
        "longest gap ms": f"{ms(max((gap.seconds for gap in gaps), default=0.0)):.0f}",
        "response p95 ms": f"{ms(percentile(run.measured.responses, 0.95)):.0f}",
        "connections": str(most[0]),
        "memory MB": f"{run.memory_mb:.0f}",
        "late p99 ms": f"{ms(run.lateness):.0f}",
        "missed": "; ".join(missed),
    }


def find_misses(webhooks: Webhooks, answers: dict[str, int], *, gaps: int, failed: int, lateness: float) -> list[str]:
    """Say in which ways a run misses its goals. ``lateness`` is in seconds, ``failed`` counts calls."""
    late = sum(seconds > LONGEST_ANSWER for seconds in webhooks.seconds)
    said = {
        f"{late} signed webhooks took more than {ms(LONGEST_ANSWER):.0f} ms": late,
        "no signed webhook was answered": not webhooks.seconds,
        f"{webhooks.refused + failed} calls were sent away": webhooks.refused + failed,
        f"{gaps} gaps": gaps,
        f"{answers.get(FAILURE, 0)} answers with status {FAILURE}": answers.get(FAILURE, 0),
        "the callers were too late, so the run does not count": lateness > MAX_LATENESS,
    }
    return [sentence for sentence, is_missed in said.items() if is_missed]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", choices=[NONE, ALL, *KINDS], default=[NONE, ALL, *KINDS])
    parser.add_argument("--clients", type=int, default=500, help="clients at once (default: %(default)d)")
    parser.add_argument("--seconds", type=float, default=30.0, help="seconds of each kind (default: %(default)g)")
    parser.add_argument("--calls", type=int, default=20, help="live calls (default: %(default)d)")
    parser.add_argument("--attack", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.attack:
        kind, port, have, clients, seconds = options.attack
        statuses = asyncio.run(attack(kind, int(port), json.loads(have), int(clients), float(seconds)))
        print(json.dumps(statuses))
        return
    os.sched_setaffinity(0, {1})
    rows = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        postgres = PostgresServer(connections=CONNECTIONS)
        stack.callback(postgres.remove)
        environment = {
            **PRODUCTION,
            "DATABASE_URL": postgres.url,
            "VAR_DIR": str(folder),
            "ENGINES_PROFILE": "scripted",
            "ENGINES_OPTIONS": '{"stt": {"backchannel_below": 0.45}}',
            "MAX_LIVE_CALLS": "5000",
            "LOG_LEVEL": "ERROR",
            "DRAIN_LIMIT": "0",
        }
        env = {**os.environ, **environment}
        for preparation in ("migrate", "collectstatic --noinput"):
            command = [sys.executable, "manage.py", *preparation.split(), "--skip-checks", "--verbosity", "0"]
            subprocess.run(command, env=env, check=True)
        command = [sys.executable, "-m", "tests.benchmarks.flood_data", str(STORED_CALLS), str(RECORDED_MINUTES)]
        have = json.loads(subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE, text=True).stdout)
        clips = asyncio.run(make_clips())
        with suppress(PermissionError):  # the callers must be on time, and are few
            os.setpriority(os.PRIO_PROCESS, 0, -15)
        for kind in options.kinds:
            with serving("product", folder, calls=options.calls, environment=environment) as server:
                rows.append(asyncio.run(measure(kind, server, clips, have, postgres.url, options)))
            print(rows[-1], flush=True)
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*row.values())
    Console(width=220).print(table)
    sys.exit(1 if any(row["missed"] for row in rows) else 0)


if __name__ == "__main__":
    main()
