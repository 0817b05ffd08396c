"""The operator's console."""

from uuid import uuid4

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.test import Client
from django.utils import timezone

from calls.admin import PIECE_BYTES
from calls.models import Agent, Call, CallEvent, Turn

SOUND = bytes(range(256)) * 20


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
    ["q=Sentence+2", "q=%2B1555", "status__exact=completed", "recording__isempty=0", "o=8", "direction__exact=inbound"],
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


def test_agents_are_edited(admin_client):
    form = {"name": "sales", "greeting": "Hi!", "language": "en", "max_duration": 120, "active": "on"}
    assert admin_client.post("/admin/calls/agent/add/", form).status_code == 302
    assert Agent.objects.get(name="sales").max_duration == 120
    assert "sales" in admin_client.get("/admin/calls/agent/").content.decode()


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
