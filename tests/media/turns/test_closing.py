"""How a call is ended, transferred or left to a machine: by the language model, the caller or the operator."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from inference.requests import ToolRequests
from media.turns import commands as cmd
from media.turns import events as ev
from media.turns.closing import BY_AGENT, LAST_WORDS, MAX_DURATION, Closing, transferred
from media.turns.options import ConversationOptions
from media.turns.playout import FinalMark
from tests.media.turns.phone import GREETING, REPLY, SHORT, Engines, Floor, Phone

CONNECTING = "Of course, I'll put you through to sales."
OPTIONS = ConversationOptions(transfer_targets=("sales", "support"), opt_out_key="9")
LIST = "Please take me off your list."


def call_with(requests: dict[str, object], *, reply: str = CONNECTING, options: ConversationOptions = OPTIONS) -> Phone:
    """A call in which the caller says something and the reply requests this."""
    phone = Phone(options, Engines(replies=[reply, REPLY], requests={0: requests}))
    phone.caller_says("Can I talk to somebody in sales?", start=0.5, end=1.5)
    return phone


def tool_calls(phone: Phone) -> list[dict[str, object]]:
    return [dict(note.data) for note in phone.notes("tool-call")]


def kinds(phone: Phone) -> list[type]:
    return [type(command) for _, command in phone.commands]


# The language model transfers or ends the call


def test_the_model_transfers_the_call_once_its_last_words_were_heard():
    phone = call_with({"transfer": "sales"}).wait_until(9.0)
    assert phone.sent(cmd.Transfer) == [cmd.Transfer("sales")]
    assert phone.hung_up == "transferred"
    assert kinds(phone)[-2:] == [cmd.Transfer, cmd.HangUp]
    (transferred,) = phone.times(cmd.Transfer)
    assert phone.heard_frames[-1][0] < transferred < phone.heard_frames[-1][0] + 0.3
    assert phone.transcript[-1] == ("agent", CONNECTING)
    assert tool_calls(phone) == [{"tool": "transfer", "target": "sales", "accepted": True}]


def test_the_name_of_a_transfer_target_matches_in_any_case():
    assert call_with({"transfer": "SALES"}).wait_until(9.0).sent(cmd.Transfer) == [cmd.Transfer("sales")]


@pytest.mark.parametrize("before_the_end", [1.0, 0.3, 0.05, -0.03])
def test_a_caller_who_hangs_up_during_the_last_words_is_not_transferred(before_the_end):
    ended = call_with({"transfer": "sales"}).wait_until(9.0).heard_frames[-1][0]
    phone = call_with({"transfer": "sales"})
    phone.at(ended - before_the_end, ev.CallerHungUp())
    phone.wait_until(9.0)
    assert phone.sent(cmd.Transfer) == []
    assert phone.sent(cmd.HangUp) == []


def test_the_requests_of_an_interrupted_reply_are_not_carried_out():
    for requests in ({"transfer": "sales"}, {"end_call": True}, {"opt_out": True}):
        phone = call_with(requests, reply=REPLY)
        phone.caller_says("no I meant the other office", start=3.0, end=4.5)
        phone.wait_until(12.0)
        assert phone.turns[1].interrupted
        assert phone.sent(cmd.Transfer) == phone.sent(cmd.OptOut) == []
        assert phone.hung_up is None
        assert tool_calls(phone) == []


def test_the_requests_of_a_speculative_reply_are_not_carried_out_before_it_is_said():
    for requests in ({"transfer": "sales"}, {"end_call": True}, {"opt_out": True}):
        fast = Engines(replies=["Sure.", REPLY], requests={0: requests}, snapshot=0.01, first_token=0.01, clause=0.0)
        phone = Phone(OPTIONS, fast)
        phone.caller_says("I would like to", start=0.5, end=1.5)  # plainly unfinished: 1.2 s to think
        phone.wait_until(2.5)
        assert phone.sent(cmd.StartReply)[0].speculative
        assert phone.conversation.control.agent.speculation.ended  # all of it has been made
        assert tool_calls(phone) == []
        phone.caller_says("know your prices.", start=2.55, end=3.5)
        phone.wait_until(9.0)
        assert tool_calls(phone) == []
        assert phone.sent(cmd.Transfer) == phone.sent(cmd.OptOut) == []
        assert phone.hung_up is None


def test_a_transfer_to_an_unknown_target_is_refused_and_the_conversation_goes_on():
    phone = call_with({"transfer": "the president"})
    phone.caller_says("What time do you open?", start=8.0, end=9.0)
    phone.wait_until(15.0)
    assert tool_calls(phone) == [{"tool": "transfer", "target": "the president", "accepted": False}]
    assert phone.transcript[1:4] == [
        ("agent", CONNECTING),
        ("agent", OPTIONS.no_transfer),
        ("caller", "What time do you open?"),
    ]
    assert phone.sent(cmd.Transfer) == []
    assert phone.hung_up is None


def test_a_caller_whose_transfer_is_refused_is_not_hung_up_on():
    phone = call_with({"transfer": "the president", "end_call": True}).wait_until(9.0)
    assert [call["accepted"] for call in tool_calls(phone)] == [False, False]
    assert phone.transcript[-1] == ("agent", OPTIONS.no_transfer)
    assert phone.hung_up is None


def test_a_caller_who_talks_over_the_last_words_is_not_transferred():
    phone = call_with({"transfer": "sales"})
    phone.caller_says("no wait I have a question first", start=2.6, end=4.0)
    phone.wait_until(9.0)
    assert phone.sent(cmd.Transfer) == []
    assert phone.transcript[-1] == ("agent", REPLY)


def test_a_caller_who_speaks_at_the_end_of_the_last_words_is_not_transferred():
    spoken = call_with({"transfer": "sales"}).wait_until(9.0).heard_frames[-1][0]
    for start in (spoken - 0.3, spoken - 0.2, spoken - 0.1):
        phone = call_with({"transfer": "sales"})
        phone.caller_says("no wait I have a question first", start=start, end=start + 1.4)
        phone.wait_until(12.0)
        assert phone.sent(cmd.Transfer) == []
        assert phone.transcript[-1] == ("agent", REPLY)


def test_a_caller_who_says_thanks_is_transferred():
    spoken = call_with({"transfer": "sales"}).wait_until(9.0).heard_frames[-1][0]
    phone = call_with({"transfer": "sales"})
    phone.caller_says("okay thank you", start=spoken - 0.1, end=spoken + 0.6)
    phone.wait_until(12.0)
    assert phone.sent(cmd.Transfer) == [cmd.Transfer("sales")]


def test_a_transfer_without_words_is_announced():
    phone = Phone(OPTIONS, Engines(first_token=30.0))
    phone.caller_says("Can I talk to somebody in sales?", start=0.5, end=1.5)
    phone.wait_until(1.75)
    (reply,) = phone.sent(cmd.StartReply)
    phone.receive(ev.ReplyEnded(reply.revision, ToolRequests(transfer="sales")))
    phone.wait_until(9.0)
    assert phone.transcript[-1] == ("agent", OPTIONS.transferring)
    assert phone.hung_up == "transferred"


def test_an_end_without_words_has_a_goodbye():
    """wren#55, livekit#6796."""
    phone = call_with({"end_call": True}, reply="").wait_until(9.0)
    assert phone.transcript[-1] == ("agent", OPTIONS.agent_goodbye)
    assert phone.hung_up == "agent-ended"


