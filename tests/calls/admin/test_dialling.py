"""The admin's pages of the dialler and of the do-not-call list."""

from datetime import timedelta

import pytest
from django.utils import timezone

from calls.models import Call, DialPace, DialPause, DoNotCall
from tests.calls.admin.pages import ANNA, messages_after


def test_the_dialling_page_counts_the_calls(admin_client, outbound):
    outbound(due_at=timezone.now())
    outbound(due_at=timezone.now() + timedelta(days=1))
    page = admin_client.get("/admin/calls/dialpace/")
    facts = dict(page.context["facts"])
    assert facts["State"] == "running"
    assert (facts["Calls due now"], facts["Calls scheduled for later"]) == (1, 1)
    assert facts["Calls being dialled or in progress"] == 0
    assert b"Resume" not in page.content


def test_a_pause_is_explained_and_can_be_ended(admin_client, db, outbound):
    soon = timezone.now() + timedelta(minutes=5)
    DialPace.objects.create(pk=1, next_at=timezone.now(), limit=2, limit_at=timezone.now())
    DialPause.objects.create(scope="everything", cause="account", try_at=soon, reason="account suspended", failures=3)
    country = DialPause.objects.create(scope="country", subject="DE", cause="country", try_at=soon, reason="no permit")
    call = outbound(due_at=timezone.now(), held_by=country)
    page = admin_client.get("/admin/calls/dialpace/")
    facts = dict(page.context["facts"])
    assert facts["State"].startswith("paused until")
    assert facts["Reason"] == "account suspended"
    assert (facts["Calls due now"], facts["Calls that a pause holds"]) == (0, 1)
    assert all(text in page.content for text in (b"country DE", b"no permit", b"the carrier refuses the account"))
    assert messages_after(admin_client.post("/admin/calls/dialpace/")) == "Dialling has resumed."
    assert not DialPause.objects.exists()
    assert DialPace.objects.get().limit is None
    assert Call.objects.get(pk=call.pk).held_by is None


def test_one_pause_is_ended_without_the_others(admin_client, db):
    soon = timezone.now() + timedelta(minutes=5)
    german, french = (
        DialPause.objects.create(scope="country", subject=country, cause="country", try_at=soon)
        for country in ("DE", "FR")
    )
    page = admin_client.get("/admin/calls/dialpace/")
    assert dict(page.context["facts"])["State"] == "running, except for what is listed below"
    post = admin_client.post
    assert messages_after(post("/admin/calls/dialpace/", {"pause": german.pk})) == "Dialling has resumed for it."
    assert list(DialPause.objects.all()) == [french]
    admin_client.get("/admin/calls/dialpace/")
    for gone in (german.pk, "x", "9" * 30, "-1"):
        assert post("/admin/calls/dialpace/", {"pause": gone}).status_code == 302
    assert list(DialPause.objects.all()) == [french]
    text = admin_client.get("/admin/calls/dialpace/").content.decode()
    assert text.count("That pause had ended already.") == 4


def test_resuming_needs_its_permission(staff):
    DialPause.objects.create(scope="everything", cause="account", try_at=timezone.now() + timedelta(minutes=5))
    client = staff("view_dialpace")
    assert b"Resume" not in client.get("/admin/calls/dialpace/").content
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


@pytest.mark.parametrize(("number", "message"), [("555", "no + and country code"), ("+12025550199", "already exists")])
def test_an_invalid_entry_is_refused_with_the_reason(admin_client, number, message):
    DoNotCall.objects.create(number="+12025550199")
    page = admin_client.post("/admin/calls/donotcall/add/", {"number": number, "reason": ""})
    assert message in page.content.decode()
    assert DoNotCall.objects.count() == 1
