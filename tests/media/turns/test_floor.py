"""Who has the floor: stories of turns that pass between the caller and the agent."""

from __future__ import annotations

import pytest

from media.turns import commands as cmd
from media.turns import events as ev
from media.turns.options import ConversationOptions
from tests.media.turns.phone import GREETING, REPLY, SHORT, Engines, Phone


def test_a_question_is_answered_soon_after_it_ends():
    phone = Phone()
    phone.caller_says("What time do you open?", start=1.0, end=2.2)
    phone.wait_until(8.0)
    # 240 ms of engine work, begun at 100 ms of silence; the rest is the way here and the windows of voice.
    assert phone.agent_turns == [pytest.approx(2.2 + 0.36, abs=0.05)]
    assert phone.transcript == [("caller", "What time do you open?"), ("agent", REPLY)]


def test_fast_engines_wait_for_the_end_of_the_turn_and_no_longer():
    phone = Phone(engines=Engines(snapshot=0.01, first_token=0.01, clause=0.01, first_audio=0.01))
    phone.caller_says("What time do you open?", start=1.0, end=2.2)
    phone.wait_until(4.0)
    assert phone.agent_turns == [pytest.approx(2.2 + 0.25, abs=0.07)]


def test_a_pause_inside_a_sentence_keeps_the_turn():
    phone = Phone()
    phone.caller_says("I would like to", start=0.0, end=1.2)  # plainly unfinished: a long wait
    phone.caller_says("change my booking.", start=1.9, end=2.9)  # complete: a short one
    phone.wait_until(4.0)
    assert len(phone.agent_turns) == 1
    assert phone.agent_turns[0] > 2.9
    assert phone.transcript[0] == ("caller", "I would like to change my booking.")


def test_a_reply_started_in_a_pause_is_dropped_when_the_caller_goes_on():
    phone = Phone()
    phone.caller_says("I would like to", start=0.0, end=1.2)
    phone.caller_says("know your prices.", start=1.7, end=2.6)
    phone.wait_until(7.0)
    begun = phone.sent(cmd.StartReply)
    assert [reply.speculative for reply in begun] == [True, True]
    assert begun[0].revision in phone.stopped
    assert phone.turns[0].speculations == 2
    assert phone.turns[0].speculation_hit


def test_without_speculation_the_reply_is_started_when_the_turn_is_over():
    phone = Phone(ConversationOptions(speculate=False))
    phone.caller_says("What time do you open?", start=0.5, end=1.7)
    phone.wait_until(4.0)
    assert [reply.speculative for reply in phone.sent(cmd.StartReply)] == [False]
    assert phone.times(cmd.StartReply)[0] >= 1.7 + 0.25


def test_a_caller_who_goes_on_before_the_agent_sounds_takes_the_turn_back():
    phone = Phone(engines=Engines(first_token=0.8))
    phone.caller_says("What time do you open?", start=0.5, end=1.5)
    phone.caller_says("On Sundays I mean.", start=2.0, end=3.0)
    phone.wait_until(9.0)
    assert phone.notes("caller-went-on")
    assert phone.sent(cmd.StartReply)[-1].history[-1].text == "What time do you open? On Sundays I mean."
    assert len(phone.agent_turns) == 1


def test_a_cough_before_the_agent_sounds_does_not_lose_the_answer():
    phone = Phone(engines=Engines(first_token=0.8))
    phone.caller_says("What time do you open?", start=0.5, end=1.5)
    phone.caller_makes_noise(start=2.0, end=2.15)
    phone.wait_until(9.0)
    assert phone.transcript[-1] == ("agent", REPLY)


def test_a_short_answer_before_the_agent_sounds_is_part_of_the_turn():
    """People do not murmur into a silence."""
    phone = Phone(engines=Engines(first_token=0.8))
    phone.caller_says("Is it Tuesday that you mean?", start=0.5, end=1.5)
    phone.caller_says("yes", start=2.0, end=2.2)
    phone.wait_until(9.0)
    assert phone.sent(cmd.StartReply)[-1].history[-1].text == "Is it Tuesday that you mean? yes"


