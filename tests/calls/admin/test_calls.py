"""The admin's pages of calls: finding, reading, hearing and deleting them."""

from datetime import timedelta

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db.models.fields.files import FieldFile
from django.test import Client, RequestFactory
from django.utils import timezone

from calls import recordings
from calls.models import Call, DialAttempt, DialPause
from calls.recordings import PIECE_BYTES
from tests.calls.admin.pages import ANNA, SOUND, make_call


def test_the_list_shows_each_call_with_its_median_latency(admin_client):
    make_call()
    page = admin_client.get("/admin/calls/call/").content.decode()
    for shown in ("+15557654321", "front-desk", "completed", "62 s", "500 ms"):
        assert shown in page


def test_the_list_takes_as_many_queries_when_it_is_long(admin_client, django_assert_max_num_queries):
    for _ in range(3):
        make_call()
    with django_assert_max_num_queries(30) as few:
        admin_client.get("/admin/calls/call/")
    for _ in range(20):
        make_call()
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
def test_calls_are_searched_filtered_and_sorted(admin_client, query, db):
    make_call(recording="recordings/a.wav")
    page = admin_client.get(f"/admin/calls/call/?{query}")
    assert page.status_code == 200
    assert "1 call" in page.content.decode()


def test_the_page_of_a_call_shows_what_it_used_and_what_that_costs(admin_client, settings):
    call = make_call(usage={"stt": {"deepgram/nova-3": {"seconds": 61.44}}, "tts": {"acme/<b>": {"characters": 1312}}})
    page = admin_client.get(f"/admin/calls/call/{call.pk}/change/").content.decode()
    assert "stt deepgram/nova-3: 61.4 seconds" in page
    assert "tts acme/&lt;b&gt;: 1,312 characters" in page
    assert "USD" not in page
    settings.ENGINE_PRICES = {"deepgram/nova-3": {"seconds": 0.0001}, "acme/<b>": {"characters": 0.00002}}
    settings.ENGINE_CURRENCY = "EUR"
    assert "0.0324 EUR" in admin_client.get(f"/admin/calls/call/{call.pk}/change/").content.decode()


def test_the_transcript_of_a_call_strikes_out_what_was_not_heard(admin_client, recorded):
    page = admin_client.get(f"/admin/calls/call/{recorded.pk}/change/").content.decode()
    assert "Sentence 1.<s> Unheard &lt;end&gt;.</s>" in page
    for shown in ("endpointing&nbsp;213 ms", "odd stage&nbsp;7 ms", "400 ms", "interrupted", "2 wasted", "dtmf"):
        assert shown in page
    assert f'<audio controls preload="metadata" src="/admin/calls/call/{recorded.pk}/recording/">' in page


def test_the_page_of_a_call_takes_as_many_queries_for_a_long_call(admin_client, django_assert_max_num_queries):
    short, long = make_call(turns=2), make_call(turns=40)
    with django_assert_max_num_queries(30) as few:
        admin_client.get(f"/admin/calls/call/{short.pk}/change/")
    with django_assert_max_num_queries(len(few)):
        admin_client.get(f"/admin/calls/call/{long.pk}/change/")


def test_calls_can_be_read_but_neither_edited_nor_added(admin_client, recorded):
    assert admin_client.post(f"/admin/calls/call/{recorded.pk}/change/", {"status": "failed"}).status_code == 403
    assert admin_client.get("/admin/calls/call/add/").status_code == 403


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
    assert (response.status_code, response.getvalue()) == (206, SOUND[start:stop])
    assert response["Content-Range"] == f"bytes {start}-{stop - 1}/{len(SOUND)}"


@pytest.mark.parametrize("header", [None, "", "bytes=-", "lines=1-2", "bytes=0-1,4-5"])
def test_the_whole_recording_is_served_without_a_single_range(admin_client, recorded, header):
    headers = {} if header is None else {"Range": header}
    response = admin_client.get(f"/admin/calls/call/{recorded.pk}/recording/", headers=headers)
    assert (response.status_code, response.getvalue()) == (200, SOUND)
    assert (response["Content-Type"], response["Accept-Ranges"]) == ("audio/wav", "bytes")
    assert response["Content-Length"] == str(len(SOUND))


@pytest.mark.parametrize(("header", "status", "length"), [(None, 200, len(SOUND)), ("bytes=0-99", 206, 100)])
def test_head_tells_the_length_and_reads_nothing(admin_client, recorded, monkeypatch, header, status, length):
    monkeypatch.setattr(FieldFile, "read", None)
    headers = {} if header is None else {"Range": header}
    response = admin_client.head(f"/admin/calls/call/{recorded.pk}/recording/", headers=headers)
    assert (response.status_code, response["Content-Length"], response.content) == (status, str(length), b"")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("ranges", "start", "stop"),
    [("", 0, len(SOUND)), ("bytes=0-1,5-9", 0, len(SOUND)), ("bytes=0-", 0, len(SOUND)), ("bytes=7-4006", 7, 4007)],
)
def test_a_recording_goes_out_as_it_is_read(monkeypatch, ranges, start, stop):
    """A client that reads slowly has one piece of it in memory, and its file is closed when it leaves."""
    monkeypatch.setattr(recordings, "STREAM_BYTES", 1000)
    call = make_call(recording=default_storage.save("recordings/a.wav", ContentFile(SOUND)))
    request = RequestFactory().get("/", headers={"Range": ranges})
    response = recordings.serve(call.recording, request)
    pieces = iter(response)
    assert [next(pieces), next(pieces)] == [SOUND[start : start + 1000], SOUND[start + 1000 : start + 2000]]
    assert call.recording.file.tell() == start + 2000
    assert b"".join(pieces) == SOUND[start + 2000 : stop]
    response.close()
    assert call.recording.closed