def test_a_filler_is_no_goodbye_and_no_announcement():
    for requests, words in (({"end_call": True}, OPTIONS.agent_goodbye), ({"transfer": "sales"}, OPTIONS.transferring)):
        phone = call_with(requests, reply="")
        phone.engines.first_token = 2.0
        phone.wait_until(12.0)
        assert [heard for _, heard in phone.transcript[-2:]] == [OPTIONS.fillers[0], words]
        assert phone.hung_up in ("agent-ended", "transferred")


def test_an_end_without_words_is_revoked_by_a_question_over_the_goodbye():
    phone = call_with({"end_call": True}, reply="")
    phone.caller_says("no wait I have a question first", start=2.2, end=3.6)
    phone.wait_until(12.0)
    assert phone.transcript[-1] == ("agent", REPLY)
    assert phone.hung_up is None


def test_without_the_phrase_a_call_without_last_words_ends_in_silence():
    options = replace(OPTIONS, agent_goodbye="")
    phone = call_with({"end_call": True}, reply="", options=options).wait_until(9.0)
    assert phone.hung_up == "agent-ended"
    assert phone.sent(cmd.SayLine) == []


def test_a_reply_that_is_cut_before_its_goodbye_has_one():
    phone = Phone(OPTIONS, Engines(replies=[SHORT], requests={0: {"end_call": True}}, unsaid={0: "And goodbye."}))
    phone.caller_says("What time do you open?", start=0.5, end=1.5)
    phone.wait_until(9.0)
    assert phone.transcript[-2:] == [("agent", SHORT), ("agent", OPTIONS.agent_goodbye)]
    assert phone.hung_up == "agent-ended"


