"""The parts of the benchmark of turn-taking that need no recordings and no models."""

import numpy as np
import pytest

from tests.benchmarks.turn_sounds import ACTIVE_DBFS, cough, crying, hold_music, television
from tests.benchmarks.turns import pair
from tests.sounds import RATE_HZ, active_level


@pytest.mark.parametrize(
    ("stored", "taped", "pairs"),
    [
        ([], [], []),
        ([0.4, 0.5], [0.41, 0.52], [(0.4, 0.41), (0.5, 0.52)]),
        # The agent took a turn by itself, which is on record and not on the tape.
        ([0.4, 0.1, 0.5], [0.41, 0.52], [(0.4, 0.41), (0.5, 0.52)]),
        ([0.5], [0.41, 0.52], [(0.5, 0.52)]),
        ([0.5], [], []),
    ],
)
def test_figures_of_the_server_are_set_beside_those_of_the_tape_in_their_order(stored, taped, pairs):
    assert pair(stored, taped) == pairs


@pytest.mark.parametrize(
    "sound",
    [
        hold_music(3.0),
        crying(3.0, seed=1),
        television([np.random.default_rng(0).normal(size=RATE_HZ)], 3.0, seed=1),
    ],
    ids=["hold music", "a crying child", "a television"],
)
def test_a_sound_around_the_caller_is_as_loud_as_a_voice(sound):
    assert len(sound) == 3 * RATE_HZ
    assert 20 * np.log10(active_level(sound) / 32768) == pytest.approx(ACTIVE_DBFS, abs=2.0)


def test_a_cough_is_short():
    assert 0.5 < len(cough(0)) / RATE_HZ < 1.0
