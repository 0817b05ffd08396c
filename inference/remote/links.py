"""
The links between one process and others through a channel layer: what ``client.py`` and ``worker.py`` share.

Every engine of a process has one private channel. All sessions with one other process travel between the two channels:
what gathers while a message is on its way leaves together in the next one. Against a channel for each session that is
one subscription instead of hundreds, and at eight messages to a packet a ninth of the processor time (0.02 ms a message
instead of 0.2), where it matters: under load.

A session is never silently damaged. It is lost, on both sides, when a number is missing, when nothing was heard of the
other side for some beats, or when the layer fails.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Protocol

from inference.remote import wire

logger = logging.getLogger(__name__)

BEAT = 0.2
"""Seconds. Whoever has a session with another says something in each; so a loss shows by the next one."""
SILENT_BEATS = 5
"""Beats without a word after which a worker is taken for dead. Beats, not seconds: whoever was held up itself first
reads what came meanwhile."""
_FORGET_AFTER = 3000
"""Quiet beats."""
_PACKET_BYTES = wire.MAX_BYTES // 4
_PACKET_MESSAGES = 256
_SEND_TIMEOUT = 2.0
_FLUSH_TIMEOUT = 1.0
_RETRY_AFTER = 0.5
_COMPLAIN_EVERY = 60.0


class Layer(Protocol):
    """What is used of a channel layer."""

    async def new_channel(self, prefix: str) -> str: ...
    async def send(self, channel: str, message: dict[str, Any]) -> None: ...
    async def receive(self, channel: str) -> dict[str, Any]: ...
    async def group_add(self, group: str, channel: str) -> None: ...
    async def group_discard(self, group: str, channel: str) -> None: ...
    async def group_send(self, group: str, message: dict[str, Any]) -> None: ...


class Session(Protocol):
    """One end of a session."""

    id: int
    peer: str
    """The channel of the process that has the other end."""

    def receive(self, message: wire.Message) -> None: ...

    def lose(self, error: wire.Lost) -> None:
        """The other end is gone, or what it sent. The links have forgotten the session; the other end must be told."""


@dataclass(eq=False)
class _Peer:
    channel: str
    link: int
    number: int = 0
    waiting: deque[bytes | None] = field(default_factory=deque)
    """None is where a new link begins."""
    heard: wire.Numbering = field(default_factory=wire.Numbering)
    sessions: dict[int, Session] = field(default_factory=dict)
    fresh: dict[int, int] = field(default_factory=dict)
    """Those of which nothing was heard from there yet, with the beats since: they outlive a new link."""
    silent: int = 0
    quiet: int = 0
    spoke: bool = False
    beat_due: bool = False


async def end(*tasks: asyncio.Task[Any]) -> None:
    """
    Cancel them and wait until they have ended, whatever they raise.

    Cancelled again and again: what they await may swallow it (``asyncio.wait_for`` does, in Python 3.11, when it has
    its result in the same moment; Redis clients use it).
    """
    running = {task for task in tasks if not task.done()}
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=0.05)
    await asyncio.gather(*tasks, return_exceptions=True)


async def wait(event: asyncio.Event, seconds: float) -> None:
    """For the event, and no longer than that."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


