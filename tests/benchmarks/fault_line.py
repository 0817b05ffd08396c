"""
A line to a server on this machine that can be cut, as a network between two machines is.

It is a process that passes on what comes: while it is frozen nothing passes, and connections stay open. What was sent
meanwhile arrives when the line is whole again, as TCP repeats it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.real_services import Process


class Line:
    """A line to this port, in a process of its own."""

    def __init__(self, to: int) -> None:
        self._process = Process(sys.executable, "-m", __name__, str(to), env=os.environ)
        self.port = int(self._process.wait_for(r"passes on (\d+)")[1])

    @contextmanager
    def cut(self) -> Iterator[None]:
        """Nothing passes in the block."""
        self._process.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.signal(signal.SIGCONT)

    def close(self) -> None:
        self._process.end()


async def serve(to: int) -> None:
    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", to)
        except OSError:
            writer.close()
            return
        await asyncio.gather(pass_on(reader, server_writer), pass_on(server_reader, writer))

    server = await asyncio.start_server(connect, "127.0.0.1", 0)
    print(f"passes on {server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        with suppress(OSError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
    finally:
        writer.close()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
