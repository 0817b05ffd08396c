"""Replies that are begun early: what follows if the language model finds that the caller has not finished."""

from statistics import fmean, median

import pytest

from media.turns import commands as cmd
from media.turns import events as ev
from media.turns.options import ConversationOptions
from tests.benchmarks.waits import Tally, hold_call, judge
from tests.media.turns.phone import REPLY, Engines, Phone

BEGINNING = "I want to book a table."
"""Whole by its words."""


def waits_on(*texts: str):
    """A language model that wants to wait after these words, unless it is told that the caller has finished."""

    def waits(command: cmd.StartReply) -> bool:
        return not command.finished and command.history[-1].text in texts

    return waits


def always_waits(command: cmd.StartReply) -> bool:
    return True


def call(*, options: ConversationOptions | None = None, **engines) -> Phone:
    return Phone(options, Engines(**engines))


def replies(phone: Phone) -> list[tuple[bool, bool]]:
    """Of each reply that was asked for, whether the caller might still go on, and whether the model was told not."""
    return [(command.speculative, command.finished) for command in phone.sent(cmd.StartReply)]


def test_a_caller_who_goes_on_within_the_wait_that_the_model_asked_for_is_not_cut_off():
    for waits, cut_off in ((waits_on(BEGINNING), False), (waits_on(), True)):
        phone = call(waits=waits)
        phone.caller_says(BEGINNING, start=0.5, end=1.5)
        phone.caller_says("For two people.", start=2.4, end=3.2)
        phone.wait_until(8.0)
        assert (phone.agent_turns[0] < 2.4) is cut_off
        assert any(turn.said == f"{BEGINNING} For two people." for turn in phone.turns) is not cut_off


def test_a_caller_who_has_finished_is_answered_as_soon_as_that_wait_is_over():
    phone = call(waits=waits_on(BEGINNING))
    phone.caller_says(BEGINNING, start=0.5, end=1.5)
    phone.wait_until(8.0)
    assert phone.agent_turns == [pytest.approx(1.5 + 1.2, abs=0.1)]
    assert replies(phone) == [(True, False), (True, True)]
    caller = phone.turns[0]
    assert (caller.wait, caller.speculations, caller.speculation_hit) == (1.2, 2, True)
    assert phone.turns[1].heard == REPLY


def test_without_the_request_to_wait_the_answer_comes_as_soon_as_without_the_option():
    starts = []
    for may_wait in (False, True):
        phone = call(options=ConversationOptions(model_may_wait=may_wait))
        phone.caller_says(BEGINNING, start=0.5, end=1.5)
        phone.wait_until(8.0)
        starts.append(phone.agent_turns)
    assert starts[0] == starts[1]


@pytest.mark.parametrize("first_token", [0.05, 0.15])
def test_the_turn_is_not_over_before_the_model_has_decided(first_token):
    """The words alone would be answered after 0.25 s, and the model may need longer."""
    phone = call(waits=waits_on(BEGINNING), first_token=first_token)
    phone.caller_says(BEGINNING, start=0.5, end=1.5)
    phone.caller_says("For two people.", start=2.4, end=3.2)
    phone.wait_until(3.0)
    assert phone.agent_turns == []
    assert [turn.speaker for turn in phone.turns] == []


def test_a_model_that_decides_after_the_end_of_the_turn_is_asked_again_and_answers():
    phone = call(waits=waits_on(BEGINNING), first_token=0.35)
    phone.caller_says(BEGINNING, start=0.5, end=1.5)
    phone.wait_until(8.0)
    assert replies(phone) == [(True, False), (False, True)]
    assert phone.transcript == [("caller", BEGINNING), ("agent", REPLY)]


def test_a_filler_comes_as_soon_as_without_the_option():
    times = []
    for may_wait in (False, True):
        phone = call(options=ConversationOptions(model_may_wait=may_wait), first_token=30.0)
        phone.caller_says(BEGINNING, start=0.5, end=1.5)
        phone.wait_until(5.0)
        times.append(phone.times(cmd.SayLine))
    assert times[0] == times[1]


def test_a_model_that_waits_whatever_it_is_told_makes_the_agent_ask_again():
    phone = call(waits=always_waits)
    phone.caller_says(BEGINNING, start=0.5, end=1.5)
    phone.wait_until(9.0)
    assert phone.transcript == [("caller", BEGINNING), ("agent", phone.options.apology)]
    assert phone.turns[-1].fallback


