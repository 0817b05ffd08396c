"""What the caller is saying, and what happens when recognition finds no words or fails."""

from __future__ import annotations

from media.turns import events as ev
from media.turns.conversation import Floor
from media.turns.options import ConversationOptions
from tests.media.turns.phone import REPLY, Engines, Phone


def test_noise_without_words_is_no_turn():
    phone = Phone()
    phone.caller_makes_noise(start=1.0, end=1.3)
    phone.wait_until(4.0)
    assert phone.turns == []
    assert phone.conversation.floor is Floor.IDLE


def test_a_mumble_is_asked_about():
    phone = Phone()
    phone.caller_makes_noise(start=1.0, end=2.2)
    phone.wait_until(6.0)
    assert phone.transcript == [("agent", phone.options.not_caught)]


def test_recognition_that_stalls_is_answered_for_from_the_last_partial():
    phone = Phone(engines=Engines(snapshot=1000.0))
    phone.caller_says("What time do you open?", start=0.5, end=1.5)
    phone.at(1.4, ev.TranscriptPartial(1, "what time do you open"))
    phone.wait_until(8.0)
    assert phone.transcript[0] == ("caller", "what time do you open")
    assert phone.agent_turns[0] - 1.5 < 2.0


def test_recognition_that_is_gone_leads_to_a_polite_end():
    phone = Phone(engines=Engines(snapshot=1000.0))
    for start in (0.5, 6.0, 12.0):
        phone.caller_says("What time do you open?", start=start, end=start + 1.0)
    phone.wait_until(25.0)
    caught = phone.options.not_caught
    assert [text for _, text in phone.transcript] == [caught, caught, phone.options.trouble_goodbye]
    assert phone.hung_up == "engines-failed"


def test_words_that_recognition_takes_long_over_are_not_lost():
    phone = Phone(ConversationOptions(greeting=REPLY), Engines(snapshot=1.4))
    phone.caller_says("no not that", start=1.5, end=2.1)
    phone.wait_until(12.0)
    assert ("caller", "no not that") in phone.transcript
