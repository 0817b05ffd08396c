"""
Deliver webhooks while many receivers do not answer: how long the events of a sound one take.

    python -m tests.benchmarks.webhooks
    python -m tests.benchmarks.webhooks --silent 100 --waiting 1000 --seconds 20

One endpoint has ``--waiting`` deliveries that are due, ``--silent`` endpoints with three each never answer, and another
endpoint, which has accepted one before, gets an event 20 times a second. Each is measured from its row to its arrival.
PostgreSQL, the receiver and the sender run on this machine. Before that, the deliveries of the first endpoint alone are
timed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

from tests.real_services import PostgresServer, Process, migrate, process, process_env

PERIOD = 0.05
"""Seconds between two events of the sound endpoint."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--silent", type=int, default=1000)
    parser.add_argument("--waiting", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--receive", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.receive:
        asyncio.run(_receive())
        return
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = PostgresServer()
        stack.callback(server.remove)
        env = process_env(folder, database_url=server.url, LOG_LEVEL="ERROR")
        migrate(env)
        os.environ |= env
        receiver = stack.enter_context(process(sys.executable, "-m", __spec__.name, "--receive", env=env))
        run(options, receiver, int(receiver.wait_for(r"port (\d+)")[1]))


async def _receive() -> None:
    """Answer at once, or never if the path says so, and print how long the events of the sound endpoint took."""
    from aiohttp import web

    async def answer(request: web.Request) -> web.Response:
        body = await request.read()
        if request.path.startswith("/silent"):
            await asyncio.sleep(3600)
        if request.path == "/sound":
            print("took", time.time() - json.loads(body)["at"])
        return web.Response(status=204)

    application = web.Application()
    application.router.add_post("/{path:.*}", answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    print("port", runner.addresses[0][1])
    await asyncio.Event().wait()


def run(options: argparse.Namespace, receiver: Process, port: int) -> None:
    import django

    django.setup()
    from calls.models import Agent, Call, WebhookDelivery, WebhookEndpoint
    from calls.services.webhook_sender import Sender
    from calls.services.webhooks import make_secret

    call = Call.objects.create(direction="inbound", agent=Agent.objects.get())

    def make(path: str) -> WebhookEndpoint:
        return WebhookEndpoint.objects.create(url=f"http://127.0.0.1:{port}/{path}", secret=make_secret())

    def add(endpoint: WebhookEndpoint, count: int) -> None:
        rows = (WebhookDelivery(endpoint=endpoint, call=call, event="call.ringing", payload={"at": time.time()})
                for _ in range(count))  # fmt: skip
        WebhookDelivery.objects.bulk_create(rows, batch_size=1000)

    busy, sound = make("busy"), make("sound")
    add(busy, options.waiting)
    add(sound, 1)
    sender, began = Sender(), time.monotonic()
    sender.wake()
    sender.join()
    assert not WebhookDelivery.objects.exclude(status="delivered").exists()
    print(f"{options.waiting} deliveries to one endpoint: {options.waiting / (time.monotonic() - began):.0f} a second")

    add(busy, options.waiting)
    sender = Sender()  # that of a process that has just started
    for number in range(options.silent):
        add(make(f"silent/{number}"), 3)
    sender.wake()
    count = round(options.seconds / PERIOD)
    every = threading.Event()
    for _ in range(count):
        add(sound, 1)
        sender.wake()
        every.wait(PERIOD)
    while WebhookDelivery.objects.filter(endpoint=sound, status="waiting").exists():
        every.wait(PERIOD)
    sender.stop()
    sender.join()
    took = [float(line.split()[1]) for line in receiver.lines if line.startswith("took")]
    took = sorted(took[1:])
    print(
        f"{len(took)} of {count} events beside {options.silent} silent endpoints, and {options.waiting} at a busy one:"
    )
    print(f"  median {statistics.median(took) * 1000:.0f} ms, p95 {took[int(len(took) * 0.95)] * 1000:.0f} ms, "
          f"p99 {took[int(len(took) * 0.99)] * 1000:.0f} ms, longest {took[-1] * 1000:.0f} ms")  # fmt: skip
    left = WebhookDelivery.objects.filter(endpoint=busy, status="waiting").count()
    print(f"  sent to the busy endpoint meanwhile: {options.waiting - left}")


if __name__ == "__main__":
    main()
