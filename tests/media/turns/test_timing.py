"""From the instants of a response to the stages on record."""

from __future__ import annotations

import pytest

from calls.stages import STAGE_NAMES
from media.turns.timing import Timing


def test_each_stage_lasts_from_the_stage_before_it():
    timing = Timing(
        caller_stopped=10.0,
        snapshot_asked=10.1,
        transcript=10.15,
        first_token=10.35,
        first_clause=10.4,
        first_speech=10.45,
        released=10.46,
        sent=10.5,
    )
    assert timing.stages() == {
        "endpointing": 0.1,
        "transcript": 0.05,
        "first_token": 0.2,
        "first_clause": 0.05,
        "first_speech": 0.05,
        "release": 0.01,
        "send": 0.04,
        "response_latency": 0.5,
    }
    assert tuple(timing.stages())[:-1] == STAGE_NAMES


def test_work_that_was_done_during_another_stage_counts_zero():
    """A speculative reply is ready before endpointing ends the turn: only the rest of the wait counts."""
    timing = Timing(
        caller_stopped=10.0, snapshot_asked=10.1, transcript=10.3, first_token=10.2, released=10.6, sent=10.6
    )
    stages = timing.stages()
    assert (stages["first_token"], stages["release"], stages["send"]) == (0.0, 0.3, 0.0)
    assert sum(stages[name] for name in STAGE_NAMES) == pytest.approx(stages["response_latency"])


def test_what_comes_after_the_first_sound_is_not_counted():
    """A filler was the first sound; the reply behind it came later."""
    timing = Timing(
        caller_stopped=10.0, snapshot_asked=10.1, transcript=10.2, released=10.3, sent=11.5, first_token=12.0
    )
    assert timing.stages()["first_token"] == 1.3
    assert timing.stages()["response_latency"] == 1.5


def test_a_turn_that_does_not_answer_the_caller_has_no_response_latency():
    assert Timing(sent=3.0, heard=3.1).stages() == {}


def test_the_stop_of_an_interrupted_turn_is_measured_from_the_callers_first_sample():
    assert Timing(sent=3.0, overlap_started=4.0, cleared=4.35).stages() == {"barge_in_stop": 0.35}
