"""
A million odd messages on media sockets and a hundred thousand odd callbacks, sent to a web server of its own process.

    python -m tests.benchmarks.fuzz                       # make bench-fuzz
    python -m tests.benchmarks.fuzz --messages 20000 --requests 2000 --database sqlite --seed 7

What may not happen: an answer with 5xx, a traceback in the log, the end of the process, and a change by something
unsigned, malformed or misplaced. So after each batch of sockets its own calls are deleted, and every row of every table
must be as before. A socket that sends only what is malformed or misplaced must leave no turn of a caller, no opt-out
and no hang-up. The memory of the server is shown at 10, 25, 50, 75 and 100 %; what is in use, without what was
freed, may not grow in the second half. At the first fault the benchmark prints it and ends with status 1.

``tests/media/odd_messages.py`` makes the messages and ``tests/calls/odd_requests.py`` the callbacks, from the seed.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

from tests.benchmarks.fuzz_site import LOOK_INTERVAL, PATIENCE, Fault, Site, exchange
from tests.real_services import PostgresServer, process, process_env, reserve_port

CALLS_IN_BATCH = 120
"""Calls between two looks at the database."""
REQUESTS_IN_BATCH = 1000
"""Callbacks of each kind, forged and signed, between two looks. The calls that they are about are made anew then."""
AT_ONCE = {"forged": 500, "signed": 12, "strange": 50}
"""Requests of each kind that wait for their answers. The server takes a second for each forged one."""
STRANGERS_SHARE = 10
"""Callbacks to one request of somebody else, which takes the server longer."""


PRODUCTION = {
    "DEBUG": "0",
    "SECRET_KEY": "s" * 60,
    "PUBLIC_BASE_URL": "https://phone.example.com",
    "TWILIO_ACCOUNT_SID": "AC" + "1" * 32,
    "TWILIO_AUTH_TOKEN": "t" * 32,
    "TWILIO_PHONE_NUMBER": "+15005550006",
    "TWILIO_API_BASE_URL": "http://127.0.0.1:9",
    "API_RATE": "1000000/second",
    "CALLING_HOURS": '{"*": "00:00-24:00"}',
}
"""The settings of the server: those of production, with an account of Twilio's that nobody answers for."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="postgres")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        database_url = ""
        if options.database == "postgres":
            server = PostgresServer()
            stack.callback(server.remove)
            database_url = server.url
        port = reserve_port()
        env = process_env(
            folder,
            database_url=database_url,
            ENGINES_PROFILE="scripted",
            **PRODUCTION,
            MAX_LIVE_CALLS="100",
            CALLS_PER_SECOND="1000",
            LOG_LEVEL="WARNING",
        )
        os.environ |= env
        sys.exit(run(options, port, env, stack))


def run(options: argparse.Namespace, port: int, env: dict[str, str], stack: ExitStack) -> int:
    import django

    django.setup()
    logging.disable()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    call_command("collectstatic", interactive=False, verbosity=0)
    command = f"-m tests.benchmarks.trimmed_server clientcaller.web.server --port {port}"
    server = stack.enter_context(process(sys.executable, *command.split(), env=env))
    site = Site(port, server)
    started = time.monotonic()
    try:
        asyncio.run(_run(site, options))
    except (Fault, BaseExceptionGroup) as error:  # what one of several tasks finds comes in a group
        fault = error if isinstance(error, Fault) else error.exceptions[0]
        print(f"FAILED: {fault}\nThe end of the server's log:\n" + "\n".join(server.lines[-60:]))
        return 1
    total = sum(site.sent.values())
    print(f"{total} messages and requests in {time.monotonic() - started:.0f} s: no fault.")
    for kind, counter in sorted(site.answers.items()):
        print(f"  {kind:<18} " + ", ".join(f"{answer}: {count}" for answer, count in sorted(counter.items())))
    print("  messages           " + ", ".join(f"{kind}: {count}" for kind, count in sorted(site.sent.items())))
    for what, sizes in site.memory.items():
        for share, size in sizes.items():
            print(f"  {what} at {share} %: {size}")
    return 0


async def _run(site: Site, options: argparse.Namespace) -> None:
    from asgiref.sync import sync_to_async

    from calls.models import Agent

    # Recording is measured elsewhere, and a call's last fact would come after those that are awaited here.
    await sync_to_async(Agent.objects.update)(record=False, opt_out_key="9")
    await asyncio.to_thread(wait_until_ready, site)
    for send, count in ((send_callbacks, options.requests), (send_messages, options.messages)):
        began = time.monotonic()
        await send(site, count, options.seed)
        print(f"{send.__name__}: {time.monotonic() - began:.0f} s", flush=True)
    site.check_memory()


