"""The operator's console."""

import html
import re
from datetime import timedelta
from uuid import uuid4

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.contrib.messages import get_messages
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.test import Client
from django.utils import timezone
from django.utils.html import strip_tags

from calls.carrier import CarrierError, Kind
from calls.models import (
    Agent,
    ApiKey,
    Call,
    CallEvent,
    CallOrder,
    DialAttempt,
    DialPace,
    DoNotCall,
    Lease,
    Turn,
    WebhookDelivery,
    WebhookEndpoint,
)
from calls.recordings import PIECE_BYTES
from calls.services import placing
from calls.services.keys import find_key
from tests.calls.fake_carrier import FakeCarrier

SOUND = bytes(range(256)) * 20


@pytest.fixture(autouse=True)
def _quick_logins(settings):
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


def a_call(turns: int = 3, **fields) -> Call:
    call = Call.objects.create(
        **{"sid": uuid4().hex, "direction": "inbound", "status": "completed", "duration": 62.4, **fields},
        from_number="+15557654321",
        agent=Agent.objects.get(name="front-desk"),
    )
    for number in range(1, turns + 1):
        Turn.objects.create(
            call=call,
            number=number,
            who="agent",
            said=f"Sentence {number}. Unheard <end>.",
            heard=f"Sentence {number}.",
            interrupted=True,
            speculation_waste=2,
            started_at=timezone.now(),
            stages={"response_latency": 0.3 + number / 10, "endpointing": 0.213, "odd_stage": 0.007},
            response_latency=0.3 + number / 10,
            fact_id=uuid4().hex,
        )
    CallEvent.objects.create(call=call, kind="dtmf", at=timezone.now(), data={"digit": "5"}, fact_id=uuid4().hex)
    return call


@pytest.fixture
def recorded(db) -> Call:
    return a_call(recording=default_storage.save("recordings/a.wav", ContentFile(SOUND)))


def test_the_list_shows_each_call_with_its_median_latency(admin_client):
    a_call()
    page = admin_client.get("/admin/calls/call/").content.decode()
    for shown in ("+15557654321", "front-desk", "completed", "62 s", "500 ms"):
        assert shown in page


def test_the_list_costs_the_same_however_long_it_is(admin_client, django_assert_max_num_queries):
    for _ in range(3):
        a_call()
    with django_assert_max_num_queries(30) as few:
        admin_client.get("/admin/calls/call/")
    for _ in range(20):
        a_call()
    with django_assert_max_num_queries(len(few)):
        admin_client.get("/admin/calls/call/")


@pytest.mark.parametrize(
    "query",
    [
        "q=Sentence+2",
        "q=%2B1555",
        "status__exact=completed",
        "recording__isempty=0",
        "o=8",
        "o=-6.8",
        "direction__exact=inbound",
    ],
)
def test_calls_are_found_by_what_is_known_of_them(admin_client, query, db):
    a_call(recording="recordings/a.wav")
    page = admin_client.get(f"/admin/calls/call/?{query}")
    assert page.status_code == 200
    assert "1 call" in page.content.decode()


def test_a_call_reads_as_a_transcript_with_what_was_not_heard_struck_out(admin_client, recorded):
    page = admin_client.get(f"/admin/calls/call/{recorded.pk}/change/").content.decode()
    assert "Sentence 1.<s> Unheard &lt;end&gt;.</s>" in page
    for shown in ("endpointing&nbsp;213 ms", "odd stage&nbsp;7 ms", "400 ms", "interrupted", "2 for nothing", "dtmf"):
        assert shown in page
    assert f'<audio controls preload="metadata" src="/admin/calls/call/{recorded.pk}/recording/">' in page


def test_a_call_costs_the_same_however_long_it_is(admin_client, django_assert_max_num_queries):
    short, long = a_call(turns=2), a_call(turns=40)
    with django_assert_max_num_queries(30) as few:
        admin_client.get(f"/admin/calls/call/{short.pk}/change/")
    with django_assert_max_num_queries(len(few)):
        admin_client.get(f"/admin/calls/call/{long.pk}/change/")


