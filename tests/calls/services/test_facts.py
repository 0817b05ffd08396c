"""Facts that are written behind a live call: each once, however late and however often it comes."""

import json
import wave
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.files.storage import default_storage

from calls import services
from calls.models import Call, CallEvent, Turn
from calls.services import CallsError, facts
from calls.services.admission import after_stream, receive_call
from tests.calls.twilio_double import ACCOUNT_SID, new_sid

AT = datetime(2026, 1, 1, 10, tzinfo=UTC)


def turn(call_id: UUID, **fields: Any) -> facts.TurnEnded:
    stages = {"response_latency": 0.41, "endpointing": 0.25, "first_token": None}
    turn = {"number": 1, "speaker": "agent", "said": "Hello there.", "heard": "Hello", "interrupted": True}
    return facts.TurnEnded(**{"call_id": call_id, **turn, "started_at": AT, "stages": stages, **fields})


def facts_of_a_call(call_id: UUID) -> list[facts.Fact]:
    return [
        facts.StreamStarted(call_id=call_id, stream_sid="MZ1", at=AT),
        turn(call_id, start_position=800, end_position=16_000, speculation_hits=1),
        facts.EventNoted(call_id=call_id, kind="dtmf", at=AT, data={"digit": "5"}),
        facts.StreamEnded(call_id=call_id, reason="caller-hung-up", at=AT, stream=1),
    ]


def test_facts_survive_json_and_any_number_of_replays(connected):
    of_call = facts_of_a_call(connected.call_id)
    for _ in range(3):
        for fact in of_call:
            services.record_fact(facts.decode(facts.encode(fact)))
    call = Call.objects.get()
    assert (call.status, call.end_reason, call.answered_at) == ("completed", "caller-hung-up", AT)
    assert sorted(event.kind for event in call.events.all()) == [
        "dtmf", "stream-ended", "stream-started", "voice-request",
    ]  # fmt: skip
    agent_turn = call.turns.get()
    assert (agent_turn.said, agent_turn.heard, agent_turn.interrupted) == ("Hello there.", "Hello", True)
    assert (agent_turn.response_latency, agent_turn.stages["endpointing"]) == (0.41, 0.25)
    assert (agent_turn.start_position, agent_turn.end_position, agent_turn.speculation_hits) == (800, 16_000, 1)


def test_a_turn_that_an_earlier_version_spooled_keeps_its_speaker(connected):
    old = json.loads(facts.encode(turn(connected.call_id)))
    old["who"] = old.pop("speaker")
    services.record_fact(facts.decode(json.dumps([old.pop("type"), old])))
    assert Turn.objects.get().speaker == "agent"


def test_the_language_to_which_a_caller_has_changed_is_that_of_the_last_change(connected):
    changes = [facts.LanguageChanged(call_id=connected.call_id, language=language, at=AT) for language in ("de", "en")]
    for fact in [*changes, changes[0]]:
        services.record_fact(facts.decode(facts.encode(fact)))
    call = Call.objects.get()
    assert call.language == "en"
    assert [event.data for event in call.events.filter(kind="language-changed")] == [
        {"language": "de"}, {"language": "en"},
    ]  # fmt: skip


def test_facts_that_come_late_do_not_reopen_a_call(connected, twilio):
    twilio.reports("completed", 0)
    services.record_fact(facts_of_a_call(connected.call_id)[0])
    assert Call.objects.get().status == "completed"


def test_the_end_of_a_lost_stream_told_late_does_not_touch_the_one_that_took_over(connected, twilio):
    services.claim_stream(token=after_stream(sid=twilio.sid, stream=1).token, process="web-2")
    services.record_fact(
        facts.StreamEnded(fact_id="1", call_id=connected.call_id, reason="caller-hung-up", at=AT, stream=1)
    )
    assert (twilio.call.end_reason, twilio.call.status) == ("", "ringing")


@pytest.mark.django_db
@pytest.mark.parametrize(
    "fact",
    [
        *facts_of_a_call(uuid4()),
        facts.RecordingFinished(call_id=uuid4(), path="gone.wav"),
        facts.OptedOut(call_id=uuid4(), how="key", at=AT),
        facts.TransferRequested(call_id=uuid4(), target="sales", at=AT),
    ],
    ids=lambda fact: type(fact).__name__,
)
def test_a_fact_about_no_call_is_refused_for_good(fact):
    with pytest.raises(CallsError) as refusal:
        services.record_fact(fact)
    assert refusal.value.permanent
    assert Turn.objects.count() == CallEvent.objects.count() == 0


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("turn", {"speaker": "operator"}),
        ("turn", {"started_at": "yesterday"}),
        ("turn", {"speakr": "caller"}),
        ("stream-ended", {"reason": "boredom"}),
        ("event", {"at": "99:99"}),
        ("event", {"type": "rumour"}),
    ],
)
def test_a_line_that_is_not_a_fact_is_refused_for_good(connected, kind, fields):
    lines = [json.loads(facts.encode(fact)) for fact in facts_of_a_call(connected.call_id)]
    valid = next(line for line in lines if line["type"] == kind)
    services.record_fact(facts.decode(json.dumps(valid)))
    with pytest.raises(CallsError) as refusal:
        services.record_fact(facts.decode(json.dumps({**valid, **fields})))
    assert refusal.value.permanent


