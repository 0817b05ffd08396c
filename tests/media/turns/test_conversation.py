"""Turn taking told as stories: what is said when, and what becomes of it."""

from __future__ import annotations

import pytest

from calls.stages import STAGE_NAMES
from media.turns import commands as cmd
from media.turns import events as ev
from media.turns.clock import StreamClock
from media.turns.conversation import Conversation, Floor, ImpossibleEvent
from media.turns.options import ConversationOptions
from tests.media.turns.phone import REPLY, Engines, Phone, characters_in

SHORT = "We open at nine."
GREETING = "Hello, this is the front desk."


def test_the_agent_greets_and_then_listens():
    phone = Phone(ConversationOptions(greeting=GREETING)).wait_until(3.0)
    assert phone.transcript == [("agent", GREETING)]
    assert phone.conversation.floor is Floor.IDLE


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


def test_what_was_begun_in_a_pause_is_dropped_when_the_caller_goes_on():
    phone = Phone()
    phone.caller_says("I would like to", start=0.0, end=1.2)
    phone.caller_says("know your prices.", start=1.7, end=2.6)
    phone.wait_until(7.0)
    begun = phone.sent(cmd.StartReply)
    assert [reply.speculative for reply in begun] == [True, True]
    assert begun[0].revision in phone.dead
    assert phone.turns[0].speculations == 2
    assert phone.turns[0].speculation_hit


def test_without_speculation_the_answer_begins_when_the_turn_is_over():
    phone = Phone(ConversationOptions(speculate=False))
    phone.caller_says("What time do you open?", start=0.5, end=1.7)
    phone.wait_until(4.0)
    assert [reply.speculative for reply in phone.sent(cmd.StartReply)] == [False]
    assert phone.times(cmd.StartReply)[0] >= 1.7 + 0.25


def test_the_model_reads_ahead_when_the_call_starts_and_when_the_agent_has_spoken():
    phone = Phone(ConversationOptions(greeting=GREETING))
    phone.caller_says("What time do you open?", start=3.0, end=4.2)
    phone.wait_until(10.0)
    greeted = cmd.Line("agent", GREETING)
    asked, answered = cmd.Line("caller", "What time do you open?"), cmd.Line("agent", REPLY)
    assert [warm.history for warm in phone.sent(cmd.Warm)] == [(), (greeted,), (greeted, asked, answered)]


def test_the_model_does_not_read_ahead_when_it_has_nothing_more_to_say():
    phone = Phone(engines=Engines(replies=["Thank you for calling. Goodbye!"], end_call_after=0))
    phone.caller_says("That's all, goodbye.", start=0.5, end=1.5)
    phone.wait_until(12.0)
    assert phone.hung_up == "agent-ended"
    assert [warm.history for warm in phone.sent(cmd.Warm)] == [()]


def test_the_model_does_not_read_ahead_while_it_replies():
    phone = Phone(ConversationOptions(greeting=REPLY))
    phone.at(1.0, ev.KeyPressed("#"))  # interrupts the greeting and is answered at once
    phone.wait_until(1.5)
    assert phone.times(cmd.StartReply) == phone.times(cmd.ClearPlayout) == [1.0]
    assert phone.times(cmd.Warm) == [0.0]


def test_a_murmur_does_not_stop_the_agent():
    phone = Phone(ConversationOptions(greeting=REPLY))
    phone.caller_says("mm-hm", start=1.5, end=1.75)
    phone.wait_until(8.0)
    assert phone.sent(cmd.ClearPlayout) == []
    assert phone.transcript == [("agent", REPLY)]
    assert len(phone.agent_stretches) == 1


def test_a_longer_murmur_only_makes_the_agent_hesitate():
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


def test_stop_stops_at_once():
    phone = Phone(ConversationOptions(greeting=REPLY))
    phone.caller_says("stop", start=2.0, end=2.24)
    phone.wait_until(2.7)
    assert phone.turns[0].interrupted