def test_words_spoken_into_the_end_of_a_reply_are_the_next_turn():
    phone = Phone(ConversationOptions(greeting="Would you like to hear our opening hours?"))
    end = 41 * 0.04
    phone.caller_says("Yes.", start=end - 0.2, end=end + 0.15)
    phone.wait_until(7.0)
    assert [speaker for speaker, _ in phone.transcript] == ["agent", "caller", "agent"]
    assert not phone.turns[0].interrupted


def test_a_protected_greeting_is_finished_and_a_question_during_it_is_answered():
    phone = Phone(ConversationOptions(greeting=GREETING, greeting_interruptible=False))
    phone.caller_says("Can I ask you something?", start=0.3, end=1.1)
    phone.wait_until(8.0)
    assert phone.sent(cmd.ClearPlayout) == []
    assert [speaker for speaker, _ in phone.transcript] == ["agent", "caller", "agent"]


def test_words_that_begin_with_wait_in_a_protected_greeting_are_not_lost():
    phone = Phone(ConversationOptions(greeting=REPLY, greeting_interruptible=False))
    phone.caller_says("Wait, I have a question", start=0.5, end=1.2)
    phone.wait_until(9.0)
    assert phone.sent(cmd.StartReply)[-1].history[-1].text == "Wait, I have a question"


def test_a_noise_before_the_greeting_does_not_stop_it():
    phone = Phone(ConversationOptions(greeting=GREETING), Engines(line=0.5))
    phone.caller_makes_noise(start=0.3, end=0.9)
    phone.wait_until(5.0)
    assert phone.transcript == [("agent", GREETING)]


def test_a_stalled_network_does_not_count_as_the_end_of_a_turn():
    phone = Phone()
    phone.caller_says("What time do you open on the Sunday after Christmas?", start=0.5, end=3.5)
    phone.network_stalls(start=1.5, end=6.0)
    phone.wait_until(5.9)
    assert phone.sent(cmd.StartReply) == []
    phone.wait_until(12.0)
    assert phone.transcript[0] == ("caller", "What time do you open on the Sunday after Christmas?")


def test_a_caller_who_talks_for_minutes_has_the_turn_until_the_time_is_up():
    phone = Phone(ConversationOptions(max_duration=200.0))
    story = " ".join(f"then {number} people came" for number in range(300))
    phone.caller_says(story, start=1.0, end=400.0)
    phone.wait_until(195.0)
    assert phone.agent_turns == []
    phone.wait_until(230.0)
    assert phone.hung_up == "max-duration"
    assert phone.transcript[-1] == ("agent", phone.options.time_up)


def test_short_gaps_between_words_keep_the_turn():
    phone = Phone()
    for number, word in enumerate("what time do you open on Sundays then?".split()):
        phone.caller_says(word, start=1.0 + number * 0.3, end=1.1 + number * 0.3)
    phone.wait_until(9.0)
    assert phone.transcript[0] == ("caller", "what time do you open on Sundays then?")
    assert len(phone.agent_turns) == 1


def test_a_cut_in_is_counted_when_the_agent_starts_in_a_pause_of_the_caller():
    phone = Phone(engines=Engines(snapshot=0.01, first_token=0.01, clause=0.01, first_audio=0.01))
    phone.caller_says("What time do you open?", start=0.5, end=1.5)
    phone.caller_says("I mean on Sundays", start=2.0, end=3.0)
    phone.wait_until(6.0)
    assert len(phone.notes("cut-in")) == 1


def test_a_murmur_just_after_the_agent_began_is_not_a_cut_in():
    phone = Phone()
    phone.caller_says("What time do you open?", start=0.5, end=1.5)
    phone.caller_says("mm-hm", start=2.2, end=2.4)
    phone.wait_until(9.0)
    assert phone.notes("cut-in") == []