@pytest.mark.parametrize(
    "line",
    ["", "{", "null", "7", "[]", '["turn"]', '["turn", 7]', '["rumour", {}]', pytest.param("[" * 100_000, id="deep")],
)
def test_a_line_that_is_not_json_of_a_fact_is_refused_for_good(line):
    with pytest.raises(CallsError) as refusal:
        facts.decode(line)
    assert refusal.value.permanent


@pytest.mark.parametrize("sign", ["\0", "\ud800"])
def test_text_that_no_database_takes_can_be_stored_everywhere(connected, sign):
    text = f"a{sign}b"
    services.record_fact(turn(connected.call_id, said=text, heard=text))
    data = {"text": text, "deep": [{text: (text, 1, None)}]}
    services.record_fact(facts.EventNoted(fact_id="1", call_id=connected.call_id, kind="note", at=AT, data=data))
    assert Turn.objects.get().heard == "ab"
    assert CallEvent.objects.get(kind="note").data == {"text": "ab", "deep": [{"ab": ["ab", 1, None]}]}


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
    root = Path(default_storage.path(""))
    return sorted(path.name for path in root.rglob("*") if path.is_file())


@pytest.fixture
def spool(settings):
    return settings.SPOOL_DIR


def test_a_recording_moves_from_the_spool_to_the_storage(connected, spool):
    path = record(spool / "a.wav", 1.5)
    for _ in range(2):
        services.record_fact(facts.RecordingFinished(fact_id="f1", call_id=connected.call_id, path=str(path)))
    call = Call.objects.get()
    assert frames(call.recording.name) == 12_000
    assert files() == [f"{call.pk}-f1.wav"]
    assert not path.exists()


def test_a_crash_between_storage_and_database_leaves_one_file_after_the_replay(connected, spool, monkeypatch):
    path = record(spool / "a.wav", 1.0)

    def crash(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(facts, "write_event", crash)
        with pytest.raises(KeyboardInterrupt):
            services.record_fact(facts.RecordingFinished(fact_id="f1", call_id=connected.call_id, path=str(path)))
    assert path.exists()
    services.record_fact(facts.RecordingFinished(fact_id="f1", call_id=connected.call_id, path=str(path)))
    assert len(files()) == 1


def test_the_recording_of_a_reconnected_call_is_one(connected, spool):
    for fact_id, seconds in (("f1", 1.0), ("f2", 0.5)):
        path = record(spool / f"{fact_id}.wav", seconds)
        services.record_fact(facts.RecordingFinished(fact_id=fact_id, call_id=connected.call_id, path=str(path)))
    assert frames(Call.objects.get().recording.name) == 12_000
    assert len(files()) == 1
    assert list(spool.iterdir()) == []


def test_a_recording_whose_predecessor_cannot_be_read_stands_alone(connected, spool, caplog):
    services.record_fact(
        facts.RecordingFinished(
            fact_id="f1", call_id=connected.call_id, path=str(record(spool / "a.wav", 1.0, channels=1))
        )
    )
    services.record_fact(
        facts.RecordingFinished(fact_id="f2", call_id=connected.call_id, path=str(record(spool / "b.wav", 0.5)))
    )
    assert frames(Call.objects.get().recording.name) == 4_000
    assert "is lost" in caplog.text


def test_a_recording_that_is_gone_is_refused_for_good(connected, spool):
    with pytest.raises(CallsError, match="gone"):
        services.record_fact(
            facts.RecordingFinished(fact_id="f1", call_id=connected.call_id, path=str(spool / "never.wav"))
        )


@pytest.mark.django_db(transaction=True)
def test_deleting_a_call_deletes_its_sound(spool):
    call_id = receive_call(
        sid=new_sid(), from_number="+15557654321", to_number="+15551234567", account_sid=ACCOUNT_SID, params={}
    ).call_id
    services.record_fact(facts.RecordingFinished(fact_id="f1", call_id=call_id, path=str(record(spool / "a.wav", 1.0))))
    assert len(files()) == 1
    Call.objects.all().delete()
    assert files() == []


NOVA, SONIC = "deepgram/nova-3", "cartesia/sonic-3.5"


def used(connected, **fields: Any) -> facts.UsageCounted:
    return facts.UsageCounted(**{"call_id": connected.call_id, "at": AT, **fields})


def test_what_the_streams_of_a_call_used_is_added_up_once(connected, settings):
    first = used(connected, usage={"stt": {NOVA: {"seconds": 61.5}}, "tts": {SONIC: {"characters": 100}}})
    second = used(connected, usage={"stt": {NOVA: {"seconds": 10.0}}})
    for fact in (first, second, first, second):
        services.record_fact(facts.decode(facts.encode(fact)))
    call = Call.objects.get()
    assert call.usage == {"stt": {NOVA: {"seconds": 71.5}}, "tts": {SONIC: {"characters": 100}}}
    assert [event.data for event in call.events.filter(kind="usage")] == [first.usage, second.usage]
    assert call.estimated_cost is None
    settings.ENGINE_PRICES = {NOVA: {"seconds": 0.01}, SONIC: {"characters": 0.001}}
    assert call.estimated_cost == pytest.approx(0.815)


@pytest.mark.parametrize("usage", [{"stt": {NOVA: {"seconds": -1.0}}}, {"stt": {NOVA: "much"}}])
def test_usage_that_cannot_be_is_no_fact(usage):
    fact = {"type": "usage", "call_id": str(uuid4()), "usage": usage, "at": AT.isoformat()}
    with pytest.raises(CallsError, match="not a fact"):
        facts.decode(json.dumps(fact))