def test_the_heard_text_agrees_with_the_tape():
    for start in (1.1, 1.73, 2.39, 3.01):
        phone = Phone(ConversationOptions(greeting=REPLY), delay=0.06)
        phone.caller_says("no I meant the other office", start=start, end=start + 1.5)
        phone.wait_until(start + 1.0)
        heard = phone.turns[0].heard
        truth = phone.really_heard(phone.revisions[0])
        assert truth.startswith(heard)
        assert len(truth[len(heard) :].split()) <= 1, (heard, truth)


def test_a_protected_greeting_is_finished_and_the_question_in_it_answered():
    phone = Phone(ConversationOptions(greeting=GREETING, greeting_interruptible=False))
    phone.caller_says("Can I ask you something?", start=0.3, end=1.1)
    phone.wait_until(8.0)
    assert phone.sent(cmd.ClearPlayout) == []
    assert [speaker for speaker, _ in phone.transcript] == ["agent", "caller", "agent"]


def test_the_caller_who_goes_on_before_the_agent_sounds_takes_the_turn_back():
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


def test_words_spoken_into_the_end_of_a_reply_are_the_next_turn():
    phone = Phone(ConversationOptions(greeting="Would you like to hear our opening hours?"))
    end = 41 * 0.04
    phone.caller_says("Yes.", start=end - 0.2, end=end + 0.15)
    phone.wait_until(7.0)
    assert [speaker for speaker, _ in phone.transcript] == ["agent", "caller", "agent"]
    assert not phone.turns[0].interrupted


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


def test_a_stalled_network_is_no_end_of_turn():
    phone = Phone()
    phone.caller_says("What time do you open on the Sunday after Christmas?", start=0.5, end=3.5)
    phone.network_stalls(start=1.5, end=6.0)
    phone.wait_until(5.9)
    assert phone.sent(cmd.StartReply) == []
    phone.wait_until(12.0)
    assert phone.transcript[0] == ("caller", "What time do you open on the Sunday after Christmas?")


def test_a_slow_engine_is_bridged_by_a_filler():
    phone = Phone(engines=Engines(first_token=2.2, replies=[SHORT]))
    phone.caller_says("What time do you open?", start=0.5, end=1.5)
    phone.wait_until(9.0)
    assert phone.transcript[-1] == ("agent", f"{phone.options.fillers[0]} {SHORT}")
    assert phone.turns[-1].fallback
    assert phone.agent_turns[0] - 1.5 < 2.0


def test_a_broken_engine_gets_a_second_try_behind_a_filler():
    phone = Phone(
        engines=Engines(fails=lambda attempt: attempt == 1, replies=[SHORT]),
        options=ConversationOptions(speculate=False),
    )
    phone.caller_says("Hello there, how are you?", start=0.5, end=1.5)
    phone.caller_says("What time do you open?", start=5.0, end=6.0)
    phone.wait_until(12.0)
    assert phone.transcript[-1] == ("agent", f"{phone.options.fillers[0]} {SHORT}")


def test_engines_that_keep_failing_lead_to_an_apology_and_then_a_polite_end():
    phone = Phone(engines=Engines(fails=lambda attempt: True))
    phone.caller_says("What time do you open?", start=0.5, end=1.5)
    phone.caller_says("What time do you open?", start=8.0, end=9.0)
    phone.wait_until(25.0)
    said = [text for speaker, text in phone.transcript if speaker == "agent"]
    assert phone.options.apology in said[0]
    assert said[-1] == phone.options.trouble_goodbye
    assert phone.hung_up == "engines-failed"


def test_an_engine_that_goes_silent_in_mid_call_never_leaves_two_seconds_of_nothing():
    phone = Phone(engines=Engines(first_token=1000.0))
    phone.caller_says("What time do you open?", start=0.5, end=1.5)
    phone.wait_until(12.0)
    gaps = [
        later[0] - earlier[1]
        for earlier, later in zip([(0, 1.5), *phone.agent_stretches], phone.agent_stretches, strict=False)
    ]
    assert max(gaps) < 2.0
    assert phone.transcript[-1] == ("agent", " ".join([*phone.options.fillers, phone.options.apology]))


