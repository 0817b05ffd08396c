"""
Web servers that are killed or restarted under calls, and workers that are restarted while they dial.

    python -m tests.benchmarks.restarts                 # make bench-restarts: 20 calls at once, both rows
    python -m tests.benchmarks.restarts --calls 5 --only killed

Two web servers run behind a proxy, with Redis and PostgreSQL; the engines follow a script.

- ``killed``: SIGKILL of the web server of all calls while the agent answers. The figure is the time from the kill to
  the agent's first sound on the next stream, at the phone.
- ``restarted``: a rolling restart of the worker and both web servers, by SIGTERM, while half of the calls are dialled
  and new ones take the place of those that end. The figures are calls that were dropped, and numbers dialled twice.

The exit status is 1 if a call is not resumed within 3 s at p95, or if one is dropped or dialled twice.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "clientcaller.settings")
import django

django.setup()

from media.phone.caller import HangUp, ScriptedCaller, WaitForAgent  # noqa: E402
from media.phone.measurements import percentile  # noqa: E402
from tests.media.whole_calls import ask  # noqa: E402
from tests.real_services import PostgresServer, RedisServer  # noqa: E402
from tests.web_server.deployment import Deployment, deployment, kill_in_answer, silence_after  # noqa: E402

MOST_SECONDS = 3.0
"""From the kill to the first sound of the agent on the next stream."""
STAGGER = 0.2
"""Seconds from one call to the next."""
QUESTIONS = 3
"""Of each caller during the rolling restart: a call of half a minute."""
QUIET = 5.0
"""Seconds of the agent's silence for which a caller waits, longer than the kill makes it."""


async def kill(here: Deployment, calls: int) -> bool:
    """Kill the web server that has all calls, and measure how long their callers hear nothing of the agent."""
    held = []
    for _ in range(calls):
        steps = [WaitForAgent(), ask(), WaitForAgent(quiet=QUIET), ask(), WaitForAgent(), HangUp()]
        here.callers.append(ScriptedCaller(steps))
        held.append(await here.call_in(here.callers[-1]))
        await asyncio.sleep(STAGGER)
    killed_at = held[-1].tape.origin + await kill_in_answer(here, held[-1])
    await asyncio.gather(*(call.wait() for call in held))
    # A server that answers late for a moment gets no calls from the proxy.
    resumed = [call for call in held if sum(event["event"] == "stream_start" for event in call.tape.events) > 1]
    silences = [silence_after(call, call.tape.seconds(killed_at)) for call in resumed]
    p50, p95 = percentile(silences, 0.5), percentile(silences, 0.95)
    print(
        f"killed: {calls} calls, p50 {p50:.2f} s, p95 {p95:.2f} s, max {max(silences):.2f} s; {here.dropped()} dropped"
    )
    return bool(resumed) and p95 <= MOST_SECONDS and not here.dropped()


async def restart(here: Deployment, calls: int) -> bool:
    """Restart everything, one after the other, while there are always so many calls."""
    restarting = True

    async def call_again_and_again() -> None:
        while restarting:
            call = await here.call_in(here.person(QUESTIONS))
            await call.wait()

    async with asyncio.TaskGroup() as group:
        for _ in range(calls // 2):
            group.create_task(call_again_and_again())
            await asyncio.sleep(STAGGER)
        for port in here.ports:
            await here.restart_worker()
            await here.restart_web(port)
        restarting = False
    await here.network.wait_until_idle()
    twice = sum(count > 1 for count in here.dialled().values())
    print(
        f"restarted: {len(here.callers)} calls, of which {len(here.dialled())} were dialled; "
        f"{here.dropped()} dropped, {twice} dialled twice"
    )
    return not here.dropped() and not twice


async def run(name: str, calls: int, folder: Path, postgres: PostgresServer, redis: RedisServer) -> bool:
    limits = {"MAX_LIVE_CALLS": str(calls + 10), "OUTBOUND_MAX_CALLS": str(max(1, calls // 2))}
    outbound = 5 * calls if name == "restarted" else 0
    url = postgres.create_database("restarts")
    async with deployment(folder, database_url=url, redis_url=redis.url, outbound=outbound, **limits) as here:
        here.people(QUESTIONS)
        return await ROWS[name](here, calls)


ROWS = {"killed": kill, "restarted": restart}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=20, help="at once (default: %(default)d)")
    parser.add_argument("--only", nargs="+", choices=[*ROWS], default=[*ROWS])
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        postgres, redis = PostgresServer(), RedisServer()
        stack.callback(postgres.remove)
        stack.callback(redis.stop)
        good = [asyncio.run(run(name, options.calls, folder / name, postgres, redis)) for name in options.only]
    sys.exit(not all(good))


if __name__ == "__main__":
    main()
