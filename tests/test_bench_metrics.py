"""The figures of the benchmark of metrics."""

from math import isnan

import pytest

from tests.benchmarks import metrics
from tests.benchmarks.metrics import Figures, lags, p99, report

EXPOSED = """\
clientcaller_event_loop_lag_seconds_bucket{le="0.001"} 90.0
clientcaller_event_loop_lag_seconds_bucket{le="0.05"} 100.0
clientcaller_event_loop_lag_seconds_bucket{le="+Inf"} 100.0
clientcaller_event_loop_lag_seconds_count 100.0
"""


def figures(*, counted: float, scrape: float) -> Figures:
    found = Figures(counted=[counted], scrapes=[30.0], scrape_cpu=[scrape])
    for windows in (found.off, found.on, found.scraped):
        windows.cpu.append(10.0)
        windows.late.append(1.0)
    return found


def test_the_lag_of_most_looks_is_the_bound_of_their_bucket():
    nothing = dict.fromkeys(lags(EXPOSED), 0.0)
    assert p99(nothing, lags(EXPOSED)) == pytest.approx(50.0)
    assert isnan(p99({}, {}))


def test_the_run_fails_if_a_goal_is_missed(capsys, monkeypatch):
    monkeypatch.setattr(metrics, "cost_of_a_count", lambda: 0.01)
    assert report(figures(counted=1.0, scrape=5.0), 100) == 0
    assert report(figures(counted=1.0, scrape=25.0), 100) == 1
    assert report(figures(counted=30.0, scrape=5.0), 100) == 1
    assert "ratio 1.000" in capsys.readouterr().out