def test_the_end_of_the_call_is_noted_as_a_tool_call():
    phone = call_with({"end_call": True}, reply="Thank you for calling. Goodbye!").wait_until(9.0)
    assert phone.hung_up == "agent-ended"
    assert tool_calls(phone) == [{"tool": "end_call", "accepted": True}]


# The caller opts out


def test_the_model_may_put_the_caller_on_the_do_not_call_list():
    phone = call_with({"opt_out": True}, reply="I understand.").wait_until(12.0)
    assert phone.sent(cmd.OptOut) == [cmd.OptOut("agent", "Can I talk to somebody in sales?")]
    assert phone.transcript[-2:] == [("agent", "I understand."), ("agent", OPTIONS.opted_out)]
    assert phone.hung_up == "opted-out"
    assert tool_calls(phone) == [{"tool": "opt_out", "accepted": True}]


def test_the_model_may_not_do_so_where_opting_out_is_switched_off():
    phone = call_with({"opt_out": True}, reply="I see.", options=replace(OPTIONS, hears_opt_out=False)).wait_until(6.0)
    assert phone.sent(cmd.OptOut) == []
    assert tool_calls(phone) == [{"tool": "opt_out", "accepted": False}]


def test_a_caller_who_asks_not_to_be_called_opts_out_without_asking_the_model():
    phone = Phone(OPTIONS)
    phone.caller_says(LIST, start=0.5, end=1.5)
    phone.wait_until(9.0)
    assert phone.sent(cmd.OptOut) == [cmd.OptOut("asked", LIST)]
    assert phone.sent(cmd.StartReply) == []
    assert phone.transcript == [("caller", LIST), ("agent", OPTIONS.opted_out)]
    assert phone.hung_up == "opted-out"
    assert phone.agent_turns[0] - 1.5 < 0.6


def test_the_demand_may_have_a_pause_in_it():
    phone = Phone(OPTIONS)
    phone.caller_says("please take me off your", start=0.5, end=1.7)
    phone.caller_says("list", start=2.4, end=2.7)
    phone.wait_until(9.0)
    assert [opt_out.how for opt_out in phone.sent(cmd.OptOut)] == ["asked"]
    assert phone.hung_up == "opted-out"


@pytest.mark.parametrize("interruptible", [True, False])
def test_the_demand_may_come_over_the_greeting(interruptible):
    phone = Phone(replace(OPTIONS, greeting=REPLY, greeting_interruptible=interruptible))
    phone.caller_says("stop calling me", start=1.0, end=1.8)
    phone.wait_until(15.0)
    assert [opt_out.how for opt_out in phone.sent(cmd.OptOut)] == ["asked"]
    assert phone.sent(cmd.StartReply) == []
    assert phone.transcript[-1] == ("agent", OPTIONS.opted_out)


def test_a_caller_who_opts_out_and_hangs_up_is_put_on_the_list():
    phone = Phone(OPTIONS)
    phone.caller_says("don't ever call me again", start=0.5, end=1.5)
    phone.at(1.45, ev.TranscriptPartial(1, "don't ever call me again"))
    phone.at(1.5, ev.CallerHungUp())
    phone.wait_until(4.0)
    assert phone.sent(cmd.OptOut) == [cmd.OptOut("asked", "don't ever call me again")]


def test_the_model_answers_the_demand_where_opting_out_is_switched_off():
    phone = Phone(replace(OPTIONS, hears_opt_out=False))
    phone.caller_says(LIST, start=0.5, end=1.5)
    phone.wait_until(9.0)
    assert phone.sent(cmd.OptOut) == []
    assert phone.transcript[-1] == ("agent", REPLY)


@pytest.mark.parametrize("when", [0.01, 0.5, 1.2, 1.75, 1.9, 2.6, 4.0])
def test_the_key_opts_out_at_any_moment(when):
    phone = Phone(replace(OPTIONS, greeting=GREETING, greeting_interruptible=False))
    phone.caller_says("What time do you open?", start=1.5, end=2.2)
    phone.at(when, ev.KeyPressed("9"))
    phone.wait_until(when)
    assert phone.sent(cmd.OptOut) == [cmd.OptOut("key")]
    phone.wait_until(12.0)
    assert ("agent", OPTIONS.opted_out) in phone.transcript
    assert phone.hung_up == "opted-out"


