"""The caller speaks over the agent: which words interrupt it, what stops it, and what was heard by then."""

from __future__ import annotations

import pytest

from media.turns import commands as cmd
from media.turns.barge_in import Overlap, classify, is_farewell
from media.turns.options import ConversationOptions
from tests.media.turns.phone import REPLY, Phone


@pytest.mark.parametrize(
    "text",
    [
        "mm-hm",
        "Mm-hmm.",
        "uh huh",
        "yeah",
        "Oh, okay.",
        "I see.",
        "right, right",
        "of course",
        "yes",
        "i know",
        "that's right",
        "okay thank you",
        "haha",
        "oh all right",
    ],
)
def test_murmurs_take_no_turn(text):
    assert classify(text) is Overlap.BACKCHANNEL


@pytest.mark.parametrize(
    "text",
    [
        "stop",
        "Wait, wait.",
        "okay stop",
        "hold on a second",
        "excuse me",
        "Never mind",
        "that's enough",
        "just a second",
    ],
)
def test_some_words_ask_the_agent_to_be_silent(text):
    assert classify(text) is Overlap.STOP


@pytest.mark.parametrize(
    "text",
    [
        "no that's wrong",
        "yeah but what about Sunday",
        "Tuesday",
        "I see a problem",
        "5551234",
        "да",
        "no",
        "no no",
        "i",
        "i seem to",
        "but",
        "what",
        "hello",
    ],
)
def test_other_words_are_the_caller_speaking(text):
    assert classify(text) is Overlap.WORDS


@pytest.mark.parametrize("text", ["", "  ", "...", "—"])
def test_a_text_without_words_is_nothing(text):
    assert classify(text) is Overlap.NOTHING


def test_five_murmured_words_want_the_floor():
    assert classify("yeah yeah yeah okay right") is Overlap.WORDS


@pytest.mark.parametrize("text", ["bye", "Okay, thank you, goodbye!", "bye bye", "have a nice day", "you too"])
def test_words_that_only_return_a_goodbye_are_a_farewell(text):
    assert is_farewell(text)


@pytest.mark.parametrize("text", ["", "bye but one more thing", "what about Sunday", "no", "да", "555"])
def test_words_that_say_more_are_not_a_farewell(text):
    assert not is_farewell(text)


def test_a_murmur_does_not_stop_the_agent():
    phone = Phone(ConversationOptions(greeting=REPLY))
    phone.caller_says("mm-hm", start=1.5, end=1.75)
    phone.wait_until(8.0)
    assert phone.sent(cmd.ClearPlayout) == []
    assert phone.transcript == [("agent", REPLY)]
    assert len(phone.agent_stretches) == 1


def test_a_longer_murmur_only_interrupts_the_sound_for_a_moment():
    phone = Phone(ConversationOptions(greeting=REPLY))
    phone.caller_says("mm-hm", start=1.5, end=1.9)
    phone.wait_until(8.0)
    assert len(phone.sent(cmd.ClearPlayout)) == 1
    (note,) = phone.notes("false-interruption")
    assert note.data["gap"] < 0.3
    assert phone.transcript == [("agent", REPLY)]
    (first, second) = phone.agent_stretches
    assert second[0] - first[1] < 0.4


def test_an_interruption_stops_the_agent_and_keeps_only_what_was_heard():
    phone = Phone(ConversationOptions(greeting=REPLY))
    phone.caller_says("no I meant the other office", start=2.0, end=3.6)
    phone.wait_until(9.0)
    cleared = phone.times(cmd.ClearPlayout)[0]
    assert cleared - 2.0 <= 0.4
    first = phone.turns[0]
    assert first.interrupted
    assert REPLY.startswith(first.heard)
    assert first.stages["barge_in_stop"] == pytest.approx(cleared - 2.0, abs=0.06)
    assert phone.transcript[1] == ("caller", "no I meant the other office")
    # What the language model is told is what the caller heard.
    assert phone.sent(cmd.StartReply)[-1].history[0] == cmd.Line("agent", first.heard)