def test_an_empty_answer_counts_as_a_failure():
    phone = Phone(ConversationOptions(speculate=False), Engines(empty=lambda attempt: attempt == 0, replies=[SHORT]))
    phone.caller_says("What time do you open?", start=0.5, end=1.5)
    phone.wait_until(7.0)
    assert phone.transcript[-1][1].endswith(SHORT)
    assert phone.turns[-1].fallback


def test_a_reply_that_breaks_off_is_owned_up_to():
    phone = Phone(ConversationOptions(speculate=False), Engines(breaks=lambda attempt: attempt == 0))
    phone.caller_says("What time do you open?", start=0.5, end=1.5)
    phone.wait_until(9.0)
    said, heard = phone.turns[-1].said, phone.turns[-1].heard
    # What the voice never came to say is not on record as said.
    assert heard == said == f"We open at nine {phone.options.lost_thread}"


def test_a_voice_that_is_gone_ends_the_call_for_the_carrier_to_apologise():
    phone = Phone(ConversationOptions(greeting=GREETING), Engines(mute=True)).wait_until(3.0)
    assert phone.hung_up == "engines-failed"


def test_the_agent_hangs_up_when_its_last_words_were_heard():
    phone = Phone(engines=Engines(replies=["Thank you for calling. Goodbye!"], end_call_after=0))
    phone.caller_says("That's all, goodbye.", start=0.5, end=1.5)
    phone.wait_until(12.0)
    assert phone.hung_up == "agent-ended"
    assert phone.transcript[-1] == ("agent", "Thank you for calling. Goodbye!")
    ended = phone.times(cmd.HangUp)[0]
    assert phone.heard_frames[-1][0] < ended < phone.heard_frames[-1][0] + 0.3


def test_a_lost_mark_does_not_keep_the_call_open():
    phone = Phone(engines=Engines(replies=["Goodbye!"], end_call_after=0))
    phone.marks_are_lost()
    phone.caller_says("That's all, goodbye.", start=0.5, end=1.5)
    phone.wait_until(12.0)
    assert phone.hung_up == "agent-ended"


def test_a_caller_who_interrupts_the_goodbye_is_not_hung_up_on():
    phone = Phone(engines=Engines(replies=["Thank you for calling. Goodbye and have a nice day!", SHORT]))
    phone.engines.end_call_after = 0
    phone.caller_says("That's all, goodbye.", start=0.5, end=1.5)
    phone.caller_says("oh sorry I have one more thing", start=2.8, end=4.0)
    phone.wait_until(4.2)
    assert phone.hung_up is None
    assert phone.turns[-1].interrupted


def test_a_call_that_lasts_too_long_is_warned_and_then_ended():
    phone = Phone(ConversationOptions(greeting=GREETING, max_duration=60.0, still_there_after=1000.0))
    phone.wait_until(70.0)
    assert [text for _, text in phone.transcript] == [GREETING, phone.options.warning, phone.options.time_up]
    assert phone.hung_up == "max-duration"


def test_the_caller_may_hang_up_at_any_moment():
    for moment in (0.0, 0.5, 1.2, 1.75, 1.8, 1.9, 2.5, 4.0):
        phone = Phone(ConversationOptions(greeting=GREETING))
        phone.caller_says("What time do you open?", start=1.5, end=2.2)
        phone.wait_until(moment)
        phone.tell(ev.CallerHungUp())
        count = len(phone.commands)
        phone.wait_until(10.0)
        assert len(phone.commands) == count
        assert phone.open_utterances == {}
        assert phone.conversation.deadline is None


def test_keys_are_a_turn():
    phone = Phone()
    for number, digit in enumerate("12#"):
        phone.at(1.0 + number * 0.3, ev.KeyPressed(digit))
    phone.wait_until(8.0)
    assert phone.transcript == [("caller", "[pressed 1 2 #]"), ("agent", REPLY)]


