"""Keys that the caller presses are a turn."""

from __future__ import annotations

from media.turns import events as ev
from media.turns.conversation import Floor
from media.turns.options import ConversationOptions
from tests.media.turns.phone import REPLY, Engines, Phone


def test_keys_are_a_turn():
    phone = Phone()
    for number, digit in enumerate("12#"):
        phone.at(1.0 + number * 0.3, ev.KeyPressed(digit))
    phone.wait_until(8.0)
    assert phone.transcript == [("caller", "[pressed 1 2 #]"), ("agent", REPLY)]


def test_a_key_does_not_make_the_caller_wait_anew():
    phone = Phone(engines=Engines(first_token=30.0))
    phone.caller_says("What time do you open?", start=0.5, end=1.5)
    phone.at(2.8, ev.KeyPressed("#"))
    phone.wait_until(5.0)
    assert phone.agent_turns[0] - 1.5 < 2.0


def test_a_key_pressed_in_the_goodbye_keeps_the_call():
    phone = Phone(ConversationOptions(still_there_after=2.0))
    phone.wait_until(6.0)
    assert phone.conversation.floor is Floor.AGENT  # "I can't hear you any more ..."
    phone.tell(ev.KeyPressed("#"))
    phone.wait_until(10.0)
    assert phone.hung_up is None
