"""What follows when the caller asks, or seems to ask, never to be called again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from media.turns import commands as cmd
from media.turns import events as ev
from media.turns.closing import LAST_WORDS
from media.turns.opting_out import MOST_QUESTIONS
from media.turns.options import ConversationOptions
from tests.media.turns.phone import REPLY, SHORT, Engines, Phone

OPTIONS = ConversationOptions(opt_out_key="9")
QUESTION = OPTIONS.confirm_opt_out
SUSPECTED = "leave me alone"
"""Words that most who say them mean as a demand: a strong suspicion."""
WEAK = "please remove my phone number"
"""Words that may well mean something else: a weak suspicion."""
PLAIN = "don't ever call me again"


def asked(words: str = SUSPECTED, *, options: ConversationOptions = OPTIONS, replies: list[str] | None = None) -> Phone:
    """A call in which the caller has said this, and hears the question from about 2.1 to 4.0 s."""
    phone = Phone(options, Engines(replies=replies or [SHORT]))
    phone.caller_says(words, start=0.5, end=1.5)
    return phone


def answered(answer: str, *, words: str = SUSPECTED, options: ConversationOptions = OPTIONS) -> Phone:
    """A call in which the caller answers the question with this."""
    phone = asked(words, options=options)
    phone.caller_says(answer, start=4.5, end=5.3)
    return phone.wait_until(12.0)


def said_by_agent(phone: Phone) -> list[str]:
    return [text for speaker, text in phone.transcript if speaker == "agent"]


def opt_outs(phone: Phone) -> list[cmd.OptOut]:
    return phone.sent(cmd.OptOut)


def answers(phone: Phone) -> list[object]:
    return [note.data["answer"] for note in phone.notes("opt-out-answer")]


# The question


def test_a_suspected_demand_is_asked_about_in_place_of_a_reply():
    phone = asked().wait_until(4.5)
    assert phone.transcript == [("caller", SUSPECTED), ("agent", QUESTION)]
    assert phone.sent(cmd.StartReply) == opt_outs(phone) == []
    assert phone.hung_up is None


def test_the_question_comes_as_soon_as_the_caller_has_finished():
    assert asked().wait_until(4.0).agent_turns[0] - 1.5 < 0.9


def test_what_was_suspected_goes_on_record():
    (note,) = asked().wait_until(4.5).notes("opt-out-question")
    assert note.data == {"strong": True, "text": SUSPECTED}


def test_a_plain_demand_is_obeyed_without_a_question():
    phone = asked(PLAIN).wait_until(9.0)
    assert opt_outs(phone) == [cmd.OptOut("asked", PLAIN)]
    assert said_by_agent(phone) == [OPTIONS.opted_out]
    assert phone.notes("opt-out-question") == []


def test_words_about_another_list_go_to_the_model():
    phone = asked("take me off the cancellation list").wait_until(4.5)
    assert said_by_agent(phone) == [SHORT]


def test_the_question_is_asked_after_words_with_a_pause_in_them():
    phone = Phone(OPTIONS)
    phone.caller_says("I want to be taken off the", start=0.5, end=1.7)
    phone.caller_says("list", start=2.3, end=2.7)
    assert said_by_agent(phone.wait_until(6.0)) == [QUESTION]


def test_a_caller_who_goes_on_before_the_question_is_judged_by_all_words():
    phone = Phone(OPTIONS, Engines(replies=[SHORT], line=0.5))
    phone.caller_says("leave me alone", start=0.5, end=1.5)
    phone.caller_says("with the menu for a minute.", start=2.0, end=3.2)
    phone.wait_until(9.0)
    assert said_by_agent(phone) == [SHORT]
    assert opt_outs(phone) == []


def test_the_question_may_be_put_after_the_greeting():
    phone = Phone(replace(OPTIONS, greeting=REPLY, greeting_interruptible=False))
    phone.caller_says(SUSPECTED, start=1.0, end=1.9)
    phone.caller_says("yes please", start=7.0, end=7.6)
    phone.wait_until(15.0)
    assert said_by_agent(phone) == [REPLY, QUESTION, OPTIONS.opted_out]


def test_the_question_is_put_after_the_disclosure_in_place_of_the_greeting():
    phone = Phone(replace(OPTIONS, disclosure="I am a computer, and this call is recorded.", greeting=REPLY))
    phone.caller_says(SUSPECTED, start=0.3, end=1.0)
    phone.wait_until(5.0)
    assert said_by_agent(phone)[1] == QUESTION


def test_without_a_question_the_model_answers_such_words():
    phone = asked(options=replace(OPTIONS, confirm_opt_out="")).wait_until(4.5)
    assert said_by_agent(phone) == [SHORT]


# The answer


@pytest.mark.parametrize("answer", ["yes", "Yes, please.", "yeah I do", "of course", "uh-huh", "that's what I said"])
def test_a_yes_opts_the_caller_out(answer):
    phone = answered(answer)
    assert opt_outs(phone) == [cmd.OptOut("asked", f"{SUSPECTED} {answer}")]
    assert said_by_agent(phone) == [QUESTION, OPTIONS.opted_out]
    assert phone.sent(cmd.StartReply) == []
    assert phone.hung_up == "opted-out"
    assert answers(phone) == ["yes"]


@pytest.mark.parametrize("answer", [SUSPECTED, PLAIN, "just take me off", "no, just stop calling me"])
def test_a_repeated_demand_opts_the_caller_out(answer):
    phone = answered(answer)
    assert len(opt_outs(phone)) == 1
    assert said_by_agent(phone) == [QUESTION, OPTIONS.opted_out]


@pytest.mark.parametrize("answer", ["no", "No, thank you.", "no I meant the waiting list", "nope"])
def test_a_no_is_answered_by_the_model(answer):
    phone = answered(answer)
    assert opt_outs(phone) == []
    assert said_by_agent(phone) == [QUESTION, SHORT]
    assert [line.text for line in phone.sent(cmd.StartReply)[-1].history] == [SUSPECTED, QUESTION, answer]
    assert phone.hung_up is None
    assert answers(phone) == ["no"]


@pytest.mark.parametrize(
    "answer", ["what list?", "I'm calling about my order", "yes but what about my order", "hello?"]
)
def test_anything_else_is_answered_by_the_model(answer):
    phone = answered(answer)
    assert opt_outs(phone) == []
    assert said_by_agent(phone) == [QUESTION, SHORT]
    assert answers(phone) == ["other"]


def test_a_key_is_no_answer_to_the_question():
    phone = asked()
    phone.at(4.5, ev.KeyPressed("1"))
    phone.wait_until(12.0)
    assert opt_outs(phone) == []
    assert said_by_agent(phone) == [QUESTION, SHORT]


def test_the_opt_out_key_answers_it():
    phone = asked()
    phone.at(3.0, ev.KeyPressed("9"))
    phone.wait_until(12.0)
    assert opt_outs(phone) == [cmd.OptOut("key")]
    assert phone.hung_up == "opted-out"


@pytest.mark.parametrize("start", [3.3, 3.6, 3.9])
def test_a_yes_may_come_over_the_end_of_the_question(start):
    phone = asked()
    phone.caller_says("yes please", start=start, end=start + 0.6)
    phone.wait_until(12.0)
    assert len(opt_outs(phone)) == 1
    assert said_by_agent(phone)[-1] == OPTIONS.opted_out


def test_a_no_may_come_over_the_end_of_the_question():
    phone = asked()
    phone.caller_says("no no I meant the waiting list", start=3.4, end=4.6)
    phone.wait_until(12.0)
    assert opt_outs(phone) == []
    assert said_by_agent(phone)[-1] == SHORT


def test_a_caller_who_interrupts_the_first_words_of_the_question_has_not_been_asked():
    phone = asked()
    phone.caller_says("okay so what are your opening hours", start=2.2, end=3.8)
    phone.wait_until(12.0)
    assert opt_outs(phone) == []
    assert said_by_agent(phone)[-1] == SHORT


def test_an_answer_that_was_not_understood_may_be_repeated():
    phone = Phone(OPTIONS, Engines(recognises=lambda text: text.replace("mumble", "").strip()))
    phone.caller_says(SUSPECTED, start=0.5, end=1.5)
    phone.caller_says("mumble", start=4.5, end=5.5)
    phone.caller_says("yes please", start=9.0, end=9.6)
    phone.wait_until(16.0)
    assert said_by_agent(phone) == [QUESTION, OPTIONS.not_caught, OPTIONS.opted_out]


def test_a_yes_to_something_else_that_the_agent_said_is_no_answer():
    phone = asked()
    phone.at(4.2, ev.SayRequested("Is that you, Annabel?"))
    phone.caller_says("yes", start=6.5, end=6.9)
    phone.wait_until(12.0)
    assert opt_outs(phone) == []
    assert said_by_agent(phone)[-1] == SHORT


# After the answer


def test_the_same_words_are_not_asked_about_again():
    phone = asked()
    phone.caller_says("no", start=4.5, end=4.8)
    phone.caller_says("Leave me alone!", start=8.0, end=9.0)
    phone.wait_until(14.0)
    assert said_by_agent(phone) == [QUESTION, SHORT, SHORT]
    assert opt_outs(phone) == []


def test_a_plain_demand_after_a_no_is_obeyed():
    phone = asked()
    phone.caller_says("no", start=4.5, end=4.8)
    phone.caller_says(PLAIN, start=8.0, end=9.0)
    phone.wait_until(14.0)
    assert opt_outs(phone) == [cmd.OptOut("asked", PLAIN)]


def test_other_words_are_asked_about_until_the_questions_of_a_call_are_used_up():
    phone = asked()
    start = 4.5
    for words in ("no", WEAK, "no", "how do I opt out"):
        phone.caller_says(words, start=start, end=start + 1.0)
        start += 4.5
    phone.wait_until(start + 4.0)
    assert said_by_agent(phone) == [QUESTION, SHORT, QUESTION, SHORT, SHORT]
    assert said_by_agent(phone).count(QUESTION) == MOST_QUESTIONS


def test_the_model_may_still_opt_the_caller_out():
    phone = Phone(OPTIONS, Engines(replies=["I understand."], requests={0: {"opt_out": True}}))
    phone.caller_says(SUSPECTED, start=0.5, end=1.5)
    phone.caller_says("well what do you mean", start=4.5, end=5.5)
    phone.wait_until(14.0)
    assert [opt_out.how for opt_out in opt_outs(phone)] == ["agent"]


# No answer


def test_a_silent_caller_is_asked_whether_they_are_there():
    phone = asked().wait_until(14.0)
    assert said_by_agent(phone) == [QUESTION, OPTIONS.still_there]
    assert answers(phone) == ["silence"]
    assert opt_outs(phone) == []


def test_a_yes_to_whether_they_are_there_is_no_answer():
    phone = asked()
    phone.caller_says("yes I am", start=14.5, end=15.2)
    phone.wait_until(20.0)
    assert opt_outs(phone) == []
    assert said_by_agent(phone)[-1] == SHORT
    assert answers(phone) == ["silence", "other"]


def test_the_demand_repeated_after_the_silence_is_obeyed():
    phone = asked()
    phone.caller_says("just take me off", start=14.5, end=15.5)
    phone.wait_until(20.0)
    assert [opt_out.how for opt_out in opt_outs(phone)] == ["asked"]


@pytest.mark.parametrize(("words", "obeyed"), [(SUSPECTED, True), (WEAK, False)])
def test_a_strong_suspicion_is_obeyed_if_the_caller_stays_silent_until_the_end(words, obeyed):
    phone = asked(words).wait_until(40.0)
    assert phone.hung_up == "silence"
    assert opt_outs(phone) == ([cmd.OptOut("asked", words)] if obeyed else [])
    assert answers(phone) == ["silence", "none"]
    assert phone.notes("opt-out-answer")[-1].data["obeyed"] is obeyed


@pytest.mark.parametrize("when", [1.55, 1.95, 3.0, 4.5])
@pytest.mark.parametrize(("words", "obeyed"), [(SUSPECTED, True), (WEAK, False)])
def test_a_strong_suspicion_is_obeyed_if_the_caller_hangs_up(words, obeyed, when):
    phone = asked(words)
    phone.at(1.5, ev.TranscriptPartial(1, words))
    phone.at(when, ev.CallerHungUp())
    phone.wait_until(6.0)
    assert opt_outs(phone) == ([cmd.OptOut("asked", words)] if obeyed else [])
    assert answers(phone) == ["none"]
    assert phone.sent(cmd.HangUp) == []


@pytest.mark.parametrize("said", ["Let me give you my number.", "please take down my phone number"])
def test_a_caller_who_was_asked_for_a_number_gives_it(said):
    options = replace(OPTIONS, greeting="Hello. What number can we reach you at?")
    phone = Phone(options, Engines(replies=[SHORT]))
    phone.caller_says(said, start=4.0, end=5.0)
    phone.wait_until(9.0)
    assert phone.transcript[-2:] == [("caller", said), ("agent", SHORT)]


def test_a_caller_who_was_asked_for_a_number_can_opt_out():
    options = replace(OPTIONS, greeting="Hello. What number can we reach you at?")
    phone = Phone(options, Engines(replies=[SHORT]))
    phone.caller_says(PLAIN, start=4.0, end=5.0)
    phone.wait_until(9.0)
    assert opt_outs(phone) == [cmd.OptOut("asked", PLAIN)]


def test_a_caller_who_says_yes_and_hangs_up_is_opted_out():
    phone = asked(WEAK)
    phone.caller_says("yes", start=4.5, end=4.9)
    phone.at(4.85, ev.TranscriptPartial(2, "yes"))
    phone.at(4.95, ev.CallerHungUp())
    phone.wait_until(6.0)
    assert opt_outs(phone) == [cmd.OptOut("asked", f"{WEAK} yes")]


@pytest.mark.parametrize(("words", "obeyed"), [(SUSPECTED, True), (WEAK, False)])
def test_a_goodbye_leaves_the_question_open(words, obeyed):
    phone = answered("Goodbye then.", words=words)
    phone.at(12.5, ev.CallerHungUp())
    phone.wait_until(15.0)
    assert opt_outs(phone) == ([cmd.OptOut("asked", words)] if obeyed else [])
    assert answers(phone) == ["goodbye", "none"]


def test_a_caller_who_has_answered_and_hangs_up_is_not_opted_out():
    phone = asked()
    phone.caller_says("no", start=4.5, end=4.8)
    phone.at(6.5, ev.CallerHungUp())
    phone.wait_until(8.0)
    assert opt_outs(phone) == []


def test_an_operator_who_takes_over_hears_what_the_caller_wants():
    phone = asked()
    phone.at(3.0, ev.TransferRequested())
    phone.wait_until(9.0)
    assert phone.hung_up == "transferred"
    assert opt_outs(phone) == []
    assert answers(phone) == ["none"]


def test_words_on_an_answering_machine_are_not_obeyed_as_a_suspicion():
    phone = asked()
    phone.at(3.0, ev.VoicemailReached(""))
    phone.wait_until(9.0)
    assert phone.hung_up == "voicemail"
    assert opt_outs(phone) == []


def test_a_strong_suspicion_is_obeyed_if_the_time_is_up():
    phone = asked(options=replace(OPTIONS, max_duration=3.0, warn_before=5.0)).wait_until(5.0 + LAST_WORDS)
    assert phone.hung_up == "max-duration"
    assert opt_outs(phone) == [cmd.OptOut("asked", SUSPECTED)]


# Where words are not judged


@pytest.mark.parametrize("options", [{"hears_opt_out": False}, {"language": "de"}])
@pytest.mark.parametrize("words", [SUSPECTED, PLAIN])
def test_the_model_answers_where_words_are_not_judged(options, words):
    phone = asked(words, options=replace(OPTIONS, **options)).wait_until(5.0)
    assert said_by_agent(phone) == [SHORT]
    assert opt_outs(phone) == []


def test_words_are_judged_in_every_kind_of_english():
    assert len(opt_outs(asked(PLAIN, options=replace(OPTIONS, language="en-GB")).wait_until(5.0))) == 1


def test_in_another_language_the_model_and_the_key_opt_the_caller_out():
    options = replace(OPTIONS, language="de")
    phone = Phone(options, Engines(replies=["Gut."], requests={0: {"opt_out": True}}))
    phone.caller_says("Rufen Sie mich nie wieder an.", start=0.5, end=2.0)
    assert [opt_out.how for opt_out in opt_outs(phone.wait_until(9.0))] == ["agent"]
    phone = Phone(options)
    phone.at(1.0, ev.KeyPressed("9"))
    assert opt_outs(phone.wait_until(2.0)) == [cmd.OptOut("key")]