def test_somebody_outside_may_have_the_agent_say_something():
    phone = Phone(ConversationOptions(greeting=GREETING))
    phone.at(0.5, ev.SayRequested("Your table is ready."))
    phone.wait_until(5.0)
    assert phone.transcript == [("agent", f"{GREETING} Your table is ready.")]


def test_somebody_outside_may_end_the_call():
    phone = Phone(ConversationOptions(greeting=REPLY))
    phone.at(1.0, ev.EndRequested("operator"))
    phone.wait_until(8.0)
    assert phone.hung_up == "operator"
    assert phone.transcript[-1] == ("agent", phone.options.goodbye)


def test_a_lost_stream_is_taken_up_again():
    phone = Phone(ConversationOptions(greeting=GREETING), start=False)
    phone.tell(ev.CallStarted(resumed=True))
    phone.wait_until(4.0)
    assert phone.transcript == [("agent", phone.options.resumed)]


def test_the_stages_of_a_response_add_up_to_it():
    phone = Phone()
    phone.caller_says("What time do you open?", start=1.0, end=2.2)
    phone.wait_until(9.0)
    stages = phone.turns[-1].stages
    assert sum(stages[name] for name in STAGE_NAMES) == pytest.approx(stages["response_latency"], abs=0.001)
    assert stages["response_latency"] == pytest.approx(phone.agent_turns[0] - 2.2, abs=0.06)
    assert stages["heard_latency"] > stages["response_latency"]


def test_an_agent_that_starts_while_the_caller_only_paused_is_counted():
    phone = Phone(engines=Engines(snapshot=0.01, first_token=0.01, clause=0.01, first_audio=0.01))
    phone.caller_says("What time do you open?", start=0.5, end=1.5)
    phone.caller_says("I mean on Sundays", start=2.0, end=3.0)
    phone.wait_until(6.0)
    assert len(phone.notes("cut-in")) == 1


def test_the_stages_add_up_behind_a_filler_too():
    phone = Phone(engines=Engines(first_token=2.2, replies=[SHORT]))
    phone.caller_says("What time do you open?", start=0.5, end=1.5)
    phone.wait_until(9.0)
    stages = phone.turns[-1].stages
    assert sum(stages[name] for name in STAGE_NAMES) == pytest.approx(stages["response_latency"], abs=0.001)


def test_a_slow_engine_after_a_long_pause_is_bridged_before_two_seconds():
    phone = Phone(ConversationOptions(speculate=False), Engines(first_token=5.0))
    phone.caller_says("I would like to", start=0.5, end=1.5)
    phone.wait_until(6.0)
    assert phone.agent_turns[0] - 1.5 < 2.0


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


def test_no_filler_is_spoken_over_the_caller():
    phone = Phone(engines=Engines(first_token=5.0, hears=lambda text: ""))
    phone.at(0.5, ev.KeyPressed("#"))  # an answer is due, and slow
    phone.caller_makes_noise(start=1.5, end=2.4)  # the filler would come at 1.7
    phone.wait_until(4.0)
    assert phone.agent_turns[0] > 2.4


def test_a_slow_engine_that_then_fails_gets_no_second_filler_at_once():
    phone = Phone(ConversationOptions(speculate=False), Engines(first_token=1.6, fails=lambda attempt: attempt == 0))
    phone.caller_says("What time do you open?", start=0.5, end=1.5)
    phone.wait_until(3.8)
    assert [line.text for line in phone.sent(cmd.SayLine)] == [phone.options.fillers[0]]


def test_a_reply_does_not_sound_into_a_filler_that_is_still_being_made():
    phone = Phone(ConversationOptions(speculate=False), Engines(first_token=1.3, replies=[SHORT], pace=1.1))
    phone.caller_says("What time do you open?", start=0.5, end=1.5)
    phone.wait_until(8.0)
    tape = b"".join(frame for _, frame in phone.heard_frames)
    order = [number for run in range(0, len(tape), 320) for number in characters_in(tape[run : run + 320])]
    assert order == sorted(order, reverse=True)  # the filler was begun later
    assert phone.transcript[1] == ("agent", f"{phone.options.fillers[0]} {SHORT}")


