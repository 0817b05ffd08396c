"""
A voice that never pauses does not silence the agent, and a noise costs nothing.

Each line of the tables names the public report from which it comes.
"""

from __future__ import annotations

import pytest

from media.turns import commands as cmd
from media.turns import events as ev
from media.turns.clock import samples
from media.turns.long_talk import LongTalk
from media.turns.options import ConversationOptions
from tests.media.turns.phone import GREETING, REPLY, SHORT, Engines, Phone

OPTIONS = ConversationOptions()
STILL_THERE, NOT_CAUGHT = OPTIONS.still_there, OPTIONS.not_caught
ANNOUNCEMENT = "You are on hold, and one of us will be with you shortly. Thank you so much for your patience today."
SONG = "la la la love me do"
STORY = (
    "So last week I bought this kettle from your shop in the high street, and when I came home I saw that the lid was "
    "loose. I thought nothing of it, because my old one had that too, but the next morning there was water all over "
    "the kitchen. My husband said that I should ring the number on the box, which I did, and somebody told me to send "
    "a picture. I have no idea how to do that, so my daughter came round on Sunday and took one with her telephone."
)


def never_pausing(text: str, *, seconds: float, options: ConversationOptions = OPTIONS) -> Phone:
    """A call on which a voice says this again and again from second 2 on, and never pauses."""
    phone = Phone(options, Engines(replies=[SHORT]))
    times = int(seconds * 3 / max(1, len(text.split()))) + 1
    phone.caller_says(" ".join([text] * times), start=2.0, end=2.0 + seconds)
    return phone


def with_short_pauses(text: str, *, seconds: float) -> Phone:
    """The same with a pause of 0.15 s after each second, which is too short to end a turn."""
    phone = Phone(OPTIONS, Engines(replies=[SHORT]))
    words = text.split()
    for number in range(int(seconds)):
        said = [words[(3 * number + offset) % len(words)] for offset in range(3)] if words else []
        phone.caller_says(" ".join(said), start=2.0 + number, end=2.85 + number)
    return phone


REPORTS = [
    ("livekit/agents#5862", never_pausing, "", 25),
    ("kirklandsig/AIReceptionist#11", never_pausing, SONG, 80),
    ("kirklandsig/AIReceptionist#11", with_short_pauses, SONG, 80),
    ("XiyaoWang0519/agent-call#23", never_pausing, ANNOUNCEMENT, 80),
    ("XiyaoWang0519/agent-call#23", with_short_pauses, ANNOUNCEMENT, 80),
    ("vocodedev/vocode-core#31", never_pausing, "", 25),
    ("HeyWillow/willow#18", never_pausing, "", 25),
    ("JunchenMeteor/MeteorVoice#133", with_short_pauses, "", 25),
]
"""The report, how the voice comes, what is recognised of it again and again, and by when the agent speaks."""


@pytest.mark.parametrize(("report", "comes", "text", "by"), REPORTS)
def test_a_voice_that_never_pauses_does_not_silence_the_agent(report, comes, text, by):
    phone = comes(text, seconds=600.0).wait_until(by)
    assert phone.agent_turns
    phone.wait_until(330.0)
    assert phone.hung_up == "silence"
    assert any("Goodbye" in text for speaker, text in phone.transcript[-2:] if speaker == "agent")


def test_what_was_recognised_of_it_is_answered():
    phone = never_pausing(SONG, seconds=600.0).wait_until(82.0)
    assert [speaker for speaker, _ in phone.transcript] == ["caller", "agent"]
    assert phone.transcript[0][1].startswith(SONG)
    assert phone.sent(cmd.StartReply)[-1].history[-1].text.startswith(SONG)
    assert len(phone.notes("cut-short")) == 1


def test_a_long_story_is_heard_out():
    phone = Phone(OPTIONS, Engines(replies=[SHORT]))
    phone.caller_says(" ".join(f"{STORY} Part {part} of it." for part in range(8)), start=1.0, end=270.0)
    phone.wait_until(269.0)
    assert phone.agent_turns == []
    phone.wait_until(275.0)
    assert phone.transcript[-1] == ("agent", SHORT)


def test_a_story_is_heard_out_for_five_minutes():
    phone = never_pausing(STORY, seconds=900.0).wait_until(300.0)
    assert phone.agent_turns == []
    phone.wait_until(312.0)
    assert phone.agent_turns


def test_the_limit_is_an_option():
    phone = never_pausing(SONG, seconds=600.0, options=ConversationOptions(longest_turn=20.0)).wait_until(25.0)
    assert phone.transcript[-1] == ("agent", SHORT)


def test_an_answer_starts_the_time_anew():
    phone = Phone(OPTIONS, Engines(replies=[SHORT]))
    phone.caller_says("What time do you open?", start=1.0, end=2.5)
    phone.caller_says(" ".join([SONG] * 150), start=10.0, end=300.0)
    phone.wait_until(82.0)
    assert phone.notes("cut-short") == []
    phone.wait_until(88.0)
    assert len(phone.notes("cut-short")) == 1