def test_nothing_of_an_interrupted_reply_sounds_after_the_clear():
    phone = Phone(ConversationOptions(greeting=REPLY))
    phone.caller_says("no no I meant something else", start=2.0, end=4.0)
    phone.wait_until(4.0)
    cleared = phone.times(cmd.ClearPlayout)[0]
    assert phone.heard_frames[-1][0] <= cleared + phone.delay + 0.02


def test_the_word_stop_stops_the_agent_at_once():
    phone = Phone(ConversationOptions(greeting=REPLY))
    phone.caller_says("stop", start=2.0, end=2.24)
    phone.wait_until(2.7)
    assert phone.turns[0].interrupted


def test_words_right_after_a_murmur_count_as_an_interruption():
    phone = Phone(ConversationOptions(greeting=REPLY))
    phone.caller_says("okay", start=2.0, end=2.3)
    phone.caller_says("but Sunday", start=2.3, end=2.62)
    phone.wait_until(3.2)
    assert phone.turns[0].interrupted


def test_a_noise_of_a_second_is_not_an_interruption():
    phone = Phone(ConversationOptions(greeting=REPLY))
    phone.caller_makes_noise(start=1.5, end=2.5)
    phone.wait_until(9.0)
    assert phone.transcript == [("agent", REPLY)]


def test_the_stop_is_measured_from_the_first_sample_of_a_voice_with_short_gaps():
    phone = Phone(ConversationOptions(greeting=REPLY))
    for number in range(6):
        phone.caller_makes_noise(start=2.0 + number * 0.14, end=2.1 + number * 0.14)
    phone.caller_says("no not that one please", start=2.84, end=4.0)
    phone.wait_until(5.0)
    turn = phone.turns[0]
    assert turn.interrupted
    assert turn.stages["barge_in_stop"] == pytest.approx(phone.times(cmd.ClearPlayout)[0] - 2.0, abs=0.05)


def test_each_of_several_interruptions_keeps_what_was_heard():
    phone = Phone(ConversationOptions(greeting=REPLY))
    for start in (2.0, 6.0, 10.0):
        phone.caller_says("no I meant the other office", start=start, end=start + 1.5)
    phone.wait_until(20.0)
    assert [turn.interrupted for turn in phone.turns if turn.speaker == "agent"] == [True, True, True, False]
    assert [line.speaker for line in phone.sent(cmd.StartReply)[-1].history] == ["agent", "caller"] * 3


def test_an_interruption_of_the_first_sound_is_answered_as_a_whole():
    phone = Phone()
    phone.caller_says("What time do you open?", start=0.5, end=1.5)
    phone.wait_until(1.9)
    began = phone.times(cmd.SendAudio)[0]
    phone = Phone()
    phone.caller_says("What time do you open?", start=0.5, end=1.5)
    phone.caller_says("no I meant the other office", start=began - 0.05, end=began + 1.5)
    phone.wait_until(9.0)
    assert phone.sent(cmd.StartReply)[-1].history[-1].text.endswith("no I meant the other office")
    assert len(phone.agent_turns) <= 2


def test_the_heard_text_agrees_with_the_tape():
    for start in (1.1, 1.73, 2.39, 3.01):
        phone = Phone(ConversationOptions(greeting=REPLY), delay=0.06)
        phone.caller_says("no I meant the other office", start=start, end=start + 1.5)
        phone.wait_until(start + 1.0)
        heard = phone.turns[0].heard
        truth = phone.really_heard(phone.revisions[0])
        assert truth.startswith(heard)
        assert len(truth[len(heard) :].split()) <= 1, (heard, truth)


def test_marks_delayed_by_a_stalled_network_do_not_spoil_the_ledger():
    phone = Phone(ConversationOptions(greeting=REPLY))
    phone.network_stalls(start=0.8, end=2.4)
    phone.caller_says("no I meant the other office", start=2.6, end=4.0)
    phone.wait_until(3.5)
    heard, truth = phone.turns[0].heard.split(), phone.words_heard(phone.revisions[0])
    assert len(truth) - 1 <= len(heard) <= len(truth)