@pytest.mark.django_db
def test_the_file_of_a_client_that_leaves_is_closed():
    call = make_call(recording=default_storage.save("recordings/a.wav", ContentFile(SOUND)))
    response = recordings.serve(call.recording, RequestFactory().get("/"))
    response.close()
    assert call.recording.closed


@pytest.mark.django_db
def test_a_storage_that_fails_is_an_error_before_the_answer_begins(monkeypatch):
    call = make_call(recording=default_storage.save("recordings/a.wav", ContentFile(SOUND)))

    def fail(*_):
        raise OSError("the disk")

    monkeypatch.setattr(FieldFile, "read", fail)
    with pytest.raises(OSError, match="the disk"):
        recordings.serve(call.recording, RequestFactory().get("/"))
    assert call.recording.closed


@pytest.mark.parametrize("header", [f"bytes={len(SOUND)}-", "bytes=9-2", "bytes=-0"])
def test_an_empty_range_is_refused(admin_client, recorded, header):
    response = admin_client.get(f"/admin/calls/call/{recorded.pk}/recording/", headers={"Range": header})
    assert (response.status_code, response["Content-Range"]) == (416, f"bytes */{len(SOUND)}")


def test_a_long_recording_is_served_in_pieces(admin_client, db):
    call = make_call(recording=default_storage.save("recordings/long.wav", ContentFile(b"\1" * (PIECE_BYTES + 5))))
    response = admin_client.get(f"/admin/calls/call/{call.pk}/recording/", headers={"Range": "bytes=0-"})
    assert len(response.getvalue()) == PIECE_BYTES


def test_only_operators_may_hear_recordings(client: Client, recorded, django_user_model):
    address = f"/admin/calls/call/{recorded.pk}/recording/"
    assert client.get(address).status_code == 302
    client.force_login(django_user_model.objects.create_user("operator", is_staff=True))
    assert client.get(address).status_code == 403


def test_a_missing_recording_is_answered_with_404(admin_client, recorded):
    default_storage.delete(recorded.recording.name)
    for call in (recorded, make_call(recording="")):
        assert admin_client.get(f"/admin/calls/call/{call.pk}/recording/").status_code == 404


@pytest.mark.parametrize(
    ("query", "found"),
    [("waiting=due", "due"), ("waiting=held", "held"), ("waiting=later", "later"), ("waiting=out", "out")],
)
def test_queued_calls_are_filtered_by_what_they_wait_for(admin_client, outbound, query, found):
    now = timezone.now()
    pause = DialPause.objects.create(scope="country", subject="FR", cause="country", try_at=now)
    calls = {
        "due": outbound(due_at=now - timedelta(seconds=1)),
        "held": outbound(due_at=now - timedelta(seconds=1), held_by=pause),
        "later": outbound(due_at=now + timedelta(hours=1)),
        "out": outbound("ringing"),
        "over": outbound("completed"),
    }
    page = admin_client.get(f"/admin/calls/call/?{query}").content.decode()
    assert [name for name, call in calls.items() if str(call.pk) in page] == [found]


def test_a_held_call_shows_what_is_paused(admin_client, outbound):
    said = {"try_at": timezone.now(), "reason": "no permit"}
    pause = DialPause.objects.create(scope="country", subject="FR", cause="country", **said)
    call, other = outbound(due_at=timezone.now(), held_by=pause), outbound(due_at=timezone.now())
    DialPause.objects.create(scope="everything", cause="account", try_at=timezone.now(), reason="suspended")
    page = admin_client.get(f"/admin/calls/call/{call.pk}/change/").content.decode()
    assert "country FR: no permit; everything: suspended" in page
    assert ">everything: suspended" in admin_client.get(f"/admin/calls/call/{other.pk}/change/").content.decode()
    assert "paused" in admin_client.get("/admin/calls/call/").content.decode()


def test_a_call_shows_its_attempts(admin_client, outbound):
    call = outbound("failed")
    DialAttempt.objects.create(
        call=call, number=1, to_number=ANNA, from_number="+15005550006", status="failed", error="unallocated number"
    )
    page = admin_client.get(f"/admin/calls/call/{call.pk}/change/").content.decode()
    assert "unallocated number" in page


@pytest.mark.parametrize(("status", "kept"), [("queued", 1), ("in-progress", 1), ("completed", 0)])
def test_a_call_cannot_be_deleted_before_it_has_ended(admin_client, outbound, status, kept):
    call = outbound(status)
    assert admin_client.post(f"/admin/calls/call/{call.pk}/delete/", {"post": "yes"}).status_code == (
        403 if kept else 302
    )
    assert Call.objects.count() == kept


def test_calls_cannot_be_deleted_together_if_one_has_not_ended(admin_client, outbound):
    calls = [outbound("completed"), outbound("in-progress")]
    chosen = {"action": "delete_selected", "_selected_action": [str(call.pk) for call in calls], "post": "yes"}
    assert admin_client.post("/admin/calls/call/", chosen).status_code == 403
    assert Call.objects.count() == 2
