"""The addresses of calls: placing, reading and ending them, their recordings, and orders to live ones."""

import json
from datetime import timedelta
from io import BytesIO
from uuid import UUID

import pytest
import time_machine
from django.core.files.base import ContentFile
from django.db.models.fields.files import FieldFile
from django.utils import timezone

from calls.errors import FailureKind
from calls.models import Call, CallOrder, DoNotCall, Lease
from calls.services import stopping
from tests.calls.api.conftest import START
from tests.calls.fake_carrier import FakeCarrier
from tests.calls.fake_carrier import refusal as carrier_refusal

pytestmark = pytest.mark.django_db
ANNA = "+12025550101"
UNKNOWN = "6c0a6f5e-0a2f-4f0e-9d52-3b1f3f0f6a11"


def refusal(response) -> tuple[int, str, str]:
    """Return status, code, and the field of the first error."""
    assert response["Content-Type"] == "application/problem+json"
    document = response.json()
    return response.status_code, document["code"], document["errors"][0]["field"]


def place(api, *, key: str = "", **fields):
    headers = {"HTTP_IDEMPOTENCY_KEY": key} if key else {}
    return api.post("/api/calls/", {"to": ANNA, "agent": "front-desk", **fields}, **headers)


def test_a_call_shows_what_it_used_and_what_that_costs(api, settings):
    pk = place(api).json()["id"]
    assert (place(api, key="1").json()["usage"], api.get(f"/api/calls/{pk}/").json()["estimated_cost"]) == ({}, None)
    used = {"stt": {"deepgram/nova-3": {"seconds": 60.0}}}
    Call.objects.filter(pk=pk).update(usage=used)
    body = api.get(f"/api/calls/{pk}/").json()
    assert (body["usage"], body["estimated_cost"]) == (used, None)
    settings.ENGINE_PRICES, settings.ENGINE_CURRENCY = {"deepgram/nova-3": {"seconds": 0.0001}}, "EUR"
    assert api.get(f"/api/calls/{pk}/").json()["estimated_cost"] == {"amount": 0.006, "currency": "EUR"}


# --- Placing -----------------------------------------------------------------------------------------------


def test_a_call_is_placed_for_now(api, key, settings):
    response = place(api, metadata={"order": 1815}, variables={"name": "Ada", "age": 36, "vip": True, "x": None})
    assert response.status_code == 201
    body = response.json()
    call = Call.objects.get(pk=body["id"])
    assert response["Location"] == f"{settings.PUBLIC_BASE_URL}/api/calls/{call.pk}/"
    assert (body["status"], body["to"], body["from"], body["agent"]) == ("queued", ANNA, "+15005550006", "front-desk")
    assert body["metadata"] == {"order": 1815} == call.metadata
    assert call.variables == {"name": "Ada", "age": 36, "vip": True, "x": None}
    assert call.api_key == key[0]
    assert call.due_at is not None


def test_a_call_is_placed_for_later(api):
    later = (timezone.now() + timedelta(days=2)).replace(microsecond=0)
    response = place(api, scheduled_for=later.isoformat(), timezone="America/New_York", max_duration=60, record=False)
    assert response.status_code == 202
    call = Call.objects.get(pk=response.json()["id"])
    assert (call.scheduled_for, call.timezone, call.max_duration, call.record) == (later, "America/New_York", 60, False)
    assert response.json()["due_at"] == later.strftime("%Y-%m-%dT%H:%M:%SZ")


def test_a_null_field_counts_as_left_out(api):
    fields = (
        "from",
        "scheduled_for",
        "variables",
        "metadata",
        "max_duration",
        "machine_detection",
        "record",
        "timezone",
    )
    assert place(api, **dict.fromkeys(fields)).status_code == 201


def test_a_call_may_have_its_own_caller_id_and_machine_detection(api, agent):
    agent.voicemail_message = "Call us back."
    agent.save()
    body = place(api, **{"from": "+12025550177", "machine_detection": "message"}).json()
    assert (body["from"], body["machine_detection"]) == ("+12025550177", "message")


