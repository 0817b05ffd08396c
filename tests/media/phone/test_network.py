"""The network: the pace of dialling."""

import pytest

from media.phone.network import DialQueue


def test_the_dialling_queue_holds_the_rate():
    queue = DialQueue(calls_per_second=2.0)
    assert [queue.reserve(now) for now in (0.0, 0.0, 0.1)] == [0.0, 0.5, pytest.approx(0.9)]
    assert queue.reserve(10.0) == 0.0, "unused turns are not saved up"
    burst = DialQueue(calls_per_second=1.0, burst=3)
    assert [burst.reserve(10.0) for _ in range(4)] == [0.0, 0.0, 0.0, 1.0]
