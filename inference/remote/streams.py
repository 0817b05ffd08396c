"""What a worker sends, in order, for the one who reads it; and the credit that lets it send more."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

from inference.remote import wire
from inference.remote.placement import RemoteSession
from inference.types import (
    EngineError,
)

Item = TypeVar("Item")

_CREDIT_EVERY = wire.WINDOW // 4


class IncomingStream(Generic[Item]):
    """What comes of a reply or a turn, in order, for the one who reads it."""

    def __init__(self) -> None:
        self._items: deque[Item] = deque()
        self._changed = asyncio.Event()
        self._error: EngineError | None = None
        self.ended = False

    def put(self, item: Item) -> None:
        self._items.append(item)
        self._changed.set()

    def end(self, error: EngineError | None = None) -> None:
        """Only the first time counts."""
        if not self.ended:
            self.ended, self._error = True, error
            self._changed.set()

    async def next(self) -> Item | None:
        """None at the end. Raises ``EngineError`` where it broke off."""
        while not self._items:
            if self._error is not None:
                raise self._error
            if self.ended:
                return None
            self._changed.clear()
            await self._changed.wait()
        return self._items.popleft()


class CreditCounter:
    """Lets the worker send more as pieces are read."""

    def __init__(self) -> None:
        self._read = 0

    def piece(self, session: RemoteSession, request: int) -> None:
        self._read += 1
        if self._read == _CREDIT_EVERY:
            self._read = 0
            session.tell(wire.Credit(session.id, request, _CREDIT_EVERY))
