"""The parts of the benchmark of the ends of turns that need no recordings and no models."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from media.turns.acoustic import Fusion
from media.turns.endpointing import CLAUSE, UNFINISHED
from tests.benchmarks.endings import (
    FACTORS,
    Case,
    Curve,
    by_silence,
    by_words,
    by_words_and_sound,
    judge,
    lines_of,
    resampled,
    scores_in,
    sweep,
    with_held_out_fusion,
)
from tests.benchmarks.endings_picture import draw
from tests.benchmarks.pauses import TAIL, Stop, silences
from tests.sounds import RATE_HZ

CLAUSE_WORDS = "I want to come with my friends on Monday"
ONE = len(FACTORS) // 2


def stop(
    turn: str, seconds: float, *, ends: bool, text: str = CLAUSE_WORDS, score: float = 0.5, at: float = 1.0
) -> Stop:
    return Stop(turn, at, seconds, ends, "", text=text, scores=(score, score))


def some_turns(count: int = 12) -> list[list[Stop]]:
    """Turns with a pause inside, of which the sound says truly that it goes on."""
    return [
        [
            stop(f"a__{number}", 0.6, ends=False, score=0.01),
            stop(f"a__{number}", TAIL, ends=True, score=0.95, at=3.0),
        ]
        for number in range(count)
    ]


def test_the_silences_of_a_sound_are_found_by_its_energy_and_clicks_do_not_interrupt_them():
    random = np.random.default_rng(0)
    sound = random.normal(0, 10, 4 * RATE_HZ)
    for begin, end in ((0.5, 1.0), (1.4, 2.0), (2.05, 3.0)):
        sound[int(begin * RATE_HZ) : int(end * RATE_HZ)] += random.normal(0, 2000, int((end - begin) * RATE_HZ))
    sound[int(1.2 * RATE_HZ) : int(1.2 * RATE_HZ) + 80] += 2000
    inside, behind = silences(sound.astype(np.int16))
    assert [at / RATE_HZ for at in inside] == pytest.approx([1.0, 1.4], abs=0.03)
    assert behind[0] / RATE_HZ == pytest.approx(3.0, abs=0.03)
    assert behind[1] - behind[0] == TAIL * RATE_HZ


def test_pauses_that_are_too_short_or_too_long_do_not_count_and_the_end_always_does():
    found = [stop("a__1", seconds, ends=False) for seconds in (0.15, 0.2, 5.0, 6.0)] + [stop("a__1", TAIL, ends=True)]
    assert [case.stop.seconds for case in judge(found)] == [0.2, 5.0, TAIL]


def test_the_pauses_of_a_turn_are_learnt_from():
    found = [stop("a__1", 1.0, ends=False), stop("a__1", TAIL, ends=True)]
    first, last = judge(found)
    assert first.judgement.wait == CLAUSE < last.judgement.wait


def test_a_policy_that_waits_longer_cuts_off_less():
    cases = [case for of_turn in some_turns() for case in judge(of_turn)]
    curve = Curve.of(sweep(cases, by_words), cases)
    assert (np.diff(curve.wait) >= 0).all()
    assert (np.diff(curve.cut) <= 0).all()
    assert curve.cut[0] == 1.0
    assert curve.cut[-1] == 0.0
    assert curve.cut[ONE] == 1.0
    # 1.5 times 0.4 s is the pause; the wait at the end, where the caller has paused before, is 1.8 times 0.4 s or more.
    assert curve.wait_at(0.0) == pytest.approx(1.5 * judge(some_turns(1)[0])[1].judgement.wait, abs=0.1)
    assert np.isnan(curve.cut_at(60.0))


def test_the_sound_moves_both_ends_of_the_balance():
    cases = [case for of_turn in some_turns() for case in judge(of_turn)]
    words, sound = (Curve.of(sweep(cases, policy), cases) for policy in (by_words, by_words_and_sound))
    assert sound.cut[ONE] == 0.0 < words.cut[ONE]
    assert sound.wait[ONE] < words.wait[ONE]


def test_what_is_chosen_for_a_turn_is_chosen_on_the_others():
    """In one turn the sound says the opposite of the truth, which changes nothing for that turn itself."""
    found = some_turns()
    liar = [
        stop("a__liar", 0.6, ends=False, score=0.95),
        stop("a__liar", TAIL, ends=True, score=0.01, at=3.0),
    ]
    cases = [case for of_turn in [*found, liar] for case in judge(of_turn)]
    chosen = {case.stop.turn: case.fusion for case in with_held_out_fusion(cases)}
    truthful = [case for of_turn in found for case in judge(of_turn)]
    assert chosen["a__liar"].longer > 1.0
    assert (
        chosen["a__liar"] == with_held_out_fusion([*truthful, *judge([stop("a__other", TAIL, ends=True)])])[-1].fusion
    )


@pytest.mark.parametrize(("text", "waits"), [(CLAUSE_WORDS, True), ("Yes.", False)])
def test_the_model_makes_the_agent_wait_unless_the_words_are_whole_by_their_form(text, waits):
    (case,) = judge([stop("a__1", TAIL, ends=True, text=text)])
    for policy in (by_words, by_words_and_sound):
        assert (policy(case, 1.0, True) == UNFINISHED) is waits
    assert by_silence(case, 1.0, True) == 0.5


def test_the_model_is_right_nine_times_in_ten():
    cases = [case for of_turn in some_turns(200) for case in judge(of_turn)]
    times = sweep(cases, by_words, with_model=True)[:, ONE]
    goes_on = np.array([not case.stop.ends_turn for case in cases])
    assert ((times == UNFINISHED) == goes_on).mean() == pytest.approx(0.9, abs=0.01)


def test_a_second_score_comes_only_in_a_long_pause():
    found = [[stop("a__1", 0.6, ends=False, score=0.01), stop("a__1", TAIL, ends=True, score=0.9, at=3.0)]]
    assert scores_in(found) == 3


def test_the_second_score_counts_from_when_it_is_there():
    (case,) = judge([Stop("a__1", 1.0, TAIL, True, "", text=CLAUSE_WORDS, scores=(0.01, 0.95))])
    assert by_words_and_sound(Case(case.stop, case.judgement, Fusion()), 1.0, False) == pytest.approx(0.59)


def test_turns_are_drawn_whole():
    cases = [case for of_turn in some_turns(5) for case in judge(of_turn)]
    for chosen in resampled(cases)[:20]:
        assert len(chosen) == len(cases)
        drawn = [cases[index].stop.turn for index in chosen]
        assert all(drawn.count(name) % 2 == 0 for name in set(drawn))


def test_the_picture_is_valid_svg_with_a_line_for_each_curve():
    cases = [case for of_turn in some_turns(5) for case in judge(of_turn)]
    lines = lines_of(cases)
    curves = {line.name: Curve.of(line.times, cases) for line in lines}
    picture = draw(
        {name: (1000 * curve.wait, 100 * curve.cut) for name, curve in curves.items()}, {"words": (500.0, 30.0)}
    )
    root = ElementTree.fromstring(picture)
    assert len(root.findall("{*}polyline")) == len(lines) == 6
    assert len(root.findall("{*}circle")) == 1
    assert {"words", "all"} <= {element.text for element in root.findall("{*}text")}
