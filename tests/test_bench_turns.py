"""The benchmark of turn-taking: its figures and sounds, and a short call with recordings and real recognition."""

import json
from xml.etree import ElementTree

import numpy as np
import pytest

from inference.engines.scripted import ScriptedSpeechToText
from media.phone.caller import HangUp, Say, ScriptedCaller, Wait, WaitForAgent
from media.phone.clips import Clip
from media.phone.impairments import Impairments
from media.phone.measurements import CallerTurn, Measurements, Overlap
from tests.benchmarks import virtual_calls
from tests.benchmarks.turn_figures import (
    FIGURES,
    CallFigures,
    RecordedTurn,
    Result,
    eva_score,
    extra_turns,
    is_lost,
    passed_over,
    stored_beside_taped,
    turnbench,
    yielded,
)
from tests.benchmarks.turn_picture import draw
from tests.benchmarks.turn_scenes import SCENES, make_sounds
from tests.benchmarks.turn_sounds import (
    ACTIVE_DBFS,
    band,
    cough,
    crying,
    hold_music,
    people,
    television,
    voice_ends,
    without_ends,
)
from tests.benchmarks.turns import figures_of, hold_virtual_calls
from tests.media.scripted_call import voice
from tests.sounds import RATE_HZ, active_level

# -- what became of turns and overlaps ----------------------------------------------------------------


def call(*, turns=(), overlaps=(), agent=(), record=()) -> CallFigures:
    """
    A call of a minute. ``agent`` is when the agent was audible. ``record`` has speaker, start and end of turns; the
    agent's were interrupted.
    """
    recorded = [RecordedTurn(speaker, start, end, speaker == "agent", "", {}) for speaker, start, end in record]
    return CallFigures(Measurements([*turns], [*overlaps], agent_speech=[*agent]), 60.0, recorded)


def ask(start: float, end: float, wait: float | None = 0.4, *, cut_in: bool = False) -> CallerTurn:
    return CallerTurn("ask", start, end, wait, wait, cut_in)


def overlap(clip: str, start: float, end: float, *, stops: float | None = None, resumes: float | None = 0.0) -> Overlap:
    return Overlap(clip, start, end, clip != "interruption", stops, stops, resumes, 50.0)


def test_a_turn_without_a_record_is_lost_and_a_record_without_words_is_extra():
    said, unheard = ask(1.0, 2.0), ask(10.0, 11.0)
    figures = call(turns=[said, unheard], record=[("caller", 1.1, 2.1), ("caller", 20.0, 21.0)])
    assert [is_lost(figures, turn) for turn in (said, unheard)] == [False, True]
    assert [turn.started for turn in extra_turns(figures)] == [20.0]


@pytest.mark.parametrize(
    ("one", "record", "passed"),
    [
        (overlap("backchannel", 5.0, 5.6), [], True),
        (overlap("backchannel", 5.0, 5.6, stops=0.4, resumes=0.6), [], True),
        (overlap("backchannel", 5.0, 5.6, stops=0.4, resumes=0.9), [], False),
        (overlap("backchannel", 5.0, 5.6, stops=0.4, resumes=None), [], False),
        (overlap("backchannel", 5.0, 5.6), [("caller", 5.0, 5.6)], False),
        (overlap("backchannel", 5.0, 5.6, stops=0.4, resumes=0.6), [("agent", 3.0, 5.4)], False),
    ],
)
def test_a_backchannel_is_passed_over_if_it_takes_no_turn_and_causes_little_silence(one, record, passed):
    assert passed_over(call(overlaps=[one], agent=[(3.0, 9.0)], record=record), one) is passed


def test_an_interruption_is_yielded_to_if_the_caller_gets_the_turn():
    one = overlap("interruption", 5.0, 6.0, stops=0.4, resumes=0.9)
    record = [("caller", 5.0, 6.0), ("agent", 3.0, 5.4)]
    assert yielded(call(overlaps=[one], agent=[(3.0, 5.4)], record=record), one)
    assert not yielded(call(overlaps=[one], agent=[(3.0, 5.4), (6.3, 9.0)], record=record[:1]), one)
    assert not yielded(call(overlaps=[one], agent=[(3.0, 5.4), (6.3, 9.0)]), one)