def test_records_are_read_and_not_edited(admin_client, recorded):
    assert admin_client.post(f"/admin/calls/call/{recorded.pk}/change/", {"status": "failed"}).status_code == 403
    assert admin_client.get("/admin/calls/call/add/").status_code == 403


AGENT = {
    "name": "sales",
    "greeting": "Hi!",
    "language": "en",
    "max_duration": 120,
    "active": "on",
    "transfer_targets": '{"boss": "+12025550109"}',
    "ring_timeout": 25,
    "machine_detection": "off",
    "max_attempts": 2,
    "retry_busy_after": 600,
    "retry_no_answer_after": 7200,
    "retry_failed_after": 1800,
}


def test_agents_are_edited(admin_client):
    assert admin_client.post("/admin/calls/agent/add/", AGENT).status_code == 302
    agent = Agent.objects.get(name="sales")
    assert (agent.max_duration, agent.max_attempts) == (120, 2)
    assert agent.transfer_targets == {"boss": "+12025550109"}
    assert "sales" in admin_client.get("/admin/calls/agent/").content.decode()


def test_an_agent_may_have_its_transfer_targets_taken_away(admin_client):
    admin_client.post("/admin/calls/agent/add/", AGENT)
    agent = Agent.objects.get(name="sales")
    page = admin_client.post(f"/admin/calls/agent/{agent.pk}/change/", {**AGENT, "transfer_targets": ""})
    agent.refresh_from_db()
    assert (page.status_code, agent.transfer_targets) == (302, {})


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"machine_detection": "message"}, "there is no message to leave"),
        ({"opt_out_key": "x"}, "One key"),
        ({"transfer_targets": '["+12025550109"]'}, "Write names in small letters"),
        ({"transfer_targets": "{"}, "Enter a valid JSON"),
        ({"ring_timeout": 1}, "greater than or equal to 5"),
    ],
)
def test_what_is_wrong_with_an_agent_is_told(admin_client, wrong, complaint):
    page = admin_client.post("/admin/calls/agent/add/", {**AGENT, **wrong})
    assert complaint in page.content.decode()
    assert not Agent.objects.filter(name="sales").exists()


@pytest.mark.parametrize(
    ("header", "start", "stop"),
    [
        ("bytes=0-99", 0, 100),
        ("bytes=100-", 100, len(SOUND)),
        ("bytes=-20", len(SOUND) - 20, len(SOUND)),
        ("bytes=5000-999999", 5000, len(SOUND)),
    ],
)
def test_a_player_may_ask_for_a_part_of_the_recording(admin_client, recorded, header, start, stop):
    response = admin_client.get(f"/admin/calls/call/{recorded.pk}/recording/", headers={"Range": header})
    assert (response.status_code, response.content) == (206, SOUND[start:stop])
    assert response["Content-Range"] == f"bytes {start}-{stop - 1}/{len(SOUND)}"


@pytest.mark.parametrize("header", [None, "", "bytes=-", "lines=1-2", "bytes=0-1,4-5"])
def test_without_a_single_range_the_whole_recording_comes(admin_client, recorded, header):
    headers = {} if header is None else {"Range": header}
    response = admin_client.get(f"/admin/calls/call/{recorded.pk}/recording/", headers=headers)
    assert (response.status_code, response.content) == (200, SOUND)
    assert (response["Content-Type"], response["Accept-Ranges"]) == ("audio/wav", "bytes")


@pytest.mark.parametrize("header", [f"bytes={len(SOUND)}-", "bytes=9-2", "bytes=-0"])
def test_a_range_that_holds_nothing_is_refused(admin_client, recorded, header):
    response = admin_client.get(f"/admin/calls/call/{recorded.pk}/recording/", headers={"Range": header})
    assert (response.status_code, response["Content-Range"]) == (416, f"bytes */{len(SOUND)}")