class Links:
    """
    ``on_stranger`` gets messages of sessions that are not open here, ``on_notice`` what is no packet, ``on_beat``
    nothing, once a beat. ``group`` is listened to as well.
    """

    def __init__(
        self,
        layer: Layer,
        name: str,
        *,
        on_stranger: Callable[[str, wire.Message], None],
        on_notice: Callable[[wire.Envelope], None] = lambda envelope: None,
        on_beat: Callable[[], None] = lambda: None,
        group: str = "",
        silent_beats: int = SILENT_BEATS,
    ) -> None:
        self._layer = layer
        self._name = name
        self._group = group
        self._silent_beats = silent_beats
        self._on_stranger = on_stranger
        self._on_notice = on_notice
        self._on_beat = on_beat
        self.channel = ""
        self.sessions: dict[int, Session] = {}
        self._peers: dict[str, _Peer] = {}
        self._link_numbers = count()
        self._unsent = asyncio.Event()
        self._all_sent = asyncio.Event()
        self._sends = True
        self._complaints: dict[str, float] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Returns when messages are heard; without the layer it goes on trying."""
        complained = False
        while True:
            try:
                self.channel = self.channel or await self._layer.new_channel(f"{self._name}.")
                if self._group:
                    await self._layer.group_add(self._group, self.channel)
                break
            except Exception as error:
                if not complained:
                    logger.warning("%s: the channel layer cannot be reached, trying on: %s", self._name, error)
                    complained = True
                await asyncio.sleep(_RETRY_AFTER)
        self._tasks = [asyncio.ensure_future(work()) for work in (self._read, self._write, self._beat)]

    async def close(self) -> None:
        """Send what is still to be sent, if that is possible, and listen no more."""
        if self._tasks and any(peer.waiting for peer in self._peers.values()):
            await wait(self._all_sent, _FLUSH_TIMEOUT)
        tasks, self._tasks = self._tasks, []
        await end(*tasks)
        if self._group and self.channel:
            with suppress(Exception):
                async with asyncio.timeout(_FLUSH_TIMEOUT):
                    await self._layer.group_discard(self._group, self.channel)

    # -- sessions ---------------------------------------------------------------------------------------

    def join(self, session: Session, *, heard: bool = True) -> None:
        """
        From now on the session gets its messages, and learns when its peer is lost. It may take the place of another
        of its name. ``heard`` says whether its peer has spoken of it already, and so knows it.
        """
        peer = self._peer(session.peer)
        if not peer.sessions:
            # Whatever was lost before does not concern it.
            peer.waiting.append(None)
            peer.silent = 0
        peer.sessions[session.id] = self.sessions[session.id] = session
        peer.fresh.pop(session.id, None)
        if not heard:
            peer.fresh[session.id] = 0

    def leave(self, session: Session) -> None:
        """Harmless when it has left."""
        if self.sessions.get(session.id) is session:
            del self.sessions[session.id]
            peer = self._peer(session.peer)
            peer.sessions.pop(session.id, None)
            peer.fresh.pop(session.id, None)

    def of(self, channel: str) -> list[Session]:
        """The sessions with this peer."""
        return list(self._peer(channel).sessions.values())

    def tell(self, channel: str, message: wire.Message) -> None:
        """Send it, in order and soon. Raises ``EngineError`` if it is nothing that can be sent."""
        self._peer(channel).waiting.append(wire.seal(message))
        self._all_sent.clear()
        self._unsent.set()

    def _peer(self, channel: str) -> _Peer:
        if (peer := self._peers.get(channel)) is None:
            peer = self._peers[channel] = _Peer(channel, next(self._link_numbers))
        return peer

    def _lose(self, peer: _Peer, why: str) -> None:
        for session in list(peer.sessions.values()):
            self._lose_one(session, why)

    def _lose_one(self, session: Session, why: str) -> None:
        self.leave(session)
        try:
            session.lose(wire.Lost(why))
        except Exception:
            logger.exception("%s: ending a session failed", self._name)

    # -- tasks ------------------------------------------------------------------------------------------

    async def _write(self) -> None:
        while True:
            await self._unsent.wait()
            self._unsent.clear()
            for peer in list(self._peers.values()):
                if peer.waiting or peer.beat_due:
                    await self._send(peer)
            if not any(peer.waiting for peer in self._peers.values()):
                self._all_sent.set()

    async def _send(self, peer: _Peer) -> None:
        while peer.waiting and peer.waiting[0] is None:
            peer.waiting.popleft()
            peer.link, peer.number = next(self._link_numbers), 0
        messages: list[bytes] = []
        size = 0
        while peer.waiting and (message := peer.waiting[0]) is not None and len(messages) < _PACKET_MESSAGES:
            if (size := size + len(message)) > _PACKET_BYTES:
                break
            messages.append(message)
            peer.waiting.popleft()
        peer.beat_due, peer.spoke, peer.quiet = False, True, 0
        packet = wire.packet(self.channel, peer.link, peer.number, messages)
        peer.number += 1
        try:
            async with asyncio.timeout(_SEND_TIMEOUT):
                try:
                    await self._layer.send(peer.channel, packet)
                except Exception:
                    # A connection that has died since it was used last. By its number a repetition is told.
                    await self._layer.send(peer.channel, packet)
        except Exception as error:
            why = f"the channel layer failed: {str(error) or type(error).__name__}"
            if self._sends:
                logger.warning("%s: %s", self._name, why)
            self._sends = False
            self._begin_again(peer, messages, why)
        else:
            self._sends = True
            if peer.waiting:
                self._unsent.set()

    def _begin_again(self, peer: _Peer, unsent: list[bytes], why: str) -> None:
        """
        A new link, on which nothing is missing: all sessions are lost here, and their farewells are the first that the
        other side will hear, tried again with every beat.
        """
        peer.link, peer.number = next(self._link_numbers), 0
        if peer.sessions:
            peer.waiting.clear()
            self._lose(peer, why)
        else:
            peer.waiting.extendleft(reversed(unsent))

    async def _read(self) -> None:
        failures = 0
        while True:
            try:
                message = await self._layer.receive(self.channel)
            except Exception as error:
                failures += 1
                if failures == 1:
                    logger.warning("%s: what came cannot be read: %s: %s", self._name, type(error).__name__, error)
                await asyncio.sleep(min(_RETRY_AFTER, 0.01 * failures))
                continue
            failures = 0
            try:
                envelope = wire.unpack(message)
            except wire.Garbage as error:
                self._complain(str(error))
                continue
            try:
                if isinstance(envelope, wire.Packet):
                    self._take(envelope)
                else:
                    self._on_notice(envelope)
            except Exception:
                logger.exception("%s: a message could not be handled", self._name)

    def _complain(self, why: str) -> None:
        """One line for each, and not five in a second where somebody is of another version."""
        now = asyncio.get_running_loop().time()
        if now >= self._complaints.get(why, 0.0):
            if len(self._complaints) > 100:
                self._complaints.clear()
            self._complaints[why] = now + _COMPLAIN_EVERY
            logger.warning("%s: dropped a message: %s", self._name, why)

    def _take(self, packet: wire.Packet) -> None:
        peer = self._peer(packet.sender)
        peer.silent = peer.quiet = 0
        match peer.heard.take(packet):
            case "again":
                return
            case "gap":
                self._lose(peer, "messages were lost on the way")
            case "new":
                for known in [known for id, known in peer.sessions.items() if id not in peer.fresh]:
                    self._lose_one(known, "the other side has begun again")
        for message in packet.messages:
            session = self.sessions.get(message.session)
            if session is not None and session.peer != packet.sender:
                session = None
            try:
                if session is not None:
                    peer.fresh.pop(session.id, None)
                    session.receive(message)
                else:
                    self._on_stranger(packet.sender, message)
            except Exception as error:
                # Of one session; the others in the packet must not suffer.
                logger.exception("%s: failed on %s", self._name, type(message).__name__)
                if session is not None:
                    self._lose_one(session, f"{type(error).__name__}: {error}")

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT)
            for peer in list(self._peers.values()):
                self._look_at(peer)
            try:
                self._on_beat()
            except Exception:
                logger.exception("%s: a beat failed", self._name)

    def _look_at(self, peer: _Peer) -> None:
        if peer.sessions:
            peer.quiet = 0
            peer.silent += 1
            if peer.silent > self._silent_beats:
                self._lose(peer, f"nothing was heard of the other side for {self._silent_beats * BEAT:g} s")
            elif not peer.spoke:
                peer.beat_due = True
                self._unsent.set()
            # Who does not know of a session cannot miss what was lost of it.
            peer.fresh = {id: beats + 1 for id, beats in peer.fresh.items()}
            for session in [peer.sessions[id] for id, beats in peer.fresh.items() if beats > self._silent_beats]:
                self._lose_one(session, "the other side does not know of it")
        else:
            peer.quiet += 1
            if peer.waiting:
                self._unsent.set()
            elif peer.quiet > _FORGET_AFTER:
                del self._peers[peer.channel]
        peer.spoke = False
