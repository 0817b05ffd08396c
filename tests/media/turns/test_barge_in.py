"""The caller speaks over the agent: which words interrupt it, what stops it, and what was heard by then."""

from __future__ import annotations

import pytest

from media.turns import commands as cmd
from media.turns.options import ConversationOptions
from tests.media.turns.phone import REPLY, Engines, Phone


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
    assert note.data["gap"] < 0.4
    assert phone.transcript == [("agent", REPLY)]
    (first, second) = phone.agent_stretches
    assert second[0] - first[1] < 0.5


def test_words_behind_a_short_gap_belong_to_the_agreement_before_them():
    """In a typed call the agent went on in the gap of a comma, and was stopped again after 0.4 s."""
    phone = Phone(ConversationOptions(greeting=REPLY))
    phone.caller_says("yes please", start=1.5, end=2.0)
    phone.caller_says("Thursday would be lovely", start=2.2, end=3.4)
    phone.wait_until(9.0)
    assert len(phone.sent(cmd.ClearPlayout)) == 1
    assert phone.notes("false-interruption") == []
    assert phone.transcript[1] == ("caller", "yes please Thursday would be lovely")


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
    # What the language model is told is what the caller heard, and that more was to come.
    assert phone.sent(cmd.StartReply)[-1].history[0] == cmd.Line(
        "agent", first.heard, first.said.removeprefix(first.heard).strip()
    )


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


@pytest.mark.parametrize("said", ["okay thank you", "right right right", "oh okay I see", "thanks that's great"])
def test_a_backchannel_of_nearly_a_second_lets_the_agent_go_on(said):
    """speech-to-speech#565, livekit#4039"""
    phone = Phone(ConversationOptions(greeting=REPLY))
    phone.caller_says(said, start=1.5, end=2.4)
    phone.wait_until(9.0)
    assert phone.transcript == [("agent", REPLY)]
    assert phone.sent(cmd.StartReply) == []


def test_a_backchannel_that_goes_on_as_a_question_takes_the_turn():
    phone = Phone(ConversationOptions(greeting=REPLY))
    phone.caller_says("okay right but what about Sunday afternoon", start=1.5, end=3.6)
    phone.wait_until(9.0)
    assert phone.turns[0].interrupted
    assert phone.turns[1].heard == "okay right but what about Sunday afternoon"


@pytest.mark.parametrize("said", ["no", "what?", "wrong", "help", "operator", "stop"])
def test_an_objection_of_a_quarter_of_a_second_is_heeded(said):
    """bolna#223, pipecat#1391"""
    phone = Phone(ConversationOptions(greeting=REPLY))
    phone.caller_says(said, start=1.5, end=1.78)
    phone.wait_until(2.3)
    assert phone.turns[0].interrupted


@pytest.mark.parametrize("lasts", [1.0, 1.6, 2.5, 4.0])
def test_a_noise_of_any_length_costs_nothing_of_the_reply(lasts):
    """livekit#4039"""
    phone = Phone(ConversationOptions(greeting=REPLY))
    phone.caller_makes_noise(start=1.0, end=1.0 + lasts)
    phone.wait_until(12.0)
    assert phone.transcript == [("agent", REPLY)]


def test_after_a_noise_the_agent_still_stops_for_words():
    phone = Phone(ConversationOptions(greeting=REPLY))
    phone.caller_makes_noise(start=0.6, end=1.2)
    phone.caller_says("no I meant the other office", start=2.4, end=3.9)
    phone.wait_until(9.0)
    assert phone.turns[0].interrupted
    assert phone.turns[1].heard == "no I meant the other office"


def test_words_after_a_long_noise_without_a_pause_are_heard():
    phone = Phone(ConversationOptions(greeting=f"{REPLY} {REPLY}"))
    phone.caller_says("", start=0.8, end=3.0)
    phone.caller_says("please stop talking", start=3.0, end=4.0)
    phone.wait_until(9.0)
    assert phone.turns[0].interrupted
    assert phone.turns[1].heard == "please stop talking"


def test_the_agents_own_words_from_a_speakerphone_take_no_turn():
    """pipecat#1771, call-center-ai#374"""
    phone = Phone(ConversationOptions(greeting=REPLY))
    phone.caller_says("We open at nine in the morning", start=0.25, end=1.4)
    phone.caller_says("On Sundays we open at ten", start=2.9, end=3.8)
    phone.wait_until(12.0)
    assert phone.transcript == [("agent", REPLY)]
    assert phone.sent(cmd.StartReply) == []
    assert len(phone.sent(cmd.ClearPlayout)) == 1


def test_an_echo_that_outlasts_the_agent_is_no_turn():
    phone = Phone(ConversationOptions(greeting="We open at nine in the morning every day."))
    phone.caller_says("nine in the morning every day", start=1.4, end=2.3)
    phone.wait_until(6.0)
    assert [speaker for speaker, _ in phone.transcript] == ["agent"]


@pytest.mark.parametrize("said", ["hello?", "hi", "are you there", "Good morning."])
def test_a_hello_into_the_greeting_is_answered_by_the_greeting(said):
    """awesome-phone-call-agents#415, livekit#4377"""
    phone = Phone(ConversationOptions(greeting="Good morning, this is Anna of the harbour clinic."))
    phone.caller_says(said, start=0.1, end=0.7)
    phone.wait_until(6.0)
    assert phone.transcript == [("agent", phone.options.greeting)]