def test_a_long_recording_comes_in_pieces(admin_client, db):
    call = a_call(recording=default_storage.save("recordings/long.wav", ContentFile(b"\1" * (PIECE_BYTES + 5))))
    response = admin_client.get(f"/admin/calls/call/{call.pk}/recording/", headers={"Range": "bytes=0-"})
    assert len(response.content) == PIECE_BYTES


def test_recordings_are_for_operators_only(client: Client, recorded, django_user_model):
    address = f"/admin/calls/call/{recorded.pk}/recording/"
    assert client.get(address).status_code == 302
    client.force_login(django_user_model.objects.create_user("clerk", is_staff=True))
    assert client.get(address).status_code == 403


def test_a_recording_that_is_missing_is_a_404(admin_client, recorded):
    default_storage.delete(recorded.recording.name)
    for call in (recorded, a_call(recording="")):
        assert admin_client.get(f"/admin/calls/call/{call.pk}/recording/").status_code == 404


@pytest.mark.parametrize("address", ["/", "/admin"])
def test_who_comes_without_an_address_is_led_to_the_admin(client: Client, address):
    response = client.get(address)
    assert (response.status_code, response["Location"]) == (302, "/admin/")


# --- Placing and stopping calls ----------------------------------------------------------------------------

ANNA = "+12025550101"


@pytest.fixture
def outbound(settings, db):
    """A call to Anna may be placed."""
    settings.DIAL_COUNTRIES = ("US",)
    settings.TWILIO_PHONE_NUMBER = "+15005550006"

    def place(status="queued", **fields) -> Call:
        return Call.objects.create(
            **{"sid": f"CA{uuid4().hex}", "direction": "outbound", "to_number": ANNA, "status": status, **fields},
            from_number="+15005550006",
            agent=Agent.objects.get(name="front-desk"),
        )

    return place


@pytest.fixture
def carrier(monkeypatch) -> FakeCarrier:
    fake = FakeCarrier()
    monkeypatch.setattr(placing, "get_carrier", lambda: fake)
    return fake


