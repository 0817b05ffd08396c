"""The form with which an operator places a call."""

from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.utils import timezone

from calls.models import Agent, Call, DoNotCall
from tests.calls.admin.pages import ANNA


def initial_form(client: Client, address: str) -> dict:
    return client.get(address).context["form"].initial


def test_a_call_is_placed_from_a_form_and_its_page_opens(admin_client, outbound):
    initial = initial_form(admin_client, "/admin/calls/call/place/?agent=front-desk")
    assert initial["agent"] == "front-desk"
    form = {**initial, "to": "+1 202 555 0101", "variables": '{"name": "Anna"}'}
    response = admin_client.post("/admin/calls/call/place/", form)
    call = Call.objects.get()
    assert response["Location"] == f"/admin/calls/call/{call.pk}/change/"
    assert (call.to_number, call.status, call.variables) == (ANNA, "queued", {"name": "Anna"})
    assert call.due_at is not None
    assert LogEntry.objects.get().object_id == str(call.pk)


def test_a_form_that_is_sent_twice_places_one_call(admin_client, outbound):
    form = {**initial_form(admin_client, "/admin/calls/call/place/"), "to": ANNA, "agent": "front-desk"}
    for _ in range(2):
        assert admin_client.post("/admin/calls/call/place/", form).status_code == 302
    assert Call.objects.count() == 1


def test_a_call_can_be_placed_for_later(admin_client, outbound):
    later = (timezone.now() + timedelta(days=2)).replace(second=0, microsecond=0)
    form = {**initial_form(admin_client, "/admin/calls/call/place/"), "to": ANNA, "agent": "front-desk"}
    admin_client.post("/admin/calls/call/place/", {**form, "scheduled_for": f"{later:%Y-%m-%dT%H:%M}"})
    call = Call.objects.get()
    assert call.scheduled_for == call.due_at == later


@pytest.mark.parametrize("local", ["2027-03-14T02:30", "2027-11-07T01:30"])
def test_a_local_time_that_never_comes_or_comes_twice_is_refused(admin_client, outbound, settings, local):
    settings.TIME_ZONE = "America/New_York"
    form = {**initial_form(admin_client, "/admin/calls/call/place/"), "to": ANNA, "agent": "front-desk"}
    page = admin_client.post("/admin/calls/call/place/", {**form, "scheduled_for": local})
    [message] = page.context["form"].errors["scheduled_for"]
    assert "America/New_York" in message
    assert not Call.objects.exists()


@pytest.mark.parametrize(
    ("wrong", "field", "message"),
    [
        ({"to": "5550101"}, "to", "international form"),
        ({"to": "911"}, "to", "emergency"),
        ({"to": ""}, "to", "required"),
        ({"to": "+12025550199"}, "to", "do-not-call list"),
        ({"agent": "nobody"}, "agent", "valid choice"),
        ({"variables": "[1]"}, "variables", "Write a JSON object"),
        ({"variables": "{"}, "variables", "valid JSON"),
        ({"variables": '{"name": "\\u0000"}'}, "variables", "NUL character"),
        ({"variables": '{"First Name": "Anna"}'}, "variables", "lower-case letters"),
        ({"variables": '{"name": {"first": "Anna"}}'}, "variables", "a string, a number"),
        ({"scheduled_for": "2099-01-01T10:00"}, "scheduled_for", "more than a year"),
        ({"scheduled_for": "soon"}, "scheduled_for", "valid date"),
        ({"token": "x"}, "token", "valid UUID"),
    ],
)
def test_an_error_is_shown_at_the_field_that_caused_it(admin_client, outbound, wrong, field, message):
    DoNotCall.objects.create(number="+12025550199")
    form = {**initial_form(admin_client, "/admin/calls/call/place/"), "to": ANNA, "agent": "front-desk", **wrong}
    page = admin_client.post("/admin/calls/call/place/", form)
    assert page.status_code == 200
    assert message in str(page.context["form"].errors[field])
    assert not Call.objects.exists()


def test_the_form_asks_for_the_variables_that_the_agent_needs(admin_client, outbound):
    Agent.objects.update(greeting="Hello {{ name }}.")
    form = {**initial_form(admin_client, "/admin/calls/call/place/"), "to": ANNA, "agent": "front-desk"}
    page = admin_client.post("/admin/calls/call/place/", form)
    assert "also needs these variables: name" in page.content.decode()


def test_the_list_of_calls_and_the_page_of_an_agent_link_to_the_form(admin_client, db):
    agent = Agent.objects.get(name="front-desk")
    assert "/admin/calls/call/place/" in admin_client.get("/admin/calls/call/").content.decode()
    page = admin_client.get(f"/admin/calls/agent/{agent.pk}/change/").content.decode()
    assert "/admin/calls/call/place/?agent=front-desk" in page
