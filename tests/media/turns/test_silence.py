"""Neither side says anything."""

from __future__ import annotations

from media.turns import commands as cmd
from media.turns import events as ev
from media.turns.options import ConversationOptions
from media.turns.silence import Silence, SilenceMove
from tests.media.turns.phone import GREETING, Phone


def test_a_silent_caller_is_asked_once_and_then_the_call_ends():
    phone = Phone(ConversationOptions(greeting=GREETING))
    phone.wait_until(40.0)
    assert [text for _, text in phone.transcript] == [
        GREETING,
        phone.options.still_there,
        phone.options.silence_goodbye,
    ]
    assert phone.hung_up == "silence"


def test_a_stalled_network_does_not_count_as_a_silent_caller():
    phone = Phone(ConversationOptions(greeting=GREETING))
    phone.network_stalls(start=2.0, end=30.0)
    phone.wait_until(29.0)
    assert [text for _, text in phone.transcript] == [GREETING]


def test_a_key_pressed_restarts_the_silence():
    phone = Phone(ConversationOptions(still_there_after=3.0))
    phone.at(2.5, ev.KeyPressed("1"))
    phone.wait_until(4.4)
    assert phone.sent(cmd.SayLine) == []


def test_the_second_long_silence_ends_the_call_unless_the_caller_was_heard_between():
    silence = Silence(ConversationOptions(still_there_after=2.0))
    silence.begin(8000)
    assert silence.wake_position == 24_000
    assert silence.judge(23_999) is SilenceMove.WAIT
    assert silence.judge(24_000) is SilenceMove.ASK
    silence.begin(40_000)
    assert silence.judge(56_000) is SilenceMove.HANG_UP
    silence.broken()
    silence.begin(60_000)
    assert silence.judge(76_000) is SilenceMove.ASK
