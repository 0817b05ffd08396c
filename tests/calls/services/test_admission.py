"""admission"""

import pytest

from calls.models import Agent
from calls.services import claim_stream
from tests.calls.services.dialler import answer, dial_due, place

pytestmark = pytest.mark.django_db


def test_the_agent_speaks_with_the_variables_of_the_call(agent, clock, carrier):
    Agent.objects.update(greeting="Hello {{ name }}.", disclosure="We record.", prompt="You call {{name}}.")
    place(variables={"name": "Anna"}, max_duration=77, record=False)
    [attempt] = dial_due(carrier)
    claim = claim_stream(token=answer(attempt).token, process="web-1")
    assert (claim.agent.greeting, claim.agent.prompt) == ("Hello Anna.", "You call Anna.")
    assert (claim.agent.max_duration, claim.agent.record, claim.direction) == (77.0, False, "outbound")
    assert claim.agent.lasting == ("We record.",)  # what names nobody may be kept as sound
