"""Ends web servers of aiohttp that run for a while inside another program."""

from __future__ import annotations

import asyncio

from aiohttp import web


async def stop_server(runner: web.AppRunner) -> None:
    """
    Stop serving, and close all connections.

    A connection that asyncio is accepting when its server is closed is never closed (Python 3.11), so those are waited
    for.
    """
    while accepting := [task for task in asyncio.all_tasks() if "_accept_connection2" in repr(task.get_coro())]:
        await asyncio.wait(accepting)
    await runner.cleanup()
