"""Accepting and refusing calls."""

from datetime import timedelta

import pytest

from calls.models import Agent, Call
from calls.services import CallsError
from calls.services.placing import InvalidCalls, KeyReused, NewCall, find_waiting, place_call, place_calls
from tests.calls.services.dialler import ANNA, BERT, CARL, NOON, call_request, place

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"to": "12"}, "invalid-number", "to"),
        ({"to": "+1911"}, "emergency-number", "to"),
        ({"to": "+19005551234"}, "premium-number", "to"),
        ({"to": "+493012345678"}, "country-not-allowed", "to"),
        ({"agent": "nobody"}, "unknown-agent", "agent"),
        ({"machine_detection": "perhaps"}, "invalid", "machine_detection"),
        ({"machine_detection": "message"}, "no-voicemail-message", "machine_detection"),
        ({"max_duration": 5}, "invalid", "max_duration"),
        ({"timezone": "Mars/Olympus"}, "unknown-timezone", "timezone"),
        ({"from_number": "me"}, "invalid-number", "from"),
        ({"scheduled_for": NOON + timedelta(days=400)}, "invalid", "scheduled_for"),
        ({"scheduled_for": NOON - timedelta(days=365)}, "in-the-past", "scheduled_for"),
    ],
)
def test_an_invalid_request_is_refused_with_its_field_and_nothing_is_written(agent, clock, fields, code, field):
    with pytest.raises(CallsError) as error:
        place_call(NewCall(**{"to": ANNA, "agent": "front-desk", **fields}))
    assert (error.value.code, error.value.field) == (code, field)
    assert not Call.objects.exists()


def test_the_same_person_in_two_forms_of_the_number_is_found_in_a_list_and_in_the_queue(agent, clock, settings):
    settings.DIAL_COUNTRIES = ("*",)
    wanted = [call_request(to) for to in (ANNA, "+54 11 4567 8901", BERT, "+54 9 11 4567 8901")]
    with pytest.raises(InvalidCalls) as refused:
        place_calls(wanted)
    assert {index: (error.code, error.first) for index, error in refused.value.errors.items()} == {
        3: ("duplicate-person", 1)
    }
    assert find_waiting(wanted) == []
    place_calls(wanted[:2])
    assert find_waiting([*wanted, call_request("no number")]) == [0, 1, 3]


def test_a_call_needs_the_variables_of_its_agents_texts(agent, clock):
    Agent.objects.update(greeting="Hello {{ name }}, about {{ topic }}.")
    with pytest.raises(CallsError, match="topic"):
        place(variables={"name": "Anna"})
    assert place(variables={"name": "Anna", "topic": "your order"}).pk


def test_the_same_idempotency_key_returns_the_same_call(agent, clock):
    first, is_new = place_call(call_request(), idempotency_key="k")
    again, is_new_again = place_call(call_request(), idempotency_key="k")
    assert (is_new, is_new_again) == (True, False)
    assert again == first
    with pytest.raises(KeyReused):
        place_call(call_request(BERT), idempotency_key="k")
    assert Call.objects.count() == 1


def test_a_batch_is_placed_as_a_whole_or_not_at_all(agent, clock):
    with pytest.raises(InvalidCalls) as error:
        place_calls([call_request(), call_request("+1911"), call_request(BERT), NewCall(to=CARL, agent="nobody")])
    assert {place: wrong.code for place, wrong in error.value.errors.items()} == {
        1: "emergency-number",
        3: "unknown-agent",
    }
    assert not Call.objects.exists()
    calls, is_new = place_calls([call_request(), call_request(BERT)], idempotency_key="list")
    assert is_new
    assert place_calls([call_request(), call_request(BERT)], idempotency_key="list") == (calls, False)
    with pytest.raises(KeyReused):
        place_calls([call_request(), call_request(CARL)], idempotency_key="list")
    with pytest.raises(KeyReused):
        place_calls([call_request(), call_request(BERT), call_request(CARL)], idempotency_key="list")