def test_the_agent_says_what_the_operator_requests():
    phone = Phone(ConversationOptions(greeting=GREETING))
    phone.at(0.5, ev.SayRequested("Your table is ready."))
    phone.wait_until(5.0)
    assert phone.transcript == [("agent", f"{GREETING} Your table is ready.")]


def test_a_requested_line_is_said_later_if_the_caller_speaks_first():
    phone = Phone(engines=Engines(line=0.3))
    phone.caller_says("What time do you open?", start=1.0, end=2.0)
    phone.at(0.9, ev.SayRequested("Your table is ready."))
    phone.wait_until(12.0)
    assert phone.transcript[-1] == ("agent", f"{REPLY} Your table is ready.")


def test_a_requested_line_that_was_interrupted_is_said_again_and_whole():
    phone = Phone(ConversationOptions(greeting=GREETING), Engines(replies=[SHORT]))
    line = "Your table is ready, and it is the one by the window."
    phone.at(2.0, ev.SayRequested(line))
    phone.caller_says("Which table is that?", start=2.7, end=3.7)
    phone.wait_until(12.0)
    assert phone.transcript[-1] == ("agent", f"{SHORT} {line}")


def test_a_requested_line_that_is_interrupted_each_time_is_given_up():
    phone = Phone(engines=Engines(replies=[SHORT]))
    line = "Your table is ready, and it is the one by the window, where you can see the sea."
    phone.at(1.0, ev.SayRequested(line))
    begun = 0
    while phone.now < 60.0:
        phone.wait_until(phone.now + 0.5)
        lines = [when for when, command in phone.commands if isinstance(command, cmd.SayLine) and command.text == line]
        if len(lines) > begun:
            begun = len(lines)
            phone.caller_says("No, stop that please.", start=phone.now + 0.5, end=phone.now + 1.5)
    assert begun == 3


def test_a_request_to_say_nothing_is_ignored():
    phone = Phone()
    phone.at(1.0, ev.SayRequested("  "))
    phone.wait_until(3.0)
    assert phone.transcript == []
    assert phone.hung_up is None


# A reply that is too long


def call_with_a_long_reply() -> Phone:
    """A call in which the first reply goes on after what is said of it."""
    phone = Phone(engines=Engines(replies=[SHORT, "On Sundays we open at ten."], unsaid={0: "On Sundays at ten."}))
    phone.caller_says("What time do you open?", start=0.5, end=1.5)
    return phone


def test_the_caller_is_asked_whether_the_rest_of_a_long_reply_is_wanted():
    """genie-claw#385: what is cut is announced, and the model knows what it has not said."""
    phone = call_with_a_long_reply()
    phone.caller_says("Yes please.", start=6.0, end=6.6)
    phone.wait_until(12.0)
    more = phone.options.more_to_say
    assert [heard for _, heard in phone.transcript[1:]] == [SHORT, more, "Yes please.", "On Sundays we open at ten."]
    assert phone.sent(cmd.StartReply)[-1].history[1] == cmd.Line("agent", SHORT, "On Sundays at ten.")


def test_a_caller_who_goes_on_is_not_asked_whether_the_rest_is_wanted():
    phone = call_with_a_long_reply()
    phone.caller_says("Could you tell me something else?", start=2.4, end=4.0)
    phone.wait_until(12.0)
    assert ("agent", phone.options.more_to_say) not in phone.transcript


def test_a_reply_that_is_cut_and_transfers_the_call_is_announced():
    options = ConversationOptions(transfer_targets=("sales",))
    phone = Phone(options, Engines(replies=[SHORT], requests={0: {"transfer": "sales"}}, unsaid={0: "Bye."}))
    phone.caller_says("Can I talk to somebody in sales?", start=0.5, end=1.5)
    phone.wait_until(9.0)
    assert phone.transcript[-1] == ("agent", options.transferring)
    assert phone.hung_up == "transferred"
