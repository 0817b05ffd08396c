"""One socket to Deepgram's Flux TTS for one call: its clock, and whose turn it is."""

from __future__ import annotations

import asyncio
from typing import Any

from inference.hosted.lease import Carrier, Lease
from inference.hosted.plan import Frame, Listener
from inference.hosted.sockets import SocketPool
from inference.types import EngineError


class FluxSession:
    """
    Holds a socket for a call, because its voice keeps the tone from one turn to the next, and counts what was played.

    It is the listener of the socket's lease. One utterance at a time has its messages, by a lease of its own.
    """

    def __init__(self, pool: SocketPool) -> None:
        self.played_ms = 0
        """Milliseconds of audio before the present turn, as the service counts them."""
        self.interrupted_ms = 0
        """The position of the last interruption, which the next one must exceed."""
        self.has_spoken = False
        self.is_idle = True
        """The service has nothing more to say of the utterance before. Set by its context."""
        self.ended_id = ""
        """The service's name of the last turn that is over."""
        self.is_lost = False
        self._turn: Lease | None = None
        self._lease = pool.take(self)
        self._opened_at = asyncio.get_running_loop().time()

    @property
    def lease(self) -> Lease:
        return self._lease

    @property
    def age(self) -> float:
        """Seconds since it was taken."""
        return asyncio.get_running_loop().time() - self._opened_at

    @property
    def is_usable(self) -> bool:
        """Whether another utterance can begin on it now."""
        return self._lease.open and not self.is_lost and self.is_idle and self._turn is None

    def take(self, listener: Listener) -> Lease:
        """Give the socket to an utterance."""
        self.has_spoken = True
        self._turn = TurnLease(self, listener)
        return self._turn

    def close(self) -> None:
        """The call has ended, or goes on with another socket. Whoever comes next must not get its tone."""
        if self._turn is not None:
            self._turn.release()
        self._lease.release(reuse=not self.has_spoken)

    # -- the listener of the socket -----------------------------------------------------------------------

    def receive(self, message: Any) -> None:
        if self._turn is not None:
            self._turn.receive(message)

    def lose(self, error: EngineError) -> None:
        self.is_lost = True
        turn, self._turn = self._turn, None
        if turn is not None:
            turn.lose(error)

    # -- the carrier of the utterance's lease -------------------------------------------------------------

    @property
    def notes(self) -> Any:
        return self._lease.notes

    def send(self, frame: Frame) -> None:
        self._lease.send(frame)

    def released(self, lease: Lease, socket: Carrier | None, reuse: bool) -> None:
        if self._turn is not lease:
            return
        self._turn = None
        self._lease.expect_nothing()
        if not reuse or not self.is_idle or not self._lease.connected:
            self._lease.release(reuse=False)  # whatever is still to come belongs to nobody


class TurnLease(Lease):
    """The right of one utterance to use the socket of its call."""

    def __init__(self, session: FluxSession, listener: Listener) -> None:
        super().__init__(session.released, listener, "turn")
        self._session = session
        self.place(session)

    @property
    def connected(self) -> bool:
        return self.open and self._session.lease.connected

    @property
    def has_connected(self) -> bool:
        return self._session.lease.has_connected

    def expect(self, patience: float) -> None:
        self._session.lease.expect(patience)

    def expect_nothing(self) -> None:
        self._session.lease.expect_nothing()
