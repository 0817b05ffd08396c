"""Says how to connect to one address of a hosted service (``Plan``), and what uses a socket (``Listener``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from inference.hosted.refusals import BASE_URL
from inference.types import EngineError

Frame = str | bytes
"""A text or a binary frame."""


class Listener(Protocol):
    """Uses a socket. Both methods are called on the loop's thread and must not block."""

    def receive(self, message: Any) -> None:
        """Take a message, as ``Plan.read`` returned it."""

    def lose(self, error: EngineError) -> None:
        """The socket is gone, or owed an answer for too long. Called once; nothing else is received after it."""


@dataclass(frozen=True, slots=True)
class Received:
    """One message of the server."""

    message: Any
    key: str | None = None
    """The key of the listener that it is for, where several share a socket. None: it is for all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How to connect to one address of a service, and what keeps its sockets alive."""

    provider: str
    """The name of the service in messages."""
    url: str
    """Must hold no key: it may be logged."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    key: str = ""
    """How operators call the key, for messages: ``DEEPGRAM_API_KEY``."""
    setting: str = BASE_URL
    """How operators call the address, for messages: ``DEEPGRAM_BASE_URL``."""
    read: Callable[[Frame], Received | None]
    """Decodes one frame of the server. None: it says nothing that matters. Anything it raises counts as that."""
    warm: int = 2
    """Sockets that are kept connected beside those in use."""
    limit: int = 50
    """The most sockets at once. More are refused as ``EngineFull``."""
    shares: int = 1
    """The most listeners on one socket."""
    hello: Sequence[Frame] = ()
    """What is sent as soon as a socket is connected."""
    is_ready: Callable[[Any], bool] | None = None
    """Whether this message of the server says that a new socket can be used. None: it can at once."""
    failure: Callable[[Any], EngineError | None] = lambda message: None
    """The error, if a message says that the socket as a whole has failed."""
    keep_alive: Frame | None = None
    """Sent when nothing else was for ``keep_alive_every`` seconds."""
    keep_alive_every: float = 4.0
    ping_every: float = 5.0
    """Seconds without a message after which the server is asked for a sign of life."""
    renew_after: float = 300.0
    """Seconds after which an idle socket is replaced by a new one, because the service would close it."""
    connect_timeout: float = 3.0
    """Seconds for the handshake and until the socket is ready."""
    notes: Callable[[], Any] = lambda: None
    """Makes an object for each socket, in which its listeners keep what they know of it (``Lease.notes``)."""
