"""Facts that are written behind a live call: each once, however late and however often it comes."""

import json
import wave
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.files.storage import default_storage

from calls import services
from calls.models import Call, CallEvent, Turn
from calls.services import CallsError
from calls.services import facts as facts_of_calls
from tests.calls.twilio_double import ACCOUNT_SID, new_sid

AT = "2026-01-01T10:00:00+00:00"


def turn(call_id: Any, **fields: Any) -> dict[str, Any]:
    return {
        "fact_id": uuid4().hex,
        "call_id": call_id,
        "number": 1,
        "speaker": "agent",
        "said": "Hello there.",
        "heard": "Hello",
        "interrupted": True,
        "fallback": False,
        "started_at": AT,
        "ended_at": None,
        "stages": {"response_latency": 0.41, "endpointing": 0.25, "first_token": None},
        **fields,
    }


def facts(call_id: Any) -> list[tuple[str, dict[str, Any]]]:
    call_id = str(call_id)
    return [
        ("stream-started", {"fact_id": "f1", "call_id": call_id, "stream_sid": "MZ1", "at": AT}),
        ("turn", turn(call_id, fact_id="f2", start_position=800, end_position=16_000, speculation_hits=1)),
        ("event", {"fact_id": "f3", "call_id": call_id, "kind": "dtmf", "at": AT, "data": {"digit": "5"}}),
        ("stream-ended", {"fact_id": "f4", "call_id": call_id, "reason": "caller-hung-up", "at": AT, "stream": 1}),
    ]


def test_facts_survive_json_and_any_number_of_replays(connected):
    for _ in range(3):
        for name, fact in facts(connected.call_id):
            services.FACTS[name](**json.loads(json.dumps(fact)))
    call = Call.objects.get()
    assert (call.status, call.end_reason, call.answered_at.isoformat()) == ("completed", "caller-hung-up", AT)
    assert sorted(event.kind for event in call.events.all()) == [
        "dtmf", "stream-ended", "stream-started", "voice-request",
    ]  # fmt: skip
    agent_turn = call.turns.get()
    assert (agent_turn.said, agent_turn.heard, agent_turn.interrupted) == ("Hello there.", "Hello", True)
    assert (agent_turn.response_latency, agent_turn.stages["endpointing"]) == (0.41, 0.25)
    assert (agent_turn.start_position, agent_turn.end_position, agent_turn.speculation_hits) == (800, 16_000, 1)


def test_a_turn_that_an_earlier_version_spooled_keeps_its_speaker(connected):
    old = turn(connected.call_id)
    old["who"] = old.pop("speaker")
    services.FACTS["turn"](**old)
    assert Turn.objects.get().speaker == "agent"


def test_facts_that_come_late_do_not_reopen_a_call(connected, twilio):
    twilio.reports("completed", 0)
    name, started = facts(connected.call_id)[0]
    services.FACTS[name](**started)
    assert Call.objects.get().status == "completed"