@pytest.mark.parametrize(
    ("wait", "score"),
    # The table in EVA's docs/metrics/turn_taking.md.
    [(0.0, 0.5), (0.2, 0.7), (0.5, 1.0), (2.0, 1.0), (2.75, 0.5), (3.0, 1 / 3), (3.5, 0.0), (9.0, 0.0)],
)
def test_evas_score_of_a_wait(wait, score):
    turn = ask(1.0, 2.0)
    assert eva_score(call(turns=[turn], agent=[(2.0 + wait + 1e-9, 15.0)]), turn) == pytest.approx(score, abs=1e-6)


def test_evas_score_of_an_interruption_falls_with_the_time_until_the_agent_is_quiet():
    turn = CallerTurn("interruption", 5.0, 7.0, 1.0, 1.0, False)
    assert eva_score(call(turns=[turn], agent=[(3.0, 5.6), (8.0, 9.0)]), turn) == pytest.approx(0.7)


def test_evas_score_of_a_cut_in_is_at_most_a_half():
    turn = ask(5.0, 7.0, cut_in=True)
    assert eva_score(call(turns=[turn], agent=[(6.0, 6.5), (8.0, 9.0)]), turn) == pytest.approx(0.375)
    assert eva_score(call(turns=[turn], agent=[(5.5, 5.51), (6.0, 6.01), (8.0, 9.0)]), turn) == pytest.approx(0.25)


def test_a_turn_without_an_answer_has_no_score_of_eva():
    turn = ask(1.0, 2.0)
    assert eva_score(call(turns=[turn]), turn) is None


def test_a_figure_on_record_is_set_beside_that_of_the_same_turn_on_the_tape():
    figures = call(turns=[ask(1.0, 2.0, 0.4), ask(21.0, 22.0, 0.5)], agent=[(2.4, 9.0), (22.5, 29.0)])
    figures.record += [
        RecordedTurn("agent", 2.38, 9.0, False, "", {"response_latency": 0.38}),
        RecordedTurn("agent", 12.0, 14.0, False, "", {"response_latency": 0.2}),  # nothing of the caller's
        RecordedTurn("agent", 22.5, 29.0, False, "", {"response_latency": 0.51}),
    ]
    assert stored_beside_taped(Result([figures]), "response_latency") == [(0.38, 0.4), (0.51, 0.5)]


def test_turnbench_counts_interruptions_recalled_and_false_stops():
    overlaps = [
        overlap("interruption", 5.0, 6.0, stops=0.4),
        overlap("interruption", 15.0, 19.0, stops=3.4),  # too late
        overlap("backchannel", 25.0, 25.6, stops=0.4, resumes=0.5),
        overlap("tic", 35.0, 35.6),
    ]
    speaks = [(one.started_at - 1, one.started_at + 3) for one in overlaps]
    record = [("caller", 5.0, 6.0), ("caller", 15.0, 19.0)]
    result = Result([call(overlaps=overlaps, agent=speaks, record=record)])
    assert turnbench(result, by_turn=False) == "50 % at 50 % (over 10 %)"
    assert turnbench(result, by_turn=True) == "100 % at 0 %"


def test_every_figure_of_a_call_in_which_nothing_happened_is_shown():
    assert all(isinstance(show(Result([call()])), str) for show in FIGURES.values())


def test_the_picture_has_a_row_for_each_scene():
    result = Result([call(turns=[ask(1.0, 2.0)], overlaps=[overlap("tic", 5.0, 5.5)], agent=[(3.0, 9.0)])])
    picture = ElementTree.fromstring(draw({"clean": result, "a < b": Result([call()])}, "a title"))
    assert {"clean", "a < b", "a title"} <= {text.text for text in picture.iter("{http://www.w3.org/2000/svg}text")}