@pytest.fixture
def staff(client: Client, django_user_model):
    """Somebody with these permissions and no others."""

    def log_in(*permissions: str) -> Client:
        user = django_user_model.objects.create_user(f"clerk-{uuid4().hex[:6]}", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        client.force_login(user)
        return client

    return log_in


def said(response) -> str:
    """What the next page says of what was done."""
    return html.unescape(strip_tags(" ".join(str(message) for message in get_messages(response.wsgi_request))))


def buttons(client: Client, call: Call) -> list[str]:
    page = client.get(f"/admin/calls/call/{call.pk}/change/").content.decode()
    return re.findall(rf'action="/admin/calls/call/{call.pk}/do/([a-z-]+)/"', page)


def press(client: Client, call: Call, name: str, **data):
    return client.post(f"/admin/calls/call/{call.pk}/do/{name}/", data)


def form_at(client: Client, address: str) -> dict:
    return client.get(address).context["form"].initial


def test_a_call_is_placed_from_a_form_and_its_page_opens(admin_client, outbound):
    initial = form_at(admin_client, "/admin/calls/call/place/?agent=front-desk")
    assert initial["agent"] == "front-desk"
    form = {**initial, "to": "+1 202 555 0101", "variables": '{"name": "Anna"}'}
    response = admin_client.post("/admin/calls/call/place/", form)
    call = Call.objects.get()
    assert response["Location"] == f"/admin/calls/call/{call.pk}/change/"
    assert (call.to_number, call.status, call.variables) == (ANNA, "queued", {"name": "Anna"})
    assert call.due_at is not None
    assert LogEntry.objects.get().object_id == str(call.pk)


def test_a_form_that_is_sent_twice_places_one_call(admin_client, outbound):
    form = {**form_at(admin_client, "/admin/calls/call/place/"), "to": ANNA, "agent": "front-desk"}
    for _ in range(2):
        assert admin_client.post("/admin/calls/call/place/", form).status_code == 302
    assert Call.objects.count() == 1


def test_a_call_can_be_placed_for_later(admin_client, outbound):
    later = (timezone.now() + timedelta(days=2)).replace(second=0, microsecond=0)
    form = {**form_at(admin_client, "/admin/calls/call/place/"), "to": ANNA, "agent": "front-desk"}
    admin_client.post("/admin/calls/call/place/", {**form, "scheduled_for": f"{later:%Y-%m-%dT%H:%M}"})
    call = Call.objects.get()
    assert call.scheduled_for == call.due_at == later


@pytest.mark.parametrize(
    ("wrong", "field", "complaint"),
    [
        ({"to": "5550101"}, "to", "international form"),
        ({"to": "911"}, "to", "emergency"),
        ({"to": ""}, "to", "required"),
        ({"to": "+12025550199"}, "to", "do-not-call list"),
        ({"agent": "nobody"}, "agent", "valid choice"),
        ({"variables": "[1]"}, "variables", "Write an object"),
        ({"variables": "{"}, "variables", "valid JSON"),
        ({"scheduled_for": "2099-01-01T10:00"}, "scheduled_for", "more than a year"),
        ({"scheduled_for": "soon"}, "scheduled_for", "valid date"),
        ({"token": "x"}, "token", "valid UUID"),
    ],
)
def test_what_is_wrong_with_a_call_stands_at_its_field(admin_client, outbound, wrong, field, complaint):
    DoNotCall.objects.create(number="+12025550199")
    form = {**form_at(admin_client, "/admin/calls/call/place/"), "to": ANNA, "agent": "front-desk", **wrong}
    page = admin_client.post("/admin/calls/call/place/", form)
    assert page.status_code == 200
    assert complaint in str(page.context["form"].errors[field])
    assert not Call.objects.exists()


def test_what_an_agent_needs_to_know_is_asked_for(admin_client, outbound):
    Agent.objects.update(greeting="Hello {{ name }}.")
    form = {**form_at(admin_client, "/admin/calls/call/place/"), "to": ANNA, "agent": "front-desk"}
    page = admin_client.post("/admin/calls/call/place/", form)
    assert "also needs name" in page.content.decode()


def test_lists_and_agents_lead_to_the_form(admin_client, db):
    agent = Agent.objects.get(name="front-desk")
    assert "/admin/calls/call/place/" in admin_client.get("/admin/calls/call/").content.decode()
    page = admin_client.get(f"/admin/calls/agent/{agent.pk}/change/").content.decode()
    assert "/admin/calls/call/place/?agent=front-desk" in page


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
def test_a_call_has_the_buttons_that_make_sense(admin_client, outbound, direction, status, shown):
    assert buttons(admin_client, outbound(status, direction=direction)) == shown


def test_who_withholds_the_number_cannot_be_called_back(admin_client, outbound):
    call = outbound("completed", direction="inbound")
    Call.objects.update(from_number="anonymous")
    assert buttons(admin_client, call) == []
    assert "international form" in said(press(admin_client, call, "again"))


def test_who_has_called_can_be_called_back(admin_client, outbound):
    call = outbound("completed", direction="inbound", to_number="+15005550006")
    Call.objects.update(from_number=ANNA)
    assert buttons(admin_client, call) == ["again"]
    press(admin_client, call, "again")
    assert Call.objects.get(direction="outbound").to_number == ANNA


def test_a_call_that_waits_is_canceled(admin_client, outbound):
    call = outbound(due_at=timezone.now() + timedelta(hours=1))
    response = press(admin_client, call, "cancel")
    call.refresh_from_db()
    assert call.status == "canceled"
    assert said(response) == f"The call with {ANNA}: canceled."
    assert "canceled" in LogEntry.objects.get().change_message


def test_what_cannot_be_done_is_told_and_nothing_breaks(admin_client, outbound):
    response = press(admin_client, outbound("completed"), "cancel")
    assert response.status_code == 302
    assert said(response) == "The call is over: completed."


def test_a_live_call_is_told_to_hang_up(admin_client, outbound):
    call = outbound("in-progress")
    Lease.objects.create(call=call, slot=0, stream=1, expires_at=timezone.now() + timedelta(minutes=1))
    assert "told to end. It is in-progress as yet" in said(press(admin_client, call, "hang-up"))
    assert CallOrder.objects.get().kind == "hang-up"


def test_a_carrier_that_fails_is_told(admin_client, outbound, carrier, monkeypatch):
    def fails(*_, **__):
        raise CarrierError("the network is down", kind=Kind.UNKNOWN)

    monkeypatch.setattr(carrier, "hang_up", fails, raising=False)
    assert "the network is down" in said(press(admin_client, outbound("in-progress"), "hang-up"))


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


def test_many_calls_are_canceled_at_once_and_what_happened_is_told(admin_client, outbound):
    waiting = [outbound(due_at=timezone.now()) for _ in range(3)]
    over = [outbound("completed") for _ in range(7)]
    chosen = [str(call.pk) for call in (*waiting, *over)]
    response = admin_client.post("/admin/calls/call/", {"action": "cancel", "_selected_action": chosen})
    assert Call.objects.filter(status="canceled").count() == 3
    text = said(response)
    assert "3 calls: canceled." in text
    assert text.count("The call is over") == 5
    assert "2 more calls" in text


@pytest.mark.parametrize(
    ("query", "found"), [("waiting=due", "due"), ("waiting=later", "later"), ("waiting=out", "out")]
)
def test_calls_that_wait_are_found_by_how_they_wait(admin_client, outbound, query, found):
    now = timezone.now()
    calls = {
        "due": outbound(due_at=now - timedelta(seconds=1)),
        "later": outbound(due_at=now + timedelta(hours=1)),
        "out": outbound("ringing"),
        "over": outbound("completed"),
    }
    page = admin_client.get(f"/admin/calls/call/?{query}").content.decode()
    assert [name for name, call in calls.items() if str(call.pk) in page] == [found]


def test_a_call_shows_its_attempts(admin_client, outbound):
    call = outbound("failed")
    DialAttempt.objects.create(
        call=call, number=1, to_number=ANNA, from_number="+15005550006", status="failed", error="unallocated number"
    )
    page = admin_client.get(f"/admin/calls/call/{call.pk}/change/").content.decode()
    assert "unallocated number" in page


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
def test_only_who_may_can_do_something_about_a_call(staff, outbound, permissions, name, status):
    client = staff(*permissions, "view_call") if permissions == ["change_call"] else staff(*permissions)
    assert press(client, outbound("queued", due_at=timezone.now()), name).status_code == status


def test_who_may_only_look_sees_no_buttons_and_cannot_place(staff, outbound):
    client = staff("view_call", "view_agent")
    call = outbound(due_at=timezone.now())
    assert buttons(client, call) == []
    assert client.get("/admin/calls/call/place/").status_code == 403
    page = client.get("/admin/calls/call/").content.decode()
    assert "/admin/calls/call/place/" not in page
    assert 'value="cancel"' not in page


def test_a_link_cannot_end_a_call(admin_client, outbound):
    call = outbound(due_at=timezone.now())
    assert admin_client.get(f"/admin/calls/call/{call.pk}/do/cancel/").status_code == 405


def test_strangers_are_led_to_the_login(client: Client, outbound):
    call = outbound(due_at=timezone.now())
    for address in (f"/admin/calls/call/{call.pk}/do/cancel/", "/admin/calls/call/place/", "/admin/calls/dialpace/"):
        assert client.post(address)["Location"].startswith("/admin/login/")
    call.refresh_from_db()
    assert call.status == "queued"


@pytest.mark.parametrize(("status", "kept"), [("queued", 1), ("in-progress", 1), ("completed", 0)])
def test_a_call_that_goes_on_cannot_be_deleted(admin_client, outbound, status, kept):
    call = outbound(status)
    assert admin_client.post(f"/admin/calls/call/{call.pk}/delete/", {"post": "yes"}).status_code == (
        403 if kept else 302
    )
    assert Call.objects.count() == kept


def test_nor_is_it_deleted_among_others(admin_client, outbound):
    calls = [outbound("completed"), outbound("in-progress")]
    chosen = {"action": "delete_selected", "_selected_action": [str(call.pk) for call in calls], "post": "yes"}
    assert admin_client.post("/admin/calls/call/", chosen).status_code == 403
    assert Call.objects.count() == 2


# --- Dialling ----------------------------------------------------------------------------------------------


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


# --- The do-not-call list ----------------------------------------------------------------------------------


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


# --- API keys and webhooks ---------------------------------------------------------------------------------


def shown_secret(response, pattern: str) -> str:
    [secret] = re.findall(pattern, said(response))
    return secret


def test_a_key_is_made_and_its_secret_shown_once(admin_client):
    form = {"name": "crm", "scopes": ["dial", "read"], "rate": "60/minute", "expires_at_0": "", "expires_at_1": ""}
    response = admin_client.post("/admin/calls/apikey/add/", form)
    secret = shown_secret(response, r"cc_[\w-]+")
    key = find_key(secret)
    assert (key.name, key.scopes, key.rate) == ("crm", ["read", "dial"], "60/minute")
    assert secret in admin_client.get("/admin/calls/apikey/").content.decode()
    for address in ("", f"{key.pk}/change/", f"{key.pk}/history/"):
        page = admin_client.get(f"/admin/calls/apikey/{address}").content.decode()
        assert secret[8:] not in page
        assert key.digest not in page


def test_a_key_is_changed_without_touching_its_secret(admin_client):
    key = ApiKey.objects.create(name="crm", prefix="cc_12345", digest="d" * 64, scopes=["read"])
    form = {"name": "crm", "scopes": ["read", "control"], "rate": "", "expires_at_0": "", "expires_at_1": ""}
    assert admin_client.post(f"/admin/calls/apikey/{key.pk}/change/", form).status_code == 302
    key.refresh_from_db()
    assert (key.scopes, key.digest, key.active) == (["read", "control"], "d" * 64, False)


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"scopes": []}, "required"),
        ({"scopes": ["admin"]}, "valid choice"),
        ({"rate": "often"}, "600/minute"),
        ({"name": "taken"}, "already exists"),
        ({"expires_at_0": "2020-01-01", "expires_at_1": "00:00"}, "expired already"),
    ],
)
def test_what_is_wrong_with_a_key_is_told(admin_client, wrong, complaint):
    ApiKey.objects.create(name="taken", prefix="cc_12345", digest="d" * 64, scopes=["read"])
    form = {"name": "crm", "scopes": ["read"], "rate": "", "expires_at_0": "", "expires_at_1": "", **wrong}
    page = admin_client.post("/admin/calls/apikey/add/", form)
    assert complaint in page.content.decode()
    assert ApiKey.objects.count() == 1


