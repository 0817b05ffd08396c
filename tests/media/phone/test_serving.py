"""The end of a web server inside another program."""

import asyncio
import socket
from contextlib import suppress

import pytest
from aiohttp import web

from media.phone.serving import stop_server


@pytest.mark.parametrize("steps", range(6))
async def test_connections_are_closed_at_whatever_step_of_being_accepted_they_are(steps):
    runner = web.AppRunner(web.Application(), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    clients = [socket.create_connection(runner.addresses[0], timeout=5) for _ in range(3)]
    for _ in range(steps):
        await asyncio.sleep(0)
    await stop_server(runner)
    for client in clients:
        with client, suppress(ConnectionResetError):  # of one that was not accepted yet
            assert await asyncio.to_thread(client.recv, 1) == b""
