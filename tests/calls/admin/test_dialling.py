"""Dialling and the do-not-call list in the admin."""

from datetime import timedelta

import pytest
from django.utils import timezone

from calls.models import (
    DialPace,
    DoNotCall,
)
from tests.calls.admin.pages import ANNA, said


def test_the_dialling_page_tells_how_it_goes(admin_client, outbound):
    outbound(due_at=timezone.now())
    outbound(due_at=timezone.now() + timedelta(days=1))
    page = admin_client.get("/admin/calls/dialpace/")
    facts = dict(page.context["facts"])
    assert (facts["State"], facts["Calls due"], facts["Calls scheduled for later"], facts["Calls out now"]) == (
        "going",
        1,
        1,
        0,
    )
    assert b"Resume now" not in page.content


def test_a_pause_is_explained_and_can_be_ended(admin_client, db):
    until = timezone.now() + timedelta(minutes=5)
    DialPace.objects.create(next_at=timezone.now(), paused_until=until, reason="account suspended", failures=3, limit=2)
    page = admin_client.get("/admin/calls/dialpace/")
    facts = dict(page.context["facts"])
    assert facts["State"].startswith("paused until")
    assert facts["Why"] == "account suspended"
    assert b"Resume now" in page.content
    assert said(admin_client.post("/admin/calls/dialpace/")) == "Dialling goes on."
    pace = DialPace.objects.get()
    assert (pace.paused_until, pace.failures, pace.reason, pace.limit) == (None, 0, "", None)


def test_only_who_may_can_resume(staff):
    DialPace.objects.create(next_at=timezone.now(), paused_until=timezone.now() + timedelta(minutes=5))
    client = staff("view_dialpace")
    assert b"Resume now" not in client.get("/admin/calls/dialpace/").content
    assert client.post("/admin/calls/dialpace/").status_code == 403
    assert staff().get("/admin/calls/dialpace/").status_code == 403


def test_a_number_is_put_on_the_do_not_call_list_and_taken_off(admin_client):
    form = {"number": "+1 (202) 555-0101", "reason": "by letter"}
    assert admin_client.post("/admin/calls/donotcall/add/", form).status_code == 302
    entry = DoNotCall.objects.get()
    assert (entry.number, entry.reason, entry.source) == (ANNA, "by letter", "operator")
    assert "by letter" in admin_client.get("/admin/calls/donotcall/").content.decode()
    assert admin_client.get(f"/admin/calls/donotcall/{entry.pk}/change/").status_code == 200
    admin_client.post(f"/admin/calls/donotcall/{entry.pk}/delete/", {"post": "yes"})
    assert not DoNotCall.objects.exists()


@pytest.mark.parametrize(("number", "complaint"), [("555", "in full"), ("+12025550199", "already exists")])
def test_what_is_wrong_with_an_entry_is_told(admin_client, number, complaint):
    DoNotCall.objects.create(number="+12025550199")
    page = admin_client.post("/admin/calls/donotcall/add/", {"number": number, "reason": ""})
    assert complaint in page.content.decode()
    assert DoNotCall.objects.count() == 1