def test_an_endpoint_is_made_and_its_secret_shown_once(admin_client):
    form = {"url": "https://example.com/hooks", "events": ["call.completed"]}
    response = admin_client.post("/admin/calls/webhookendpoint/add/", form)
    endpoint = WebhookEndpoint.objects.get()
    assert shown_secret(response, r"whsec_[\w+/=]+") == endpoint.secret
    assert (endpoint.events, endpoint.active) == (["call.completed"], True)
    admin_client.get("/admin/calls/webhookendpoint/")
    for address in ("", f"{endpoint.pk}/change/"):
        assert endpoint.secret not in admin_client.get(f"/admin/calls/webhookendpoint/{address}").content.decode()


def test_an_endpoint_gets_a_new_secret(admin_client):
    endpoint = WebhookEndpoint.objects.create(url="https://example.com/", secret="old")
    chosen = {"action": "renew_secret", "_selected_action": [endpoint.pk]}
    response = admin_client.post("/admin/calls/webhookendpoint/", chosen)
    endpoint.refresh_from_db()
    assert endpoint.secret == shown_secret(response, r"whsec_[\w+/=]+") != "old"


def test_an_endpoint_is_changed(admin_client):
    endpoint = WebhookEndpoint.objects.create(url="https://example.com/", secret="kept")
    form = {"url": "https://example.com/other", "events": []}
    assert admin_client.post(f"/admin/calls/webhookendpoint/{endpoint.pk}/change/", form).status_code == 302
    endpoint.refresh_from_db()
    assert (endpoint.url, endpoint.secret, endpoint.active) == ("https://example.com/other", "kept", False)


