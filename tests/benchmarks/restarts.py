"""
Web servers that are killed, restarted or updated under calls, and workers that are restarted while they dial.

    python -m tests.benchmarks.restarts                 # make bench-restarts: 20 calls at once, both rows
    python -m tests.benchmarks.restarts --calls 5 --only killed
    python -m tests.benchmarks.restarts --only upgraded --from REVISION
    python -m tests.benchmarks.restarts --caddy

Two web servers run behind a proxy, with Redis and PostgreSQL; the engines follow a script. With ``--caddy``, the proxy
is Caddy with docker/Caddyfile, and the network calls through its TLS.

- ``killed``: SIGKILL of the web server of all calls while the agent answers. The figures are the time from the kill to
  the agent's first sound on the next stream, at the phone, and the calls whose agent remembers what was said before.
- ``restarted``: a rolling restart of the worker and both web servers, by SIGTERM, while half of the calls are dialled
  and new ones take the place of those that end. The figures are calls that were dropped, calls that went on at another
  process, numbers dialled twice or not at all, and gaps in the agent's voice, at the phone.
- ``upgraded``: the same while another revision (``--from``) is replaced by this one: migrations, then a worker of the
  engines, the worker that dials, and both web servers. Each kind of process has neighbours of the other version.

The exit status is 1 if a call is not resumed within 3 s at p95 or has forgotten what was said, if one is dropped or
dialled twice, or if one is not dialled.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "clientcaller.settings")
import django
import psycopg

django.setup()

from media.phone.caller import HangUp, ScriptedCaller, WaitForAgent  # noqa: E402
from media.phone.leg import PhoneCall  # noqa: E402
from media.phone.measurements import measure, percentile  # noqa: E402
from tests.calls.installation import ask_database  # noqa: E402
from tests.media.whole_calls import ask  # noqa: E402
from tests.real_services import ROOT, PostgresServer, RedisServer, migrate  # noqa: E402
from tests.web_server.balancer import caddy_program  # noqa: E402
from tests.web_server.deployment import ANSWERS, Deployment, deployment, kill_in_answer, silence_after  # noqa: E402

MOST_SECONDS = 3.0
"""From the kill to the first sound of the agent on the next stream."""
OUTBOUND_FOR_EACH = 3
"""Numbers that are dialled, for each call at once: so many last as long as the restarts."""
STAGGER = 0.2
"""Seconds from one call to the next."""
QUESTIONS = 3
"""Of each caller during the rolling restart: a call of half a minute."""
QUIET = 5.0
"""Seconds of the agent's silence for which a caller waits, longer than the kill makes it."""
SHORTEST_GAP = 0.02
"""Seconds of a gap that counts: a frame."""
LONGEST_RUN = 1800.0
"""Seconds in which all calls of a row have ended."""


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
    for call in held:
        tell_if_dropped(call)
    # A server that answers late for a moment gets no calls from the proxy.
    resumed = [call for call in held if streams(call) > 1]
    silences = [silence_after(call, call.tape.seconds(killed_at)) for call in resumed]
    p50, p95 = percentile(silences, 0.5), percentile(silences, 0.95)
    await asyncio.to_thread(ask_database, here.env, "wait")
    with psycopg.connect(here.env["DATABASE_URL"]) as database:
        # The agent counts the questions of a call.
        query = "SELECT count(DISTINCT call_id) FROM calls_turn WHERE speaker = 'agent' AND heard = %s"
        ((remembered,),) = database.execute(query, [ANSWERS[1]]).fetchall()
    print(
        f"killed: {calls} calls, {len(resumed)} of them with the server; resumed after p50 {p50:.2f} s, "
        f"p95 {p95:.2f} s, max {max(silences, default=p95):.2f} s; {remembered} agents remembered; "
        f"{here.dropped()} dropped",
        flush=True,
    )
    return bool(resumed) and p95 <= MOST_SECONDS and remembered == calls and not here.dropped()


def streams(call: PhoneCall) -> int:
    return sum(event["event"] == "stream_start" for event in call.tape.events)


async def restart(here: Deployment, calls: int) -> bool:
    """Restart everything, one after the other, while there are always so many calls."""
    steps = [step for port in here.ports for step in (here.restart_worker, partial(here.restart_web, port))]
    return await change(here, calls, "restarted", steps)


async def upgrade(here: Deployment, calls: int) -> bool:
    """Replace the version that runs with this one, in the order of docs/updating.md."""

    async def migrate_all() -> None:
        await asyncio.to_thread(migrate, here.env)
        here.code = ROOT

    webs = [partial(here.restart_web, port) for port in here.ports]
    return await change(here, calls, "upgraded", [migrate_all, here.replace_engine_worker, here.restart_worker, *webs])


