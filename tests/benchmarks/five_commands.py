"""
From a bare directory to a call answered through TLS, by the five commands of docs/deploying.md.

    python -m tests.benchmarks.five_commands

Redis, PostgreSQL and Caddy are those of requirements/dev.txt; the packages are installed anew, by pip and its cache.
The engines are those of the profile `laptop`. The exit status is 1 if the agent is not heard within five minutes.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "clientcaller.settings")
import django

django.setup()

from tests.docker.five_commands import call, deployed  # noqa: E402
from tests.real_services import PostgresServer, RedisServer  # noqa: E402

MOST_SECONDS = 300.0


async def run(folder: Path, database_url: str, redis_url: str) -> bool:
    async with deployed(folder, database_url=database_url, redis_url=redis_url, settings={}, installed=False) as (
        network,
        began,
    ):
        caller, seconds = await call(network, began)
        print(f"The agent was heard {seconds:.0f} s after the first command. Gave up: {len(caller.gave_up)} times.")
        return seconds <= MOST_SECONDS and caller.hung_up and not caller.gave_up


def main() -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        postgres, redis = PostgresServer(), RedisServer()
        stack.callback(postgres.remove)
        stack.callback(redis.stop)
        good = asyncio.run(run(folder, postgres.create_database("five"), redis.url))
    sys.exit(not good)


if __name__ == "__main__":
    main()
