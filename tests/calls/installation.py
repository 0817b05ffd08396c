"""
A whole installation in processes of its own: a web server, workers, the database and the broker. A test can kill each
of them. The telephone network, which counts what is dialled, runs in the process of the test.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from media.phone.answering import CarrierTiming, Outcome
from media.phone.network import PhoneNetwork
from tests.real_services import ROOT, Process, migrate, process, process_env, reserve_port

ACCOUNT_SID, AUTH_TOKEN = "AC" + "0123456789abcdef" * 2, "development-auth-token"
WEB = (
    "-m uvicorn clientcaller.asgi:application --host 127.0.0.1 --port {port} --loop uvloop --http httptools "
    "--ws websockets-sansio --lifespan on --no-access-log --log-level warning"
)
WORKER = "-m celery -A clientcaller worker --beat --without-mingle --without-gossip --loglevel WARNING"
BUSY_WITHIN = CarrierTiming(post_dial=(0.05, 0.3), scale=1.0)
"""Seconds until a dialled number is reported as busy."""


@dataclass
class Installation:
    """A running installation."""

    url: str
    """The address of its web server."""
    network: PhoneNetwork
    env: Mapping[str, str]
    """The environment of its processes."""
    include: str
    """A module that its workers import, or nothing."""
    workers: list[Process] = field(default_factory=list)
    """All workers that were started, the killed ones included."""
    _stack: ExitStack = field(default_factory=ExitStack)
    _milestones: dict[int, asyncio.Event] = field(default_factory=dict)
    """By number of dialled calls: set once there are so many."""

    def start_worker(self) -> Process:
        include = ["--include", self.include] if self.include else []
        name = ["--hostname", f"worker-{len(self.workers)}@%h"]
        worker = self._stack.enter_context(process(sys.executable, *WORKER.split(), *include, *name, env=self.env))
        self.workers.append(worker)
        return worker

    async def wait_until_dialled(self, count: int) -> None:
        """Return once the network has received ``count`` calls."""
        if len(self.network.calls) < count:
            await self._milestones.setdefault(count, asyncio.Event()).wait()

    def calls_by_number(self) -> Counter[str]:
        """Return how often each number was dialled."""
        return Counter(call.request.to_number for call in self.network.calls.values())

    async def ask_database(self, *question: str, patience: float = 60.0) -> Any:
        """Ask ``tests.calls.database_probe`` in a process of the installation. ``patience`` is in seconds."""
        return await asyncio.to_thread(ask_database, self.env, *question, patience=patience)

    def note_call(self, _call: object) -> None:
        if event := self._milestones.get(len(self.network.calls)):
            event.set()


def ask_database(env: Mapping[str, str], *question: str, patience: float = 60.0, cwd: Path = ROOT) -> Any:
    with process(sys.executable, "-m", "tests.calls.database_probe", *question, env=env, cwd=cwd) as asked:
        return json.loads(asked.wait_for(r"^answer: (.*)$", timeout=patience)[1])


@asynccontextmanager
async def installation(
    folder: Path,
    *,
    database_url: str = "",
    redis_url: str = "",
    include: str = "tests.calls.impatient",
    settings: str = "tests.calls.impatient_settings",
    **more: str,
) -> AsyncIterator[Installation]:
    """
    Run an installation. The web server and the network are started, workers are not. Everything ends with the block.

    Every number is busy. ``include`` is a module that the workers import, ``more`` are further settings.
    """
    port = reserve_port()
    url = f"http://127.0.0.1:{port}"
    network = PhoneNetwork(
        app_url=url,
        account_sid=ACCOUNT_SID,
        auth_token=AUTH_TOKEN,
        calls_per_second=10_000.0,
        timing=BUSY_WITHIN,
    )
    network.on_dial("*", lambda: Outcome.busy(after=0.0))
    async with network:
        env = process_env(
            folder,
            database_url=database_url,
            redis_url=redis_url,
            **{
                "DJANGO_SETTINGS_MODULE": settings,
                "PUBLIC_BASE_URL": url,
                "TWILIO_API_BASE_URL": network.rest_url,
                "ENGINES_PROFILE": "scripted",
                "ATTEMPTS_PER_NUMBER_AND_DAY": "10",
                **more,
            },
        )
        here = Installation(url, network, env, include)
        network.on_call = here.note_call
        with here._stack as stack:
            await asyncio.to_thread(migrate, env)
            web = stack.enter_context(process(sys.executable, *WEB.format(port=port).split(), env=env))
            await asyncio.to_thread(web.wait_for, "Ready to take calls")
            yield here


async def survive(here: Installation, count: int, *, redis: Any = None, postgres: Any = None) -> dict[str, Any]:
    """
    Dial ``count`` calls that are due at once while processes die. Returns what the database contains in the end.

    There are two workers. After a quarter of the calls one is killed and another one is started, after the half Redis
    restarts, and after three quarters PostgreSQL.
    """
    first, _second = here.start_worker(), here.start_worker()
    await here.ask_database("place", str(count))
    await here.wait_until_dialled(count // 4)
    first.signal(signal.SIGKILL)
    await asyncio.to_thread(first.wait)
    here.start_worker()
    for quarter, server in ((2, redis), (3, postgres)):
        await here.wait_until_dialled(quarter * count // 4)
        if server is not None:
            await asyncio.to_thread(server.restart)
    return await here.ask_database("wait", patience=60.0 + count)