def test_the_key_stops_a_protected_greeting():
    phone = Phone(replace(OPTIONS, greeting=REPLY, greeting_interruptible=False))
    phone.at(1.0, ev.KeyPressed("9"))
    phone.wait_until(9.0)
    assert phone.times(cmd.ClearPlayout) == [1.0]
    greeting, confirmed = phone.turns
    assert greeting.interrupted
    assert (confirmed.heard, confirmed.interrupted) == (OPTIONS.opted_out, False)


def test_the_confirmation_is_said_once_and_to_its_end():
    phone = Phone(OPTIONS)
    phone.at(0.5, ev.KeyPressed("9"))
    phone.caller_says("no wait I have a question first", start=1.0, end=2.4)
    phone.at(1.5, ev.KeyPressed("9"))
    phone.wait_until(12.0)
    assert ("agent", OPTIONS.opted_out) in phone.transcript
    assert len(phone.sent(cmd.SayLine)) == 1
    assert len(phone.sent(cmd.OptOut)) == 1
    assert phone.hung_up == "opted-out"


def test_the_key_opts_out_even_while_the_call_is_being_transferred():
    ended = call_with({"transfer": "sales"}).wait_until(9.0).heard_frames[-1][0]
    phone = call_with({"transfer": "sales"})
    phone.at(ended + 0.02, ev.KeyPressed("9"))
    phone.wait_until(12.0)
    assert phone.sent(cmd.Transfer) == []
    assert phone.hung_up == "opted-out"


def test_other_keys_are_still_a_turn():
    phone = Phone(OPTIONS)
    phone.at(1.0, ev.KeyPressed("8"))
    phone.wait_until(8.0)
    assert phone.transcript[0] == ("caller", "[pressed 8]")
    assert phone.sent(cmd.OptOut) == []


# The operator transfers the call


@pytest.mark.parametrize("when", [0.3, 1.7, 2.45, 2.6, 3.0, 5.0])
def test_the_operator_may_transfer_the_call_whoever_has_the_floor(when):
    phone = Phone(replace(OPTIONS, greeting=REPLY))
    phone.caller_says("no I meant the other office", start=2.0, end=3.6)
    phone.at(when, ev.TransferRequested())
    phone.wait_until(12.0)
    assert phone.transcript[-1] == ("agent", OPTIONS.transferring)
    assert phone.sent(cmd.Transfer) == [cmd.Transfer("")]
    assert phone.hung_up == "transferred"
    assert phone.open_utterances == {}


def test_the_call_is_transferred_even_if_the_voice_has_failed():
    phone = Phone(OPTIONS, Engines(mute=True))
    phone.at(1.0, ev.TransferRequested())
    phone.wait_until(4.0)
    assert phone.sent(cmd.Transfer) == [cmd.Transfer("")]
    assert phone.hung_up == "transferred"


def test_a_call_that_is_being_ended_is_not_transferred():
    phone = Phone(OPTIONS)
    phone.at(1.0, ev.EndRequested("operator"))
    phone.at(1.5, ev.TransferRequested())
    phone.wait_until(9.0)
    assert phone.sent(cmd.Transfer) == []
    assert phone.hung_up == "operator"


# A machine has answered

MESSAGE = "This is Harper Hall. Your appointment is on Tuesday at nine. Please call us back."


@pytest.mark.parametrize("when", [0.5, 1.5, 2.8, 3.5])
def test_the_call_ends_at_once_when_a_machine_answers_and_there_is_no_message(when):
    phone = Phone(ConversationOptions(greeting=GREETING))
    phone.caller_says("you have reached Michael", start=2.0, end=3.2)
    phone.at(when, ev.VoicemailReached(""))
    phone.wait_until(when)
    assert phone.hung_up == "voicemail"
    assert phone.open_utterances == {}
    assert not when < 1.2 or phone.sent(cmd.ClearPlayout)


