"""The five commands of docs/deploying.md, as they stand there, from a bare directory to a call answered through TLS."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from media.phone.answering import CarrierTiming
from media.phone.caller import HangUp, ScriptedCaller, WaitForAgent
from media.phone.network import PhoneNetwork
from tests.media.whole_calls import ask
from tests.real_services import ROOT, Process, reserve_port
from tests.web_server.balancer import authority, caddy_program

ACCOUNT_SID, AUTH_TOKEN, OURS = "AC" + "5" * 32, "five-commands", "+15005550006"
PYTHON = Path(sys.executable).resolve().parent
"""The folder of the Python that the commands find."""
NOT_COPIED = (".git", ".venv*", "var", "__pycache__", ".*_cache", ".env", ".hypothesis")
"""What a clone does not have."""
HAS_INSTALLED = 900.0
"""Seconds for all packages to be installed, on a slow line."""


def commands() -> list[str]:
    """The five commands of the page."""
    page = (ROOT / "docs" / "deploying.md").read_text()
    block = page.partition("\n## Five commands\n")[2].partition("```console\n$ ")[2].partition("```")[0]
    found = [command.strip().replace("\\\n", " ") for command in block.split("\n$ ")]
    assert len(found) == 5
    return found


@asynccontextmanager
async def deployed(
    folder: Path, *, database_url: str, redis_url: str, settings: Mapping[str, str], installed: bool
) -> AsyncIterator[tuple[PhoneNetwork, float]]:
    """
    Run the five commands in an empty folder, and yield the network that calls the result, and when they were begun.

    With ``installed`` the environment of these tests takes the place of the one that ``make`` would make.
    """
    clone, *rest = commands()
    port, web = reserve_port(), reserve_port()
    url = "https://phone.example.com"
    env = {
        **{name: os.environ[name] for name in ("LANG", "TMPDIR") if name in os.environ},
        "PATH": f"{caddy_program().parent}:{PYTHON}:{os.environ['PATH']}",
        "HOME": str(folder),
        # For a machine that runs other things as well.
        "CADDY_BIND": "127.0.0.1",
        "CADDY_HTTP_PORT": str(reserve_port()),
        "CADDY_HTTPS_PORT": str(port),
        "CADDY_ADMIN": "off",
        "WEB_PROCESSES": f"127.0.0.1:{web}",
        # No public authority knows the name.
        "CADDY_CERTIFICATES": "local_certs",
    }
    async with AsyncExitStack() as stack:
        values = {
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "TWILIO_ACCOUNT_SID": ACCOUNT_SID,
            "TWILIO_AUTH_TOKEN": AUTH_TOKEN,
            "TWILIO_PHONE_NUMBER": OURS,
        }
        more = {"TWILIO_API_BASE_URL": "https://twilio.invalid", **settings}
        began = time.monotonic()
        assert re.fullmatch(r"git clone \S+/client-caller\.git && cd client-caller", clone)
        project = folder / "client-caller"
        await asyncio.to_thread(shutil.copytree, ROOT, project, ignore=shutil.ignore_patterns(*NOT_COPIED))
        if installed:
            (project / ".venv").symlink_to(Path(sys.executable).parent.parent)

        write, serve, work, proxy = rest
        given = [url if word.startswith("https:") else with_value(word, values) for word in shlex.split(write)]
        given += [f"{name}={value}" for name, value in more.items()]
        done = await asyncio.to_thread(subprocess.run, given, cwd=project, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        old = " --assume-old=.venv/.laptop" if installed else ""
        for command, ready in (
            (f"{serve} PORT={web}{old}", "Uvicorn running"),
            (f"{work}{old}", " ready"),
            (proxy, "certificate obtained successfully"),
        ):
            running = Process("sh", "-c", f"exec {command}", env=env, cwd=project)
            stack.callback(running.end)
            await asyncio.to_thread(running.wait_for, ready, timeout=HAS_INSTALLED)
        network = PhoneNetwork(
            app_url=f"https://127.0.0.1:{port}",
            public_url=url,
            account_sid=ACCOUNT_SID,
            auth_token=AUTH_TOKEN,
            timing=CarrierTiming(scale=1.0),
            ca_file=authority(folder),
        )
        yield await stack.enter_async_context(network), began


def with_value(word: str, values: Mapping[str, str]) -> str:
    name, assigned, _ = word.partition("=")
    return f"{name}={values[name]}" if assigned else word


async def call(network: PhoneNetwork, began: float) -> tuple[ScriptedCaller, float]:
    """Call the number and ask a question. Returns the caller, and the seconds until the agent was first heard."""
    caller = ScriptedCaller([WaitForAgent(), ask(), WaitForAgent(), HangUp()])
    made = await network.call_in(caller, from_number="+12025550123", to_number=OURS)
    first = asyncio.Event()

    def note(event: dict[str, object]) -> None:
        if event["event"] == "agent_speech_start":
            first.set()

    made.tape.on_event = note
    await asyncio.wait_for(first.wait(), 60)
    seconds = time.monotonic() - began
    await made.wait()
    await network.wait_until_idle()
    return caller, seconds
