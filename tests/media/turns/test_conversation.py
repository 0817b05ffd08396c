"""Which events the conversation accepts, and when the language model reads ahead."""

from __future__ import annotations

import pytest

from media.turns import commands as cmd
from media.turns import events as ev
from media.turns.clock import StreamClock
from media.turns.conversation import Conversation, Floor, ImpossibleEvent
from media.turns.options import ConversationOptions
from tests.media.turns.phone import GREETING, REPLY, Engines, Phone


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


def test_late_and_repeated_events_have_no_effect():
    phone = Phone()
    phone.caller_says("What time do you open?", start=1.0, end=2.2)
    phone.wait_until(3.5)
    revision = phone.revisions[0]
    before = len(phone.commands)
    phone.receive(ev.TranscriptReady(1, 1, "something else"))
    phone.receive(ev.MarkReached("never sent"))
    phone.receive(ev.ReplyEnded(revision))
    phone.receive(ev.ReplyEnded(revision))
    phone.receive(ev.ReplyAudio(revision, b"\xff" * 160, 1))
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
        phone.receive(event)
    assert phone.conversation.floor is Floor.IDLE


def test_nothing_can_happen_before_the_call_starts():
    conversation = Conversation(ConversationOptions(), clock=StreamClock())
    with pytest.raises(ImpossibleEvent):
        conversation.receive(ev.SpeechStarted(0), now=0.0)
    assert conversation.deadline is None