def test_the_end_of_a_lost_stream_told_late_does_not_touch_the_one_that_took_over(connected, twilio):
    services.claim_stream(token=services.after_stream(sid=twilio.sid, stream=1).token, process="web-2")
    services.record_stream_ended(fact_id="1", call_id=connected.call_id, reason="caller-hung-up", at=AT, stream=1)
    assert (twilio.call.end_reason, twilio.call.status) == ("", "ringing")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("name", "fact"),
    [
        *facts(uuid4()),
        ("recording", {"fact_id": "f5", "call_id": str(uuid4()), "path": "gone.wav"}),
        ("opt-out", {"fact_id": "f6", "call_id": str(uuid4()), "how": "key", "at": AT}),
        ("transfer", {"fact_id": "f7", "call_id": str(uuid4()), "target": "sales", "at": AT}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_fact_about_no_call_is_refused_for_good(name, fact):
    with pytest.raises(CallsError) as refusal:
        services.FACTS[name](**fact)
    assert refusal.value.permanent
    assert Turn.objects.count() == CallEvent.objects.count() == 0


@pytest.mark.parametrize(
    ("name", "fact"),
    [
        ("turn", {"speaker": "operator"}),
        ("turn", {"started_at": "yesterday"}),
        ("stream-ended", {"reason": "boredom"}),
        ("event", {"at": "99:99"}),
    ],
)
def test_a_fact_that_makes_no_sense_is_refused_for_good(connected, name, fact):
    sound = dict(facts(connected.call_id))[name]
    with pytest.raises(CallsError) as refusal:
        services.FACTS[name](**{**sound, **fact})
    assert refusal.value.permanent


def test_text_with_a_nul_can_be_stored_everywhere(connected):
    services.record_turn(**turn(connected.call_id, said="a\0b", heard="a\0b"))
    services.record_event(fact_id="1", call_id=connected.call_id, kind="note", at=AT, data={"text": "a\0b"})
    assert Turn.objects.get().heard == CallEvent.objects.get(kind="note").data["text"] == "ab"


# --- Recordings ------------------------------------------------------------------------------------------


def record(path: Path, seconds: float, value: int = 0, channels: int = 2) -> Path:
    with wave.open(str(path), "wb") as out:
        out.setparams((channels, 2, 8000, 0, "NONE", ""))
        out.writeframes(value.to_bytes(2, "little") * (channels * int(8000 * seconds)))
    return path


def frames(name: str) -> int:
    with default_storage.open(name) as stored, wave.open(stored) as sound:
        return sound.getnframes()


def files() -> list[str]:
    root = Path(default_storage.location)
    return sorted(path.name for path in root.rglob("*") if path.is_file())


@pytest.fixture
def spool(settings):
    return settings.SPOOL_DIR


def test_a_recording_moves_from_the_spool_to_the_storage(connected, spool):
    path = record(spool / "a.wav", 1.5)
    for _ in range(2):
        services.attach_recording(fact_id="f1", call_id=connected.call_id, path=str(path))
    call = Call.objects.get()
    assert frames(call.recording.name) == 12_000
    assert files() == [f"{call.pk}-f1.wav"]
    assert not path.exists()


def test_a_crash_between_storage_and_database_leaves_one_file_after_the_replay(connected, spool, monkeypatch):
    path = record(spool / "a.wav", 1.0)

    def crash(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(facts_of_calls, "write_event", crash)
        with pytest.raises(KeyboardInterrupt):
            services.attach_recording(fact_id="f1", call_id=connected.call_id, path=path)
    assert path.exists()
    services.attach_recording(fact_id="f1", call_id=connected.call_id, path=path)
    assert len(files()) == 1


def test_the_recording_of_a_reconnected_call_is_one(connected, spool):
    for fact_id, seconds in (("f1", 1.0), ("f2", 0.5)):
        path = record(spool / f"{fact_id}.wav", seconds)
        services.attach_recording(fact_id=fact_id, call_id=connected.call_id, path=path)
    assert frames(Call.objects.get().recording.name) == 12_000
    assert len(files()) == 1
    assert list(spool.iterdir()) == []


def test_a_recording_whose_predecessor_cannot_be_read_stands_alone(connected, spool, caplog):
    services.attach_recording(fact_id="f1", call_id=connected.call_id, path=record(spool / "a.wav", 1.0, channels=1))
    services.attach_recording(fact_id="f2", call_id=connected.call_id, path=record(spool / "b.wav", 0.5))
    assert frames(Call.objects.get().recording.name) == 4_000
    assert "is lost" in caplog.text


def test_a_recording_that_is_gone_is_refused_for_good(connected, spool):
    with pytest.raises(CallsError, match="gone"):
        services.attach_recording(fact_id="f1", call_id=connected.call_id, path=spool / "never.wav")


@pytest.mark.django_db(transaction=True)
def test_deleting_a_call_deletes_its_sound(spool):
    call_id = services.receive_call(
        sid=new_sid(), from_number="+15557654321", to_number="+15551234567", account_sid=ACCOUNT_SID, params={}
    ).call_id
    services.attach_recording(fact_id="f1", call_id=call_id, path=record(spool / "a.wav", 1.0))
    assert len(files()) == 1
    Call.objects.all().delete()
    assert files() == []
