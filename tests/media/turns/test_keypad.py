"""When the keys that the caller presses count as input."""

from __future__ import annotations

import pytest

from media.turns import commands as cmd
from media.turns import events as ev
from media.turns.conversation import Floor
from media.turns.keypad import Keypad
from media.turns.options import ConversationOptions
from tests.media.turns.phone import REPLY, Engines, Phone


def test_the_keys_pressed_are_a_turn():
    phone = Phone()
    for number, digit in enumerate("12#"):
        phone.at(1.0 + number * 0.3, ev.KeyPressed(digit))
    phone.wait_until(8.0)
    assert phone.transcript == [("caller", "[pressed 1 2 #]"), ("agent", REPLY)]


def test_a_key_pressed_while_waiting_does_not_start_the_wait_again():
    phone = Phone(engines=Engines(first_token=30.0))
    phone.caller_says("What time do you open?", start=0.5, end=1.5)
    phone.at(2.8, ev.KeyPressed("#"))
    phone.wait_until(5.0)
    assert phone.agent_turns[0] - 1.5 < 2.0


def test_a_key_pressed_in_the_goodbye_keeps_the_call():
    phone = Phone(ConversationOptions(still_there_after=2.0))
    phone.wait_until(6.0)
    assert phone.conversation.floor is Floor.AGENT  # "I can't hear you any more ..."
    phone.receive(ev.KeyPressed("#"))
    phone.wait_until(10.0)
    assert phone.hung_up is None


def test_keys_are_complete_when_no_other_key_follows():
    commands: list[cmd.Command] = []
    keypad = Keypad(ConversationOptions(keys_after=2.0), commands.append)
    assert keypad.deadline is None
    keypad.press("1", 10.0)
    keypad.press("2", 11.5)
    assert keypad.deadline == 13.5
    assert keypad.take(13.4) is None
    taken = keypad.take(13.5)
    assert taken is not None
    assert (taken.text, taken.pressed_at) == ("[pressed 1 2]", 11.5)
    assert keypad.take(20.0) is None
    assert commands == [cmd.Noted("key", 10.0, {"digit": "1"}), cmd.Noted("key", 11.5, {"digit": "2"})]


def test_the_hash_key_completes_the_input_at_once():
    keypad = Keypad(ConversationOptions(), lambda command: None)
    keypad.press("7", 10.0)
    keypad.press("#", 10.2)
    assert keypad.deadline == 10.2


def test_the_key_that_opts_out_is_not_part_of_an_input():
    keypad = Keypad(ConversationOptions(opt_out_key="9"), lambda command: None)
    assert keypad.press("1", 10.0)
    assert not keypad.press("9", 10.5)
    assert keypad.pending is not None
    assert keypad.pending.keys == "1"


@pytest.mark.parametrize(
    ("asked", "gap", "turns"),
    [
        ("Please press one or two.", 2.5, 1),
        ("Please press one or two.", 4.0, 2),
        ("Enter your account number, please.", 4.0, 1),
        ("What is the code on the back?", 4.5, 1),
        ("What is the code on the back?", 6.0, 2),
    ],
)
def test_people_have_more_time_between_the_keys_of_a_number(asked, gap, turns):
    """jambonz-feature-server#1306"""
    phone = Phone(ConversationOptions(greeting=asked), Engines(replies=["Thank you."]))
    phone.at(3.0, ev.KeyPressed("4"))
    phone.at(3.0 + gap, ev.KeyPressed("8"))
    phone.wait_until(24.0)
    assert len([turn for turn in phone.turns if turn.speaker == "caller"]) == turns


def test_words_between_the_keys_do_not_lose_any():
    """jambonz-feature-server#552"""
    phone = Phone(ConversationOptions(greeting="Enter your account number, please."))
    for start, digit in ((3.0, "4"), (4.0, "1"), (7.5, "5")):
        phone.at(start, ev.KeyPressed(digit))
    phone.caller_says("um", start=5.0, end=5.3)
    phone.wait_until(20.0)
    pressed = " ".join(turn.heard for turn in phone.turns if turn.speaker == "caller")
    assert [digit for digit in pressed if digit.isdigit()] == ["4", "1", "5"]


def test_a_key_before_any_word_is_answered():
    """twilio-agent-connect-typescript#96"""
    phone = Phone()
    phone.at(0.5, ev.KeyPressed("1"))
    phone.wait_until(9.0)
    assert phone.transcript == [("caller", "[pressed 1]"), ("agent", REPLY)]


def test_a_key_in_a_protected_greeting_counts_after_it():
    """jambonz-feature-server#382"""
    phone = Phone(ConversationOptions(greeting=REPLY, greeting_interruptible=False))
    phone.at(1.0, ev.KeyPressed("1"))
    phone.wait_until(9.0)
    assert phone.transcript[:2] == [("agent", REPLY), ("caller", "[pressed 1]")]
