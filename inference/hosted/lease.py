"""A listener's right to use one of the sockets of a pool."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Protocol

from inference.hosted.plan import Frame, Listener
from inference.types import EngineError

logger = logging.getLogger(__name__)


class Carrier(Protocol):
    """The socket of a lease."""

    @property
    def notes(self) -> Any: ...

    def send(self, frame: Frame) -> None: ...


class Lease:
    """
    A listener's right to use a socket, until it is released.

    If no socket is connected yet, what is sent waits for one. Everything is ignored after ``release`` or after the
    listener has lost the socket.
    """

    def __init__(
        self, released: Callable[[Lease, Carrier | None, bool], None], listener: Listener, key: str, *, url: str = ""
    ) -> None:
        self.key = key
        self.url = url
        """The address to which its socket must be connected."""
        self._released = released
        self._listener: Listener | None = listener
        self._socket: Carrier | None = None
        self._waiting: list[Frame] = []
        """Frames that wait for a socket."""
        self._has_connected = False
        self.patience = 0.0
        """Seconds that the server may owe a message."""
        self._owed_since: float | None = None
        """Since when the server owes this listener a message, or since when it last sent one meanwhile."""

    @property
    def open(self) -> bool:
        """Whether the lease was neither released nor lost."""
        return self._listener is not None

    @property
    def connected(self) -> bool:
        """Whether it has a socket that is connected."""
        return self._socket is not None

    @property
    def has_connected(self) -> bool:
        """Whether it had a socket that was connected, so that what was sent by it may have left."""
        return self._has_connected

    @property
    def notes(self) -> Any:
        """The notes of the socket, from ``Plan.notes``; None before it is connected."""
        return self._socket.notes if self._socket is not None else None

    def send(self, frame: Frame) -> None:
        """Send a frame after all others that were sent by this listener. Never waits."""
        if self._socket is not None:
            self._socket.send(frame)
        elif self.open:
            self._waiting.append(frame)

    def expect(self, patience: float) -> None:
        """The server owes a message. The socket is lost if it sends nothing to this listener for that many seconds."""
        self.patience = patience
        self._owed_since = asyncio.get_running_loop().time()

    def expect_nothing(self) -> None:
        """The server owes nothing any more."""
        self._owed_since = None

    def release(self, *, reuse: bool = True) -> None:
        """
        Receive nothing more. ``reuse`` says whether the socket can serve others; otherwise it is closed, once nobody
        else uses it.
        """
        if self._listener is None:
            return
        self._listener = None
        self._waiting.clear()
        self._released(self, self._socket, reuse)
        self._socket = None

    # -- called by the pool -------------------------------------------------------------------------------

    def place(self, socket: Carrier) -> None:
        self._socket, self._has_connected = socket, True
        for frame in self._waiting:
            socket.send(frame)
        self._waiting.clear()
        if self._owed_since is not None:  # the wait for a connection has a limit of its own
            self._owed_since = asyncio.get_running_loop().time()

    def receive(self, message: Any) -> None:
        if self._owed_since is not None:
            self._owed_since = asyncio.get_running_loop().time()
        if self._listener is not None:
            self._listener.receive(message)

    def lose(self, error: EngineError) -> None:
        listener, self._listener, self._socket = self._listener, None, None
        self._waiting.clear()
        if listener is not None:
            listener.lose(error)

    def postpone(self, seconds: float) -> None:
        if self._owed_since is not None:
            self._owed_since += seconds

    def is_overdue(self, now: float) -> bool:
        return self._owed_since is not None and now - self._owed_since > self.patience


def tell(method: Callable[[Any], None], what: Any) -> None:
    """Call a listener, whose mistakes must not end the socket of others."""
    try:
        method(what)
    except Exception:
        logger.exception("A listener of a socket failed")