# -- sounds -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sound",
    [
        hold_music(3.0),
        crying(3.0, seed=1),
        television([np.random.default_rng(0).normal(size=RATE_HZ)], 3.0, seed=1),
        people([np.random.default_rng(0).normal(size=RATE_HZ)], 3.0, seed=1),
    ],
    ids=["hold music", "a crying child", "a television", "people"],
)
def test_a_sound_around_the_caller_is_as_loud_as_a_voice(sound):
    assert len(sound) == 3 * RATE_HZ
    assert 20 * np.log10(active_level(sound) / 32768) == pytest.approx(ACTIVE_DBFS, abs=2.0)


def test_a_voice_ends_where_its_recording_has_only_noise():
    random = np.random.default_rng(0)
    sound = np.concatenate([np.zeros(1600), random.normal(0, 2000, 8000), np.zeros(1600)])
    sound[400] = 30_000  # a click
    first, last = voice_ends(sound + random.normal(0, 40, len(sound)))
    assert (first, last) == (pytest.approx(1600, abs=80), pytest.approx(9600, abs=80))
    cut = without_ends(sound)
    assert len(cut) == last - first + 2 * 480
    assert abs(cut[0]) < 1


def test_a_cough_is_short():
    assert 0.5 < len(cough(0)) / RATE_HZ < 1.0


def test_a_band_keeps_the_frequencies_in_it():
    time = np.arange(RATE_HZ) / RATE_HZ
    low, middle, high = (np.sin(2 * np.pi * hz * time) for hz in (100, 1000, 3800))
    assert np.abs(band(low + middle + high, 300.0, 3400.0) - middle).max() < 1e-6
    assert np.abs(band(low + middle + high, 0.0, 1500.0) - low - middle).max() < 1e-6


# -- a call -------------------------------------------------------------------------------------------


def test_a_call_in_virtual_time_with_scripted_recognition():
    question = Clip.of(voice("What time do you open?"), name="ask")
    steps = [
        WaitForAgent(),
        Say(question),
        WaitForAgent(),
        Wait(1.0),
        HangUp(),
    ]
    parties = [ScriptedCaller(steps), ScriptedCaller([Wait(1.0), HangUp()])]
    held, share = virtual_calls.hold_calls(
        parties, stt=ScriptedSpeechToText, replies=("We open at nine.",), impairments=Impairments()
    )
    assert share == 0.0
    talk, silence = map(figures_of, held)
    assert [turn.heard for turn in talk.record] == [
        virtual_calls.AGENT["greeting"],
        "What time do you open?",
        "We open at nine.",
    ]
    assert [turn.clip for turn in talk.tape.turns if turn.response is not None] == ["ask"]
    (answer,) = talk.record[2:]
    assert answer.stages["response_latency"] == pytest.approx(talk.tape.responses[0], abs=0.06)
    assert answer.stages["heard_latency"] == pytest.approx(talk.tape.heard[0], abs=0.06)
    assert silence.seconds == pytest.approx(1.2, abs=0.2)


@pytest.mark.human
@pytest.mark.weights
def test_a_short_call_in_virtual_time_with_people_and_real_recognition(speech_dir, models_dir):
    result = hold_virtual_calls(make_sounds(speech_dir, 30.0), SCENES["clean"], 30.0, models_dir / "tiny.en", calls=1)
    (figures,) = result.calls
    assert figures.seconds == pytest.approx(30.0, abs=1.0)
    assert len(result.asks) >= 2, json.dumps([turn.heard for turn in figures.record])
    assert not any(is_lost(figures, turn) for _, turn in result.turns)
    assert all(0.15 < wait < 1.5 for _, turn in result.asks if (wait := turn.response) is not None)
    assert all(abs(stored - taped) < 0.15 for stored, taped in stored_beside_taped(result, "response_latency"))
