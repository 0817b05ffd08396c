"""Fixtures of the tests on the dialler: a fixed clock, a carrier in memory, and an agent that retries."""

from collections.abc import Iterator

import pytest
import time_machine

from calls.models import Agent
from tests.calls.fake_carrier import FakeCarrier
from tests.calls.services.dialler import NOON


@pytest.fixture
def clock() -> Iterator[time_machine.Traveller]:
    with time_machine.travel(NOON, tick=False) as traveller:
        yield traveller


@pytest.fixture
def carrier() -> FakeCarrier:
    return FakeCarrier()


@pytest.fixture
def dialling_settings(settings) -> None:
    settings.CALLING_HOURS = {"*": "08:00-21:00"}
    settings.DIAL_COUNTRIES = ("US",)
    settings.CALLS_PER_SECOND = 100.0
    settings.MAX_LIVE_CALLS = settings.OUTBOUND_MAX_CALLS = 5
    settings.TWILIO_PHONE_NUMBER = "+15005550006"


@pytest.fixture
def agent(db, dialling_settings) -> Agent:
    agent = Agent.objects.get(name="front-desk")
    agent.max_attempts, agent.retry_busy_after, agent.retry_no_answer_after = 3, 600, 7200
    agent.save()
    return agent
