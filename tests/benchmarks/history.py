"""
Measure the pages of ``GET /api/calls/`` with a million calls on PostgreSQL.

    python -m tests.benchmarks.history
    python -m tests.benchmarks.history --calls 100000 --locale en_US.utf8
    python -m tests.benchmarks.history --database-url postgres://…/empty    # an empty one of yours; it stays filled

Every page goes through the real views (key, scope, throttle, filters, serializers), but not through a socket. The exit
status is 1 if a page takes more than 50 ms at p95, or if its calls are found without an index.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg import sql
from rich.console import Console
from rich.table import Table

from tests.real_services import PostgresServer

RUNS = 20
"""Requests for each page."""
TARGET = 0.050
"""Seconds that a page may take at p95."""
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
"""A fixed time, so that every run has the same calls."""
YEAR = 365 * 86400
AGENTS = 20
"""Enough that some have most of the calls and some have few."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument(
        "--database-url", default="", help="the database to use (default: a PostgreSQL server of its own)"
    )
    parser.add_argument("--locale", default="", help="the collation of the database, from `locale -a` (default: C)")
    options = parser.parse_args()
    with ExitStack() as stack:
        url = options.database_url
        if not url:
            server = PostgresServer()
            stack.callback(server.remove)
            url = make_database(server, options.locale) if options.locale else server.url
        os.environ |= {"DATABASE_URL": url, "API_RATE": "1000000/second", "LOG_LEVEL": "ERROR", "DEBUG": "1"}
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "clientcaller.settings")
        import django

        django.setup()
        fill(options.calls)
        stack.callback(_disconnect)
        sys.exit(0 if measure() else 1)


def make_database(server: PostgresServer, locale: str) -> str:
    """Create a database with a collation in which LIKE cannot use a plain index, as most have. Returns its URL."""
    with psycopg.connect(server.url_of("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE history LOCALE {} TEMPLATE template0").format(locale))
    return server.url_of("history")


def _disconnect() -> None:
    from django.db import connections

    connections.close_all()


def fill(calls: int) -> None:
    """Write the calls of a year, evenly spread. A few agents have most of them, and every field has a rare value."""
    from django.core.management import call_command
    from django.db import connection

    from calls.models import Agent, Call

    call_command("migrate", verbosity=0)
    if Call.objects.exists():
        sys.exit("The database contains calls already. Use an empty one.")
    Agent.objects.bulk_create(Agent(name=f"agent-{n}") for n in range(AGENTS))
    first = Agent.objects.get(name="agent-0").pk
    began = time.monotonic()
    # n counts the calls from the oldest; g and h are hashes of it, so that every run has the same calls.
    columns: dict[str, str] = {
        "id": "md5('call ' || n)::uuid",
        "sid": "'CA' || md5('sid ' || n)",
        "direction": "CASE WHEN h % 10 < 3 THEN 'inbound' ELSE 'outbound' END",
        "status": "CASE WHEN h % 100000 = 7 THEN 'in-progress' WHEN h % 100 < 60 THEN 'completed' "
        "WHEN h % 100 < 80 THEN 'no-answer' WHEN h % 100 < 90 THEN 'busy' WHEN h % 100 < 95 THEN 'canceled' "
        "WHEN h % 1000 = 999 THEN 'failed' ELSE 'completed' END",
        "from_number": "CASE WHEN h % 10 < 3 THEN '+1' || (2010000000 + h % 300000 * 20011) ELSE '+12025550100' END",
        "to_number": "CASE WHEN h % 10 < 3 THEN '+12025550100' ELSE '+1' || (2010000000 + h % 300000 * 20011) END",
        "agent_id": f"{first} + least({AGENTS - 1}, floor(power(g % 1000 / 1000.0, 4) * {AGENTS}))",
        "created_at": "%(now)s::timestamptz - make_interval(secs => (%(calls)s - n) * (%(year)s::float / %(calls)s))",
        "answered_at": "CASE WHEN h % 100 < 60 THEN %(now)s::timestamptz END",
        "duration": "CASE WHEN h % 100 < 60 THEN h % 600 END",
        "end_reason": "CASE WHEN h % 20000 = 60 THEN 'engines-failed' WHEN h % 100 < 60 THEN 'caller-hung-up' "
        "ELSE '' END",
        "answered_by": "CASE WHEN h % 5000 = 30 THEN 'fax' WHEN h % 100 < 30 THEN 'human' ELSE '' END",
        "recording": "CASE WHEN h % 100 < 50 THEN 'recordings/' || n || '.wav' ELSE '' END",
        "scheduled_for": "CASE WHEN h % 50 = 1 THEN %(now)s::timestamptz - make_interval(secs => h % %(year)s) END",
        "metadata": "jsonb_build_object('order', n)",
    }
    values: dict[str, Any] = {"now": NOW, "year": YEAR, "calls": calls}
    for field in Call._meta.concrete_fields:
        if field.column not in columns and not field.null:
            columns[field.column] = f"%({field.column})s"
            values[field.column] = field.get_db_prep_save(field.get_default(), connection)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO calls_call ({', '.join(columns)}) "
            f"SELECT {', '.join(columns.values()).replace(' % ', ' %% ')} "
            "FROM (SELECT n, abs(hashint8(n)::bigint) AS h, abs(hashint8(-n)::bigint) AS g "
            "FROM generate_series(1, %(calls)s::bigint) AS n) AS numbers",
            values,
        )
        cursor.execute("VACUUM ANALYZE calls_call")
    Console().print(f"{calls:,} calls written in {time.monotonic() - began:.0f} s")