@pytest.mark.parametrize(
    ("fields", "field", "code"),
    [
        ({"to": 12025550101}, "to", "invalid"),
        ({"to": None}, "to", "null"),
        ({"to": ""}, "to", "blank"),
        ({"agent": ["front-desk"]}, "agent", "invalid"),
        ({"too": "+12025550101"}, "too", "unknown-field"),
        ({"max_duration": "60"}, "max_duration", "invalid"),
        ({"max_duration": True}, "max_duration", "invalid"),
        ({"max_duration": 5}, "max_duration", "min-value"),
        ({"record": "yes"}, "record", "invalid"),
        ({"record": 1}, "record", "invalid"),
        ({"machine_detection": "guess"}, "machine_detection", "invalid-choice"),
        ({"scheduled_for": "2030-01-01T10:00:00"}, "scheduled_for", "invalid"),
        ({"scheduled_for": "tomorrow"}, "scheduled_for", "invalid"),
        ({"scheduled_for": "2030-02-30T10:00:00Z"}, "scheduled_for", "invalid"),
        ({"scheduled_for": 1893456000}, "scheduled_for", "invalid"),
        ({"metadata": []}, "metadata", "invalid"),
        ({"metadata": "x"}, "metadata", "invalid"),
        ({"variables": {"Name": "Ada"}}, "variables.Name", "invalid"),
        ({"variables": {"name": {"first": "Ada"}}}, "variables.name", "invalid"),
        ({"variables": {"name": "x" * 1001}}, "variables.name", "invalid"),
    ],
)
def test_a_malformed_field_is_refused_and_named(api, fields, field, code):
    response = place(api, **fields)
    assert refusal(response) == (400, "invalid-request", field)
    assert response.json()["errors"][0]["code"] == code
    assert not Call.objects.exists()


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"to": "hello"}, (422, "invalid-number", "to")),
        ({"to": "112"}, (422, "emergency-number", "to")),
        ({"to": "+19005550123"}, (422, "premium-number", "to")),
        ({"to": "+4930901820"}, (422, "country-not-allowed", "to")),
        ({"to": "+12025550199"}, (422, "do-not-call", "to")),
        ({"agent": "nobody"}, (422, "unknown-agent", "agent")),
        ({"from": "me"}, (422, "invalid-number", "from")),
        ({"timezone": "Mars/Olympus"}, (422, "unknown-timezone", "timezone")),
        ({"timezone": "localtime"}, (422, "unknown-timezone", "timezone")),
        ({"timezone": "Factory"}, (422, "unknown-timezone", "timezone")),
        ({"machine_detection": "message"}, (422, "no-voicemail-message", "machine_detection")),
        ({"scheduled_for": "9999-12-31T23:59:59-12:00"}, (422, "invalid", "scheduled_for")),
        ({"metadata": {"x": "y" * 5000}}, (422, "too-large", "metadata")),
        ({"variables": {f"x{n}": "y" * 500 for n in range(10)}}, (422, "too-large", "variables")),
    ],
)
def test_a_field_that_is_not_allowed_is_refused_and_named(api, fields, expected):
    DoNotCall.objects.create(number="+12025550199")
    assert refusal(place(api, **fields)) == expected
    assert not Call.objects.exists()


def test_a_call_needs_the_variables_of_its_agent(api, agent):
    agent.greeting = "Hello {{ name }}."
    agent.save()
    assert refusal(place(api)) == (422, "missing-variables", "variables")
    assert place(api, variables={"name": "Ada"}).status_code == 201


def test_all_malformed_fields_are_named_at_once(api):
    response = api.post("/api/calls/", {"record": "yes"})
    assert {error["field"] for error in response.json()["errors"]} == {"to", "agent", "record"}


# --- Idempotency ---------------------------------------------------------------------------------------------


def test_the_same_request_with_the_same_key_makes_one_call_and_gets_one_answer(api):
    first = place(api, key="a-1", metadata={"b": 1, "a": 2})
    call = Call.objects.get()
    Call.objects.update(status="completed", sid="CA1", attempts_made=3, due_at=None, ended_at=timezone.now())
    second = place(api, key="a-1", metadata={"a": 2, "b": 1})
    assert (second.status_code, second.json()) == (first.status_code, first.json())
    assert second["Location"] == first["Location"]
    assert (first.get("Idempotent-Replayed"), second.get("Idempotent-Replayed")) == (None, "true")
    assert Call.objects.get() == call


def test_a_repeated_request_for_later_is_still_for_later_when_its_time_has_come(api):
    with time_machine.travel(START) as clock:
        later = (START + timedelta(hours=1)).isoformat()
        first = place(api, key="a-1", scheduled_for=later)
        clock.shift(7200)
        second = place(api, key="a-1", scheduled_for=later)
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json() == second.json()


