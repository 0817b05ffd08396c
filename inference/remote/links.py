"""
Carries the messages between this process and others through a channel layer, for clients and workers alike.

Each engine of a process has one private channel. All sessions between two processes travel between their two channels,
and messages that gather while one packet is being sent leave together in the next. Compared with a channel for each
session that is one subscription instead of hundreds, and under load, with eight messages to a packet, a ninth of the
processor time (0.02 ms a message instead of 0.2).

A session never goes on with a gap: what is lost on the way is sent again (``delivery.py``). A session is lost, on both
sides, when the other side has been silent for several beats although the layer works (``layer_watch.py``). While the
layer does not work, for a while, sessions wait.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from time import perf_counter
from typing import Protocol

import msgspec

from inference import metrics
from inference.remote import wire
from inference.remote.delivery import MAX_KEPT, Incoming, Outbound, Outgoing
from inference.remote.layer_watch import LayerWatch
from inference.remote.outage import Outage
from inference.remote.waiting import cancel_and_wait, wait_at_most

logger = logging.getLogger(__name__)

BEAT = 0.1
"""Seconds. A process with a session sends each peer at least one packet in this time, so a lost packet is noticed when
the next one comes."""
SILENT_BEATS = 5
"""Beats without a sign of life after which a peer counts as dead: half a second, of which a third is hidden by the
audio that was sent ahead. Beats and not seconds: a process that was itself held up first reads what came meanwhile."""
LONGEST_OUTAGE = 150
"""Beats (15 s) for which sessions wait for a layer that does not work. A caller waits no longer."""
_AGAIN_AFTER = 3
"""Beats without a confirmation after which packets are sent again. Usually it comes with the next beat of the peer."""
_DEAF_BEATS = 30
"""Beats without a confirmation after which a peer that is heard counts as dead: it no longer hears this process."""
_MUTE_BEATS = 35
"""Beats without a packet after which a peer counts as dead whatever other signs of life it gives: an event loop that is
held up for longer is stuck."""
_IDLE_TRIES = 50
"""Beats for which a peer without sessions is sent again what it has not confirmed: it may never come back."""
_FORGET_AFTER = 6000
"""Beats (10 minutes) after which a peer without sessions is forgotten. If it comes back, nothing but its numbering was
lost."""
_SEND_TIMEOUT = 1.0
"""Seconds for sending a packet, with its repetition. Redis answers in milliseconds; a slower layer counts as failed."""
_FLUSH_TIMEOUT = 1.0
"""Seconds that closing waits for messages to be sent, and for leaving the group."""
_RETRY_AFTER = 0.5
"""Seconds between attempts to reach a layer that has failed."""
_WARN_AGAIN_AFTER = 60.0
"""Seconds between two warnings about the same kind of invalid message: a process of another version sends five a
second."""


class Layer(Protocol):
    """The methods of a channel layer that are used here."""

    async def new_channel(self, prefix: str) -> str: ...
    async def send(self, channel: str, message: wire.LayerMessage) -> None: ...
    async def receive(self, channel: str) -> wire.LayerMessage: ...
    async def group_add(self, group: str, channel: str) -> None: ...
    async def group_discard(self, group: str, channel: str) -> None: ...
    async def group_send(self, group: str, message: wire.LayerMessage) -> None: ...


class Session(Protocol):
    """One end of a session."""

    id: int
    peer: str
    """The channel of the process that has the other end."""

    def receive(self, message: wire.Message) -> None: ...

    def lose(self, error: wire.SessionLost) -> None:
        """
        The other end is gone, or some of its messages are.

        The links have forgotten the session already; the session must tell the other end, which may still have it.
        """


@dataclass(eq=False)
class _Peer:
    """Another process, what is to be sent to it, and what was received from it."""

    channel: str
    outgoing: Outgoing
    incoming: Incoming = field(default_factory=Incoming)
    sessions: dict[int, Session] = field(default_factory=dict)
    unknown: dict[int, int] = field(default_factory=dict)
    """
    Sessions that the peer has not mentioned yet, with the beats since they were opened. The peer may not know them, so
    they survive a new link of the peer.
    """
    silent_beats: int = 0
    """Beats since its last sign of life, while it has sessions."""
    mute_beats: int = 0
    """Beats since its last packet, while it has sessions."""
    unconfirmed_beats: int = 0
    """Beats since it last confirmed anything, or had nothing to confirm."""
    idle_beats: int = 0
    """Beats since a message was sent or received, while it has no sessions."""
    sent_in_beat: bool = False
    """A packet was sent in this beat, so none has to be sent only to show that this process is alive."""
    beat_due: bool = False
    """A packet has to be sent even if there are no messages."""
    confirm_due: bool = False
    """A packet with messages was received since the last one was sent."""
    asked_again: bool = False
    """The peer was asked in this beat for what is missing."""
    stalled: bool = False
    """The layer has failed; the next beat tries again."""


class Links:
    """
    The connections of one engine of this process to its peers.

    ``on_unknown_session`` receives messages of sessions that are not open here, with the channel of their sender.
    ``on_envelope`` receives envelopes that are not packets. ``on_beat`` is called once a beat. Messages to the channel
    layer's group ``group`` are received as well.
    """

    def __init__(
        self,
        layer: Layer,
        name: str,
        *,
        on_unknown_session: Callable[[str, wire.Message], None],
        on_envelope: Callable[[wire.Announcement | wire.Placement], None] = lambda envelope: None,
        on_beat: Callable[[], None] = lambda: None,
        group: str = "",
        max_silent_beats: int = SILENT_BEATS,
    ) -> None:
        self.channel = ""
        """The channel on which this process receives; "" until the layer was reached for the first time."""
        self.sessions: dict[int, Session] = {}
        """The open sessions with all peers."""
        self._layer = layer
        self._name = name
        self._group = group
        self._max_silent_beats = max_silent_beats
        self._on_unknown_session = on_unknown_session
        self._on_envelope = on_envelope
        self._on_beat = on_beat
        self._peers: dict[str, _Peer] = {}
        """The processes that messages were sent to or received from, by channel."""
        self._link_numbers = count()
        self._has_unsent = asyncio.Event()
        """Set when the writer has something to do."""
        self._all_sent = asyncio.Event()
        """Set while no message waits to be sent, or is being sent."""
        self._all_sent.set()
        self._send_outage = Outage(logger)
        self.layer = LayerWatch()
        """Whether the channel layer works."""
        self.other_version = ""
        """What was last heard of a process of another version of the protocol."""
        self._warn_again_at: dict[str, float] = {}
        """For each warning about an invalid message, the loop's time from which it may be logged again."""
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Return when messages are received. While the layer cannot be reached, keep trying."""
        outage = Outage(logger)
        while True:
            try:
                self.channel = self.channel or await self._layer.new_channel(f"{self._name}.")
                if self._group:
                    await self._layer.group_add(self._group, self.channel)
                break
            except Exception as error:
                outage.report("%s: cannot reach the channel layer, retrying: %s", self._name, error)
                await asyncio.sleep(_RETRY_AFTER)
        self._tasks = [asyncio.ensure_future(work()) for work in (self._read, self._write, self._beat, self._echo)]

    async def close(self) -> None:
        """Send the messages that are still waiting, if that is possible, and stop receiving."""
        if self._tasks and not self._all_sent.is_set():
            await wait_at_most(_FLUSH_TIMEOUT, self._all_sent)
        tasks, self._tasks = self._tasks, []
        await cancel_and_wait(*tasks)
        if self._group and self.channel:
            with suppress(Exception):
                async with asyncio.timeout(_FLUSH_TIMEOUT):
                    await self._layer.group_discard(self._group, self.channel)

    # -- sessions ---------------------------------------------------------------------------------------

    def add(self, session: Session, *, peer_knows: bool = True) -> None:
        """
        Deliver messages to the session from now on, and tell it when its peer is lost.

        It replaces a session with the same id. ``peer_knows`` says whether the peer has mentioned the session already.
        """
        peer = self._peer(session.peer)
        if not peer.sessions:
            if not peer.outgoing.peer_confirms:
                # What was lost before the session began will not come again, and does not concern it.
                peer.outgoing.add_new_link()
            peer.silent_beats = peer.mute_beats = peer.unconfirmed_beats = 0
        peer.sessions[session.id] = self.sessions[session.id] = session
        peer.unknown.pop(session.id, None)
        if not peer_knows:
            peer.unknown[session.id] = 0

    def remove(self, session: Session) -> None:
        """Deliver no more messages to the session. Does nothing if it was removed or replaced already."""
        if self.sessions.get(session.id) is session:
            del self.sessions[session.id]
            peer = self._peer(session.peer)
            peer.sessions.pop(session.id, None)
            peer.unknown.pop(session.id, None)

    def sessions_with(self, channel: str) -> list[Session]:
        return list(self._peer(channel).sessions.values())

    def send(self, channel: str, message: wire.Message) -> None:
        """Send the message soon and in order. Raises ``EngineError`` if it cannot be encoded."""
        self._peer(channel).outgoing.add(wire.encode(message))
        self._all_sent.clear()
        self._has_unsent.set()

    def _peer(self, channel: str) -> _Peer:
        if (peer := self._peers.get(channel)) is None:
            peer = self._peers[channel] = _Peer(channel, Outgoing(next(self._link_numbers)))
        return peer

    def hear(self, channel: str) -> None:
        """Note another sign of life of a peer than its packets."""
        if (peer := self._peers.get(channel)) is not None:
            peer.silent_beats = 0

    def _lose_sessions(self, peer: _Peer, reason: str) -> None:
        if peer.sessions:
            logger.warning("%s: lost %d sessions with %s: %s", self._name, len(peer.sessions), peer.channel, reason)
        for session in list(peer.sessions.values()):
            self._lose(session, reason)

    def _lose(self, session: Session, reason: str) -> None:
        self.remove(session)
        try:
            session.lose(wire.SessionLost(reason))
        except Exception:
            logger.exception("%s: unexpected error while ending a lost session", self._name)

    # -- sending ----------------------------------------------------------------------------------------

    async def _write(self) -> None:
        while True:
            await self._has_unsent.wait()
            self._has_unsent.clear()
            for peer in list(self._peers.values()):
                await self._send_to(peer)
            if not any(peer.outgoing.has_unsent for peer in self._peers.values()):
                self._all_sent.set()

    async def _send_to(self, peer: _Peer) -> None:
        """Send the packets that are due again, and the next new one. Others wait for their turn."""
        outgoing = peer.outgoing
        if peer.stalled:
            return
        if outgoing.resend:
            for packet in outgoing.packets_again():
                if not await self._send_packet(peer, packet):
                    return
        if outgoing.has_unsent or peer.beat_due:
            packet = outgoing.next_packet(next(self._link_numbers))
            if await self._send_packet(peer, packet) and outgoing.has_unsent:
                self._has_unsent.set()

    async def _send_packet(self, peer: _Peer, outbound: Outbound) -> bool:
        """Whether the layer has taken the packet. If not, a later beat sends again all that was not confirmed."""
        outgoing, incoming = peer.outgoing, peer.incoming
        peer.beat_due, peer.confirm_due, peer.sent_in_beat = False, False, True
        if outbound.messages:
            peer.idle_beats = 0
        packet = wire.pack(
            wire.EncodedPacket(
                self.channel,
                outgoing.link,
                outbound.number,
                [msgspec.Raw(message) for message in outbound.messages],
                counted=outbound.counted,
                oldest=outgoing.oldest,
                confirmed=incoming.confirmed,
                missing=incoming.missing,
            )
        )
        begun = perf_counter()
        try:
            async with asyncio.timeout(_SEND_TIMEOUT):
                try:
                    await self._layer.send(peer.channel, packet)
                except Exception:
                    # The connection may have died since it was last used. If the packet has arrived nevertheless, the
                    # peer recognises the repetition by its number.
                    await self._layer.send(peer.channel, packet)
        except Exception as error:
            metrics.REDIS_FAILED.inc()
            reason = str(error) or type(error).__name__
            self._send_outage.report("%s: the channel layer failed, retrying: %s", self._name, reason)
            outgoing.resend = peer.stalled = True
            return False
        self._send_outage.end()
        metrics.REDIS_SEND.observe(perf_counter() - begun)
        return True

    async def _echo(self) -> None:
        """Send this process a packet in every beat, to learn whether the layer works."""
        packet = wire.pack(wire.Packet(self.channel, 0, 0, []))
        while True:
            with suppress(Exception):
                async with asyncio.timeout(_SEND_TIMEOUT):
                    await self._layer.send(self.channel, packet)
            await asyncio.sleep(BEAT)

    # -- receiving --------------------------------------------------------------------------------------

    async def _read(self) -> None:
        failures = 0  # consecutive
        outage = Outage(logger)
        while True:
            try:
                message = await self._layer.receive(self.channel)
            except Exception as error:
                failures += 1
                outage.report("%s: cannot read from the channel layer, retrying: %r", self._name, error)
                await asyncio.sleep(min(_RETRY_AFTER, 0.01 * failures))
                continue
            failures = 0
            outage.end()
            try:
                envelope = wire.unpack(message)
            except wire.InvalidEnvelope as error:
                if isinstance(error, wire.OtherVersion):
                    self.other_version = str(error)
                self._warn_of_invalid_message(str(error))
                continue
            try:
                if isinstance(envelope, wire.Packet):
                    self._receive_packet(envelope)
                else:
                    self._on_envelope(envelope)
            except Exception:
                logger.exception("%s: unexpected error in handling a message; it is dropped", self._name)

    def _warn_of_invalid_message(self, reason: str) -> None:
        """Log each reason once in a while: a process of another version sends five such messages a second."""
        now = asyncio.get_running_loop().time()
        if now >= self._warn_again_at.get(reason, 0.0):
            if len(self._warn_again_at) > 100:
                self._warn_again_at.clear()
            self._warn_again_at[reason] = now + _WARN_AGAIN_AFTER
            logger.warning("%s: dropped an invalid message: %s", self._name, reason)

    def _receive_packet(self, packet: wire.Packet) -> None:
        if packet.sender == self.channel:
            self.layer.echo()
            return
        peer = self._peer(packet.sender)
        peer.silent_beats = peer.mute_beats = peer.idle_beats = 0
        if peer.outgoing.take_confirmation(packet):
            peer.unconfirmed_beats = 0
        if peer.outgoing.resend:
            self._has_unsent.set()
        match peer.incoming.check(packet):
            case "repeated":
                self._confirm_soon(peer)
                return
            case "gap" if peer.incoming.missing:
                if not peer.asked_again:
                    peer.asked_again = peer.beat_due = True
                    self._has_unsent.set()
                return
            case "gap":
                self._lose_sessions(peer, "messages were lost on the way")
            case "new link":
                for session in [known for id, known in peer.sessions.items() if id not in peer.unknown]:
                    self._lose(session, "the other side has started a new link")
        if packet.messages:
            self._confirm_soon(peer)
        for message in packet.messages:
            self._deliver(peer, message)

    def _confirm_soon(self, peer: _Peer) -> None:
        """Confirm what was received with the next beat, if nothing else is sent before."""
        peer.confirm_due = True

    def _deliver(self, peer: _Peer, message: wire.Message) -> None:
        session = self.sessions.get(message.session)
        if session is not None and session.peer != peer.channel:
            session = None
        try:
            if session is not None:
                peer.unknown.pop(session.id, None)
                session.receive(message)
            else:
                self._on_unknown_session(peer.channel, message)
        except Exception as error:
            # Only the session of the message ends; the other messages of the packet are delivered.
            logger.exception("%s: unexpected error in handling a %s", self._name, type(message).__name__)
            if session is not None:
                self._lose(session, f"{type(error).__name__}: {error}")

    # -- beats ------------------------------------------------------------------------------------------

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT)
            silence_counts = self.layer.beat()
            for peer in list(self._peers.values()):
                self._check_peer(peer, silence_counts=silence_counts)
            if silence_counts:
                try:
                    self._on_beat()
                except Exception:
                    logger.exception("%s: unexpected error in a beat", self._name)

    def _check_peer(self, peer: _Peer, *, silence_counts: bool) -> None:
        peer.stalled = False
        self._check_delivery(peer, silence_counts=silence_counts)
        if peer.sessions:
            self._check_sessions(peer, silence_counts=silence_counts)
        else:
            peer.idle_beats += 1
            if peer.idle_beats > _FORGET_AFTER:
                del self._peers[peer.channel]
        if (peer.sessions or peer.confirm_due or peer.incoming.missing) and not peer.sent_in_beat:
            peer.beat_due = True
        if peer.beat_due or peer.outgoing.has_unsent or peer.outgoing.resend:
            self._has_unsent.set()
        peer.sent_in_beat = peer.asked_again = False

    def _check_delivery(self, peer: _Peer, *, silence_counts: bool) -> None:
        """Send again what was not confirmed, and give up a peer that takes nothing."""
        outgoing = peer.outgoing
        if not outgoing.has_unconfirmed or outgoing.peer_confirms is False:
            peer.unconfirmed_beats = 0
            return
        if not silence_counts:
            return
        peer.unconfirmed_beats += 1
        if peer.sessions and peer.unconfirmed_beats > _DEAF_BEATS:
            self._give_up(peer, "the other side does not confirm what it is sent")
        elif not peer.sessions and peer.unconfirmed_beats > _IDLE_TRIES:
            outgoing.discard()
        elif peer.unconfirmed_beats % _AGAIN_AFTER == 0:
            outgoing.resend = True

    def _check_sessions(self, peer: _Peer, *, silence_counts: bool) -> None:
        peer.idle_beats = 0
        peer.silent_beats += silence_counts
        peer.mute_beats += silence_counts
        if peer.silent_beats > self._max_silent_beats:
            self._give_up(peer, f"the other side was silent for {self._max_silent_beats * BEAT:g} s")
        elif peer.mute_beats > max(_MUTE_BEATS, self._max_silent_beats):
            self._give_up(peer, f"the other side sent no packet for {_MUTE_BEATS * BEAT:g} s")
        elif self.layer.beats_without > LONGEST_OUTAGE:
            self._give_up(peer, f"the channel layer has not worked for {LONGEST_OUTAGE * BEAT:g} s")
        elif peer.outgoing.waiting_bytes > MAX_KEPT:
            self._give_up(peer, "too many messages wait for the other side")
        # A peer that never received the message which opens a session does not miss it either.
        peer.unknown = {id: beats + silence_counts for id, beats in peer.unknown.items()}
        for session in [peer.sessions[id] for id, beats in peer.unknown.items() if beats > self._max_silent_beats]:
            self._lose(session, "the other side does not know the session")

    def _give_up(self, peer: _Peer, reason: str) -> None:
        """Lose all sessions with the peer. A new link, on which it is told so, replaces what it has not received."""
        peer.outgoing.discard()
        self._lose_sessions(peer, reason)