def test_a_key_does_not_make_the_caller_wait_anew():
    phone = Phone(engines=Engines(first_token=30.0))
    phone.caller_says("What time do you open?", start=0.5, end=1.5)
    phone.at(2.8, ev.KeyPressed("#"))
    phone.wait_until(5.0)
    assert phone.agent_turns[0] - 1.5 < 2.0


def test_a_voice_that_fails_once_says_a_ready_goodbye():
    phone = Phone(ConversationOptions(greeting=GREETING))
    phone.tell(ev.ReplyFailed(phone.revisions[0], "the voice is gone"))
    phone.wait_until(9.0)
    assert phone.transcript == [("agent", phone.options.trouble_goodbye)]
    assert phone.hung_up == "engines-failed"


def test_words_put_aside_are_in_order_when_the_caller_interrupts_after_them():
    phone = Phone(ConversationOptions(greeting=REPLY))
    phone.caller_says("Sunday", start=0.5, end=0.75)
    phone.caller_says("no I meant the other office", start=2.5, end=4.0)
    phone.wait_until(9.0)
    assert phone.sent(cmd.StartReply)[-1].history[1:] == (cmd.Line("caller", "Sunday no I meant the other office"),)


def test_stop_in_a_protected_greeting_is_not_lost():
    phone = Phone(ConversationOptions(greeting=REPLY, greeting_interruptible=False))
    phone.caller_says("Wait, I have a question", start=0.5, end=1.2)
    phone.wait_until(9.0)
    assert phone.sent(cmd.StartReply)[-1].history[-1].text == "Wait, I have a question"


def test_a_noise_before_the_greeting_does_not_cost_the_greeting():
    phone = Phone(ConversationOptions(greeting=GREETING), Engines(line=0.5))
    phone.caller_makes_noise(start=0.3, end=0.9)
    phone.wait_until(5.0)
    assert phone.transcript == [("agent", GREETING)]


def test_a_short_answer_before_the_agent_sounds_is_part_of_the_turn():
    """Nobody murmurs at silence."""
    phone = Phone(engines=Engines(first_token=0.8))
    phone.caller_says("Is it Tuesday that you mean?", start=0.5, end=1.5)
    phone.caller_says("yes", start=2.0, end=2.2)
    phone.wait_until(9.0)
    assert phone.sent(cmd.StartReply)[-1].history[-1].text == "Is it Tuesday that you mean? yes"


def test_words_after_a_murmur_are_not_lost_to_an_early_judgement():
    phone = Phone(ConversationOptions(greeting=REPLY))
    phone.caller_says("okay", start=2.0, end=2.3)
    phone.caller_says("but Sunday", start=2.3, end=2.62)
    phone.wait_until(3.2)
    assert phone.turns[0].interrupted


def test_words_that_recognition_takes_long_over_are_not_lost():
    phone = Phone(ConversationOptions(greeting=REPLY), Engines(snapshot=1.4))
    phone.caller_says("no not that", start=1.5, end=2.1)
    phone.wait_until(12.0)
    assert ("caller", "no not that") in phone.transcript


def test_a_noise_of_a_second_is_no_interruption():
    phone = Phone(ConversationOptions(greeting=REPLY))
    phone.caller_makes_noise(start=1.5, end=2.5)
    phone.wait_until(9.0)
    assert phone.transcript == [("agent", REPLY)]


def test_the_stop_is_measured_from_the_first_sample_of_a_flickering_voice():
    phone = Phone(ConversationOptions(greeting=REPLY))
    for number in range(6):
        phone.caller_makes_noise(start=2.0 + number * 0.14, end=2.1 + number * 0.14)
    phone.caller_says("no not that one please", start=2.84, end=4.0)
    phone.wait_until(5.0)
    turn = phone.turns[0]
    assert turn.interrupted
    assert turn.stages["barge_in_stop"] == pytest.approx(phone.times(cmd.ClearPlayout)[0] - 2.0, abs=0.05)


