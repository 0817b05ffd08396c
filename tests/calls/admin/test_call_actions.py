"""The actions of an operator on a call, and the permissions that they need."""

import re
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.messages import get_messages
from django.test import Client
from django.utils import timezone

from calls.errors import CarrierError, FailureKind
from calls.models import Call, CallOrder, Lease
from calls.services import stopping
from tests.calls.admin.pages import ANNA, messages_after
from tests.calls.fake_carrier import FakeCarrier


@pytest.fixture
def carrier(monkeypatch) -> FakeCarrier:
    fake = FakeCarrier()
    monkeypatch.setattr(stopping, "get_carrier", lambda: fake)
    return fake


def buttons(client: Client, call: Call) -> list[str]:
    page = client.get(f"/admin/calls/call/{call.pk}/change/").content.decode()
    return re.findall(rf'action="/admin/calls/call/{call.pk}/do/([a-z-]+)/"', page)


def press(client: Client, call: Call, name: str, **data):
    return client.post(f"/admin/calls/call/{call.pk}/do/{name}/", data)


@pytest.mark.parametrize(
    ("direction", "status", "shown"),
    [
        ("outbound", "queued", ["cancel"]),
        ("outbound", "ringing", ["cancel"]),
        ("outbound", "in-progress", ["hang-up"]),
        ("outbound", "busy", ["again"]),
        ("inbound", "ringing", ["hang-up"]),
        ("inbound", "completed", ["again"]),
    ],
)
def test_a_call_has_the_buttons_that_its_state_allows(admin_client, outbound, direction, status, shown):
    assert buttons(admin_client, outbound(status, direction=direction)) == shown


def test_a_caller_who_withholds_the_number_cannot_be_called_back(admin_client, outbound):
    call = outbound("completed", direction="inbound")
    Call.objects.update(from_number="anonymous")
    assert buttons(admin_client, call) == []
    assert "international form" in messages_after(press(admin_client, call, "again"))


def test_a_caller_can_be_called_back(admin_client, outbound):
    call = outbound("completed", direction="inbound", to_number="+15005550006")
    Call.objects.update(from_number=ANNA)
    assert buttons(admin_client, call) == ["again"]
    press(admin_client, call, "again")
    assert Call.objects.get(direction="outbound").to_number == ANNA


def test_a_waiting_call_is_canceled(admin_client, outbound):
    call = outbound(due_at=timezone.now() + timedelta(hours=1))
    response = press(admin_client, call, "cancel")
    call.refresh_from_db()
    assert call.status == "canceled"
    assert messages_after(response) == f"The call with {ANNA} was canceled."
    assert "canceled" in LogEntry.objects.get().change_message


def test_an_action_that_is_impossible_shows_the_reason(admin_client, outbound):
    response = press(admin_client, outbound("completed"), "cancel")
    assert response.status_code == 302
    assert messages_after(response) == "The call has ended already, as completed, so it cannot be canceled."


def test_a_live_call_is_told_to_hang_up(admin_client, outbound):
    call = outbound("in-progress")
    Lease.objects.create(call=call, slot=0, stream=1, expires_at=timezone.now() + timedelta(minutes=1))
    assert "told to end. Its status is still in-progress." in messages_after(press(admin_client, call, "hang-up"))
    assert CallOrder.objects.get().kind == "hang-up"


def test_an_error_of_the_carrier_is_shown(admin_client, outbound, carrier, monkeypatch):
    def fails(*_, **__):
        raise CarrierError("the network is down", kind=FailureKind.UNKNOWN)

    monkeypatch.setattr(carrier, "hang_up", fails, raising=False)
    assert "the network is down" in messages_after(press(admin_client, outbound("in-progress"), "hang-up"))


def test_a_call_is_dialled_again_with_the_same_data_and_once_for_each_button(admin_client, outbound):
    fields = {"variables": {"name": "Anna"}, "metadata": {"order": 7}, "max_duration": 99, "record": False}
    call = outbound("no-answer", **fields, timezone="America/New_York", machine_detection="hang-up")
    for _ in range(2):
        response = press(admin_client, call, "again", token="5a1c")
    again = Call.objects.exclude(pk=call.pk).get()
    for field in (*fields, "timezone", "machine_detection", "to_number", "from_number", "agent_id"):
        assert getattr(again, field) == getattr(call, field), field
    assert again.status == "queued"
    assert f"/admin/calls/call/{again.pk}/change/" in str(next(iter(get_messages(response.wsgi_request))))


def test_a_person_is_dialled_again_once_for_several_of_their_calls(admin_client, outbound):
    chosen = [outbound("no-answer").pk, outbound("busy").pk, outbound("busy", to_number="+12025550102").pk]
    response = admin_client.post("/admin/calls/call/", {"action": "dial_again", "_selected_action": chosen})
    again = Call.objects.exclude(pk__in=chosen)
    assert sorted(again.values_list("to_number", flat=True)) == [ANNA, "+12025550102"]
    assert "dialled again for another of the selected calls" in messages_after(response)


def test_a_person_is_dialled_again_once_in_every_form_of_the_number(admin_client, outbound, settings):
    settings.DIAL_COUNTRIES = ("*",)
    numbers = ["+541145678901", "+5491145678901", "whatsapp:+5491145678901"]
    chosen = [outbound("busy", to_number=number).pk for number in numbers]
    admin_client.post("/admin/calls/call/", {"action": "dial_again", "_selected_action": chosen})
    assert Call.objects.exclude(pk__in=chosen).count() == 1


def test_many_calls_are_canceled_at_once_and_the_result_is_shown(admin_client, outbound):
    waiting = [outbound(due_at=timezone.now()) for _ in range(3)]
    over = [outbound("completed") for _ in range(7)]
    chosen = [str(call.pk) for call in (*waiting, *over)]
    response = admin_client.post("/admin/calls/call/", {"action": "cancel", "_selected_action": chosen})
    assert Call.objects.filter(status="canceled").count() == 3
    text = messages_after(response)
    assert "3 calls were canceled." in text
    assert text.count("The call has ended already") == 5
    assert "2 more calls" in text


@pytest.mark.parametrize(
    ("permissions", "name", "status"),
    [
        (["view_call"], "cancel", 403),
        (["view_call"], "again", 403),
        (["change_call"], "cancel", 302),
        (["view_call", "add_call"], "cancel", 403),
        (["view_call", "add_call"], "again", 302),
        (["add_call"], "again", 403),
        (["view_call", "change_call"], "explode", 404),
    ],
)
def test_an_action_needs_its_permission(staff, outbound, permissions, name, status):
    client = staff(*permissions, "view_call") if permissions == ["change_call"] else staff(*permissions)
    assert press(client, outbound("queued", due_at=timezone.now()), name).status_code == status


def test_an_operator_who_may_only_view_sees_no_buttons_and_cannot_place_calls(staff, outbound):
    client = staff("view_call", "view_agent")
    call = outbound(due_at=timezone.now())
    assert buttons(client, call) == []
    assert client.get("/admin/calls/call/place/").status_code == 403
    page = client.get("/admin/calls/call/").content.decode()
    assert "/admin/calls/call/place/" not in page
    assert 'value="cancel"' not in page


def test_a_get_request_cannot_end_make_call(admin_client, outbound):
    call = outbound(due_at=timezone.now())
    assert admin_client.get(f"/admin/calls/call/{call.pk}/do/cancel/").status_code == 405
