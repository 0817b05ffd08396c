"""The messages that wait for the socket of one stream."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

MAX_UNSENT = 400
"""Messages that may wait: 20 s of speech. A socket that takes none for so long is dead."""


class Outbox:
    """
    The messages that have not been sent yet, in order.

    ``on_overflow`` is called when more than ``MAX_UNSENT`` wait; what waited is dropped.
    """

    def __init__(self, on_overflow: Callable[[], None]) -> None:
        self._on_overflow = on_overflow
        self._messages: deque[str] = deque()
        self._filled = asyncio.Event()

    def put(self, message: str) -> None:
        self._messages.append(message)
        self._filled.set()
        if len(self._messages) > MAX_UNSENT:
            self._messages.clear()
            self._on_overflow()

    def clear(self) -> None:
        """Drop what waits."""
        self._messages.clear()

    async def get(self) -> str:
        """The next message, as soon as there is one."""
        while not self._messages:
            self._filled.clear()
            await self._filled.wait()
        return self._messages.popleft()
