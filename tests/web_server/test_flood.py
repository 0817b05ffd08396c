"""Every signed call is answered while clients send every other kind of request (in full size: the benchmark flood)."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import aiohttp

from tests.benchmarks.flood import ALL, KINDS, Webhooks, attack, new_calls, watch_connections
from tests.real_services import migrate, process, process_env, reserve_port

CLIENTS = 4 * len(KINDS)
SECONDS = 4.0
MOST_CONNECTIONS = 20
"""To the database, as ``docs/updating.md`` says of a web process."""


async def balance(url: str, statuses: list[int]) -> None:
    """Ask whether the process is ready, from an address of its own, as a balancer does."""
    connector = aiohttp.TCPConnector(local_addr=("127.0.0.2", 0), force_close=True)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(15)) as session:
        while True:
            async with session.get(f"{url}/readyz") as answer:
                statuses.append(answer.status)
            await asyncio.sleep(0.2)


async def test_every_signed_call_is_answered_while_clients_of_all_kinds_ask(tmp_path, own_postgres):
    port = reserve_port()
    url, database = f"http://127.0.0.1:{port}", own_postgres.create_database("flood")
    env = process_env(
        tmp_path,
        database_url=database,
        PUBLIC_BASE_URL=url,
        ENGINES_PROFILE="scripted",
        MAX_LIVE_CALLS="1000",
        DRAIN_LIMIT="0",
    )
    await asyncio.to_thread(migrate, env)
    command = [sys.executable, "-m", "tests.benchmarks.flood_data", "50", "5"]
    prepared = await asyncio.to_thread(subprocess.run, command, env=env, check=True, stdout=subprocess.PIPE, text=True)
    webhooks, probes, connections = Webhooks(), [], [0]
    with process(sys.executable, *f"-m clientcaller.web.server --port {port}".split(), env=env) as server:
        await asyncio.to_thread(server.wait_for, "Uvicorn running")
        with ThreadPoolExecutor(1) as clients:
            answers = clients.submit(asyncio.run, attack(ALL, port, json.loads(prepared.stdout), CLIENTS, SECONDS))
            beside = [
                asyncio.create_task(one) for one in (balance(url, probes), watch_connections(database, connections))
            ]
            async with new_calls(url, webhooks, interval=0.2, public_url=url):
                statuses = await asyncio.wrap_future(answers)
            for task in beside:
                assert task.cancel(), task
            await asyncio.wait(beside)
    assert len(webhooks.seconds) >= 5
    assert webhooks.refused == 0
    assert set(probes) == {200}
    assert 0 < connections[0] <= MOST_CONNECTIONS
    assert statuses["200"] > 0
    assert statuses["403"] > 0
    assert not [status for status in statuses if status.startswith("5") and status != "503"]
    assert "Traceback" not in server.text
