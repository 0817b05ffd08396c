"""A call with a turn model: its scores change the waits, and what goes wrong with it hurts no call."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import numpy as np
import pytest

from inference.backends import Engines
from inference.engines.scripted import (
    ScriptedLanguageModel,
    ScriptedSpeechToText,
    ScriptedTextToSpeech,
    ScriptedTurnModel,
)
from inference.types import Pcm
from media.turns.options import ConversationOptions
from tests.media.scripted_call import CallResult, run_call

CLAUSE = "I want to come with my friends on Monday"
"""Without a mark at its end, it may go on."""
QUESTION = "What time do you open?"


def call(model: ScriptedTurnModel | None, said: str = CLAUSE, **options: Any) -> CallResult:
    engines = Engines(ScriptedSpeechToText(transcripts=[said]), ScriptedLanguageModel(), ScriptedTextToSpeech(), model)
    return run_call(
        [(0.5, said)],
        seconds=6.0,
        served_by=engines,
        options=ConversationOptions(scores_turns=model is not None, **options),
    )


def response(result: CallResult) -> float:
    """Seconds from the end of the caller's voice to the agent's first sound."""
    (stopped,) = result.caller_stopped.values()
    return result.times("media")[0] - stopped


def test_a_sound_that_is_surely_finished_is_answered_sooner():
    assert response(call(ScriptedTurnModel(scores=[1.0]))) < response(call(None)) - 0.05


def test_a_sound_that_goes_on_is_waited_for_although_the_words_are_whole():
    assert response(call(ScriptedTurnModel(scores=[0.0]), QUESTION)) > response(call(None, QUESTION)) + 0.15


def test_the_model_hears_the_turn_from_half_a_second_before_it():
    model = ScriptedTurnModel()
    result = call(model)
    (stopped,) = result.caller_stopped.values()
    sound = model.sounds[-1]
    assert len(sound) / 8000 == pytest.approx(stopped - 0.5 + 0.5 + 0.12, abs=0.15)
    loud = np.flatnonzero(np.abs(sound.astype(int)) > 500)
    assert loud[0] / 8000 == pytest.approx(0.5, abs=0.15)
    assert (len(sound) - loud[-1]) / 8000 == pytest.approx(0.12, abs=0.1)


def test_a_model_of_another_rate_gets_that_rate_and_no_more_than_it_can_use():
    model = ScriptedTurnModel(rate_hz=16000, longest=1.0)
    call(model)
    assert model.sounds
    assert all(len(sound) == 16000 for sound in model.sounds)


@pytest.mark.parametrize("delay", [0.9, 60.0])
def test_a_score_that_is_late_changes_nothing(delay):
    late = call(ScriptedTurnModel(scores=[1.0], delay=delay))
    assert late.turns == call(None).turns
    assert response(late) == pytest.approx(response(call(None)), abs=0.03)
    assert late.tasks_left == 0


class Broken(ScriptedTurnModel):
    async def score(self, pcm: Pcm) -> float:
        self.sounds.append(pcm)
        raise ZeroDivisionError("a bug")


@pytest.mark.parametrize(
    "model",
    [
        ScriptedTurnModel(failures=[{"rate": 1.0}]),
        Broken(),
        ScriptedTurnModel(scores=[1.5]),
        ScriptedTurnModel(scores=[math.nan]),
    ],
    ids=["fails", "has a bug", "too much", "no number"],
)
def test_a_model_that_fails_is_reported_once_a_call_and_the_words_decide(model, caplog):
    says = [(0.5 + 4.0 * number, f"What time do you open on day {number}?") for number in range(3)]
    transcripts = [text for _, text in says]

    def run(turn: ScriptedTurnModel | None) -> CallResult:
        engines = Engines(
            ScriptedSpeechToText(transcripts=transcripts),
            ScriptedLanguageModel(replies=["At nine."]),
            ScriptedTextToSpeech(),
            turn,
        )
        return run_call(
            says, seconds=12.0, served_by=engines, options=ConversationOptions(scores_turns=turn is not None)
        )

    assert run(model).turns == run(None).turns
    assert len(model.sounds) >= 3
    assert [record.levelname for record in caplog.records if "turn model" in record.getMessage()] == ["WARNING"]


def test_a_score_is_not_made_any_more_when_the_turn_goes_on():
    class Counting(ScriptedTurnModel):
        asked = finished = 0

        async def score(self, pcm: Pcm) -> float:
            self.asked += 1
            await asyncio.sleep(2.6)
            self.finished += 1
            return 0.5

    model = Counting()
    engines = Engines(
        ScriptedSpeechToText(transcripts=["I would like to"]), ScriptedLanguageModel(), ScriptedTextToSpeech(), model
    )
    run_call(
        [(0.5, "I would like to"), (2.3, "change my booking.")],
        seconds=4.5,
        served_by=engines,
        options=ConversationOptions(scores_turns=True),
    )
    # The first of them would have been ready after 4 s.
    assert model.asked >= 2
    assert model.finished == 0