@pytest.mark.parametrize("url", ["http://example.com/", "nonsense"])
def test_in_production_events_go_over_tls_only(admin_client, settings, url):
    settings.DEBUG = False
    page = admin_client.post("/admin/calls/webhookendpoint/add/", {"url": url})
    assert page.status_code == 200
    assert "whole address" in html.unescape(page.content.decode())


def test_deliveries_are_read_and_delivered_again(admin_client, outbound):
    endpoint = WebhookEndpoint.objects.create(url="https://example.com/", secret="whsec_shh")
    delivery = WebhookDelivery.objects.create(
        endpoint=endpoint,
        call=outbound("completed"),
        event="call.completed",
        payload={"type": "call.completed", "data": {"to": "Müller"}},
        status="failed",
        due_at=None,
        attempts=9,
        log=[{"at": "2026-11-20T12:00:00+00:00", "result": "<refused>", "ms": 12}],
    )
    assert "call.completed" in admin_client.get("/admin/calls/webhookdelivery/").content.decode()
    page = admin_client.get(f"/admin/calls/webhookdelivery/{delivery.pk}/change/").content.decode()
    for shown in ("Müller", "&lt;refused&gt;", "(12 ms)"):
        assert shown in page
    assert "whsec_shh" not in page
    chosen = {"action": "deliver_again", "_selected_action": [str(delivery.pk)]}
    assert said(admin_client.post("/admin/calls/webhookdelivery/", chosen)) == "1 is on the way again."
    delivery.refresh_from_db()
    assert (delivery.status, delivery.attempts) == ("waiting", 0)
    assert delivery.due_at is not None


def test_who_may_only_look_delivers_nothing_again(staff):
    page = staff("view_webhookdelivery").get("/admin/calls/webhookdelivery/")
    assert page.status_code == 200
    assert b"deliver_again" not in page.content


def test_every_list_costs_the_same_however_long_it_is(admin_client, outbound, django_assert_max_num_queries):
    def more() -> None:
        endpoint = WebhookEndpoint.objects.create(url="https://example.com/")
        for number in range(5):
            call = outbound("completed")
            DoNotCall.objects.create(number=f"+1202555{DoNotCall.objects.count() + 1000}", call=call)
            WebhookDelivery.objects.create(endpoint=endpoint, call=call, event="call.completed", payload={})
            ApiKey.objects.create(name=uuid4().hex, digest=uuid4().hex, prefix="cc_12345", scopes=[str(number)])

    names = ("donotcall", "webhookdelivery", "webhookendpoint", "apikey")
    more()
    costs = {}
    for name in names:
        with django_assert_max_num_queries(30) as cost:
            admin_client.get(f"/admin/calls/{name}/")
        costs[name] = len(cost)
    more()
    for name in names:
        with django_assert_max_num_queries(costs[name]):
            admin_client.get(f"/admin/calls/{name}/")
