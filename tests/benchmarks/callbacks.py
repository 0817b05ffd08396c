"""
A hundred thousand random requests to the callbacks: no 5xx, and no change without a valid signature.

    python -m tests.benchmarks.callbacks
    python -m tests.benchmarks.callbacks --requests 10000 --database postgres --seed 7

Half of them are forgeries, after which every row of every table must be as it was; the other half has a valid signature
and random contents. Ends with status 1, and the request, at the first answer that should not be.
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
    logging.disable()  # every refusal is a line, and quite right
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    return asyncio.run(_throw(options.requests, options.seed))


async def _throw(count: int, seed: int) -> int:
    from asgiref.sync import sync_to_async
    from django.core.handlers.asgi import ASGIHandler

    from calls.models import Call, DialPace
    from tests.calls.odd_requests import OddRequests, about_some_calls, ask, fingerprint

    def afresh(seed: int) -> OddRequests:
        Call.objects.all().delete()
        DialPace.objects.all().delete()
        return about_some_calls(seed)

    application = ASGIHandler()
    answers: dict[str, Counter[int]] = {"forged": Counter(), "signed": Counter()}
    started = time.monotonic()
    for batch in range(-(-count // (2 * BATCH))):
        requests = await sync_to_async(afresh)(seed + batch)
        before = await sync_to_async(fingerprint)()
        for kind in ("forged", "signed"):
            for _ in range(BATCH):
                request = getattr(requests, kind)()
                status = await ask(application, request)
                answers[kind][status] += 1
                if status >= 500 or (kind == "forged" and status < 400):
                    print(f"FAILED, with seed {seed + batch}: {kind} request, answer {status}\n{request}")
                    return 1
            if kind == "forged" and await sync_to_async(fingerprint)() != before:
                print(f"FAILED, with seed {seed + batch}: the forgeries of this batch changed something")
                return 1
    total = sum(sum(counter.values()) for counter in answers.values())
    print(f"{total} requests in {time.monotonic() - started:.0f} s: no 5xx, no change without a valid signature.")
    for kind, counter in answers.items():
        said = ", ".join(f"{status}: {number}" for status, number in sorted(counter.items()))
        print(f"  {kind:<7} {said}")
    return 0


if __name__ == "__main__":
    main()
