"""What a turn model's score does to the wait, and when the sound is scored."""

from __future__ import annotations

import pytest

from media.turns import commands as cmd
from media.turns import events as ev
from media.turns.acoustic import FIRST, FUSION, SECOND, is_due
from media.turns.conversation import ImpossibleEvent
from media.turns.endpointing import CLAUSE, COMPLETE, LONGEST, SHORTEST, UNFINISHED, UNSURE, Endpointing
from media.turns.options import ConversationOptions
from tests.media.turns.phone import Engines, Phone

CLAUSE_WORDS = "I want to come with my friends on Monday"
QUESTION = "What time do you open?"
UNFINISHED_WORDS = "I would like to"
SCORES_TURNS = ConversationOptions(scores_turns=True)


def wait(text: str, score: float, agent_said: str = "") -> float:
    return FUSION.wait(Endpointing().judge(text, agent_said=agent_said), score)


def phone(*scores: float, text: str = CLAUSE_WORDS, takes: float = 0.08, until: float = 5.0) -> Phone:
    """A caller who speaks from 1.0 to 3.0 s, and what the turn model says about the pauses."""
    made = Phone(SCORES_TURNS, Engines(scores=list(scores), score=takes))
    made.caller_says(text, start=1.0, end=3.0)
    return made.wait_until(until)


# -- the wait


def test_a_sound_that_is_surely_finished_shortens_the_wait_after_words_that_may_go_on():
    assert SHORTEST <= wait(CLAUSE_WORDS, 0.95) <= 0.35 < CLAUSE == wait(CLAUSE_WORDS, 0.5)


def test_a_sound_that_goes_on_lengthens_the_wait_after_whole_words_within_the_longest():
    assert COMPLETE < wait(QUESTION, 0.01) <= 0.5
    assert wait("my husband", 0.0) == pytest.approx(2 * UNSURE)
    assert all(wait(words, 0.0) <= LONGEST for words in (QUESTION, CLAUSE_WORDS, UNFINISHED_WORDS))


@pytest.mark.parametrize(
    ("text", "agent_said"),
    [
        (UNFINISHED_WORDS, ""),
        ("um...", ""),
        ("hold on", ""),
        ("555 12", "What is your telephone number?"),
        ("my number is 0 2 0 7", ""),
        ("anna dot", "What is your e-mail address?"),
        ("555 123 4567", "What is your telephone number?"),
        ("at 2.30 pm", "At what time?"),
    ],
)
@pytest.mark.parametrize("score", [0.0, 0.5, 1.0])
def test_words_that_are_unfinished_or_dictated_leave_nothing_to_the_sound(text, agent_said, score):
    judgement = Endpointing().judge(text, agent_said=agent_said)
    assert judgement.settled
    assert FUSION.wait(judgement, score) == judgement.wait


@pytest.mark.parametrize("text", [QUESTION, CLAUSE_WORDS, "my husband", "hello"])
def test_a_higher_score_never_lengthens_the_wait(text):
    waits = [wait(text, score / 100) for score in range(101)]
    assert waits == sorted(waits, reverse=True)


# -- when it is scored


@pytest.mark.parametrize(
    ("silence", "text", "score", "asked", "due"),
    [
        (0.09, None, None, 0, False),
        (FIRST, None, None, 0, True),
        (SECOND, CLAUSE_WORDS, None, 1, False),  # the first score is late
        (SECOND, None, 0.01, 1, False),  # and so are the words
        (SECOND - 0.01, CLAUSE_WORDS, 0.01, 1, False),
        (SECOND, CLAUSE_WORDS, 0.01, 1, True),
        (SECOND, UNFINISHED_WORDS, 0.01, 1, False),  # whatever it says, it changes nothing
        (0.9, CLAUSE_WORDS, 0.01, 2, False),
    ],
)
def test_the_sound_is_scored_once_and_once_more_in_a_long_pause(silence, text, score, asked, due):
    judgement = Endpointing().judge(text) if text else None
    assert is_due(silence, judgement, score, asked=asked) is due


def test_the_first_score_is_asked_for_at_100_to_150_ms_of_silence():
    made = phone(0.9)
    (score,) = made.sent(cmd.ScoreTurn)
    # The way here takes 30 ms.
    assert 0.099 <= made.times(cmd.ScoreTurn)[0] - 3.0 - 0.03 <= 0.15
    assert score == cmd.ScoreTurn(1, 1, score.begin)
    assert score.begin / 8000 == pytest.approx(0.5, abs=0.05)


def test_without_a_turn_model_nothing_is_scored():
    made = Phone()
    made.caller_says(CLAUSE_WORDS, start=1.0, end=3.0)
    made.wait_until(5.0)
    assert made.sent(cmd.ScoreTurn) == []


def test_at_most_two_scores_a_pause():
    made = phone(0.01, text="my husband", until=9.0)
    first, second = made.times(cmd.ScoreTurn)
    assert second - first == pytest.approx(SECOND - FIRST, abs=0.04)
    assert made.turns[0].wait == pytest.approx(2 * UNSURE)


def test_a_second_score_that_is_surely_finished_ends_the_turn_at_once():
    made = phone(0.01, 0.99)
    assert len(made.sent(cmd.ScoreTurn)) == 2
    assert made.agent_turns[0] == pytest.approx(3.0 + SECOND + 0.08, abs=0.1)


def test_the_words_may_come_after_the_score():
    made = Phone(SCORES_TURNS, Engines(scores=[0.99], score=0.02, snapshot=0.15))
    made.caller_says(CLAUSE_WORDS, start=1.0, end=3.0)
    made.wait_until(5.0)
    assert made.turns[0].wait == pytest.approx(CLAUSE * FUSION.shorter)


# -- what is late


def test_a_late_score_changes_nothing():
    never, late = phone(), phone(0.0, text=QUESTION, takes=0.4)
    assert late.turns[0].wait == COMPLETE
    assert never.turns[0].wait == CLAUSE


def test_the_score_of_a_pause_that_is_over_does_not_count_for_the_next():
    made = Phone(SCORES_TURNS, Engines(scores=[0.0, 0.5], score=0.7))
    made.caller_says("I want to come", start=1.0, end=2.0)
    made.caller_says("with my friends on Monday", start=2.4, end=4.0)
    made.wait_until(8.0)
    assert len(made.sent(cmd.ScoreTurn)) == 2
    assert made.turns[0].wait == pytest.approx(CLAUSE, abs=0.05)


def test_an_answer_to_a_question_that_was_never_asked_is_impossible():
    made = phone(0.9)
    for event in (ev.TurnScored(1, 99, 0.5), ev.TurnScored(99, 1, 0.5), ev.TurnScored(1, 1, 1.5)):
        with pytest.raises(ImpossibleEvent):
            made.conversation.receive(event, now=made.now)
    floor = made.conversation.floor
    made.receive(ev.TurnScored(1, 1, 0.5))  # comes again, after the turn
    assert made.conversation.floor is floor


def test_plainly_unfinished_words_get_their_time_however_final_they_sound():
    assert phone(1.0, text=UNFINISHED_WORDS, until=8.0).turns[0].wait == UNFINISHED