def test_an_engine_that_asks_to_wait_though_it_may_not_is_not_asked_again_and_again():
    phone = call(options=ConversationOptions(model_may_wait=False), waits=always_waits)
    phone.caller_says(BEGINNING, start=0.5, end=1.5)
    phone.wait_until(9.0)
    assert phone.transcript == [("caller", BEGINNING), ("agent", phone.options.apology)]
    assert len(replies(phone)) <= 2


def test_a_model_that_is_often_wrong_is_not_believed_for_long():
    phone = call(waits=lambda command: not command.finished)
    for number in range(6):
        phone.caller_says(BEGINNING, start=8.0 * number + 0.5, end=8.0 * number + 1.5)
    phone.wait_until(50.0)
    waits = [turn.wait for turn in phone.turns if turn.speaker == "caller"]
    assert waits == [1.2, 1.2, 0.25, 0.25, 0.25, 0.25]
    answered = [start - 8.0 * number - 1.5 for number, start in enumerate(phone.agent_turns)]
    assert max(answered[2:]) < 0.5


def test_a_model_that_is_mostly_right_is_believed_on():
    phone = call(waits=lambda command: not command.finished and "people" not in command.history[-1].text)
    for number in range(8):
        at = 10.0 * number
        phone.caller_says(BEGINNING, start=at + 0.5, end=at + 1.5)
        if number % 3:
            phone.caller_says("For two people.", start=at + 2.2, end=at + 3.0)
    phone.wait_until(85.0)
    assert [turn.wait for turn in phone.turns if turn.speaker == "caller"][-2:] == [1.2, 0.35]


@pytest.mark.parametrize(
    ("greeting", "words"),
    [("Shall I book it?", "Yes please."), ("What is your telephone number?", "202 555 0143")],
    ids=["answer", "dictated"],
)
def test_words_that_are_whole_by_their_form_are_answered_at_once_whatever_the_model_thinks(greeting, words):
    phone = call(options=ConversationOptions(greeting=greeting), waits=lambda command: not command.finished)
    phone.wait_until(4.0)
    phone.caller_says(words, start=4.0, end=5.5)
    phone.wait_until(12.0)
    assert phone.agent_turns[-1] - 5.5 < 0.5
    assert replies(phone) == [(True, True)]


def test_what_is_answered_without_the_model_does_not_wait_for_it():
    options = ConversationOptions(outbound=True, callee_first=0.0, greeting="Hello, this is the front desk.")
    phone = call(options=options, waits=always_waits)
    phone.wait_until(4.0)
    phone.caller_says("Please take me off your list and never call me again.", start=4.0, end=6.5)
    phone.wait_until(14.0)
    assert phone.sent(cmd.OptOut)
    assert phone.hung_up == "opted-out"


def test_more_words_in_the_pause_are_judged_anew():
    phone = call(waits=waits_on(BEGINNING))
    phone.caller_says(BEGINNING, start=0.5, end=1.5)
    phone.wait_until(2.0)
    phone.receive(ev.TranscriptPartial(1, f"{BEGINNING} For two."))
    phone.wait_until(8.0)
    assert phone.turns[0].said == f"{BEGINNING} For two."
    assert phone.turns[0].wait == 0.25


@pytest.mark.parametrize("option", ["speculate", "model_may_wait"])
def test_the_model_is_told_nothing_of_waiting_where_that_is_switched_off(option):
    options = ConversationOptions(**{option: False})
    assert not options.may_wait
    phone = call(options=options)
    phone.caller_says(BEGINNING, start=0.5, end=1.5)
    phone.wait_until(8.0)
    assert not any(command.finished for command in phone.sent(cmd.StartReply))


def test_a_model_that_is_right_nine_times_out_of_ten_prevents_most_cut_ins_and_costs_little():
    without, asked = Tally(), Tally()
    for seed in range(8):
        hold_call(seed, None, without)
        hold_call(seed, judge(0.9, seed), asked)
    assert without.cut_ins > 0.5 * without.pauses
    assert asked.cut_ins < 0.25 * without.cut_ins
    assert fmean(asked.waits) < fmean(without.waits) + 0.15
    assert median(asked.waits) == pytest.approx(median(without.waits), abs=0.02)
