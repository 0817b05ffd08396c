"""The disclosure comes first and is said to its end, and nothing is recorded until the caller has heard it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from media.turns import commands as cmd
from media.turns import events as ev
from media.turns.endpointing import COMPLETE
from media.turns.options import ConversationOptions
from tests.media.turns.phone import SHORT, Engines, Floor, Phone

DISCLOSURE = "I am a computer, and this call is recorded."
GREETING = "Hello, this is the front desk. How can I help?"
OPTIONS = ConversationOptions(disclosure=DISCLOSURE, greeting=GREETING, opt_out_key="9")


def recording_started(phone: Phone) -> float | None:
    started = phone.times(cmd.StartRecording)
    assert len(started) <= 1
    return started[0] if started else None


def test_without_a_disclosure_recording_starts_with_the_call():
    phone = Phone(ConversationOptions(greeting=GREETING)).wait_until(3.0)
    assert recording_started(phone) == 0.0
    assert phone.notes("disclosed") == []


@pytest.mark.parametrize("delay", [0.005, 0.03, 0.2])
def test_the_disclosure_is_heard_before_recording_starts_and_the_greeting_comes(delay):
    phone = Phone(OPTIONS, delay=delay).wait_until(8.0)
    started = recording_started(phone)
    assert phone.transcript == [("agent", DISCLOSURE), ("agent", GREETING)]
    # It has ended for the caller, and not only by the ledger.
    until = phone.heard_frames[0][0] + len(DISCLOSURE) * 0.04
    assert until <= started <= until + delay + 0.05
    assert phone.times(cmd.SayLine)[1] == started
    (note,) = phone.notes("disclosed")
    assert note.at == started


def test_what_the_caller_hears_before_recording_starts_is_the_disclosure_and_nothing_else():
    phone = Phone(OPTIONS)
    while recording_started(phone) is None:
        phone.wait_until(phone.now + 0.01)
    assert phone.really_heard(phone.revisions[0]) == DISCLOSURE
    assert len(phone.revisions) == 2
    assert phone.really_heard(phone.revisions[1]) == ""


def test_the_disclosure_cannot_be_interrupted():
    phone = Phone(OPTIONS)
    phone.caller_says("stop stop I want to say something", start=0.4, end=1.5)
    phone.wait_until(9.0)
    assert phone.sent(cmd.ClearPlayout) == []
    assert phone.transcript[0] == ("agent", DISCLOSURE)
    assert recording_started(phone) is not None


def test_a_hello_during_the_disclosure_is_answered_by_the_greeting():
    phone = Phone(replace(OPTIONS, disclosure=f"{DISCLOSURE} You can say stop at any moment, of course."))
    phone.caller_says("Hello who is this?", start=0.3, end=0.9)
    phone.wait_until(9.0)
    assert [speaker for speaker, _ in phone.transcript] == ["caller", "agent", "agent"]
    assert phone.transcript[-1] == ("agent", GREETING)
    assert phone.sent(cmd.StartReply) == []


def test_a_question_at_the_end_of_the_disclosure_is_answered():
    phone = Phone(OPTIONS)
    phone.caller_says("What time do you open?", start=1.5, end=2.6)
    phone.wait_until(12.0)
    assert phone.transcript[0] == ("agent", DISCLOSURE)
    assert recording_started(phone) < 2.1
    assert [text for speaker, text in phone.transcript if speaker == "caller"] == ["What time do you open?"]
    assert phone.transcript[-1][0] == "agent"


def test_without_a_greeting_the_caller_has_the_floor_after_the_disclosure():
    phone = Phone(replace(OPTIONS, greeting=""))
    phone.caller_says("What time do you open?", start=4.0, end=5.0)
    phone.wait_until(12.0)
    assert [speaker for speaker, _ in phone.transcript] == ["agent", "caller", "agent"]


def test_a_question_during_a_disclosure_without_a_greeting_is_answered():
    phone = Phone(replace(OPTIONS, greeting="", disclosure=f"{DISCLOSURE} You can say stop at any moment."))
    phone.caller_says("Hello who is this?", start=0.3, end=0.9)
    phone.wait_until(12.0)
    assert [reply.history[-1].text for reply in phone.sent(cmd.StartReply)] == ["Hello who is this?"]


@pytest.mark.parametrize("when", [0.0, 0.3, 1.0, 1.7])
def test_nothing_is_recorded_of_a_caller_who_hangs_up_during_the_disclosure(when):
    phone = Phone(OPTIONS)
    phone.at(when, ev.CallerHungUp())
    phone.wait_until(9.0)
    assert recording_started(phone) is None
    assert phone.notes("disclosed") == []


@pytest.mark.parametrize(
    "event", [ev.KeyPressed("9"), ev.EndRequested("operator"), ev.TransferRequested(), ev.VoicemailReached("Hello.")]
)
@pytest.mark.parametrize("when", [0.5, 1.8])
def test_nothing_is_recorded_of_a_call_that_ends_during_the_disclosure(event, when):
    phone = Phone(OPTIONS)
    phone.at(when, event)
    phone.wait_until(12.0)
    assert phone.hung_up
    assert recording_started(phone) is None


def test_a_caller_who_opts_out_during_the_disclosure_hears_no_greeting():
    phone = Phone(replace(OPTIONS, disclosure=f"{DISCLOSURE} You can say stop at any moment, of course."))
    phone.caller_says("take me off your list", start=0.3, end=1.1)
    phone.wait_until(12.0)
    assert [opt_out.how for opt_out in phone.sent(cmd.OptOut)] == ["asked"]
    assert phone.transcript[1:] == [("agent", f"{phone.options.disclosure}"), ("agent", OPTIONS.opted_out)]
    assert phone.hung_up == "opted-out"


def test_lost_marks_delay_the_greeting_by_a_second_and_no_more():
    phone = Phone(OPTIONS)
    phone.marks_are_lost()
    phone.wait_until(9.0)
    disclosure, greeting = phone.agent_stretches
    assert 0.9 < greeting[0] - disclosure[1] < 1.2
    assert recording_started(phone) > disclosure[1]


def test_a_disclosure_that_breaks_off_ends_the_call_unrecorded():
    phone = Phone(OPTIONS)
    phone.at(0.02, ev.ReplyFailed(phone.revisions[0], "the voice has failed"))
    phone.wait_until(12.0)
    assert recording_started(phone) is None
    assert phone.transcript[-1] == ("agent", OPTIONS.trouble_goodbye)
    assert phone.hung_up == "engines-failed"


def test_a_slow_voice_does_not_lose_the_disclosure():
    phone = Phone(OPTIONS, Engines(line=0.8)).wait_until(12.0)
    assert [text for _, text in phone.transcript] == [DISCLOSURE, GREETING]


def test_a_requested_line_comes_after_the_greeting():
    phone = Phone(OPTIONS)
    phone.at(0.5, ev.SayRequested("Your table is ready."))
    phone.wait_until(9.0)
    assert phone.transcript == [("agent", DISCLOSURE), ("agent", f"{GREETING} Your table is ready.")]


@pytest.mark.parametrize(("disclosed", "said"), [(True, []), (False, [DISCLOSURE])])
def test_a_new_stream_says_the_disclosure_only_if_the_caller_has_not_heard_it(disclosed, said):
    phone = Phone(OPTIONS, start=False)
    phone.receive(ev.CallStarted(resumed=True, disclosed=disclosed))
    phone.wait_until(9.0)
    assert [text for _, text in phone.transcript] == [*said, OPTIONS.resumed]
    assert (recording_started(phone) == 0.0) is disclosed


def test_the_agent_greets_and_then_listens():
    phone = Phone(ConversationOptions(greeting=GREETING)).wait_until(3.0)
    assert phone.transcript == [("agent", GREETING)]
    assert phone.conversation.floor is Floor.IDLE


def test_a_new_stream_takes_over_from_a_lost_one():
    phone = Phone(ConversationOptions(greeting=GREETING), start=False)
    phone.receive(ev.CallStarted(resumed=True))
    phone.wait_until(4.0)
    assert phone.transcript == [("agent", phone.options.resumed)]


# --- The callee speaks first -------------------------------------------------------------------------------

OUTBOUND = ConversationOptions(outbound=True, greeting="Hello, this is Ada from Acme. Do you have a minute?")
INTRODUCTION = ("agent", OUTBOUND.greeting)
BEGINS = 0.1
"""Seconds within which the voice and the carrier begin to play stored words."""


def spoke_at(phone: Phone) -> float:
    return phone.agent_turns[0]


@pytest.mark.parametrize("language", ["en", "de", "sv"])
def test_the_agent_greets_a_callee_who_says_nothing_after_a_while(language):
    phone = Phone(replace(OUTBOUND, language=language)).wait_until(6.0)
    assert spoke_at(phone) == pytest.approx(OUTBOUND.callee_first, abs=BEGINS)
    assert phone.transcript == [INTRODUCTION]


@pytest.mark.parametrize("options", [replace(OUTBOUND, outbound=False), replace(OUTBOUND, callee_first=0.0)])
def test_the_agent_speaks_at_once_on_an_inbound_call_and_without_the_option(options):
    phone = Phone(options).wait_until(6.0)
    assert spoke_at(phone) < BEGINS


@pytest.mark.parametrize(
    ("language", "hello"),
    [
        *[("en", hello) for hello in ("Hello?", "Yes?", "hello", "Martin speaking", "Who is this?")],
        *[("en", hello) for hello in ("Smith residence", "good morning", "Jane Miller.", "This is he.", "Yes, hello?")],
        ("en", "Good morning, Acme Dental, this is Julie, how can I help you?"),
        ("de", "Müller, guten Tag."),
        ("de", "Ja, wer ist da?"),
        ("es", "¿Diga?"),
        ("fr", "Allô, c'est qui ?"),
        ("it", "Pronto?"),
        ("nl", "Hallo, met Jan."),
        ("pt", "Alô, quem fala?"),
    ],
)
def test_the_greeting_answers_a_hello_right_after_its_end(language, hello):
    end = 0.6 + 0.3 * len(hello.split())
    phone = Phone(replace(OUTBOUND, language=language))
    phone.caller_says(hello, start=0.6, end=end)
    phone.wait_until(12.0)
    assert spoke_at(phone) == pytest.approx(end + COMPLETE, abs=BEGINS)
    assert phone.turns[0].wait <= COMPLETE
    assert phone.transcript == [("caller", hello), INTRODUCTION]
    assert phone.sent(cmd.StartReply) == []


@pytest.mark.parametrize(
    "words",
    [
        "What do you want from me?",
        "You have the wrong number.",
        "Hello, can you call back later?",
        "I'm not interested.",
        "Is this about my order?",
    ],
)
def test_more_than_a_hello_is_answered_after_the_greeting(words):
    phone = Phone(OUTBOUND, Engines(replies=[SHORT]))
    phone.caller_says(words, start=0.6, end=2.0)
    phone.wait_until(12.0)
    assert phone.transcript[:2] == [("caller", words), INTRODUCTION]
    assert phone.transcript[2] == ("agent", SHORT)
    [reply] = phone.sent(cmd.StartReply)
    assert [line.text for line in reply.history] == [OUTBOUND.greeting, words]


def test_a_callee_who_opts_out_at_once_is_obeyed_without_a_greeting():
    phone = Phone(OUTBOUND)
    phone.caller_says("Take me off your list and never call me again.", start=0.5, end=2.5)
    phone.wait_until(12.0)
    assert [opt_out.how for opt_out in phone.sent(cmd.OptOut)] == ["asked"]
    assert [text for speaker, text in phone.transcript if speaker == "agent"] == [OUTBOUND.opted_out]
    assert phone.hung_up == "opted-out"


@pytest.mark.parametrize("interruptible", [True, False])
@pytest.mark.parametrize("words", ["Hello?", "Who is this?", "Martin speaking", "Yes, who's calling please?"])
@pytest.mark.parametrize("start", [1.45, 1.6, 2.0, 2.3])
def test_a_hello_into_the_greeting_does_not_stop_it(words, start, interruptible):
    phone = Phone(replace(OUTBOUND, greeting_interruptible=interruptible))
    phone.caller_says(words, start=start, end=start + 0.8)
    phone.wait_until(8.0)
    assert phone.transcript[-1] == INTRODUCTION
    assert phone.sent(cmd.StartReply) == []
    assert phone.really_heard(phone.revisions[-1]) == OUTBOUND.greeting


def test_a_name_behind_the_hello_does_not_take_the_greeting_back():
    phone = Phone(OUTBOUND)
    phone.caller_says("Hello?", start=0.5, end=0.9)
    phone.caller_says("Martin speaking.", start=1.3, end=2.0)
    phone.wait_until(12.0)
    assert phone.transcript[-1] == INTRODUCTION
    assert phone.sent(cmd.StartReply) == []


@pytest.mark.parametrize("second", [1.16, 1.3, 1.7])
def test_the_greeting_is_begun_again_before_words_that_cut_it_off_early(second):
    phone = Phone(OUTBOUND, Engines(replies=[SHORT]))
    phone.caller_says("Hello?", start=0.5, end=0.9)
    phone.caller_says("I'm really not interested in anything.", start=second, end=second + 1.5)
    phone.wait_until(14.0)
    assert INTRODUCTION in phone.transcript
    assert phone.transcript[-1] == ("agent", SHORT)
    [*_, reply] = phone.sent(cmd.StartReply)
    assert reply.history[-2].text == OUTBOUND.greeting
    assert reply.history[-1].text.endswith("I'm really not interested in anything.")


def test_whoever_interrupts_the_greeting_again_and_again_is_answered():
    phone = Phone(OUTBOUND, Engines(replies=[SHORT]))
    for start in (1.7, 4.2):
        phone.caller_says("No no stop it I am busy.", start=start, end=start + 1.5)
    phone.wait_until(14.0)
    assert phone.transcript[-1] == ("agent", SHORT)


def test_a_question_in_the_second_half_of_the_greeting_interrupts_it_as_usual():
    phone = Phone(OUTBOUND, Engines(replies=[SHORT]))
    phone.caller_says("What is it about then please?", start=3.0, end=4.2)
    phone.wait_until(12.0)
    assert [text for speaker, text in phone.transcript if speaker == "agent"][-1] == SHORT
    assert sum(text.startswith("Hello, this is Ada") for _, text in phone.transcript) == 1


def test_an_answer_to_the_question_of_the_greeting_is_answered():
    greeting = "Hello, this is Ada. Am I speaking with Martin?"
    phone = Phone(replace(OUTBOUND, greeting=greeting), Engines(replies=[SHORT]))
    phone.caller_says("Martin speaking.", start=3.5, end=4.2)
    phone.wait_until(12.0)
    assert phone.transcript == [("agent", greeting), ("caller", "Martin speaking."), ("agent", SHORT)]


def test_the_disclosure_comes_between_the_hello_and_the_greeting():
    phone = Phone(replace(OUTBOUND, disclosure=DISCLOSURE))
    phone.caller_says("Hello?", start=0.5, end=0.9)
    phone.wait_until(12.0)
    assert phone.transcript == [("caller", "Hello?"), ("agent", DISCLOSURE), INTRODUCTION]
    assert recording_started(phone) > 1.1 + len(DISCLOSURE) * 0.04
    assert phone.sent(cmd.StartReply) == []


def test_a_question_before_the_disclosure_is_answered_after_the_greeting():
    phone = Phone(replace(OUTBOUND, disclosure=DISCLOSURE), Engines(replies=[SHORT]))
    phone.caller_says("What do you want from me?", start=0.5, end=1.5)
    phone.wait_until(14.0)
    assert [text for _, text in phone.transcript[1:]] == [DISCLOSURE, OUTBOUND.greeting, SHORT]


def test_a_question_before_a_disclosure_without_a_greeting_is_answered():
    phone = Phone(replace(OUTBOUND, disclosure=DISCLOSURE, greeting=""), Engines(replies=[SHORT]))
    phone.caller_says("What do you want from me?", start=0.5, end=1.5)
    phone.wait_until(9.0)
    assert [text for _, text in phone.transcript[1:]] == [DISCLOSURE, SHORT]


@pytest.mark.parametrize(("start", "end"), [(0.2, 0.4), (1.2, 1.4), (0.4, 1.4), (1.0, 9.0), (0.3, 30.0)])
def test_a_noise_does_not_keep_the_agent_from_greeting(start, end):
    phone = Phone(OUTBOUND)
    phone.caller_makes_noise(start=start, end=end)
    phone.wait_until(15.0)
    assert spoke_at(phone) < 7.5
    assert phone.transcript[0] == INTRODUCTION


def test_a_hello_that_is_not_recognised_is_greeted_and_not_asked_for_again():
    phone = Phone(OUTBOUND)
    phone.caller_makes_noise(start=0.4, end=1.2)
    phone.wait_until(8.0)
    assert phone.transcript == [INTRODUCTION]


def test_an_ordered_line_comes_after_the_greeting():
    phone = Phone(OUTBOUND)
    phone.at(0.3, ev.SayRequested("Your table is ready."))
    phone.wait_until(9.0)
    assert phone.transcript == [("agent", f"{OUTBOUND.greeting} Your table is ready.")]


@pytest.mark.parametrize(
    "event", [ev.EndRequested("operator"), ev.VoicemailReached("Please call back."), ev.CallerHungUp()]
)
def test_no_greeting_begins_after_the_end(event):
    phone = Phone(OUTBOUND)
    phone.at(0.7, event)
    phone.wait_until(9.0)
    assert OUTBOUND.greeting not in [text for _, text in phone.transcript]


def test_the_callee_is_not_waited_for_on_a_stream_that_replaces_a_lost_one():
    phone = Phone(OUTBOUND, start=False)
    phone.receive(ev.CallStarted(resumed=True))
    phone.wait_until(5.0)
    assert spoke_at(phone) < BEGINS
    assert phone.transcript == [("agent", OUTBOUND.resumed)]