async def change(here: Deployment, calls: int, done: str, steps: Sequence[Callable[[], Awaitable[None]]]) -> bool:
    """Take these steps, one after the other, while there are always so many calls."""
    changing = True

    async def call_again_and_again() -> None:
        while changing:
            call = await here.call_in(here.person(QUESTIONS))
            await call.wait()

    on_line = []
    async with asyncio.TaskGroup() as group:
        for _ in range(calls - calls // 2):
            group.create_task(call_again_and_again())
            await asyncio.sleep(STAGGER)
        for step in steps:
            await until_talking(here, calls)
            on_line.append(here.on_line())
            await step()
        changing = False
    # Those that are still to be dialled.
    await asyncio.to_thread(ask_database, here.env, "wait", patience=LONGEST_RUN)
    await here.network.wait_until_idle()
    held = [*here.network.calls.values()]
    outbound = OUTBOUND_FOR_EACH * calls
    twice = sum(count > 1 for count in here.dialled().values())
    gaps = [gap.seconds for call in held for gap in measure(call.tape).gaps if gap.seconds > SHORTEST_GAP]
    print(
        f"{done}: {len(held)} calls, {len(here.dialled())} of {outbound} dialled; {min(on_line)} to {max(on_line)} "
        f"on the line at each step; {here.dropped()} dropped, {sum(streams(call) > 1 for call in held)} moved, "
        f"{twice} dialled twice; {len(gaps)} gaps, the longest {max(gaps, default=0.0):.2f} s",
        flush=True,
    )
    for call in held:
        tell_if_dropped(call)
    return not here.dropped() and not twice and len(here.dialled()) == outbound


def tell_if_dropped(call: PhoneCall) -> None:
    """Print what became of a call that was cut off, or whose agent did not answer."""
    person = call.gateway.party if call.gateway else None
    if isinstance(person, ScriptedCaller) and (not person.hung_up or person.gave_up):
        names = ("status", "verb", "text", "code", "reason")
        told = ("call_status", "twiml", "say", "alert", "stream_start", "stream_end")
        events = [
            " ".join([f"{event['at']:.2f} {event['event']}", *(str(event[name]) for name in names if name in event)])
            for event in call.tape.events
            if event["event"] in told
        ]
        print(f"dropped: {call.sid}, {call.direction}, gave up {len(person.gave_up)} times: {'; '.join(events)}")


async def until_talking(here: Deployment, calls: int) -> None:
    """Return when so many are on the line, or nearly: one call ends at any time, and the next one rings."""
    async with asyncio.timeout(LONGEST_RUN):
        while here.on_line() < 0.9 * calls:  # noqa: ASYNC110 (calls begin and end all the time)
            await asyncio.sleep(STAGGER)


async def run(
    name: str,
    folder: Path,
    postgres: PostgresServer,
    redis: RedisServer,
    code: Path,
    options: argparse.Namespace,
) -> bool:
    calls = options.calls
    limits = {"MAX_LIVE_CALLS": str(calls + 10), "OUTBOUND_MAX_CALLS": str(max(1, calls // 2))}
    async with deployment(
        folder,
        database_url=postgres.create_database("restarts"),
        redis_url=redis.url,
        outbound=0 if name == "killed" else OUTBOUND_FOR_EACH * calls,
        caddy=caddy_program() if options.caddy else None,
        code=code,
        remote=name == "upgraded",
        **limits,
    ) as here:
        here.people(QUESTIONS)
        return await ROWS[name](here, calls)


ROWS = {"killed": kill, "restarted": restart, "upgraded": upgrade}


def export(revision: str, folder: Path) -> Path:
    """Write the files of a revision of this repository into ``folder``."""
    archive = subprocess.run(["git", "archive", revision], cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder, filter="data")
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=20, help="at once (default: %(default)d)")
    parser.add_argument("--only", nargs="+", choices=[*ROWS], help="rows (default: all that can be run)")
    parser.add_argument("--caddy", action="store_true", help="let Caddy be the proxy (default: one of the tests)")
    parser.add_argument("--from", dest="revision", help="the revision that runs first in the row `upgraded`")
    options = parser.parse_args()
    rows = options.only or [name for name in ROWS if name != "upgraded" or options.revision]
    if "upgraded" in rows and not options.revision:
        parser.error("the row `upgraded` needs --from, a revision of this repository")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        old = export(options.revision, folder / "before") if options.revision else ROOT
        postgres, redis = PostgresServer(), RedisServer()
        stack.callback(postgres.remove)
        stack.callback(redis.stop)
        good = [
            asyncio.run(run(name, folder / name, postgres, redis, old if name == "upgraded" else ROOT, options))
            for name in rows
        ]
    sys.exit(not all(good))


if __name__ == "__main__":
    main()
