"""The goals of the flood benchmark, whose exit status says whether they were met."""

import pytest

from tests.benchmarks.flood import Webhooks, find_misses

GOOD = {"gaps": 0, "failed": 0, "lateness": 0.004}


def test_a_run_that_meets_every_goal_misses_nothing():
    assert find_misses(Webhooks([0.1, 0.5]), {"200": 7, "503": 90}, **GOOD) == []


@pytest.mark.parametrize(
    ("webhooks", "answers", "changed", "missed"),
    [
        (Webhooks([0.1, 0.501]), {}, {}, "1 signed webhooks took more than 500 ms"),
        (Webhooks(), {}, {}, "no signed webhook was answered"),
        (Webhooks([0.1], refused=1), {}, {"failed": 2}, "3 calls were sent away"),
        (Webhooks([0.1]), {}, {"gaps": 2}, "2 gaps"),
        (Webhooks([0.1]), {"200": 9, "500": 4}, {}, "4 answers with status 500"),
        (Webhooks([0.1]), {}, {"lateness": 0.03}, "the callers were too late, so the run does not count"),
    ],
)
def test_each_goal_that_a_run_misses_is_named(webhooks, answers, changed, missed):
    assert find_misses(webhooks, answers, **{**GOOD, **changed}) == [missed]
