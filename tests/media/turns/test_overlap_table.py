"""Every cell of the table: each kind of words in each situation, on the simulated telephone."""

from __future__ import annotations

import pytest

from media.turns import commands as cmd
from media.turns.labels import Label
from media.turns.options import ConversationOptions
from media.turns.overlap_table import RESPONSES, Response, Situation
from tests.media.turns.phone import REPLY, Engines, Phone

AGENT = "Good morning, this is the front desk of the harbour hotel, and we are open all day."
GOODBYE = "Your table is booked for eight o'clock this evening. Thank you for calling, and goodbye."
CONNECT = "The sales department will help you with all that. I am connecting you to them just now."
SAMPLES = {
    Label.NOISE: "",
    Label.ECHO: "front desk of the harbour",
    Label.MURMUR: "mm-hm",
    Label.AGREEMENT: "okay",
    Label.THANKS: "thank you",
    Label.PRESENCE_CHECK: "hello?",
    Label.FAREWELL: "goodbye",
    Label.REFUSAL: "no thanks",
    Label.OBJECTION: "wrong",
    Label.HOLD_REQUEST: "hold on",
    Label.CORRECTION: "actually Tuesday",
    Label.QUESTION: "Sundays too?",
    Label.ANSWER: "yes",
    Label.TAKES_TURN: "two adults",
}


def call(situation: Situation, label: Label) -> tuple[Phone, str]:
    """Make a call in which the caller says something of this kind in this situation. Returns it and the words."""
    said = SAMPLES[label]
    asks = label is Label.ANSWER
    agent, goodbye, connect = (f"{text[:-1]}?" if asks else text for text in (AGENT, GOODBYE, CONNECT))
    if label is Label.ECHO:
        said = {
            Situation.PROMISED: "is booked for eight o'clock",
            Situation.CLOSING: "is booked for eight o'clock this evening",
            Situation.CONNECTING: "department will help you with that",
            Situation.GIVING_UP: "hear you any more so",
        }.get(situation, said)
    match situation:
        case Situation.SPEAKING | Situation.HELD | Situation.PROTECTED:
            text = f"Shall I book it? {AGENT}" if asks else AGENT
            phone = Phone(
                ConversationOptions(greeting=text, greeting_interruptible=situation is not Situation.PROTECTED)
            )
            start = 1.3
            phone.caller_says(said, start=start, end=start + (0.28 if situation is Situation.SPEAKING else 0.6))
        case Situation.PENDING:
            phone = Phone(
                ConversationOptions(greeting=agent, filler_after=9.0, longest_silence=9.0), Engines(first_token=1.0)
            )
            phone.caller_says("What time do you open?", start=4.0, end=5.0)
            phone.caller_says(said, start=5.4, end=5.7)
        case Situation.PROMISED:
            phone = Phone(
                engines=Engines(replies=[f"Shall I? {goodbye} Bye then." if asks else goodbye, REPLY], end_call_after=0)
            )
            phone.engines.requests[1] = {"end_call": False}
            phone.caller_says("Book it please.", start=0.5, end=1.5)
            phone.caller_says(said, start=3.6, end=4.2)
        case Situation.CLOSING | Situation.CONNECTING:
            requests = {"transfer": "sales"} if situation is Situation.CONNECTING else {"end_call": True}
            text = connect if situation is Situation.CONNECTING else f"{goodbye} Okay." if asks else goodbye
            options = ConversationOptions(transfer_targets=("sales",))
            phone = Phone(options, Engines(replies=[text, REPLY], requests={0: requests}), delay=0.4)
            phone.caller_says("Book it please.", start=0.5, end=1.5)
            # The last words are sent by then, and their mark is not back yet.
            phone.caller_says(said, start=6.0, end=6.5)
        case Situation.GIVING_UP:
            phone = Phone(ConversationOptions(still_there_after=2.0))
            phone.caller_says(said, start=6.1, end=6.5)
    return phone, said


@pytest.mark.parametrize("label", Label, ids=lambda label: label.name.lower())
@pytest.mark.parametrize("situation", Situation, ids=lambda situation: situation.name.lower())
def test_the_call_goes_on_as_the_table_says(situation, label):
    phone, said = call(situation, label)
    phone.wait_until(14.0)
    first, *_ = [turn for turn in phone.turns if turn.speaker == "agent" and turn.heard]
    lines = [line for reply in phone.sent(cmd.StartReply) for line in reply.history if line.speaker == "caller"]
    answered = any(said and said in line.text for line in lines)
    judged = [note.data["judged"] for kind in ("overlap", "false-interruption") for note in phone.notes(kind)]
    ending = {
        Situation.PROMISED: "agent-ended",
        Situation.CLOSING: "agent-ended",
        Situation.CONNECTING: "transferred",
        Situation.GIVING_UP: "silence",
    }.get(situation)
    match RESPONSES[situation, label]:
        case Response.CARRY_ON | Response.BRIDGE as response:
            assert not answered
            assert not any(turn.interrupted for turn in phone.turns)
            assert phone.hung_up == ending
            if situation in (Situation.PENDING, Situation.SPEAKING, Situation.HELD, Situation.PROTECTED):
                assert judged == [label.name.lower()]
            filler = phone.options.fillers[0]
            assert (filler in phone.turns[-1].heard) is (response is Response.BRIDGE)
        case Response.ANSWER_LATER:
            assert answered
            assert not first.interrupted
        case Response.YIELD_IF_LONG if situation is Situation.SPEAKING:
            assert answered
            assert not first.interrupted
        case Response.YIELD | Response.YIELD_IF_LONG:
            assert answered
            # Silence after a goodbye ends the call, and in this situation 2 s of it do.
            goes_on = label is not Label.FAREWELL or situation is not Situation.GIVING_UP
            assert phone.hung_up == (None if goes_on else "silence")
            assert first.interrupted or situation in (Situation.CLOSING, Situation.CONNECTING, Situation.GIVING_UP)
        case Response.TAKE_BACK:
            assert phone.notes("caller-went-on")
            assert phone.sent(cmd.StartReply)[-1].history[-1].text == f"What time do you open? {said}"


def test_politeness_never_undoes_what_was_promised():
    for situation in (Situation.PROMISED, Situation.CONNECTING):
        for label in (Label.MURMUR, Label.AGREEMENT, Label.THANKS, Label.PRESENCE_CHECK, Label.FAREWELL, Label.ANSWER):
            assert RESPONSES[situation, label] is Response.CARRY_ON


def test_a_noise_and_an_echo_change_nothing():
    for situation in Situation:
        assert RESPONSES[situation, Label.NOISE] is RESPONSES[situation, Label.ECHO] is Response.CARRY_ON


def test_a_caller_who_was_not_heard_keeps_the_call_with_any_word():
    for label in set(Label) - {Label.NOISE, Label.ECHO}:
        assert RESPONSES[Situation.GIVING_UP, label] is Response.YIELD