@pytest.mark.parametrize("when", [0.5, 1.7, 2.2, 2.8, 3.5, 4.5])
def test_nothing_interrupts_the_message_that_is_left_on_a_machine(when):
    phone = Phone(ConversationOptions(greeting=REPLY, still_there_after=2.0))
    phone.caller_says("you have reached Michael please leave a message", start=1.5, end=3.2)
    for number in range(8):
        phone.caller_says("stop, if you are done press one", start=4.0 + number, end=4.9 + number)
    phone.at(when, ev.VoicemailReached(MESSAGE))
    phone.wait_until(20.0)
    assert phone.transcript[-1] == ("agent", MESSAGE)
    assert not phone.turns[-1].interrupted
    assert [turn.speaker for turn in phone.turns if turn.started > when] == ["agent"]
    assert [opened for opened in phone.times(cmd.OpenUtterance) if opened > when] == []
    assert phone.hung_up == "voicemail"
    assert phone.really_heard(phone.revisions[-1]) == MESSAGE
    assert phone.agent_stretches[-1][1] == pytest.approx(when + len(MESSAGE) * 0.04, abs=0.2)


def test_a_second_report_of_a_machine_has_no_effect():
    phone = Phone()
    phone.at(1.0, ev.VoicemailReached(MESSAGE))
    phone.at(1.5, ev.VoicemailReached(""))
    phone.wait_until(12.0)
    assert phone.transcript == [("agent", MESSAGE)]


def test_a_machine_is_not_transferred():
    ended = call_with({"transfer": "sales"}).wait_until(9.0).heard_frames[-1][0]
    for message in ("", MESSAGE):
        phone = call_with({"transfer": "sales"})
        phone.at(ended + 0.02, ev.VoicemailReached(message))
        phone.wait_until(12.0)
        assert phone.sent(cmd.Transfer) == []
        assert phone.hung_up == "voicemail"


def test_a_machine_does_not_undo_the_end_that_the_operator_requested():
    phone = Phone()
    phone.at(1.0, ev.EndRequested("operator"))
    phone.at(1.5, ev.VoicemailReached(MESSAGE))
    phone.wait_until(12.0)
    assert phone.transcript == [("agent", phone.options.goodbye)]
    assert phone.conversation.floor is Floor.ENDED


def test_the_agent_hangs_up_when_its_last_words_were_heard():
    phone = Phone(engines=Engines(replies=["Thank you for calling. Goodbye!"], end_call_after=0))
    phone.caller_says("That's all, goodbye.", start=0.5, end=1.5)
    phone.wait_until(12.0)
    assert phone.hung_up == "agent-ended"
    assert phone.transcript[-1] == ("agent", "Thank you for calling. Goodbye!")
    ended = phone.times(cmd.HangUp)[0]
    assert phone.heard_frames[-1][0] < ended < phone.heard_frames[-1][0] + 0.3


def test_the_call_ends_even_if_its_last_mark_is_lost():
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


def goodbye(*, caller: str, start: float) -> Phone:
    phone = Phone(engines=Engines(replies=["Thank you for calling. Goodbye!", SHORT], end_call_after=0))
    phone.caller_says("That's all, I have to go.", start=0.5, end=1.5)
    phone.caller_says(caller, start=start, end=start + 0.3 * len(caller.split()))
    return phone.wait_until(12.0)


def test_a_caller_who_returns_the_goodbye_ends_the_call_and_is_on_record():
    phone = goodbye(caller="bye bye", start=2.95)
    assert phone.hung_up == "agent-ended"
    assert phone.transcript[1:] == [("agent", "Thank you for calling. Goodbye!"), ("caller", "bye bye")]
    assert phone.times(cmd.HangUp)[0] < 4.5


@pytest.mark.parametrize("start", [2.0, 2.95, 3.05])
def test_a_question_during_the_goodbye_keeps_the_call(start):
    phone = goodbye(caller="oh what about Sundays", start=start)
    assert ("caller", "oh what about Sundays") in phone.transcript
    assert phone.transcript[-1][0] == "agent"


def test_a_call_that_lasts_too_long_is_warned_and_then_ended():
    phone = Phone(ConversationOptions(greeting=GREETING, max_duration=60.0, still_there_after=1000.0))
    phone.wait_until(70.0)
    assert [text for _, text in phone.transcript] == [GREETING, phone.options.warning, phone.options.time_up]
    assert phone.hung_up == "max-duration"


def test_the_operator_may_end_the_call():
    phone = Phone(ConversationOptions(greeting=REPLY))
    phone.at(1.0, ev.EndRequested("operator"))
    phone.wait_until(8.0)
    assert phone.hung_up == "operator"
    assert phone.transcript[-1] == ("agent", phone.options.goodbye)


