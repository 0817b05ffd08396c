"""What is remembered of the refusals of a service."""

from __future__ import annotations

import pytest

from inference.hosted.health import Health
from inference.types import EngineError, EngineFull, QuotaExhausted


async def test_a_service_that_is_full_or_unpaid_is_asked_nothing_until_it_answers():
    for error in (EngineFull("busy", retry_after=20), QuotaExhausted("no credit")):
        health = Health()
        health.check()
        health.fail(error)
        with pytest.raises(type(error), match=str(error)):
            health.check()
        health.succeed()
        health.check()


async def test_a_fault_of_one_request_says_nothing_of_others_and_a_refusal_passes():
    health = Health()
    health.fail(EngineError("broke"))
    health.check()
    health.fail(EngineFull("busy", retry_after=0))
    health.check()
