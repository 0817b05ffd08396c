"""When an engine is no longer asked, and when it is tried again."""

from __future__ import annotations

import pytest

from inference.fallback.breaker import Breaker, BreakerState


def fail(breaker: Breaker, times: int, at: float = 0.0) -> None:
    for _ in range(times):
        ticket = breaker.admit(at)
        assert ticket is not None
        breaker.report_failure(ticket, at)


def test_a_breaker_opens_after_consecutive_failures():
    breaker = Breaker(failures=3)
    fail(breaker, 2)
    breaker.report_success(breaker.ticket, 0.0)
    fail(breaker, 2)
    assert breaker.closed
    fail(breaker, 1)
    assert breaker.state is BreakerState.OPEN
    assert breaker.admit(9.9) is None


def test_a_breaker_opens_when_too_many_of_the_last_requests_failed():
    breaker = Breaker(failures=3, share=0.5, window=6)
    for _ in range(2):
        breaker.report_success(breaker.ticket, 0.0)
        fail(breaker, 1)
    breaker.report_success(breaker.ticket, 0.0)
    assert breaker.closed
    fail(breaker, 1)
    assert breaker.state is BreakerState.OPEN


def test_a_breaker_that_is_tripped_opens_at_once_and_for_longer():
    breaker = Breaker(failures=3, retry_after=10.0)
    breaker.trip(breaker.ticket, 5.0, seconds=60.0)
    assert breaker.admit(64.9) is None
    assert breaker.admit(65.0) is not None
    breaker.report_success(breaker.ticket, 65.1)
    breaker.trip(breaker.ticket - 1, 65.2, seconds=60.0)  # a request from before
    assert breaker.closed


def test_one_successful_request_closes_an_open_breaker():
    breaker = Breaker(failures=1, retry_after=10.0)
    fail(breaker, 1)
    probe = breaker.admit(10.0)
    assert probe is not None
    assert breaker.state is BreakerState.PROBING
    assert breaker.admit(10.0) is None
    breaker.report_success(probe, 10.5)
    assert breaker.closed
    assert breaker.admit(10.5) is not None


def test_a_probe_that_fails_opens_the_breaker_for_as_long_again():
    breaker = Breaker(failures=3, retry_after=10.0)
    fail(breaker, 3)
    fail(breaker, 1, at=10.0)
    assert breaker.admit(19.9) is None
    assert breaker.admit(20.0) is not None


def test_another_probe_is_let_through_if_the_outcome_of_the_first_is_never_reported():
    breaker = Breaker(failures=1, retry_after=10.0)
    fail(breaker, 1)
    assert breaker.admit(10.0) is not None
    assert breaker.admit(19.9) is None
    assert breaker.admit(20.0) is not None


def test_an_outcome_from_before_a_change_of_state_is_ignored():
    breaker = Breaker(failures=1, retry_after=10.0)
    old = breaker.admit(0.0)
    assert old is not None
    fail(breaker, 1)
    breaker.report_success(old, 1.0)
    assert breaker.state is BreakerState.OPEN
    probe = breaker.admit(10.0)
    assert probe is not None
    breaker.report_failure(old, 10.1)
    assert breaker.state is BreakerState.PROBING


@pytest.mark.parametrize("wrong", [{"failures": 0}, {"share": 0.0}, {"share": 1.1}, {"window": 0}, {"retry_after": -1}])
def test_a_breaker_refuses_impossible_limits(wrong):
    with pytest.raises(ValueError, match="a breaker needs"):
        Breaker(**wrong)
