"""The pieces of a reply or a turn that a client receives, and the credit that lets the worker send more."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

from inference.remote import wire
from inference.remote.placement import RemoteSession
from inference.types import EngineError

Item = TypeVar("Item")

_CREDIT_EVERY = wire.WINDOW // 4
"""Pieces after which credit is given: few enough that the worker never waits, and a quarter of the messages that credit
for each piece would take."""


class IncomingStream(Generic[Item]):
    """The pieces of one reply or turn, for one reader, which gives the worker credit for those that it has read."""

    def __init__(self) -> None:
        self.ended = False
        """The last piece was received, or the stream has failed."""
        self._items: deque[Item] = deque()
        self._changed = asyncio.Event()
        """Set when a piece or the end was received since the reader looked last."""
        self._error: EngineError | None = None
        self._uncredited = 0
        """Pieces that were read since credit was given."""

    def put(self, item: Item) -> None:
        self._items.append(item)
        self._changed.set()

    def end(self, error: EngineError | None = None) -> None:
        """End the stream, with an error if it is not complete. Only the first call counts."""
        if not self.ended:
            self.ended, self._error = True, error
            self._changed.set()

    async def next(self) -> Item | None:
        """Return the next piece, or None at the end. Raises the error with which the stream ended."""
        while not self._items:
            if self._error is not None:
                raise self._error
            if self.ended:
                return None
            self._changed.clear()
            await self._changed.wait()
        return self._items.popleft()

    def count_read(self, session: RemoteSession, request: int) -> None:
        """Count a piece that the reader has used, and give credit when it is due."""
        self._uncredited += 1
        if self._uncredited == _CREDIT_EVERY:
            self._uncredited = 0
            session.send(wire.Credit(session.id, request, _CREDIT_EVERY))