def test_somebody_outside_is_not_lost_to_a_caller_who_speaks_first():
    phone = Phone(engines=Engines(line=0.3))
    phone.caller_says("What time do you open?", start=1.0, end=2.0)
    phone.at(0.9, ev.SayRequested("Your table is ready."))
    phone.wait_until(12.0)
    assert phone.transcript[-1] == ("agent", f"{REPLY} Your table is ready.")


def test_asking_for_nothing_says_nothing():
    phone = Phone()
    phone.at(1.0, ev.SayRequested("  "))
    phone.wait_until(3.0)
    assert phone.transcript == []
    assert phone.hung_up is None


def test_the_end_is_asked_for_once():
    phone = Phone()
    for when in (1.0, 1.8, 3.0):
        phone.at(when, ev.EndRequested("operator"))
    phone.wait_until(8.0)
    assert phone.transcript == [("agent", phone.options.goodbye)]


@pytest.mark.parametrize("when", [0.3, 1.7, 2.45, 2.6, 3.0])
def test_somebody_outside_may_end_the_call_whoever_has_the_floor(when):
    phone = Phone(ConversationOptions(greeting=REPLY))
    phone.caller_says("no I meant the other office", start=2.0, end=3.6)
    phone.at(when, ev.EndRequested("operator"))
    phone.wait_until(9.0)
    assert phone.transcript[-1] == ("agent", phone.options.goodbye)
    assert phone.hung_up == "operator"
    assert phone.open_utterances == {}


def test_a_key_pressed_in_the_goodbye_keeps_the_call():
    phone = Phone(ConversationOptions(still_there_after=2.0))
    phone.wait_until(6.0)
    assert phone.conversation.floor is Floor.AGENT  # "I can't hear you any more ..."
    phone.tell(ev.KeyPressed("#"))
    phone.wait_until(10.0)
    assert phone.hung_up is None


def test_a_key_pressed_counts_against_silence():
    phone = Phone(ConversationOptions(still_there_after=3.0))
    phone.at(2.5, ev.KeyPressed("1"))
    phone.wait_until(4.4)
    assert phone.sent(cmd.SayLine) == []


def goodbye(*, caller: str, start: float) -> Phone:
    phone = Phone(engines=Engines(replies=["Thank you for calling. Goodbye!", SHORT], end_call_after=0))
    phone.caller_says("That's all, I have to go.", start=0.5, end=1.5)
    phone.caller_says(caller, start=start, end=start + 0.3 * len(caller.split()))
    return phone.wait_until(12.0)


def test_goodbye_into_the_goodbye_ends_the_call_and_is_on_record():
    phone = goodbye(caller="bye bye", start=2.95)
    assert phone.hung_up == "agent-ended"
    assert phone.transcript[1:] == [("agent", "Thank you for calling. Goodbye!"), ("caller", "bye bye")]
    assert phone.times(cmd.HangUp)[0] < 4.5


@pytest.mark.parametrize("start", [2.0, 2.95, 3.05])
def test_a_question_into_the_goodbye_keeps_the_call(start):
    phone = goodbye(caller="oh what about Sundays", start=start)
    assert ("caller", "oh what about Sundays") in phone.transcript
    assert phone.transcript[-1][0] == "agent"


def test_a_murmur_after_the_agent_began_is_no_cut_in():
    phone = Phone()
    phone.caller_says("What time do you open?", start=0.5, end=1.5)
    phone.caller_says("mm-hm", start=2.2, end=2.4)
    phone.wait_until(9.0)
    assert phone.notes("cut-in") == []


def test_several_interruptions_in_a_row_each_keep_what_was_heard():
    phone = Phone(ConversationOptions(greeting=REPLY))
    for start in (2.0, 6.0, 10.0):
        phone.caller_says("no I meant the other office", start=start, end=start + 1.5)
    phone.wait_until(20.0)
    assert [turn.interrupted for turn in phone.turns if turn.speaker == "agent"] == [True, True, True, False]
    assert [line.speaker for line in phone.sent(cmd.StartReply)[-1].history] == ["agent", "caller"] * 3


