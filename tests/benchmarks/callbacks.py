"""
Send a hundred thousand random requests to the callbacks: no 5xx, and no change without a valid signature.

    python -m tests.benchmarks.callbacks
    python -m tests.benchmarks.callbacks --requests 10000 --database postgres --seed 7

Half of them are forgeries, after which every row of every table must be as before; the other half has a valid signature
and random contents. At the first wrong answer the benchmark prints the request and ends with status 1.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from tests.real_services import PostgresServer

BATCH = 500
"""Requests of each kind between two looks at the database, whose calls are made anew for each batch."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        database_url = ""
        if options.database == "postgres":
            server = PostgresServer()
            stack.callback(server.remove)
            database_url = server.url
        os.environ |= {
            "DJANGO_SETTINGS_MODULE": "clientcaller.settings",
            "VAR_DIR": str(folder),
            "DATABASE_URL": database_url,
            "REDIS_URL": "",
            "MAX_LIVE_CALLS": "20",
            "CALLS_PER_SECOND": "1000",
        }
        sys.exit(run(options))


def run(options: argparse.Namespace) -> int:
    import django

    django.setup()
    logging.disable()  # each refusal would be a line
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    return asyncio.run(_run_requests(options.requests, options.seed))


async def _run_requests(count: int, seed: int) -> int:
    from asgiref.sync import sync_to_async
    from django.core.handlers.asgi import ASGIHandler

    from calls.models import Call, DialPace, DialPause
    from tests.calls.odd_requests import OddRequests, fingerprint, make_calls_and_requests, send_to

    def make_new_calls(seed: int) -> OddRequests:
        Call.objects.all().delete()
        DialPace.objects.all().delete()
        DialPause.objects.all().delete()
        return make_calls_and_requests(seed)

    application = ASGIHandler()
    answers: dict[str, Counter[int]] = {"forged": Counter(), "signed": Counter()}
    started = time.monotonic()
    for batch in range(-(-count // (2 * BATCH))):
        requests = await sync_to_async(make_new_calls)(seed + batch)
        before = await sync_to_async(fingerprint)()
        for kind in ("forged", "signed"):
            for _ in range(BATCH):
                request = getattr(requests, kind)()
                status = await send_to(application, request)
                answers[kind][status] += 1
                if status >= 500 or (kind == "forged" and status < 400):
                    print(f"FAILED, with seed {seed + batch}: {kind} request, answer {status}\n{request}")
                    return 1
            if kind == "forged" and await sync_to_async(fingerprint)() != before:
                print(f"FAILED, with seed {seed + batch}: a forged request of this batch changed the database")
                return 1
    total = sum(sum(counter.values()) for counter in answers.values())
    print(f"{total} requests in {time.monotonic() - started:.0f} s: no 5xx, no change without a valid signature.")
    for kind, counter in answers.items():
        counts = ", ".join(f"{status}: {number}" for status, number in sorted(counter.items()))
        print(f"  {kind:<7} {counts}")
    return 0


if __name__ == "__main__":
    main()
