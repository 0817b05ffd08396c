"""Replies that are begun while the caller speaks, because what they have said may be all."""

import pytest

from media.turns import commands as cmd
from media.turns import events as ev
from media.turns.options import ConversationOptions
from tests.media.turns.phone import REPLY, SHORT, Engines, Phone

WHOLE = "What time do you open?"
EARLY = ConversationOptions(begin_early=True)


def call(*says: tuple[str, float, float], options: ConversationOptions = EARLY, **engines) -> Phone:
    """A call in which the caller says these words from one second to another."""
    phone = Phone(options, Engines(**engines))
    for text, start, end in says:
        phone.caller_says(text, start=start, end=end)
    return phone


def partial(phone: Phone, when: float, text: str, *, settled: bool = True) -> None:
    """Recognition has these words of the first utterance."""
    phone.at(when, ev.TranscriptPartial(1, text, settled=settled))


def begun(phone: Phone) -> list[tuple[str, bool]]:
    """Of each reply that was asked for, the words that it answers, and whether the caller was still speaking."""
    return [(command.history[-1].text, command.early) for command in phone.sent(cmd.StartReply)]


def test_a_reply_to_a_whole_turn_is_begun_before_the_pause_and_said_after_it():
    starts = []
    for options in (ConversationOptions(), EARLY):
        phone = call((WHOLE, 0.5, 2.0), options=options)
        partial(phone, 1.7, WHOLE)
        phone.wait_until(9.0)
        assert begun(phone) == [(WHOLE, options is EARLY)]
        assert phone.transcript == [("caller", WHOLE), ("agent", REPLY)]
        starts += phone.agent_turns
    late, early = (start - 2.0 for start in starts)
    assert 0.25 <= early < late - 0.05


def test_partials_that_come_at_intervals_begin_the_reply_where_the_last_word_is_drawn_out():
    """The same words twice, 0.1 s apart."""
    responses = []
    for options in (ConversationOptions(), EARLY):
        phone = call((WHOLE, 0.5, 1.5), ("", 1.5, 2.0), options=options, partials=0.1)
        phone.wait_until(9.0)
        assert phone.transcript == [("caller", WHOLE), ("agent", REPLY)]
        responses.append(phone.agent_turns[0] - 2.0)
    assert 0.25 <= responses[1] < responses[0] - 0.05


def test_the_turn_is_not_over_sooner_than_its_words_say():
    phone = call((WHOLE, 0.5, 2.0), snapshot=0.001, first_token=0.001, clause=0.0, first_audio=0.001)
    partial(phone, 1.2, WHOLE)
    phone.wait_until(9.0)
    assert phone.agent_turns[0] - 2.0 >= 0.25


def test_the_stages_of_such_a_turn_add_up():
    phone = call((WHOLE, 0.5, 2.0))
    partial(phone, 1.7, WHOLE)
    phone.wait_until(9.0)
    stages = dict(phone.turns[-1].stages)
    latency, heard = stages.pop("response_latency"), stages.pop("heard_latency")
    assert sum(stages.values()) == pytest.approx(latency, abs=1e-3)
    assert stages["first_token"] == stages["first_clause"] == stages["first_speech"] == 0
    assert heard > latency


def test_words_that_came_once_begin_nothing_and_the_same_words_again_do():
    phone = call((WHOLE, 0.5, 2.0))
    partial(phone, 1.4, WHOLE, settled=False)
    phone.wait_until(1.6)
    assert begun(phone) == []
    partial(phone, 1.7, WHOLE, settled=False)
    phone.wait_until(1.8)
    assert begun(phone) == [(WHOLE, True)]


@pytest.mark.parametrize("words", ["What time do", "I want to", "my number is five five five", "Hello"])
def test_words_that_are_no_whole_turn_begin_nothing(words):
    phone = call((f"{words} you open?", 0.5, 2.0), options=ConversationOptions(begin_early=True, greeting="Hello?"))
    partial(phone, 1.4, words)
    phone.wait_until(1.9)
    assert begun(phone) == []