def test_an_idempotency_key_is_refused_for_a_second_request(api):
    place(api, key="a-1")
    assert refusal(place(api, key="a-1", record=False)) == (422, "idempotency-key-reused", "Idempotency-Key")


def test_two_clients_may_use_the_same_idempotency_key(api, api_with):
    assert place(api, key="a-1").json()["id"] != place(api_with("dial"), key="a-1").json()["id"]


@pytest.mark.parametrize("name", ["a b", "ä", "x" * 256])
def test_an_idempotency_key_must_be_visible_ascii(api, name):
    assert refusal(place(api, key=name)) == (400, "invalid-request", "Idempotency-Key")


# --- Batches -----------------------------------------------------------------------------------------------


def batch(api, rows, **headers):
    return api.post("/api/calls/batch/", {"calls": rows}, **headers)


def row(n: int, **fields):
    return {"to": f"+1202555{n:04}", "agent": "front-desk", **fields}


def test_a_batch_is_accepted_in_order(api):
    response = batch(api, [row(100 + n) for n in range(60)])
    assert response.status_code == 202
    assert response.json()["count"] == 60 == Call.objects.count()
    assert [call["to"] for call in response.json()["calls"]] == [f"+1202555{100 + n:04}" for n in range(60)]
    assert {UUID(call["id"]) for call in response.json()["calls"]} == set(Call.objects.values_list("pk", flat=True))


def test_a_batch_with_an_error_is_refused_as_a_whole_and_names_the_rows(api):
    DoNotCall.objects.create(number="+12025550102")
    response = batch(api, [row(101), row(102), row(103, agent="nobody")])
    assert (response.status_code, response.json()["code"]) == (422, "invalid-batch")
    assert [(error["row"], error["code"]) for error in response.json()["errors"]] == [
        (1, "do-not-call"),
        (2, "unknown-agent"),
    ]
    assert not Call.objects.exists()


def test_malformed_and_refused_rows_are_named_at_once(api):
    rows = [row(101), {"to": 1}, row(103, recrod=True), row(104, metadata={"x": "y" * 5000}), row(105, agent="nobody")]
    response = batch(api, rows, HTTP_IDEMPOTENCY_KEY="b-1")
    assert (response.status_code, response.json()["code"]) == (422, "invalid-batch")
    found = {(error["row"], error["field"]) for error in response.json()["errors"]}
    assert found == {(1, "to"), (1, "agent"), (2, "recrod"), (3, "metadata"), (4, "agent")}
    assert not Call.objects.exists()


@pytest.mark.parametrize(
    "body",
    [{}, [], {"calls": []}, {"calls": {}}, {"calls": [1]}, {"calls": [row(1)] * 1001}, {"calls": [row(1)], "x": 1}],
)
def test_a_malformed_batch_is_refused(api, body):
    response = api.post("/api/calls/batch/", body)
    assert (response.status_code, response.json()["code"]) == (400, "invalid-request")


@pytest.mark.parametrize("value", ["[],", "{},", "0,0,0,0,0,"])
def test_a_batch_of_more_values_than_calls_can_have_is_refused_before_it_is_read(api, value, monkeypatch):
    monkeypatch.setattr("calls.api.parsing.json", None)
    body = f'{{"calls": [{value * 20_001} 0]}}'
    response = api.generic("POST", "/api/calls/batch/", body, content_type="application/json")
    assert (response.status_code, response.json()["code"]) == (413, "body-too-large")


def test_a_batch_of_large_calls_is_read(api):
    large = row(101, metadata={f"name {n}": [n] for n in range(15)}, variables={"a": "b, " * 20})
    assert batch(api, [large] * 1001).json()["errors"][0]["field"] == "calls"  # it has one call too many, but was read


def test_of_many_unknown_fields_some_are_named(api):
    response = batch(api, [row(101, **{f"x{n}": n for n in range(300)})])
    assert (response.status_code, len(response.json()["errors"])) == (422, 20)


def test_the_same_person_twice_is_refused_with_both_rows_unless_asked_for(api):
    rows = [{"to": 1}, row(101), row(102), row(101) | {"to": "+1 202-555-0101"}]
    response = batch(api, rows)
    found = [(error["row"], error["code"], error["detail"]) for error in response.json()["errors"] if error["row"]]
    [(duplicate, code, detail)] = found
    assert (duplicate, code) == (3, "duplicate-person")
    assert "as in row 1" in detail
    refused = api.post("/api/calls/batch/", {"calls": rows[1:], "allow_duplicates": "yes"})
    assert refusal(refused) == (400, "invalid-request", "allow_duplicates")
    assert api.post("/api/calls/batch/", {"calls": rows[1:], "allow_duplicates": True}).json()["count"] == 3


