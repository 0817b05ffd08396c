"""Every signed call is answered while clients send every other kind of request (in full size: the benchmark flood)."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from tests.benchmarks.flood import ALL, KINDS, Webhooks, attack, new_calls
from tests.real_services import migrate, process, process_env, reserve_port

CLIENTS = 4 * len(KINDS)
SECONDS = 4.0


async def test_every_signed_call_is_answered_while_clients_of_all_kinds_ask(tmp_path, own_postgres):
    port = reserve_port()
    env = process_env(
        tmp_path,
        database_url=own_postgres.create_database("flood"),
        PUBLIC_BASE_URL=f"http://127.0.0.1:{port}",
        ENGINES_PROFILE="scripted",
        MAX_LIVE_CALLS="1000",
        DRAIN_LIMIT="0",
    )
    await asyncio.to_thread(migrate, env)
    command = [sys.executable, "-m", "tests.benchmarks.flood_data", "50", "5"]
    prepared = await asyncio.to_thread(subprocess.run, command, env=env, check=True, stdout=subprocess.PIPE, text=True)
    webhooks = Webhooks()
    with process(sys.executable, *f"-m clientcaller.web.server --port {port}".split(), env=env) as server:
        await asyncio.to_thread(server.wait_for, "Uvicorn running")
        with ThreadPoolExecutor(1) as clients:
            answers = clients.submit(asyncio.run, attack(ALL, port, json.loads(prepared.stdout), CLIENTS, SECONDS))
            async with new_calls(
                f"http://127.0.0.1:{port}", webhooks, interval=0.2, public_url=f"http://127.0.0.1:{port}"
            ):
                statuses = await asyncio.wrap_future(answers)
    assert len(webhooks.seconds) >= 5
    assert webhooks.refused == 0
    assert statuses["200"] > 0
    assert statuses["403"] > 0
    assert not [status for status in statuses if status.startswith("5") and status != "503"]
    assert "Traceback" not in server.text
