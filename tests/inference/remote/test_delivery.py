"""Every message arrives once and in order, or its session is lost; without a channel layer."""

import random

import pytest

from inference.remote import wire
from inference.remote.delivery import Incoming, Outbound, Outgoing

EARLIER = {"confirmed": None}
"""What a process of an earlier version sends."""


def packet(link: int, number: int, *messages: bytes, **fields) -> wire.Packet:
    # What messages mean makes no difference here, so that any bytes will do.
    return wire.Packet("a", link, number, list(messages), **{"confirmed": (0, 0), "counted": bool(messages), **fields})  # type: ignore[arg-type]


def check_numbers(*numbers: tuple[int, int], **fields) -> list[str]:
    incoming = Incoming()
    return [incoming.check(packet(link, number, b"m", **fields)) for link, number in numbers]


def test_consecutive_numbers_are_accepted():
    assert check_numbers((3, 0), (3, 1), (3, 2)) == ["new link", "next", "next"]


def test_what_lies_behind_a_gap_is_not_used_until_the_gap_is_filled():
    assert check_numbers((3, 0), (3, 2), (3, 3), (3, 1), (3, 2)) == ["new link", "gap", "gap", "next", "next"]


def test_a_process_of_an_earlier_version_does_not_fill_gaps():
    assert check_numbers((3, 0), (3, 2), (3, 3), **EARLIER) == ["new link", "gap", "next"]
    assert check_numbers((3, 7), (3, 8), **EARLIER) == ["gap", "next"]


def test_a_packet_that_comes_twice_or_late_is_ignored():
    assert check_numbers((3, 0), (3, 1), (3, 1), (3, 0)) == ["new link", "next", "repeated", "repeated"]


def test_a_new_link_begins_with_0():
    assert check_numbers((3, 0), (4, 0), (4, 1), (3, 1)) == ["new link", "new link", "next", "repeated"]
    assert check_numbers((3, 0), (4, 1), (4, 0)) == ["new link", "gap", "new link"]


def test_a_packet_without_messages_shows_what_is_missing_and_takes_no_number():
    incoming = Incoming()
    assert incoming.check(packet(3, 0)) == "new link"
    assert incoming.check(packet(3, 0, b"m")) == "next"
    assert (incoming.check(packet(3, 2)), incoming.missing) == ("gap", True)
    assert (incoming.check(packet(3, 1, b"m")), incoming.missing) == ("next", False)
    assert incoming.confirmed == (3, 2)


def test_a_process_that_has_forgotten_its_peer_does_not_wait_for_what_it_has_confirmed():
    assert Incoming().check(packet(3, 7, b"m", oldest=7)) == "new link"
    assert Incoming().check(packet(3, 7, b"m", oldest=6)) == "gap"


def test_a_confirmed_packet_is_not_sent_again():
    outgoing = Outgoing(1)
    outgoing.add(b"one")
    outgoing.next_packet(2)
    outgoing.add(b"two")
    outgoing.next_packet(2)
    assert outgoing.take_confirmation(packet(1, 0, confirmed=(1, 1), missing=True))
    assert outgoing.resend
    assert outgoing.packets_again() == [Outbound(1, [b"two"], counted=True)]
    assert outgoing.waiting_bytes == 3
    assert outgoing.take_confirmation(packet(1, 0, confirmed=(1, 2)))
    assert not outgoing.has_unconfirmed
    assert outgoing.waiting_bytes == 0


def test_nothing_is_kept_for_a_process_that_confirms_nothing():
    outgoing = Outgoing(1)
    outgoing.add(b"one")
    outgoing.next_packet(2)
    outgoing.take_confirmation(packet(1, 0, **EARLIER))
    assert not outgoing.has_unconfirmed
    assert [outgoing.next_packet(2).number for _ in range(2)] == [1, 2]  # it expects that every packet takes a number


def test_a_new_link_forgets_what_was_not_confirmed_on_the_one_before():
    outgoing = Outgoing(1)
    outgoing.add(b"one")
    outgoing.next_packet(2)
    outgoing.add_new_link()
    outgoing.add(b"two")
    two = outgoing.next_packet(2)
    assert two == Outbound(0, [b"two"], counted=True)
    assert (outgoing.link, outgoing.packets_again()) == (2, [two])


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_lost_or_comes_twice_all_messages_arrive_once_and_in_order(seed):
    randomness, outgoing, incoming = random.Random(seed), Outgoing(1), Incoming()
    sent, received = [], []

    def send(out: Outbound):
        fields = {"counted": out.counted, "oldest": outgoing.oldest}
        for _ in range(randomness.choice((0, 1, 1, 1, 2))):
            message = packet(outgoing.link, out.number, *out.messages, **fields)
            if incoming.check(message) in ("next", "new link"):
                received.extend(message.messages)

    for step in range(300):
        if step < 250 and randomness.random() < 0.7:
            sent.append(b"%d" % step)
            outgoing.add(sent[-1])
        send(outgoing.next_packet(2))
        if randomness.random() < 0.5:
            outgoing.take_confirmation(packet(1, 0, confirmed=incoming.confirmed, missing=incoming.missing))
        if outgoing.resend or step > 250:
            for again in outgoing.packets_again():
                send(again)
    assert received == sent