@pytest.mark.parametrize("when", [0.3, 1.7, 2.45, 2.6, 3.0])
def test_the_operator_may_end_the_call_whoever_has_the_floor(when):
    phone = Phone(ConversationOptions(greeting=REPLY))
    phone.caller_says("no I meant the other office", start=2.0, end=3.6)
    phone.at(when, ev.EndRequested("operator"))
    phone.wait_until(9.0)
    assert phone.transcript[-1] == ("agent", phone.options.goodbye)
    assert phone.hung_up == "operator"
    assert phone.open_utterances == {}


def test_the_agent_says_goodbye_once_if_the_end_is_requested_again():
    phone = Phone()
    for when in (1.0, 1.8, 3.0):
        phone.at(when, ev.EndRequested("operator"))
    phone.wait_until(8.0)
    assert phone.transcript == [("agent", phone.options.goodbye)]


def test_words_that_ended_just_before_the_call_is_ended_count_as_heard():
    phone = Phone(engines=Engines(first_token=30.0))
    phone.caller_says("What time do you open?", start=0.5, end=1.5)
    phone.wait_until(3.0)
    filled = phone.times(cmd.SendAudio)[0] + len(phone.options.fillers[0]) * 0.04
    phone.at(max(3.0, filled + 0.1), ev.EndRequested("operator"))
    phone.wait_until(8.0)
    assert phone.transcript[1] == ("agent", phone.options.fillers[0])


def test_the_caller_may_hang_up_at_any_moment():
    for moment in (0.0, 0.5, 1.2, 1.75, 1.8, 1.9, 2.5, 4.0):
        phone = Phone(ConversationOptions(greeting=GREETING))
        phone.caller_says("What time do you open?", start=1.5, end=2.2)
        phone.wait_until(moment)
        phone.receive(ev.CallerHungUp())
        count = len(phone.commands)
        phone.wait_until(10.0)
        assert len(phone.commands) == count
        assert phone.open_utterances == {}
        assert phone.conversation.deadline is None


# Closing by itself


def started(**options: Any) -> Closing:
    closing = Closing(ConversationOptions(**options), lambda command: None)
    closing.start(100.0)
    return closing


def test_the_caller_is_warned_once_and_the_time_is_up_later():
    call = started(max_duration=60.0, warn_before=10.0)
    assert (call.deadline, call.take_warning(149.9)) == (150.0, False)
    assert (call.take_warning(150.0), call.take_warning(150.0)) == (True, False)
    assert (call.deadline, call.time_is_up(159.9), call.time_is_up(160.0)) == (160.0, False, True)
    call.decide(MAX_DURATION)
    assert not call.time_is_up(160.0)  # the last words get their time
    assert call.time_is_up(160.0 + LAST_WORDS)


def test_a_call_that_is_shorter_than_the_warning_has_none():
    assert not started(max_duration=20.0, warn_before=30.0).take_warning(119.0)


def test_the_last_words_are_heard_when_their_mark_comes_back_or_is_overdue():
    for reached, heard_at in ((True, 108.0), (False, 110.0)):
        call = started()
        call.decide(BY_AGENT)
        call.await_mark(FinalMark("m0.7", due=110.0))
        call.mark_reached("m0.6", 107.0)
        assert not call.last_words_heard(107.9)
        if reached:
            call.mark_reached("m0.7", 108.0)
        assert (call.deadline, call.last_words_heard(heard_at)) == (heard_at, True)


def test_nothing_is_accepted_while_the_call_is_ending():
    call = started()
    assert call.accept("end_call", 101.0)
    assert not call.accept("transfer", 101.0, allowed=False)
    call.decide(transferred("sales", revocable=True))
    assert not call.accept("end_call", 101.0)
    call.revoke()
    assert call.accept("end_call", 101.0)


@pytest.mark.parametrize(
    "said",
    ["okay thank you", "okay", "thanks so much", "great thank you very much", "yes please", "perfect", "hello?"],
)
@pytest.mark.parametrize("lasts", [0.5, 0.8, 1.2])
def test_a_polite_answer_does_not_cancel_a_transfer(said, lasts):
    """livekit#6796"""
    engines = Engines(
        replies=["I will connect you to sales now, they know all about it."], requests={0: {"transfer": "sales"}}
    )
    phone = Phone(ConversationOptions(transfer_targets=("sales",)), engines)
    phone.caller_says("Can I talk to sales?", start=0.5, end=1.6)
    phone.caller_says(said, start=3.0, end=3.0 + lasts)
    phone.wait_until(9.0)
    assert phone.hung_up == "transferred"
    assert not any(turn.interrupted for turn in phone.turns)