def wait_until_ready(site: Site) -> None:
    for _ in range(round(PATIENCE / LOOK_INTERVAL)):
        with suppress(OSError), urlopen(f"http://127.0.0.1:{site.port}/readyz", timeout=5):
            return
        site.check()
        time.sleep(LOOK_INTERVAL)
    raise Fault("the server did not become ready")


# -- callbacks --------------------------------------------------------------------------------------


async def send_callbacks(site: Site, count: int, seed: int) -> None:
    """Send so many callbacks, of which half are forged."""
    from asgiref.sync import sync_to_async
    from django.conf import settings

    from calls.models import Call, DialPace, DialPause
    from tests.calls.odd_requests import OddRequests, fingerprint, make_calls_and_requests
    from tests.calls.odd_strangers import OddStrangers

    key = await sync_to_async(make_reader)()

    def make_new_calls(seed: int) -> OddRequests:
        Call.objects.all().delete()
        DialPace.objects.all().delete()
        DialPause.objects.all().delete()
        return make_calls_and_requests(seed)

    done = 0
    while done < count:
        size = min(REQUESTS_IN_BATCH, -(-(count - done) // 2))
        requests = await sync_to_async(make_new_calls)(seed + done)
        before = await sync_to_async(fingerprint)()
        strangers = OddStrangers(seed + done, urlsplit(settings.PUBLIC_BASE_URL).netloc, key)
        strange = [strangers.request() for _ in range(-(-size // STRANGERS_SHARE))]
        await asyncio.gather(
            _send_all(site, "forged", [requests.forged() for _ in range(size)]), _send_all(site, "strange", strange)
        )
        if (after := await sync_to_async(fingerprint)()) != before:
            raise Fault(f"a forged or strange request of seed {seed + done} changed {_differences(before, after)}")
        await _send_all(site, "signed", [requests.signed() for _ in range(size)])
        done += 2 * size
        site.check()
        site.note_memory("callbacks", done / count)


def make_reader() -> str:
    """Make a key to the REST API that may read, and whose use is not noted in the database."""
    from django.utils import timezone

    from calls.models import ApiKey
    from calls.services.keys import make_key

    key, secret = make_key(name="reader", scopes=[ApiKey.Scope.READ])
    ApiKey.objects.filter(pk=key.pk).update(last_used_at=timezone.now() + timedelta(days=1))
    return secret


async def _send_all(site: Site, kind: str, requests: list[Any]) -> None:
    async def send_some() -> None:
        while requests:
            request = requests.pop()
            status = await post(site.port, request)
            site.sent[f"{kind} request"] += 1
            site.note(f"{kind} request", status or "closed")
            if status >= 500 or (kind == "forged" and 0 < status < 400):
                raise Fault(f"a {kind} request was answered {status}: {request}")

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE[kind]):
            group.create_task(send_some())


async def post(port: int, request: Any) -> int:
    """Send an ``OddRequest`` on a connection of its own, and return the status of the answer; 0 if there is none."""
    return (await exchange(port, request))[0]


def _differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    return [name for name, rows in before.items() if after[name] != rows]


# -- media sockets ----------------------------------------------------------------------------------


async def send_messages(site: Site, count: int, seed: int) -> None:
    """Send so many messages on the sockets of many calls, and compare the database after each batch of them."""
    from asgiref.sync import sync_to_async

    from tests.benchmarks.fuzz_calls import Calls, keep_leases
    from tests.calls.odd_requests import fingerprint

    calls = Calls(site, seed)
    await calls.prepare()
    first = sum(site.sent.values())
    while (sent := sum(site.sent.values()) - first) < count:
        await sync_to_async(keep_leases)()
        before = await sync_to_async(fingerprint)()
        await calls.send_unsigned(min(CALLS_IN_BATCH // 4, 1 + (count - sent) // 100))
        if (after := await sync_to_async(fingerprint)()) != before:
            raise Fault(f"an unsigned socket changed {_differences(before, after)}")
        await calls.hold(min(CALLS_IN_BATCH, 1 + (count - sent) // 250))
        await calls.forget()
        if (after := await sync_to_async(fingerprint)()) != before:
            raise Fault(f"a socket changed {_differences(before, after)} beyond its own call")
        site.check()
        site.note_memory("messages", (sum(site.sent.values()) - first) / count)


if __name__ == "__main__":
    main()
