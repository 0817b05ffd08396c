"""Retention, and forgetting a person."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
import time_machine
from django.contrib.admin.models import LogEntry
from django.core import serializers
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, default_storage

from calls.models import (
    Agent,
    Call,
    CallEvent,
    CallOrder,
    DialAttempt,
    DoNotCall,
    Turn,
    WebhookDelivery,
    WebhookEndpoint,
)
from calls.services import CallsError, facts, record_fact
from calls.services.do_not_call import add_do_not_call
from calls.services.placing import NewCall, place_call
from calls.services.privacy import FORGOTTEN, apply_retention, forget
from calls.services.reports import record_status
from tests.calls.fake_carrier import FakeCarrier

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
ANNA, BERT, OURS = "+12025550101", "+12025550102", "+15005550006"
EVERYTHING = [Call, Turn, CallEvent, CallOrder, DialAttempt, DoNotCall, WebhookDelivery]


@pytest.fixture(autouse=True)
def _rules(settings):
    settings.DIAL_COUNTRIES = ("US",)
    settings.TWILIO_PHONE_NUMBER = OURS
    settings.RETENTION_RECORDINGS_DAYS = 30
    settings.RETENTION_TRANSCRIPTS_DAYS = 60


@pytest.fixture(autouse=True)
def _clock():
    with time_machine.travel(NOW, tick=False):
        yield


def record_turn_with_her_name(call: Call, at: datetime) -> None:
    record_fact(
        facts.TurnEnded(
            fact_id=f"turn-{call.pk}",
            call_id=call.pk,
            number=1,
            speaker="caller",
            said="I am Annabel.",
            heard="I am Annabel.",
            started_at=at,
            ended_at=at,
            stages={"response_latency": 0.4},
        )
    )


def create_call(number=ANNA, *, direction="outbound", days_ago=0.0, status="completed", sound=True, **fields) -> Call:
    """Create a call with every kind of data about a person, whose name is Annabel."""
    at = NOW - timedelta(days=days_ago)
    from_number, to_number = (OURS, number) if direction == "outbound" else (number, OURS)
    call = Call.objects.create(
        sid=f"CA{uuid4().hex}",
        direction=direction,
        status=status,
        from_number=from_number,
        to_number=to_number,
        agent=Agent.objects.get(name="front-desk"),
        created_at=at - timedelta(minutes=5),
        **{"ended_at": at if status == "completed" else None, "duration": 60.0, **fields},
    )
    Call.objects.filter(pk=call.pk).update(variables={"name": "Annabel"}, metadata={"customer": "Annabel"})
    if sound:
        name = default_storage.save(f"recordings/{call.pk}.wav", ContentFile(b"Annabel's voice"))
        Call.objects.filter(pk=call.pk).update(recording=name)
    record_turn_with_her_name(call, at)
    for kind, data in [
        ("overlap", {"judged": "murmur", "text": "Annabel"}),
        ("key", {"digit": "5"}),
        ("voice-request", {"From": from_number, "To": to_number, "CallerName": "ANNABEL"}),
    ]:
        record_fact(facts.EventNoted(fact_id=f"{kind}-{call.pk}", call_id=call.pk, kind=kind, at=at, data=data))
    CallOrder.objects.create(call=call, kind="say", data={"text": "Hello Annabel"}, taken_at=at)
    if direction == "outbound":
        DialAttempt.objects.create(
            call=call, number=1, sid=call.sid, status=status, to_number=number, from_number=OURS, ended_at=at,
            error=f"{number} was odd",
        )  # fmt: skip
    call.refresh_from_db()
    return call


def dump_database() -> str:
    """Return everything that the database contains about calls, as text."""
    return "".join(serializers.serialize("json", model.objects.all()) for model in EVERYTHING)


def dump_call(call: Call) -> str:
    parts = (call.turns, call.events, call.orders, call.attempts, call.deliveries)
    call.refresh_from_db()
    return serializers.serialize("json", [call, *(row for part in parts for row in part.all())])


def events_of(call: Call) -> dict[str, dict]:
    return dict(call.events.values_list("kind", "data"))


# --- Retention ---------------------------------------------------------------------------------------------


def test_recordings_and_words_are_deleted_at_their_own_ages():
    ages = {days: create_call(days_ago=days) for days in (29.9, 30.1, 59.9, 60.1)}
    retired = apply_retention()
    assert (retired.recordings, retired.transcripts) == (3, 1)
    for days, call in ages.items():
        call.refresh_from_db()
        assert bool(call.recording) == default_storage.exists(f"recordings/{call.pk}.wav") == (days < 30)
        assert (call.turns.get().heard == "I am Annabel.") == (days < 60)


def test_an_old_call_loses_its_words_and_keeps_its_figures():
    call = create_call(days_ago=100)
    apply_retention()
    call.refresh_from_db()
    turn = call.turns.get()
    assert (turn.said, turn.heard, turn.speaker, turn.response_latency) == ("", "", "caller", 0.4)
    assert (call.variables, call.duration, call.to_number) == ({}, 60.0, ANNA)
    events = events_of(call)
    assert (events["overlap"], events["key"]) == ({"judged": "murmur"}, {})
    assert not call.orders.exists()
    assert set(call.events.filter(kind="retired").values_list("data__what", flat=True)) == {"recording", "transcript"}


def test_applying_retention_again_changes_nothing():
    create_call(days_ago=100)
    apply_retention()
    before = dump_database()
    assert (apply_retention().recordings, apply_retention().transcripts) == (0, 0)
    assert dump_database() == before


def test_a_replayed_fact_does_not_bring_words_back():
    call = create_call(days_ago=100)
    apply_retention()
    record_turn_with_her_name(call, NOW)
    assert call.turns.get().said == ""


def test_a_retention_of_zero_days_keeps_everything(settings):
    settings.RETENTION_RECORDINGS_DAYS = settings.RETENTION_TRANSCRIPTS_DAYS = 0
    create_call(days_ago=10_000)
    before = dump_database()
    apply_retention()
    assert dump_database() == before


@pytest.mark.parametrize("status", ["queued", "in-progress"])
def test_a_call_that_has_not_ended_keeps_everything(status):
    call = create_call(days_ago=100, status=status)
    apply_retention()
    assert call.turns.get().heard
    assert default_storage.exists(call.recording.name)


def test_the_age_of_a_call_without_an_end_counts_from_its_creation():
    create_call(days_ago=100, ended_at=None)
    assert apply_retention().transcripts == 1


def test_a_file_that_cannot_be_deleted_does_not_stop_others_and_is_retried(monkeypatch, caplog):
    stuck, other = create_call(days_ago=101), create_call(days_ago=100)
    delete = FileSystemStorage.delete

    def fails(self, name):
        if str(stuck.pk) in name:
            raise PermissionError("read-only file system")
        delete(self, name)

    monkeypatch.setattr(FileSystemStorage, "delete", fails)
    assert apply_retention().recordings == 1
    assert "read-only file system" in caplog.text
    stuck.refresh_from_db()
    other.refresh_from_db()
    assert (bool(stuck.recording), bool(other.recording)) == (True, False)
    monkeypatch.undo()
    assert apply_retention().recordings == 1


def test_a_run_stops_after_many_failures_of_the_storage(monkeypatch, caplog):
    asked = []
    calls = [create_call(days_ago=100) for _ in range(25)]

    def fails(self, name):
        asked.append(name)
        raise OSError("gone")

    monkeypatch.setattr(FileSystemStorage, "delete", fails)
    assert apply_retention().recordings == 0
    assert len(asked) == 20 < len(calls)


def test_a_file_that_was_deleted_already_is_no_problem():
    call = create_call(days_ago=100)
    default_storage.delete(call.recording.name)
    assert apply_retention().recordings == 1


def test_retention_deletes_old_webhook_deliveries():
    call, endpoint = create_call(), WebhookEndpoint.objects.create(url="https://example.com/")
    old, new = (
        WebhookDelivery.objects.create(
            endpoint=endpoint, call=call, event="call.queued", payload={}, created_at=NOW - timedelta(days=days)
        )
        for days in (31, 29)
    )
    apply_retention()
    assert list(WebhookDelivery.objects.all()) == [new] != [old]


def test_many_old_calls_take_few_queries(django_assert_max_num_queries):
    for _ in range(3):
        create_call(days_ago=100, sound=False)
    with django_assert_max_num_queries(40) as few:
        apply_retention()
    for _ in range(30):
        create_call(days_ago=100, sound=False)
    with django_assert_max_num_queries(len(few)):
        assert apply_retention().transcripts == 30


# --- Forgetting a person -----------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", ["outbound", "inbound"])
def test_forgetting_removes_everything_about_a_person_except_that_there_were_calls(direction):
    call = create_call(direction=direction, timezone="America/New_York", transfer_to=BERT, stream_sid="MZ1")
    endpoint = WebhookEndpoint.objects.create(url="https://example.com/")
    payload = {
        "type": "call.completed",
        "data": {"call": str(call.pk), "status": "completed", "to": ANNA, "sid": call.sid},
    }
    WebhookDelivery.objects.create(endpoint=endpoint, call=call, event="call.completed", payload=payload)
    gone = forget(number=ANNA)
    assert (gone.calls, gone.recordings, gone.turns, gone.events, gone.deliveries) == (1, 1, 1, 3, 1)
    database = dump_database()
    for trace in (ANNA, ANNA.lstrip("+"), "nnabel", "ANNABEL", call.sid, BERT, "MZ1", "New_York"):
        assert trace not in database
    assert not default_storage.exists(f"recordings/{call.pk}.wav")
    call.refresh_from_db()
    assert (call.far_number, call.status, call.duration) == (FORGOTTEN, "completed", 60.0)
    assert OURS in (call.from_number, call.to_number)
    assert "forgotten" in events_of(call)
    assert call.turns.get().response_latency == 0.4
    assert WebhookDelivery.objects.get().payload["data"] == {"call": str(call.pk), "status": "completed"}


def test_forgetting_a_person_leaves_other_people_unchanged():
    bert = create_call(BERT)
    before = dump_call(bert)
    create_call(ANNA)
    forget(number=ANNA)
    assert dump_call(bert) == before
    assert default_storage.exists(bert.recording.name)


def test_our_own_number_is_not_a_person_to_forget():
    create_call(direction="outbound")
    create_call(direction="inbound")
    before = dump_database()
    assert forget(number=OURS).calls == 0
    assert dump_database() == before


def test_several_people_can_be_forgotten():
    for number in (ANNA, BERT):
        for _ in range(2):
            create_call(number)
        assert forget(number=number).calls == 2
    assert DialAttempt.objects.filter(to_number=FORGOTTEN).count() == 4


def test_a_waiting_call_is_canceled_forgotten_and_reported_without_its_person():
    WebhookEndpoint.objects.create(url="https://example.com/")
    call, _ = place_call(NewCall(to=ANNA, agent="front-desk"), idempotency_key="anna-1")
    gone = forget(number=ANNA)
    assert (gone.calls, gone.canceled) == (1, 1)
    call.refresh_from_db()
    assert (call.status, call.to_number, call.idempotency_key) == ("canceled", FORGOTTEN, None)
    canceled = WebhookDelivery.objects.get(event="call.canceled")
    assert (canceled.status, canceled.payload["data"]["call"]) == ("waiting", str(call.pk))
    assert ANNA not in dump_database()


@pytest.mark.parametrize("status", ["in-progress", "ringing", "queued"])
def test_a_person_on_the_line_cannot_be_forgotten_yet(status):
    call, over = create_call(status=status), create_call()
    with pytest.raises(CallsError, match=f"{call.pk}.*Hang up first") as raised:
        forget(number=ANNA, carrier=FakeCarrier())
    assert raised.value.code == "call-live"
    over.refresh_from_db()
    assert over.to_number == ANNA
    Call.objects.filter(pk=call.pk).update(status="completed")
    assert forget(number=ANNA).calls == 2


def test_a_person_whose_phone_may_still_ring_cannot_be_forgotten_yet():
    call = create_call()
    DialAttempt.objects.create(call=call, number=2, to_number=ANNA, from_number=OURS)
    with pytest.raises(CallsError, match="Hang up first"):
        forget(number=ANNA)


def test_the_do_not_call_entry_stays_without_its_reason():
    call = create_call()
    add_do_not_call(number=ANNA, source="caller", reason="This is Annabel, stop it", call=call)
    assert forget(number=ANNA).do_not_call
    entry = DoNotCall.objects.get()
    assert (entry.number, entry.source, entry.reason, entry.call) == (ANNA, "caller", "", None)


def test_the_do_not_call_entry_is_removed_on_request(admin_user):
    entry, _ = add_do_not_call(number=ANNA, source="operator")
    LogEntry.objects.log_actions(admin_user.pk, [entry], 1, single_object=True)
    assert not forget(number=ANNA, and_do_not_call=True).do_not_call
    assert not DoNotCall.objects.exists()
    assert LogEntry.objects.get().object_repr == FORGOTTEN


def test_a_call_whose_recording_cannot_be_deleted_is_found_again(monkeypatch):
    stuck, other = create_call(), create_call()
    delete = FileSystemStorage.delete

    def fails(self, name):
        if str(stuck.pk) in name:
            raise PermissionError("read-only file system")
        delete(self, name)

    monkeypatch.setattr(FileSystemStorage, "delete", fails)
    with pytest.raises(CallsError, match="1 calls cannot be deleted") as raised:
        forget(number=ANNA)
    assert (raised.value.code, raised.value.permanent) == ("storage-failed", False)
    stuck.refresh_from_db()
    other.refresh_from_db()
    assert (stuck.to_number, other.to_number) == (ANNA, FORGOTTEN)
    monkeypatch.undo()
    assert forget(number=ANNA).calls == 1
    assert ANNA not in dump_database()


def test_late_reports_about_a_forgotten_person_are_removed_by_the_next_retention_run():
    call = create_call(sound=False)
    sid, attempt = call.sid, call.attempts.get()
    forget(number=ANNA)
    record_status(
        sid=sid, status="completed", sequence="9", attempt_id=str(attempt.pk), params={"To": ANNA, "From": OURS}
    )
    record_fact(
        facts.TurnEnded(
            fact_id="late",
            call_id=call.pk,
            number=2,
            speaker="caller",
            said="Annabel again",
            heard="Annabel again",
            started_at=NOW,
            ended_at=NOW,
        )
    )
    assert ANNA in dump_database()
    assert "Annabel" not in dump_database()
    apply_retention()
    for trace in (ANNA, "Annabel", sid):
        assert trace not in dump_database()


def test_forgetting_an_unknown_number_changes_nothing():
    assert forget(number=ANNA).calls == 0


def test_text_without_a_number_cannot_be_forgotten():
    with pytest.raises(CallsError, match="international form"):
        forget(number=FORGOTTEN)
