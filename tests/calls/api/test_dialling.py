"""The state of the dialler in the API, and resuming what is paused."""

import logging
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone

from calls.models import DialPace, DialPause

pytestmark = pytest.mark.django_db


@pytest.fixture
def pause() -> DialPause:
    soon = timezone.now() + timedelta(minutes=5)
    return DialPause.objects.create(
        scope="caller-id", subject="+15005550006", cause="caller-id", code="21210", reason="not verified", try_at=soon
    )


@pytest.fixture
def account() -> DialPause:
    soon = timezone.now() + timedelta(minutes=9)
    return DialPause.objects.create(scope="everything", cause="account", code="20003", reason="suspended", try_at=soon)


@pytest.fixture
def held(make_call, pause):
    tomorrow = timezone.now() + timedelta(days=1)
    return make_call(status="queued", sid=None, due_at=tomorrow, held_by=pause)


def test_the_state_of_the_dialler_says_what_is_paused_and_why(api, held, pause, account):
    DialPace.objects.create(pk=1, next_at=timezone.now(), limit=7)
    state = api.get("/api/dialling/").json()
    paused = [(entry["id"], entry["scope"], entry["code"], entry["reason"]) for entry in state["pauses"]]
    assert paused == [
        (pause.pk, "caller-id", "21210", "not verified"),
        (account.pk, "everything", "20003", "suspended"),
    ]
    assert [entry["held_calls"] for entry in state["pauses"]] == [1, 0]
    assert (state["paused_because"], state["most_calls"], state["held_calls"]) == ("suspended", 7, 1)
    assert state["paused_until"] == state["pauses"][1]["try_at"]
    assert state["pauses"] == api.get("/api/stats/").json()["current"]["pauses"]


def test_one_pause_is_ended_and_its_calls_are_due_at_once(api, held, pause, account, caplog):
    caplog.set_level(logging.WARNING, "calls.services.pauses")
    answer = api.post("/api/dialling/resume/", {"pause": pause.pk}, format="json")
    assert (answer.status_code, answer.json()["resumed"]) == (200, 1)
    assert [entry["id"] for entry in answer.json()["pauses"]] == [account.pk]
    held.refresh_from_db()
    assert held.held_by is None
    assert held.due_at <= timezone.now()
    assert "the API key tests has resumed dialling" in caplog.text
    again = api.post("/api/dialling/resume/", {"pause": pause.pk}, format="json")
    assert (again.status_code, again.json()["resumed"]) == (200, 0)


@pytest.mark.parametrize("body", [{}, {"pause": None}])
def test_everything_is_resumed_without_the_name_of_a_pause(api, pause, account, body):
    DialPace.objects.create(pk=1, next_at=timezone.now(), limit=2, limit_at=timezone.now())
    ended = DialPause.objects.create(scope="everything", cause="carrier", until=timezone.now(), reason="busy")
    answer = api.post("/api/dialling/resume/", body, format="json").json()
    assert (answer["resumed"], answer["pauses"], answer["most_calls"]) == (2, [], None)
    assert not DialPause.objects.filter(pk=ended.pk).exists()


@pytest.mark.parametrize("body", [{"pause": "all"}, {"pause": True}, {"pause": 0}, {"pause": 2**63}, {"puase": 1}])
def test_a_misspelt_request_resumes_nothing(api, pause, body):
    answer = api.post("/api/dialling/resume/", body, format="json")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-request")
    assert DialPause.objects.get() == pause


def test_resuming_needs_the_scope_and_the_permission_of_the_admin(api_with, pause):
    assert api_with("read", "dial").post("/api/dialling/resume/", {}, format="json").status_code == 403
    user = User.objects.create(username="ada", is_staff=True)
    client = Client()
    client.force_login(user)
    for permission, status in (("view_dialpace", 403), ("change_dialpace", 200)):
        user.user_permissions.add(Permission.objects.get(codename=permission))
        answer = client.post("/api/dialling/resume/", {}, content_type="application/json")
        assert answer.status_code == status, permission
    assert not DialPause.objects.exists()


def test_each_due_call_says_why_it_waits(api, held, make_call, pause, account, django_assert_max_num_queries):
    now = timezone.now()
    due = make_call(status="queued", sid=None, due_at=now, from_number="+15005550001")
    later = make_call(status="queued", sid=None, due_at=now + timedelta(days=1), from_number="+15005550001")
    over = make_call()
    with django_assert_max_num_queries(6):
        shown = {call["id"]: call["held_because"] for call in api.get("/api/calls/").json()["results"]}
    assert shown == {
        str(held.pk): "caller id +15005550006: not verified; everything: suspended",
        str(due.pk): "everything: suspended",
        str(later.pk): "",
        str(over.pk): "",
    }
    account.delete()
    assert api.get(f"/api/calls/{due.pk}/").json()["held_because"] == ""


def test_the_answer_to_a_repeated_request_is_the_first_one_whatever_is_paused_since(api, agent):
    body, key = {"to": "+12025550123", "agent": "front-desk"}, {"HTTP_IDEMPOTENCY_KEY": "one"}
    first = api.post("/api/calls/", body, format="json", **key).json()
    DialPause.objects.create(scope="everything", cause="account", reason="suspended", try_at=timezone.now())
    assert api.post("/api/calls/", body, format="json", **key).json() == first