def test_a_turn_that_the_agent_cuts_short_in_a_pause_has_no_wait_on_record():
    phone = Phone(OPTIONS, Engines(replies=[SHORT]))
    phone.at(1.0, ev.KeyPressed("5"))
    phone.caller_says("What time do you open?", start=1.5, end=9.85)
    phone.wait_until(14.0)
    assert len(phone.notes("cut-short")) == 1
    (turn,) = [turn for turn in phone.turns if turn.said == "What time do you open?"]
    assert (turn.wait, turn.speculations, turn.speculation_hit) == (None, 0, False)


def test_a_turn_that_is_cut_short_counts_no_reply_that_was_begun_early():
    phone = Phone(ConversationOptions(begin_early=True), Engines(replies=[SHORT]))
    phone.at(1.0, ev.KeyPressed("5"))
    phone.caller_says("What time do you open?", start=1.5, end=8.0)
    phone.caller_makes_noise(start=8.0, end=12.0)
    phone.at(9.0, ev.TranscriptPartial(1, "What time do you open?", settled=True))
    phone.wait_until(14.0)
    assert len(phone.notes("cut-short")) == 1
    turn = next(turn for turn in phone.turns if turn.said.startswith("What time"))
    assert (turn.wait, turn.speculations, turn.speculation_hit) == (None, 0, False)


def test_a_caller_who_answers_after_being_cut_short_is_not_given_up():
    phone = Phone(OPTIONS, Engines(replies=[SHORT]))
    for number in range(4):
        phone.caller_says(" ".join([SONG] * 45), start=2.0 + 100 * number, end=82.0 + 100 * number)
        phone.caller_says("What time do you open?", start=90.0 + 100 * number, end=91.5 + 100 * number)
    phone.wait_until(399.0)
    assert len(phone.notes("cut-short")) == 4
    assert phone.hung_up is None


@pytest.mark.parametrize("comes", [never_pausing, with_short_pauses])
@pytest.mark.parametrize("text", ["", SONG, STORY])
def test_keys_are_taken_though_a_voice_goes_on(comes, text):
    phone = comes(text, seconds=100.0)
    phone.at(5.0, ev.KeyPressed("1"))
    phone.at(5.5, ev.KeyPressed("2"))
    phone.wait_until(18.0)
    assert ("caller", "[pressed 1 2]") in phone.transcript
    assert phone.agent_turns[0] < 16.0
    assert any(started.history[-1].text.endswith("[pressed 1 2]") for started in phone.sent(cmd.StartReply))


def test_words_after_keys_get_the_time_to_be_finished():
    phone = Phone(OPTIONS, Engines(replies=[SHORT]))
    phone.at(2.0, ev.KeyPressed("1"))
    phone.caller_says("and I would like to know what time you open on Sundays", start=2.5, end=7.5)
    phone.wait_until(12.0)
    assert phone.notes("cut-short") == []


NOISES = [
    ("livekit/agents#4039", 0.3),
    ("getpaseo/paseo#112", 0.7),
    ("livekit/agents-js#1320", 1.0),
    ("livekit/agents#4039", 1.6),
    ("dograh-hq/dograh#236", 2.5),
    ("kirklandsig/AIReceptionist#11", 4.0),
]
"""The report, and the seconds of a noise or music over a reply."""


@pytest.mark.parametrize(("report", "seconds"), NOISES)
@pytest.mark.parametrize("start", [2.6, 3.6, 4.6])
def test_a_noise_over_a_reply_costs_nothing_of_it(report, seconds, start):
    phone = Phone(OPTIONS, Engines(replies=[REPLY]))
    phone.caller_says("What time do you open?", start=0.5, end=2.0)
    phone.caller_makes_noise(start=start, end=start + seconds)
    phone.wait_until(14.0)
    assert phone.transcript[:2] == [("caller", "What time do you open?"), ("agent", REPLY)]
    assert NOT_CAUGHT not in [text for _, text in phone.transcript]


def test_a_noise_over_the_agents_question_may_have_been_an_answer():
    phone = Phone(OPTIONS, Engines(replies=[REPLY]))
    phone.caller_says("What time do you open?", start=0.5, end=2.0)
    phone.caller_makes_noise(start=6.0, end=7.6)
    phone.wait_until(12.0)
    assert [text for _, text in phone.transcript] == ["What time do you open?", REPLY, NOT_CAUGHT]


def test_a_noise_that_recognition_has_no_words_for_does_not_stop_the_watchdog():
    """Reported as pipecat-ai/pipecat#4343 and livekit/agents#1229."""
    phone = Phone(ConversationOptions(greeting=GREETING))
    for start in range(2, 60, 3):
        phone.caller_makes_noise(start=start, end=start + 0.4)
    phone.wait_until(40.0)
    assert [text for _, text in phone.transcript][1] == STILL_THERE
    assert phone.hung_up == "silence"


@pytest.mark.parametrize(
    ("text", "makes_sense"),
    [
        (STORY, True),
        (f"{ANNOUNCEMENT} " * 8, False),
        (f"{SONG} " * 30, False),
        ("and then " * 60, False),
        ("yes " * 100, False),
        ("hello is anybody there", False),  # in 75 s
    ],
)
def test_words_that_make_sense(text, makes_sense):
    talk = LongTalk(OPTIONS)
    talk.begin(0)
    assert talk.judge(text, samples(75.0)) is not makes_sense
