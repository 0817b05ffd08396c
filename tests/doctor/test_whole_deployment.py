"""A whole deployment behind the real Caddy: the doctor finds no fault, and a call to ourselves is answered."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from media.phone.rest_account import SimulatedNumber
from tests.real_services import ROOT
from tests.web_server.balancer import authority, caddy_program
from tests.web_server.deployment import OURS, deployment

EXPECTED = {
    "settings": "DEBUG=1",
    "secret-key": "development key",
    "dns": "only this machine",
    "twilio": "the simulated network takes its place",
    "worker": "the beat has just begun",
}
"""What is to be known of a deployment of the tests, by check. The worker notes only each 15 s that it is at work."""
SPEED = ("database", "redis", "engines", "http", "websocket")
"""The checks that find a busy machine slow."""


def manage(env: Mapping[str, str], *command: str) -> tuple[int, dict[str, Any]]:
    done = subprocess.run([sys.executable, "manage.py", *command], env=env, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.startswith("{"), done.stdout + done.stderr
    return done.returncode, json.loads(done.stdout)


async def test_the_doctor_finds_no_fault_and_a_call_to_ourselves_is_answered(
    postgres_server, redis_server, tmp_path: Path
):
    url = postgres_server.create_database("whole_deployment")
    async with deployment(tmp_path, database_url=url, redis_url=redis_server.url, caddy=caddy_program()) as here:
        await here.start_worker()
        base = here.env["PUBLIC_BASE_URL"]
        number = SimulatedNumber(OURS, voice_url=f"{base}/twilio/voice/", status_callback=f"{base}/twilio/status/")
        here.network.account.numbers.append(number)
        ca = ("--ca-file", str(authority(tmp_path)))
        status, report = await asyncio.to_thread(manage, here.env, "doctor", "--json", *ca)
        said = [(check["name"], one) for check in report["checks"] for one in check["findings"]]
        worse = [
            (name, one)
            for name, one in said
            if one["level"] == "red" or (one["level"] == "yellow" and name not in SPEED)
        ]
        assert [one for one in worse if EXPECTED.get(one[0], "-") not in one[1]["text"]] == []
        assert status == 0
        assert {name for name, one in said if one["level"] == "not checked"} == {"gpu-workers"}
        line = ("--say", "What time do you open?", "--limit", "20")
        status, call = await asyncio.to_thread(manage, here.env, "selfcall", "--json", *line, *ca)
        # A busy machine causes gaps of its own.
        assert [problem for problem in call["problems"] if "gaps" not in problem] == []
        assert call["replies"][1].startswith("This is my answer")