def test_a_repeated_batch_places_its_calls_once(api):
    first = batch(api, [row(101), row(102)], HTTP_IDEMPOTENCY_KEY="b-1")
    Call.objects.update(status="completed")
    second = batch(api, [row(101), row(102)], HTTP_IDEMPOTENCY_KEY="b-1")
    assert (first.status_code, first.json()) == (second.status_code, second.json())
    assert second["Idempotent-Replayed"] == "true"
    assert Call.objects.count() == 2
    assert batch(api, [row(101), row(103)], HTTP_IDEMPOTENCY_KEY="b-1").status_code == 422


# --- Reading -----------------------------------------------------------------------------------------------


def test_a_call_is_read_with_turns_events_and_attempts(api, talked):
    body = api.get(f"/api/calls/{talked.pk}/").json()
    assert body["transcript"] == ["agent: Hello.", "caller: When?", "agent: We open"]
    assert [(turn["speaker"], turn["response_latency"]) for turn in body["turns"]] == [
        ("agent", None),
        ("caller", None),
        ("agent", 0.3),
    ]
    assert body["turns"][2]["stages"] == {"endpointing": 0.2, "first_speech": None}
    assert [event["kind"] for event in body["events"]] == ["dialled", "stream-started", "stream-ended"]
    assert [(attempt["number"], attempt["status"]) for attempt in body["attempts"]] == [(1, "busy"), (2, "completed")]
    assert body["recording"] is None
    assert body["has_recording"] is False


def test_a_turn_keeps_the_former_name_of_its_speaker_for_one_release(api, talked):
    turns = api.get(f"/api/calls/{talked.pk}/").json()["turns"]
    assert [turn["who"] for turn in turns] == [turn["speaker"] for turn in turns] == ["agent", "caller", "agent"]


def test_a_call_is_read_in_few_queries_however_long_it_was(api, talked, django_assert_max_num_queries):
    with django_assert_max_num_queries(6):  # the key, its use, the call with its agent, and one for each list
        api.get(f"/api/calls/{talked.pk}/")


# --- Recordings --------------------------------------------------------------------------------------------

SOUND = bytes(range(256)) * 40


@pytest.fixture
def recorded(talked):
    talked.recording.save("call.wav", ContentFile(SOUND))
    return talked


@pytest.fixture
def link(api, recorded, settings):
    url = api.get(f"/api/calls/{recorded.pk}/").json()["recording"]["url"]
    assert url.startswith(settings.PUBLIC_BASE_URL)
    return url.removeprefix(settings.PUBLIC_BASE_URL)


def test_a_recording_is_served_at_its_link_without_a_key(client, link):
    response = client.get(link)
    assert (response.status_code, response["Content-Type"], response.getvalue()) == (200, "audio/wav", SOUND)


def test_a_range_of_a_recording_is_served(client, link):
    response = client.get(link, HTTP_RANGE="bytes=256-511")
    assert (response.status_code, response.getvalue()) == (206, SOUND[256:512])
    assert response["Content-Range"] == f"bytes 256-511/{len(SOUND)}"
    assert client.get(link, HTTP_RANGE="bytes=99999-").status_code == 416


@pytest.mark.parametrize("ranges", ["bytes=0-1,5-9", "bytes=0-,-1", "bytes=,"])
def test_several_ranges_are_answered_with_the_whole_in_pieces(client, link, ranges):
    response = client.get(link, HTTP_RANGE=ranges)
    assert (response.status_code, response.streaming, response.getvalue()) == (200, True, SOUND)


def test_head_of_a_link_reads_nothing(client, link, monkeypatch):
    monkeypatch.setattr(FieldFile, "read", None)
    response = client.head(link)
    assert (response.status_code, response["Content-Length"], response.content) == (200, str(len(SOUND)), b"")


def test_a_link_expires(client, link, settings):
    settings.RECORDING_LINK_TTL = 60
    with time_machine.travel(timezone.now() + timedelta(seconds=62)):
        response = client.get(link)
    assert (response.status_code, response.json()["code"]) == (410, "link-expired")


