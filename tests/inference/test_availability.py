"""What an engine says of itself in one call decides whether the next call is taken."""

import pytest

from inference.availability import Availability, Refusal
from inference.types import EngineError, EngineFull, EngineLoading, EngineTimeout, NoWorker, QuotaExhausted


def noted(*errors: EngineError, now: float = 100.0) -> Availability:
    availability = Availability()
    for error in errors:
        availability.note(error, now)
    return availability


@pytest.mark.parametrize(
    ("retry_after", "seconds"), [(20.0, 20.0), (0.0, 1.0), (-5.0, 1.0), (3600.0, 300.0), (float("inf"), 300.0)]
)
def test_a_full_engine_refuses_calls_until_it_may_be_asked_again(retry_after, seconds):
    availability = noted(EngineFull("too many requests", retry_after=retry_after))
    assert availability.refusal(100.0) == Refusal("too many requests", 100.0 + seconds)
    assert availability.refusal(100.0 + seconds - 0.1) is not None
    assert availability.refusal(100.0 + seconds) is None


def test_the_longest_wait_counts():
    availability = noted(EngineFull("first", retry_after=20.0), EngineFull("second", retry_after=2.0))
    assert availability.refusal(119.0) is not None


def test_an_account_that_is_used_up_refuses_calls_until_it_was_tried():
    availability = noted(QuotaExhausted("no credit is left"), EngineFull("too many requests"))
    assert availability.refusal(1e9) == Refusal("no credit is left", None)
    availability.quota_is_back()
    assert availability.refusal(1e9) is None


@pytest.mark.parametrize("kind", [EngineError, EngineLoading, EngineTimeout, NoWorker])
def test_other_errors_are_answered_for_by_their_call_alone(kind):
    availability = Availability()
    asked = []
    availability.on_refusal = lambda: asked.append(1)
    availability.note(kind("it failed"), 0.0)
    assert availability.refusal(0.0) is None
    assert not asked
    availability.note(EngineFull("full"), 0.0)
    assert asked == [1]
