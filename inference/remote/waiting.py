"""Waits for events with a limit, and cancels tasks and waits for their end."""

from __future__ import annotations

import asyncio
from contextlib import suppress


async def cancel_and_wait(*tasks: asyncio.Task[object]) -> None:
    """
    Cancel the tasks and wait until they have ended, whatever they raise.

    They are cancelled repeatedly, because what they await may swallow a cancellation: ``asyncio.wait_for``, which Redis
    clients use, does so in Python 3.11 when its result comes in the same moment.
    """
    running = {task for task in tasks if not task.done()}
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=0.05)
    await asyncio.gather(*tasks, return_exceptions=True)


async def wait_at_most(seconds: float, event: asyncio.Event) -> None:
    """Wait until the event is set or the time is over."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
