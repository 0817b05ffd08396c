"""
A whole installation in processes of its own, for what only those can show: a web server, workers, the database and the
broker, each of which can be killed; and, in this process, the telephone network that counts what is dialled.
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
from tests.real_services import Process, free_port, migrate, process, process_env

ACCOUNT_SID, AUTH_TOKEN = "AC" + "0123456789abcdef" * 2, "development-auth-token"
WEB = (
    "-m uvicorn clientcaller.asgi:application --host 127.0.0.1 --port {port} --loop uvloop --http httptools "
    "--ws websockets-sansio --lifespan on --no-access-log --log-level warning"
)
WORKER = "-m celery -A clientcaller worker --beat --without-mingle --without-gossip --loglevel WARNING"
BUSY_WITHIN = CarrierTiming(post_dial=(0.05, 0.3), scale=1.0)
"""How long it takes until a call is found busy."""


@dataclass
class Installation:
    """``url`` is that of its web server, ``env`` that of its processes. ``workers`` lists all that were started."""

    url: str
    network: PhoneNetwork
    env: Mapping[str, str]
    include: str
    workers: list[Process] = field(default_factory=list)
    _stack: ExitStack = field(default_factory=ExitStack)
    _milestones: dict[int, asyncio.Event] = field(default_factory=dict)

    def start_worker(self) -> Process:
        include = ["--include", self.include] if self.include else []
        name = ["--hostname", f"worker-{len(self.workers)}@%h"]
        worker = self._stack.enter_context(process(sys.executable, *WORKER.split(), *include, *name, env=self.env))
        self.workers.append(worker)
        return worker

    async def dialled(self, count: int) -> None:
        """Return once the network has got so many calls."""
        if len(self.network.calls) < count:
            await self._milestones.setdefault(count, asyncio.Event()).wait()

    def rung(self) -> Counter[str]:
        """How many calls each number has got."""
        return Counter(call.request.to_number for call in self.network.calls.values())

    async def ledger(self, *question: str, patience: float = 60.0) -> Any:
        """Ask ``tests.calls.ledger`` in a process of the installation; its answer, in so many seconds at most."""
        return await asyncio.to_thread(ask_ledger, self.env, *question, patience=patience)

    def note(self, _call: object) -> None:
        if event := self._milestones.get(len(self.network.calls)):
            event.set()


def ask_ledger(env: Mapping[str, str], *question: str, patience: float = 60.0) -> Any:
    with process(sys.executable, "-m", "tests.calls.ledger", *question, env=env) as asked:
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
    Web server and network are up, workers are not; everything ends with the block.

    Whoever is called is busy. ``include`` is a module that the workers load, ``more`` are further settings.
    """
    port = free_port()
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
        network.on_call = here.note
        with here._stack as stack:
            await asyncio.to_thread(migrate, env)
            web = stack.enter_context(process(sys.executable, *WEB.format(port=port).split(), env=env))
            await asyncio.to_thread(web.wait_for, "Ready to take calls")
            yield here


async def survive(here: Installation, count: int, *, redis: Any = None, postgres: Any = None) -> dict[str, Any]:
    """
    Dial ``count`` calls that are due at once while things break, and return what the ledger says in the end.

    Two workers, of which one is killed after a quarter and started again; then Redis restarts, then PostgreSQL.
    """
    first, _second = here.start_worker(), here.start_worker()
    await here.ledger("place", str(count))
    await here.dialled(count // 4)
    first.signal(signal.SIGKILL)
    await asyncio.to_thread(first.wait)
    here.start_worker()
    for quarter, server in ((2, redis), (3, postgres)):
        await here.dialled(quarter * count // 4)
        if server is not None:
            await asyncio.to_thread(server.restart)
    return await here.ledger("wait", patience=60.0 + count)