def test_an_interruption_of_the_first_sound_leaves_nothing_heard():
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


def test_what_had_just_ended_when_the_call_was_ended_was_heard():
    phone = Phone(engines=Engines(first_token=30.0))
    phone.caller_says("What time do you open?", start=0.5, end=1.5)
    phone.wait_until(3.0)
    filled = phone.times(cmd.SendAudio)[0] + len(phone.options.fillers[0]) * 0.04
    phone.at(max(3.0, filled + 0.1), ev.EndRequested("operator"))
    phone.wait_until(8.0)
    assert phone.transcript[1] == ("agent", phone.options.fillers[0])


def test_audio_slower_than_real_time_is_heard_to_its_end():
    phone = Phone(engines=Engines(replies=[SHORT], pace=0.5))
    phone.caller_says("What time do you open?", start=0.5, end=1.5)
    phone.wait_until(15.0)
    assert phone.transcript[1][1] == SHORT
    assert phone.notes("underrun")


def test_a_caller_who_talks_for_minutes_has_the_turn_until_the_time_is_up():
    phone = Phone(ConversationOptions(max_duration=200.0))
    phone.caller_says("and then " * 300, start=1.0, end=400.0)
    phone.wait_until(195.0)
    assert phone.agent_turns == []
    phone.wait_until(230.0)
    assert phone.hung_up == "max-duration"
    assert phone.transcript[-1] == ("agent", phone.options.time_up)


def test_a_voice_that_flickers_in_a_sentence_keeps_the_turn():
    phone = Phone()
    for number, word in enumerate("what time do you open on Sundays then?".split()):
        phone.caller_says(word, start=1.0 + number * 0.3, end=1.1 + number * 0.3)
    phone.wait_until(9.0)
    assert phone.transcript[0] == ("caller", "what time do you open on Sundays then?")
    assert len(phone.agent_turns) == 1


def test_marks_that_a_stalled_network_held_up_do_not_spoil_the_ledger():
    phone = Phone(ConversationOptions(greeting=REPLY))
    phone.network_stalls(start=0.8, end=2.4)
    phone.caller_says("no I meant the other office", start=2.6, end=4.0)
    phone.wait_until(3.5)
    heard, truth = phone.turns[0].heard.split(), phone.words_heard(phone.revisions[0])
    assert len(truth) - 1 <= len(heard) <= len(truth)


def test_late_and_repeated_events_change_nothing():
    phone = Phone()
    phone.caller_says("What time do you open?", start=1.0, end=2.2)
    phone.wait_until(3.5)
    revision = phone.revisions[0]
    before = len(phone.commands)
    phone.tell(ev.TranscriptReady(1, 1, "something else"))
    phone.tell(ev.MarkReached("never sent"))
    phone.tell(ev.ReplyEnded(revision))
    phone.tell(ev.ReplyEnded(revision))
    phone.tell(ev.ReplyAudio(revision, b"\xff" * 160, 1))
    assert not any(isinstance(command, cmd.StartReply) for _, command in phone.commands[before:])


@pytest.mark.parametrize(
    "event",
    [
        ev.TranscriptReady(7, 1, "hello"),
        ev.TranscriptPartial(7, "hello"),
        ev.ReplyAudio(ev.Revision(1, 99), b"\xff", 1),
        ev.SpeechStarted(-1),
        ev.CallStarted(),
    ],
)
def test_impossible_events_raise_and_change_nothing(event):
    phone = Phone()
    with pytest.raises(ImpossibleEvent):
        phone.tell(event)
    assert phone.conversation.floor is Floor.IDLE


def test_nothing_can_happen_before_the_call_starts():
    conversation = Conversation(ConversationOptions(), clock=StreamClock())
    with pytest.raises(ImpossibleEvent):
        conversation.receive(ev.SpeechStarted(0), now=0.0)
    assert conversation.deadline is None