def pages() -> Mapping[str, str]:
    """Return the query of each page that is measured, by a name for the table."""
    from calls.models import Call

    example = Call.objects.filter(direction="outbound").order_by("-created_at")[1000]
    month = {"created_after": NOW - timedelta(days=200), "created_before": NOW - timedelta(days=170)}
    between = "&".join(f"{name}={value:%Y-%m-%dT%H:%M:%SZ}" for name, value in month.items())
    scheduled = between.replace("created", "scheduled")
    number = example.far_number.replace("+", "%2B")
    return {
        "first page": "",
        "first page of 200": "page_size=200",
        "oldest first": "ordering=created_at",
        "status, most calls": "status=completed",
        "status, 1 in 1000": "status=failed",
        "status, 1 in 100,000": "status=in-progress",
        "two statuses": "status=busy&status=failed",
        "two rare statuses": "status=in-progress&status=ringing",
        "direction": "direction=inbound",
        "agent, many calls": "agent=agent-0",
        "agent, few calls": f"agent=agent-{AGENTS - 1}",
        "agent without calls": "agent=front-desk",
        "agent and status": "agent=agent-3&status=failed",
        "to": f"to={number}",
        "from, most calls": "from=%2B12025550100",
        "to a number without calls": "to=%2B12025550199",
        "a month": between,
        "a month and a status": f"{between}&status=failed",
        "a month of an agent": f"{between}&agent=agent-{AGENTS - 1}",
        "scheduled in a month": scheduled,
        "scheduled on a day": "scheduled_after=2026-11-01T00:00:00Z&scheduled_before=2026-11-02T00:00:00Z",
        "answered by, many": "answered_by=human",
        "answered by, 1 in 5000": "answered_by=fax",
        "end reason, many": "end_reason=caller-hung-up",
        "end reason, 1 in 20,000": "end_reason=engines-failed",
        "with recording": "has_recording=true",
        "search, whole number": f"search={number}",
        "search, 8 digits": f"search={number[:11]}",
        "search, 5 digits": f"search={number[:8]}",
        "search, 2 digits": "search=12",
        "search, nothing found": "search=1999555",
        "search, CallSid": f"search={example.sid}",
        "search, id": f"search={example.pk}",
    }


def measure() -> bool:
    """Measure each page and print a line for it. Returns whether all are fast and use an index."""
    from rest_framework.test import APIClient

    from calls.models import ApiKey
    from calls.services.keys import make_key

    client = APIClient(HTTP_HOST="localhost")
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {make_key(name='history', scopes=ApiKey.Scope.values)[1]}")
    addresses = {name: f"/api/calls/?{query}" for name, query in pages().items()}
    addresses["page 1000, of 200"] = _address_of_deep_page(client)
    table = Table(title=f"GET /api/calls/, {RUNS} runs each")
    for column in ("page", "rows", "median", "p95", "by"):
        table.add_column(column, justify="left" if column in ("page", "by") else "right")
    all_good = True
    for name, address in addresses.items():
        rows, found = _explain(client, address)
        seconds = sorted(_time_request(client, address) for _ in range(RUNS))
        p95 = seconds[round(0.95 * (RUNS - 1))]
        slow, unindexed = p95 > TARGET, not found or any("Seq Scan" in node for node in found)
        all_good = all_good and not slow and not unindexed
        style = "red" if slow or unindexed else ""
        figures = (f"{statistics.median(seconds) * 1000:.1f} ms", f"{p95 * 1000:.1f} ms")
        table.add_row(name, str(rows), *figures, ", ".join(found), style=style)
    Console(width=140).print(table)
    return all_good


def _time_request(client: Any, address: str) -> float:
    began = time.perf_counter()
    response = client.get(address)
    elapsed = time.perf_counter() - began
    assert response.status_code == 200, response.content
    return elapsed


def _address_of_deep_page(client: Any) -> str:
    """Return the address of a page far down the list, as a client gets it that has read all pages before."""
    from calls.api.pagination import KeysetPagination
    from calls.models import Call

    offset = min(200_000, Call.objects.count() // 2)
    address = client.get("/api/calls/?page_size=200").json()["next"]
    original = KeysetPagination._read
    last = Call.objects.order_by("-created_at", "-id")[offset]
    KeysetPagination._read = lambda self, cursor: [last.created_at.isoformat(), str(last.pk)]  # type: ignore[method-assign]
    try:
        address = client.get(address.replace(_host(address), "")).json()["next"]
    finally:
        KeysetPagination._read = original  # type: ignore[method-assign]
    return address.replace(_host(address), "")


def _host(address: str) -> str:
    return address[: address.index("/api/")]


def _explain(client: Any, address: str) -> tuple[int, list[str]]:
    """Return how many rows the page has, and the indexes by which the database finds its calls."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(connection) as context:
        rows = len(client.get(address).json()["results"])
    (query,) = [captured["sql"] for captured in context.captured_queries if 'FROM "calls_call"' in captured["sql"]]
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (FORMAT JSON) {query}")
        plan = cursor.fetchone()[0]
    plan = json.loads(plan) if isinstance(plan, str) else plan
    return rows, list(dict.fromkeys(_scans(plan[0]["Plan"])))


def _scans(node: Mapping[str, Any]) -> Iterator[str]:
    """Yield the indexes by which a plan finds calls."""
    if node["Node Type"] == "Seq Scan" and node.get("Relation Name") == "calls_call":
        yield "Seq Scan"
    if "Index Name" in node and node["Index Name"].startswith("call"):
        yield node["Index Name"]
    for inner in node.get("Plans", ()):
        yield from _scans(inner)


if __name__ == "__main__":
    main()