def test_a_hello_every_few_seconds_into_a_slow_reply_cancels_no_reply():
    """pipecat#5842"""
    phone = Phone(engines=Engines(first_token=1.5))
    phone.caller_says("What time do you open?", start=0.5, end=1.6)
    for start in (2.6, 4.2, 5.8):
        phone.caller_says("hello?", start=start, end=start + 0.35)
    phone.wait_until(12.0)
    assert len(phone.sent(cmd.StartReply)) == 1
    assert phone.turns[1].heard == f"{phone.options.fillers[0]} {REPLY}"


def test_three_separate_backchannels_are_judged_one_by_one():
    """livekit#4270"""
    phone = Phone(ConversationOptions(greeting=f"{REPLY} {REPLY}"))
    for start, said in ((1.0, "yeah"), (3.0, "ok"), (5.0, "mm-hmm")):
        phone.caller_says(said, start=start, end=start + 0.3)
    phone.wait_until(14.0)
    assert [speaker for speaker, _ in phone.transcript] == ["agent"]
    assert not phone.turns[0].interrupted


def test_a_backchannel_that_needed_no_answer_is_no_part_of_the_next_turn():
    """livekit/agents-js#1983"""
    phone = Phone(ConversationOptions(greeting=REPLY))
    phone.caller_says("okay", start=1.0, end=1.3)
    phone.caller_says("my number is four one five.", start=4.5, end=6.0)
    phone.wait_until(9.0)
    assert phone.transcript[1] == ("caller", "my number is four one five.")


@pytest.mark.parametrize(
    ("said", "lasts", "answered"),
    # The telephone's voice activity outlasts a voice by 70 ms.
    [("here we go", 0.1, False), ("forward", 0.1, False), ("forward", 0.28, True), ("on Sunday", 0.28, True)],
)
def test_words_that_nobody_could_say_in_that_time_need_no_answer(said, lasts, answered):
    phone = Phone(ConversationOptions(greeting=REPLY))
    phone.caller_says(said, start=1.5, end=1.5 + lasts)
    phone.wait_until(12.0)
    assert ("agent", REPLY) in phone.transcript
    assert (("caller", said) in phone.transcript) is answered


def test_a_cough_leaves_a_pending_reply_alone():
    """livekit/agents#1229"""
    phone = Phone(engines=Engines(first_token=1.2))
    phone.caller_says("What time do you open?", start=0.5, end=1.5)
    phone.caller_makes_noise(start=2.3, end=2.7)
    phone.wait_until(9.0)
    assert len(phone.sent(cmd.StartReply)) == 1
    assert phone.transcript[-1][1].endswith(REPLY)


def test_a_short_gap_between_two_polite_phrases_does_not_end_the_overlap():
    phone = Phone(ConversationOptions(greeting=REPLY))
    phone.caller_says("okay", start=1.5, end=1.85)
    phone.caller_says("thank you", start=1.98, end=2.4)
    phone.wait_until(9.0)
    assert phone.transcript == [("agent", REPLY)]
    assert len(phone.sent(cmd.ClearPlayout)) == len(phone.notes("false-interruption")) == 1


OFFER = "We have a table at eight by the big window. Shall I book it for you?"


@pytest.mark.parametrize(("said", "start", "lasts"), [("yes", 2.4, 0.3), ("yes please", 2.3, 0.6), ("mm-hm", 2.4, 0.2)])
def test_an_answer_just_before_the_end_of_a_question_is_an_answer(said, start, lasts):
    phone = Phone(ConversationOptions(greeting=OFFER))
    phone.caller_says(said, start=start, end=start + lasts)
    phone.wait_until(9.0)
    assert phone.sent(cmd.StartReply)[-1].history[-1].text == said


@pytest.mark.parametrize("start", [0.8, 1.3, 1.6])
def test_a_backchannel_before_a_question_is_no_answer_to_it(start):
    phone = Phone(ConversationOptions(greeting=OFFER))
    phone.caller_says("okay", start=start, end=start + 0.3)
    phone.wait_until(6.0)
    assert phone.sent(cmd.StartReply) == []


@pytest.mark.parametrize("second", ["hello?", "yes?", ""])
def test_a_second_hello_or_a_noise_does_not_swallow_the_greeting_either(second):
    """awesome-phone-call-agents#415"""
    phone = Phone(ConversationOptions(greeting="Good morning, this is Anna of the harbour clinic."))
    phone.caller_says("hello?", start=0.0, end=0.5)
    phone.caller_says(second, start=1.4, end=1.9)
    phone.wait_until(6.0)
    assert phone.transcript == [("agent", phone.options.greeting)]


@pytest.mark.parametrize("lasts", [1.0, 2.0, 3.0])
def test_a_long_echo_takes_no_turn(lasts):
    """pipecat#1771, call-center-ai#374"""
    phone = Phone(ConversationOptions(greeting=REPLY))
    phone.caller_says("We open at nine in the morning every day", start=0.25, end=0.25 + lasts)
    phone.wait_until(9.0)
    assert phone.transcript == [("agent", REPLY)]


def test_words_behind_a_long_backchannel_still_stop_the_agent():
    phone = Phone(ConversationOptions(greeting=f"{REPLY} {REPLY}"))
    phone.caller_says("okay right yes I see but what about the Sunday after Easter then", start=1.0, end=5.5)
    phone.wait_until(12.0)
    assert phone.turns[0].interrupted
    assert phone.turns[1].heard.endswith("Easter then")