@pytest.mark.parametrize("said", ["no wait I meant support", "what about my bill?", "no", "hold on", "no thank you"])
def test_an_objection_or_a_question_withdraws_a_transfer(said):
    engines = Engines(
        replies=["I will connect you to sales now, they know all about it.", REPLY], requests={0: {"transfer": "sales"}}
    )
    phone = Phone(ConversationOptions(transfer_targets=("sales",)), engines)
    phone.caller_says("Can I talk to sales?", start=0.5, end=1.6)
    phone.caller_says(said, start=3.0, end=3.9)
    phone.wait_until(9.0)
    assert phone.hung_up is None
    assert said in phone.sent(cmd.StartReply)[-1].history[-1].text


@pytest.mark.parametrize(
    "said",
    ["bye", "thank you so much bye", "thanks for your help bye", "okay great thank you very much bye", "you too"],
)
def test_a_goodbye_over_or_after_the_agents_goodbye_ends_the_call(said):
    """AVA#231, openclaw#137895"""
    for start in (3.2, 4.1):
        phone = Phone(engines=Engines(replies=["Thank you for calling the harbour clinic. Goodbye."], end_call_after=0))
        phone.caller_says("That is all I wanted.", start=0.5, end=1.6)
        phone.caller_says(said, start=start, end=start + 0.9)
        phone.wait_until(9.0)
        assert phone.hung_up == "agent-ended", start
        assert len(phone.sent(cmd.StartReply)) == 1


@pytest.mark.parametrize("lasts", [0.4, 0.9, 3.0])
def test_a_noise_into_the_end_of_the_last_words_undoes_nothing(lasts):
    for requests, ending in (({"transfer": "sales"}, "transferred"), ({"end_call": True}, "agent-ended")):
        ended = call_with(requests).wait_until(9.0).heard_frames[-1][0]
        phone = call_with(requests)
        phone.caller_makes_noise(start=ended - 0.1, end=ended - 0.1 + lasts)
        phone.wait_until(9.0)
        assert phone.hung_up == ending
        assert phone.transcript[-1] == ("agent", CONNECTING)


@pytest.mark.parametrize(
    ("requests", "ending"), [({"transfer": "sales"}, "transferred"), ({"end_call": True}, "agent-ended")]
)
def test_thanks_over_the_words_that_come_with_a_bare_request_undo_nothing(requests, ending):
    """livekit#6796, wren#55"""
    for said, start in (("thanks", 2.05), ("okay thank you", 2.2), ("bye", 2.4)):
        phone = call_with(requests, reply="")
        phone.caller_says(said, start=start, end=start + 0.5)
        phone.wait_until(9.0)
        assert phone.hung_up == ending
        assert len(phone.sent(cmd.StartReply)) == 1


def test_a_question_a_second_after_the_thanks_withdraws_a_transfer():
    phone = call_with({"transfer": "sales"})
    phone.caller_says("okay thank you", start=2.4, end=3.0)
    phone.caller_says("what about my bill?", start=3.6, end=4.6)
    phone.wait_until(9.0)
    assert phone.hung_up is None
    assert phone.sent(cmd.StartReply)[-1].history[-1].text == "what about my bill?"


def test_thanks_while_the_announcement_is_still_made_do_not_cancel_a_transfer():
    phone = call_with({"transfer": "sales"})
    phone.engines.first_token = 1.5
    phone.caller_says("okay thank you", start=2.3, end=2.9)
    phone.wait_until(12.0)
    assert phone.hung_up == "transferred"


@pytest.mark.parametrize("lasts", [1.5, 2.2, 3.0])
def test_long_thanks_do_not_cancel_a_transfer(lasts):
    """livekit#6796"""
    words = "I will connect you to sales now, they know all about it and will answer you at once."
    phone = call_with({"transfer": "sales"}, reply=words)
    phone.caller_says("okay great thank you very much for your help", start=2.6, end=2.6 + lasts)
    phone.wait_until(12.0)
    assert phone.hung_up == "transferred"
    assert phone.transcript[1] == ("agent", words)
