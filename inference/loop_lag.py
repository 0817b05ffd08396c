"""Measures how late an event loop runs what is due."""

from __future__ import annotations

import asyncio
from time import perf_counter

from inference import metrics

INTERVAL = 0.1
"""Seconds between two looks. A loop that is held up for a time is noticed at the end of it, whatever its length."""


async def watch_loop() -> None:
    """Measure until cancelled."""
    due = perf_counter() + INTERVAL
    metrics.LOOP_BLOCKED.set_function(lambda: max(0.0, perf_counter() - due))
    try:
        while True:
            due = perf_counter() + INTERVAL  # the clock of uvloop stands still between two looks at what is due
            await asyncio.sleep(INTERVAL)
            metrics.LOOP_LAG.observe(max(0.0, perf_counter() - due))
    finally:
        metrics.LOOP_BLOCKED.set_function(lambda: 0.0)
