"""
Which packets were received, and which have to be sent again: both ends of the delivery between two processes. Pure.

A channel layer delivers at most once. So packets are numbered, the receiver confirms them with the packets that it
sends itself, and the sender keeps each until then. A packet behind a gap is not used: it comes again with those before
it.

Processes of earlier versions confirm nothing. What is lost on the way to or from one of them ends the sessions.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal

from inference.remote import wire

PACKET_BYTES = wire.MAX_BYTES // 4
"""Limit of the encoded messages in one packet. It is that of a single message, so any message fits."""
PACKET_MESSAGES = 256
"""Messages in one packet, so that decoding a packet does not hold up the event loop."""
MAX_KEPT = 32 << 20
"""Bytes that may wait for one peer: what a hundred calls say and hear in ten seconds."""


class Incoming:
    """What was received from one peer."""

    def __init__(self) -> None:
        self.missing = False
        """A packet was received, but one before it was not: it must be sent again."""
        self._link = -1
        self._next = 0
        """The number that the next packet of the link should have."""

    @property
    def confirmed(self) -> tuple[int, int]:
        """The link, and the number up to which nothing on it is missing."""
        return max(0, self._link), self._next

    def check(self, packet: wire.Packet) -> Literal["next", "new link", "repeated", "gap"]:
        """
        Compare the packet's number with the expected one.

        A ``repeated`` packet came twice or too late and must be ignored. One behind a ``gap`` must be ignored as well;
        counting continues behind it only if its sender is of an earlier version, which will not repeat it.
        """
        if packet.link < self._link:
            return "repeated"
        is_new = packet.link > self._link
        # The sender knows of what lies before ``oldest`` that it was received, though this process may have forgotten.
        expected = max(0 if is_new else self._next, packet.oldest)
        if packet.number > expected:
            self.missing = packet.confirmed is not None
            if not self.missing:
                self._link, self._next = packet.link, packet.number + 1
            return "gap"
        if packet.counted and packet.number < expected:
            return "repeated"
        self._link, self._next, self.missing = packet.link, expected + packet.counted, False
        return "new link" if is_new else "next"


@dataclass(frozen=True, slots=True)
class Outbound:
    """A packet to send, before it is packed."""

    number: int
    messages: list[bytes]
    """They are encoded already."""
    counted: bool
    """Whether it takes its number, and is kept until it is confirmed."""


class Outgoing:
    """What is to be sent to one peer, and what it has not confirmed."""

    def __init__(self, link: int) -> None:
        self.link = link
        """The number of the link on which packets are sent to it."""
        self.number = 0
        """The number of the next packet on that link."""
        self.peer_confirms: bool | None = None
        """Whether the peer confirms packets; None until it was heard."""
        self.resend = False
        """All packets that were not confirmed are due to be sent again."""
        self.waiting_bytes = 0
        """The bytes of all messages that were not sent or not confirmed."""
        self._unsent: deque[bytes | None] = deque()
        """Encoded messages; None where a new link begins."""
        self._kept: deque[Outbound] = deque()
        """The packets that were not confirmed."""

    @property
    def has_unsent(self) -> bool:
        return bool(self._unsent)

    @property
    def has_unconfirmed(self) -> bool:
        return bool(self._kept)

    @property
    def oldest(self) -> int:
        """The number of the first packet that was not confirmed."""
        return self._kept[0].number if self._kept else self.number

    def add(self, message: bytes) -> None:
        self._unsent.append(message)
        self.waiting_bytes += len(message)

    def add_new_link(self) -> None:
        """Begin a new link behind the messages that wait."""
        self._unsent.append(None)

    def discard(self) -> None:
        """Forget what was not received by the peer. A new link must begin with the next packet."""
        self._unsent.clear()
        self._kept.clear()
        self.resend, self.waiting_bytes = False, 0
        self.add_new_link()

    def next_packet(self, new_link: int) -> Outbound:
        """
        The next packet, which may have no messages.

        If a new link is due it gets the number ``new_link``. What was not confirmed on the one before concerns sessions
        that are forgotten.
        """
        while self._unsent and self._unsent[0] is None:
            self._unsent.popleft()
            self._drop(len(self._kept))
            self.link, self.number, self.resend = new_link, 0, False
        messages: list[bytes] = []
        size = 0
        while self._unsent and (message := self._unsent[0]) is not None and len(messages) < PACKET_MESSAGES:
            if (size := size + len(message)) > PACKET_BYTES:
                break
            messages.append(message)
            self._unsent.popleft()
        # One without messages need not take a number, but earlier versions expect it.
        packet = Outbound(self.number, messages, counted=bool(messages) or not self.peer_confirms)
        if packet.counted:
            self._kept.append(packet)
            self.number += 1
        return packet

    def packets_again(self) -> list[Outbound]:
        """The packets that were not confirmed."""
        self.resend = False
        return list(self._kept)

    def take_confirmation(self, packet: wire.Packet) -> bool:
        """Note what the peer confirms with this packet. Returns whether it has confirmed anything new."""
        self.peer_confirms = packet.confirmed is not None
        if packet.confirmed is None:
            confirmed = len(self._kept)
        else:
            link, number = packet.confirmed
            confirmed = sum(each.number < number for each in self._kept) if link == self.link else 0
        self._drop(confirmed)
        self.resend = self.resend or (packet.missing and bool(self._kept))
        return confirmed > 0

    def _drop(self, count: int) -> None:
        for _ in range(count):
            self.waiting_bytes -= sum(map(len, self._kept.popleft().messages))
