"""Neither side says anything."""

from __future__ import annotations

from media.turns import commands as cmd
from media.turns import events as ev
from media.turns.options import ConversationOptions
from tests.media.turns.phone import GREETING, Phone


def test_a_silent_caller_is_asked_once_and_then_let_go():
    phone = Phone(ConversationOptions(greeting=GREETING))
    phone.wait_until(40.0)
    assert [text for _, text in phone.transcript] == [
        GREETING,
        phone.options.still_there,
        phone.options.silence_goodbye,
    ]
    assert phone.hung_up == "silence"


def test_a_stalled_network_is_no_silent_caller():
    phone = Phone(ConversationOptions(greeting=GREETING))
    phone.network_stalls(start=2.0, end=30.0)
    phone.wait_until(29.0)
    assert [text for _, text in phone.transcript] == [GREETING]


def test_a_key_pressed_counts_against_silence():
    phone = Phone(ConversationOptions(still_there_after=3.0))
    phone.at(2.5, ev.KeyPressed("1"))
    phone.wait_until(4.4)
    assert phone.sent(cmd.SayLine) == []
