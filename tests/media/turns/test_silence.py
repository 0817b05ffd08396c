"""Neither side says anything."""

from __future__ import annotations

import pytest

from media.turns import commands as cmd
from media.turns import events as ev
from media.turns.options import ConversationOptions
from media.turns.silence import Silence, SilenceMove
from tests.media.turns.phone import GREETING, Engines, Phone


def test_a_silent_caller_is_asked_once_and_then_the_call_ends():
    phone = Phone(ConversationOptions(greeting=GREETING))
    phone.wait_until(40.0)
    assert [text for _, text in phone.transcript] == [
        GREETING,
        phone.options.still_there,
        phone.options.silence_goodbye,
    ]
    assert phone.hung_up == "silence"


@pytest.mark.parametrize(
    "said", ["Perfect. Bye.", "You have been so very kind to an old man. Goodbye!", "thanks bye bye"]
)
def test_a_caller_who_has_said_goodbye_is_not_asked_whether_they_are_there(said):
    """The language model has answered the goodbye and did not end the call."""
    phone = Phone(engines=Engines(replies=["I was glad to help."]))
    phone.caller_says(said, start=0.5, end=1.5)
    phone.wait_until(20.0)
    assert [text for _, text in phone.transcript] == [said, "I was glad to help.", phone.options.agent_goodbye]
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


@pytest.mark.parametrize("said", ["hold on let me get my card", "one moment please", "wait", "let me think"])
def test_a_caller_who_asks_for_time_gets_two_minutes(said):
    """local-voice-harness#409"""
    phone = Phone(engines=Engines(replies=["Of course."]))
    phone.caller_says(said, start=0.5, end=2.0)
    phone.wait_until(60.0)
    assert [text for _, text in phone.transcript] == [said, "Of course."]
    phone.wait_until(120.0)
    assert phone.transcript[-1] == ("agent", phone.options.take_your_time)
    phone.wait_until(150.0)
    assert phone.hung_up == "silence"
    assert [text for _, text in phone.transcript[-2:]] == [phone.options.still_there, phone.options.silence_goodbye]
    assert phone.turns[-2].started > 120.0


def test_an_agent_that_gives_time_waits_as_well():
    phone = Phone(engines=Engines(replies=["Sure. Take your time, I'm in no hurry."]))
    phone.caller_says("It is written somewhere on the back.", start=0.5, end=2.0)
    phone.wait_until(60.0)
    assert len(phone.transcript) == 2


def test_what_the_caller_murmurs_while_they_search_does_not_start_the_wait_again():
    phone = Phone(engines=Engines(replies=["Of course."]))
    phone.caller_says("hold on let me get my card", start=0.5, end=2.0)
    for start in (20.0, 40.0, 55.0):
        phone.caller_says("um", start=start, end=start + 0.4)
    phone.wait_until(68.0)
    assert phone.transcript[-1] == ("agent", phone.options.take_your_time)


def test_a_caller_who_is_back_is_asked_after_the_usual_silence():
    phone = Phone(engines=Engines(replies=["Of course.", "Thank you. It is paid."]))
    phone.caller_says("hold on let me get my card", start=0.5, end=2.0)
    phone.caller_says("The number ends with four eight.", start=12.0, end=14.0)
    phone.wait_until(27.0)
    assert phone.transcript[-1] == ("agent", phone.options.still_there)


def test_two_waits_come_before_the_usual_silences():
    silence = Silence(ConversationOptions(still_there_after=2.0, wait_when_asked=10.0))
    silence.give_time()
    silence.begin(8000)
    assert silence.wake_position == 88_000
    silence.give_time()
    silence.begin(40_000)
    assert silence.wake_position == 88_000
    silence.begin(80_000)
    assert silence.wake_position == 96_000
    assert silence.judge(96_000) is SilenceMove.REASSURE
    silence.begin(100_000)
    assert silence.judge(180_000) is SilenceMove.ASK
    silence.begin(190_000)
    assert silence.judge(206_000) is SilenceMove.HANG_UP


@pytest.mark.parametrize(("lasts", "every"), [(0.35, 6.0), (0.35, 3.0), (0.5, 2.0), (0.25, 7.9)])
def test_a_noise_at_intervals_does_not_keep_an_empty_line_open(lasts, every):
    """AIReceptionist#11"""
    phone = Phone(ConversationOptions(greeting=GREETING))
    for number in range(20):
        phone.caller_makes_noise(start=2.5 + number * every, end=2.5 + number * every + lasts)
    phone.wait_until(40.0)
    assert [text for _, text in phone.transcript] == [
        GREETING,
        phone.options.still_there,
        phone.options.silence_goodbye,
    ]
    assert phone.hung_up == "silence"


@pytest.mark.parametrize(("lasts", "every"), [(0.8, 6.0), (1.5, 4.0), (0.2, 0.9)])
def test_nobody_is_asked_to_repeat_a_noise_again_and_again(lasts, every):
    """AIReceptionist#11"""
    phone = Phone(ConversationOptions(greeting=GREETING))
    for number in range(round(80.0 / every)):
        phone.caller_makes_noise(start=2.5 + number * every, end=2.5 + number * every + lasts)
    phone.wait_until(80.0)
    said = [text for _, text in phone.transcript]
    assert said.count(phone.options.not_caught) == 2
    assert said[-2:] == [phone.options.still_there, phone.options.silence_goodbye]
    assert phone.hung_up == "silence"


def test_a_noise_at_the_end_of_the_agents_words_leaves_the_caller_the_usual_time():
    phone = Phone(ConversationOptions(greeting=GREETING))
    phone.caller_makes_noise(start=1.1, end=1.5)
    phone.wait_until(9.0)
    assert phone.transcript == [("agent", GREETING)]
    phone.wait_until(11.0)
    assert phone.transcript[-1] == ("agent", phone.options.still_there)


def test_a_key_whose_tone_sounds_like_a_voice_restarts_the_silence():
    phone = Phone(ConversationOptions(still_there_after=3.0, keys_after=10.0))
    phone.caller_makes_noise(start=2.4, end=2.6)
    phone.at(2.55, ev.KeyPressed("1"))
    phone.wait_until(5.0)
    assert phone.sent(cmd.SayLine) == []
