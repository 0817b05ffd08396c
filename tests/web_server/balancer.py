"""A proxy in front of web servers on this machine: nothing new goes to one that is not ready or does not listen."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import aiohttp

from tests.real_services import ROOT, Process, process

UPDATING = ROOT / "docs" / "updating.md"
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


@contextmanager
def caddy_proxy(program: str, folder: Path, port: int, *ports: int) -> Iterator[Process]:
    """Run Caddy as docs/updating.md configures it, at ``port`` of this machine, for the servers at ``ports``."""
    block = re.search(r"^```\n(phone\.example\.com \{\n.*?)^```$", UPDATING.read_text(), re.DOTALL | re.MULTILINE)
    assert block is not None
    text = block[1].replace("phone.example.com", f"http://127.0.0.1:{port}")
    for documented, actual in zip(("8000", "8001"), ports, strict=True):
        text = text.replace(f"127.0.0.1:{documented}", f"127.0.0.1:{actual}")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "Caddyfile"
    path.write_text("{\n\tadmin off\n}\n" + text)
    env = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    with process(program, "run", "--adapter", "caddyfile", "--config", str(path), env=env) as caddy:
        caddy.wait_for("serving initial configuration")
        yield caddy