def test_a_changed_link_and_a_missing_recording_are_answered_with_404(client, link, recorded):
    assert client.get(link[:-4] + "xyz/").status_code == 404
    recorded.recording.storage.delete(recorded.recording.name)
    assert client.get(link).status_code == 404
    Call.objects.update(recording="")
    assert client.get(link).status_code == 404


# --- Acting ------------------------------------------------------------------------------------------------


def act(api, call, action, body=None):
    return api.post(f"/api/calls/{call.pk}/{action}/", body)


@pytest.fixture
def live(make_call):
    call = make_call(status="in-progress", answered_at=START, streams=1, process="web-1")
    Lease.objects.create(
        call=call, slot=1, stream=1, process="web-1", expires_at=timezone.now() + timedelta(seconds=30)
    )
    return call


def test_a_waiting_call_is_canceled_and_canceling_again_does_nothing(api):
    call = Call.objects.get(pk=place(api).json()["id"])
    for _ in range(2):
        response = act(api, call, "cancel")
        assert (response.status_code, response.json()["status"]) == (202, "canceled")


def test_an_ended_or_answered_call_cannot_be_canceled(api, live, talked):
    assert (act(api, talked, "cancel").status_code, act(api, talked, "cancel").json()["code"]) == (409, "call-over")
    assert (act(api, live, "cancel").status_code, act(api, live, "cancel").json()["code"]) == (409, "call-answered")


def test_hanging_up_a_live_call_sends_an_order_to_its_process(api, live, talked):
    assert act(api, live, "hangup").status_code == 202
    assert CallOrder.objects.get().kind == "hang-up"
    assert act(api, talked, "hangup").json()["status"] == "completed"


def test_a_carrier_that_cannot_hang_up_now_is_answered_with_503(api, live, monkeypatch):
    Lease.objects.all().delete()

    monkeypatch.setattr(stopping, "get_carrier", lambda: FakeCarrier(faults=[carrier_refusal(FailureKind.LATER)]))
    response = act(api, live, "hangup")
    assert (response.status_code, response.json()["code"]) == (503, "carrier-failed")
    assert "Retry-After" in response


def test_a_text_is_ordered_for_the_agent_to_say(api, live):
    response = act(api, live, "say", {"text": "A colleague will join us."})
    assert response.status_code == 202
    order = CallOrder.objects.get()
    assert (order.kind, order.data) == ("say", {"text": "A colleague will join us."})
    assert response.json()["id"] == order.pk
    assert response.json()["call"] == str(live.pk)


@pytest.mark.parametrize("body", [{}, {"text": ""}, {"text": 1}, {"text": "x" * 2001}, {"text": "x", "loud": True}])
def test_an_order_to_say_needs_a_text(api, live, body):
    assert refusal(act(api, live, "say", body))[:2] == (400, "invalid-request")


def test_a_live_call_is_transferred_to_a_target_or_a_number_that_may_be_dialled(api, live, agent):
    agent.transfer_targets = {"sales": "+12025550111"}
    agent.save()
    assert act(api, live, "transfer", {"to": "sales"}).json()["data"] == {"to": "+12025550111"}
    assert act(api, live, "transfer", {"to": "+12025550122"}).json()["data"] == {"to": "+12025550122"}
    assert refusal(act(api, live, "transfer", {"to": "+19005550123"})) == (422, "premium-number", "to")


@pytest.mark.parametrize(("what", "body"), [("say", {"text": "Hello?"}), ("transfer", {"to": ANNA})])
def test_an_order_needs_a_live_call(api, talked, what, body):
    response = act(api, talked, what, body)
    assert (response.status_code, response.json()["code"]) == (409, "call-not-live")


@pytest.mark.parametrize("what", ["cancel", "hangup", "say", "transfer", "events"])
def test_an_unknown_call_is_answered_with_404(api, what):
    body = {"say": {"text": "x"}, "transfer": {"to": ANNA}}.get(what)
    address = f"/api/calls/{UNKNOWN}/{what}/"
    response = api.get(address) if what == "events" else api.post(address, body)
    assert (response.status_code, response.json()["code"]) == (404, "not-found")


def test_json_is_utf_8(api):
    body = json.dumps({"to": ANNA, "agent": "front-desk", "metadata": {"name": "Zoë 🎷"}}, ensure_ascii=False)
    response = api.generic("POST", "/api/calls/", BytesIO(body.encode()).getvalue(), content_type="application/json")
    assert response.json()["metadata"] == {"name": "Zoë 🎷"}