def test_a_reply_to_words_that_go_on_is_dropped_as_soon_as_they_do():
    rest = f"{WHOLE} On Sundays, I mean."
    phone = call((rest, 0.5, 3.0))
    partial(phone, 1.4, WHOLE)
    partial(phone, 1.8, f"{WHOLE} On", settled=False)
    phone.wait_until(2.0)
    assert [stopped.revision for stopped in phone.sent(cmd.StopReply)] == [phone.sent(cmd.StartReply)[0].revision]
    phone.wait_until(9.0)
    assert begun(phone) == [(WHOLE, True), (rest, False)]
    caller = phone.turns[0]
    assert (caller.said, caller.speculations, caller.speculation_hit) == (rest, 2, True)


def test_at_most_two_replies_are_begun_before_the_pause():
    words = ["What time do you open?", "And on Sundays?", "Is it free?", "Do you have parking?"]
    phone = call((" ".join(words), 0.5, 6.0))
    for number in range(1, 5):
        partial(phone, 1.0 + number, " ".join(words[:number]))
    phone.wait_until(5.5)
    assert [early for _, early in begun(phone)] == [True, True]
    phone.wait_until(9.0)
    assert begun(phone)[-1] == (" ".join(words), False)


@pytest.mark.parametrize(
    ("said", "same"),
    [
        ("what time do you open?", True),
        ("What time, do you open?", True),
        ("What time do you open", False),
        ("What time do you open? Please.", False),
    ],
)
def test_the_reply_is_said_if_the_words_are_the_same_however_they_are_written(said, same):
    phone = call((said, 0.5, 2.0))
    partial(phone, 1.5, WHOLE)
    phone.wait_until(9.0)
    assert len(begun(phone)) == (1 if same else 2)
    assert phone.turns[0].said == said


def test_a_caller_who_goes_on_after_the_pause_gets_a_new_reply():
    phone = call((WHOLE, 0.5, 2.0), ("On Sundays, I mean.", 2.12, 3.4))
    partial(phone, 1.6, WHOLE)
    phone.wait_until(9.0)
    assert begun(phone)[0] == (WHOLE, True)
    assert begun(phone)[-1] == (f"{WHOLE} On Sundays, I mean.", False)
    assert [speaker for speaker, _ in phone.transcript] == ["caller", "agent"]


def test_where_there_is_no_room_for_it_the_reply_is_begun_in_the_pause():
    phone = call((WHOLE, 0.5, 2.0))
    partial(phone, 1.6, WHOLE)
    phone.wait_until(1.61)
    phone.receive(ev.ReplyRefused(phone.sent(cmd.StartReply)[0].revision))
    phone.wait_until(9.0)
    assert begun(phone) == [(WHOLE, True), (WHOLE, False)]
    assert (phone.turns[0].speculations, phone.turns[0].speculation_hit) == (1, True)
    assert not phone.notes("engine-failed")


def test_a_model_that_finds_the_words_unfinished_before_the_pause_is_heeded_in_it():
    beginning = "I want to book a table."
    phone = call(
        (beginning, 0.5, 2.0),
        ("For two people.", 2.8, 3.6),
        waits=lambda command: not command.finished and command.history[-1].text == beginning,
        replies=[SHORT],
    )
    partial(phone, 1.5, beginning)
    phone.wait_until(2.75)
    assert begun(phone)[0] == (beginning, True)
    assert phone.agent_turns == []
    phone.wait_until(9.0)
    assert phone.turns[0].said == f"{beginning} For two people."


@pytest.mark.parametrize("option", ["begin_early", "speculate"])
def test_nothing_is_begun_early_where_that_is_switched_off(option):
    phone = call((WHOLE, 0.5, 2.0), options=ConversationOptions(**{"begin_early": True, option: False}))
    partial(phone, 1.6, WHOLE)
    phone.wait_until(9.0)
    assert not any(early for _, early in begun(phone))


def test_what_the_model_requests_early_counts_only_when_it_was_heard():
    phone = call((f"{WHOLE} No, wait.", 0.5, 3.0), requests={0: {"end_call": True}}, replies=[SHORT])
    partial(phone, 1.4, WHOLE)
    phone.wait_until(1.9)
    partial(phone, 2.0, f"{WHOLE} No, wait.", settled=False)
    phone.wait_until(12.0)
    assert phone.hung_up is None
