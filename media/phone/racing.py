"""Waiting for the first of several things to happen on a call."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def first_result(*works: Coroutine[Any, Any, T]) -> T:
    """
    Return the result of the work that ends first, and cancel the others.

    If several have ended, the one that was named first counts. What the others raise is ignored.
    """
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return next(task for task in tasks if task.done()).result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
