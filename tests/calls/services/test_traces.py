"""Every trace of a forgotten person: a word and a number are planted everywhere and searched for afterwards."""

import json
import os
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from axes.models import AccessAttempt
from django.apps import apps
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.models import Session
from django.core import serializers
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, default_storage
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from calls.dialler_models import DialPause
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
from calls.services import facts, record_fact
from calls.services.privacy import forget, remove_late_writes
from calls.services.traces import remove_from_spool

WORD, NUMBER, OURS, BERT = "zyzzyvaqux", "+12025550177", "+15005550006", "+12025550102"


@pytest.fixture
def spool(settings) -> Path:
    return Path(settings.SPOOL_DIR)


@pytest.fixture
def call(db) -> Call:
    """A call of the person, with the word in each column that can hold it."""
    agent, now = Agent.objects.get(name="front-desk"), timezone.now()
    call = Call.objects.create(
        sid=f"CA{WORD}", direction="outbound", status="completed", from_number=OURS, to_number=NUMBER, agent=agent,
        metadata={"crm": WORD}, variables={"name": WORD}, idempotency_key=WORD, request_digest="d", ended_at=now,
        recording=default_storage.save(f"recordings/{now:%Y/%m/%d}/now.wav", ContentFile(WORD.encode())),
    )  # fmt: skip
    record_fact(turn(call, "first"))
    CallEvent.objects.create(call=call, kind="opt-out", at=now, data={"words": WORD, "From": NUMBER}, fact_id="e")
    CallOrder.objects.create(call=call, kind="say", data={"text": WORD})
    DialAttempt.objects.create(
        call=call,
        number=1,
        sid=call.sid,
        status="failed",
        to_number=NUMBER,
        from_number=OURS,
        ended_at=now,
        error=NUMBER,
    )
    endpoint = WebhookEndpoint.objects.create(url="https://example.com/")
    payload = {"type": "call.completed", "data": {"to": NUMBER, "metadata": {"crm": WORD}}}
    WebhookDelivery.objects.create(endpoint=endpoint, call=call, event="call.completed", payload=payload)
    DoNotCall.objects.create(number=NUMBER, reason=WORD, call=call)
    return call


def turn(call: Call, fact_id: str) -> facts.TurnEnded:
    now = timezone.now()
    return facts.TurnEnded(
        fact_id=fact_id,
        call_id=call.pk,
        number=1,
        speaker="caller",
        said=WORD,
        heard=WORD,
        started_at=now,
        ended_at=now,
    )


def plant_in_spool(spool: Path, call: Call) -> None:
    """What a dead process has left: a recorded line and some that are not, rejected ones, an unfinished recording."""
    (spool / "facts").mkdir(parents=True, exist_ok=True)
    opt_out = facts.OptedOut(fact_id="opt-out", call_id=call.pk, how="asked", words=WORD, at=timezone.now())
    recorded, waiting, wish = (facts.encode(fact) for fact in (turn(call, "a"), turn(call, "b"), opt_out))
    lines = [b"#" + recorded[1:], waiting, b'{"type": "turn", "torn": ', wish]
    (spool / "facts" / f"{1:020d}-abcdef01.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    rejected = {"reason": f"DataError: {WORD}", "fact": facts.encode(turn(call, "c")).decode()}
    (spool / "facts" / "rejected.jsonl").write_text(json.dumps(rejected) + "\n" + '{"reason": "other", "fact": "x"}\n')
    (spool / "recordings").mkdir(exist_ok=True)
    (spool / "recordings" / f"{call.pk}.abc.wav").write_bytes(WORD.encode())


def dump() -> str:
    """Every row of the database, as text."""
    return "".join(
        serializers.serialize("json", model._default_manager.all())
        for model in apps.get_models()
        if model._meta.app_label in ("calls", "admin", "sessions", "auth")
    )


def files_with(*texts: str, under: Path) -> list[str]:
    found = []
    for path in under.rglob("*"):
        if path.is_file() and any(text.encode() in path.read_bytes() for text in texts):
            found.append(path.name)
    return found


@pytest.mark.django_db(transaction=True)
def test_a_person_is_nowhere_afterwards_and_a_second_run_finds_nothing(call, spool, admin_user):
    plant_in_spool(spool, call)
    default_storage.save(f"recordings/{call.created_at:%Y/%m/%d}/{call.pk}-stray.wav", ContentFile(WORD.encode()))
    for model, pk, shown in ((Call, call.pk, call.sid), (DoNotCall, 1, NUMBER)):
        LogEntry.objects.create(
            user=admin_user, content_type=ContentType.objects.get_for_model(model), object_id=str(pk),
            object_repr=shown, action_flag=CHANGE, change_message=f"Called {NUMBER}",
        )  # fmt: skip
    DialPause.objects.create(scope="caller-id", cause="caller-id", reason=f"The number {NUMBER} is not verified.")
    assert all(text in dump() for text in (WORD, NUMBER))
    gone = forget(number=NUMBER, and_do_not_call=True)
    assert (gone.calls, gone.spooled, gone.remaining) == (1, 5, [])
    assert [text for text in (WORD, NUMBER, NUMBER[1:], NUMBER[2:]) if text in dump()] == []
    assert files_with(WORD, NUMBER[1:], under=spool.parent) == []
    if connection.vendor == "sqlite":
        database = Path(connection.settings_dict["NAME"])
        assert files_with(WORD, NUMBER[1:], under=database.parent) == []
    again = forget(number=NUMBER, and_do_not_call=True)
    assert again.is_nothing
    assert again.remaining == []


def test_what_waits_in_the_spool_is_recorded_first_so_that_no_opt_out_is_lost(call, spool):
    DoNotCall.objects.all().delete()
    plant_in_spool(spool, call)
    forget(number=NUMBER)
    entry = DoNotCall.objects.get()
    assert (entry.number, entry.source, entry.reason) == (NUMBER, "caller", "")
    assert Turn.objects.filter(call=call, fact_id="b", said="").exists()


def test_lines_about_others_and_torn_ones_stay_in_their_place(call, spool):
    plant_in_spool(spool, call)
    other = facts.encode(turn(Call(pk=uuid4()), "other"))
    file = spool / "facts" / f"{1:020d}-abcdef01.jsonl"
    with file.open("ab") as out:
        out.write(other + b"\n" + other[:-9])
    before = file.read_bytes()
    forget(number=NUMBER)
    after = file.read_bytes()
    assert len(after) == len(before)
    assert [line for line in after.splitlines() if line.strip(b"#")] == [
        b'{"type": "turn", "torn": ',
        other,
        other[:-9],
    ]
    rejected = (spool / "facts" / "rejected.jsonl").read_text().splitlines()
    assert [json.loads(line)["reason"] for line in rejected] == ["forgotten", "other"]


def test_what_may_not_be_removed_is_named_with_the_reason(call, capsys):
    agent = call.agent
    agent.transfer_targets = {"anna": NUMBER}
    agent.save()
    other = Call.objects.create(
        direction="inbound", status="completed", from_number=BERT, agent=agent, metadata={"friend": NUMBER}
    )
    call_command("forget", NUMBER, "--yes")
    printed = capsys.readouterr().out
    assert "Remains: the entry of the do-not-call list: only that keeps the number from being dialled again." in printed
    assert f"Remains: transfer targets of agent {agent.pk}: an operator wrote it." in printed
    assert f"Remains: metadata of call {other.pk}: it belongs to somebody else's record." in printed


def test_what_the_admin_keeps_for_itself_names_nobody(call, admin_client, client):
    """A session ended on a page about the person, and the next login failed. A message waits to be shown."""
    client.post(
        f"/admin/login/?next=/admin/calls/call/%3Fq%3D%252B{NUMBER.lstrip('+')}", {"username": "x", "password": "x"}
    )
    for username in (NUMBER, NUMBER.lstrip("+"), "operator"):
        client.post("/admin/login/", {"username": username, "password": "x"})
    session = admin_client.session
    session["_messages"] = f'[["__json_message", 0, 30, "{NUMBER} cannot be dialled."]]'
    session["kept"] = "kept"
    session.save()
    attempts = AccessAttempt.objects.values_list("get_data", "username")
    assert NUMBER.lstrip("+") in str(attempts)
    assert forget(number=NUMBER, and_do_not_call=True).remaining == []
    assert NUMBER.lstrip("+") not in str(attempts.all())
    assert AccessAttempt.objects.get().username == "operator"
    left = Session.objects.get(pk=session.session_key).get_decoded()
    assert ("_messages" in left, left["kept"]) == (False, "kept")


def test_a_part_of_a_longer_number_is_no_trace(call, admin_user):
    longer = [f"{NUMBER}0", f"+4{NUMBER.lstrip('+')}", f"{NUMBER.lstrip('+')}9 or {NUMBER}"]
    about = ContentType.objects.get_for_model(DoNotCall)
    for text in longer:
        LogEntry.objects.create(
            user=admin_user, content_type=about, object_id="1", object_repr=text, action_flag=CHANGE
        )
    remaining = forget(number=NUMBER, and_do_not_call=True).remaining
    assert {*longer[:2], f"{NUMBER.lstrip('+')}9 or forgotten"} <= set(
        LogEntry.objects.values_list("object_repr", flat=True)
    )
    assert not any("log entry" in text for text in remaining)


def test_files_of_another_machine_are_named(call):
    Call.objects.update(process="far-away:17:abc")
    assert any("SPOOL_DIR of far-away" in remains for remains in forget(number=NUMBER).remaining)


def test_a_stray_recording_that_cannot_be_deleted_is_found_again(call, monkeypatch):
    stray = default_storage.save(f"recordings/{call.created_at:%Y/%m/%d}/{call.pk}-x.wav", ContentFile(WORD.encode()))

    def fails(self, name):
        raise PermissionError("read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(FileSystemStorage, "delete", fails)
        with pytest.raises(Exception, match="cannot be deleted"):
            forget(number=NUMBER)
    assert default_storage.exists(stray)
    assert forget(number=NUMBER).calls == 1
    assert not default_storage.exists(stray)


def test_what_arrives_late_is_not_written(call, spool):
    forget(number=NUMBER)
    (spool / "recordings").mkdir(parents=True)
    late = spool / "recordings" / f"{call.pk}.abc.wav"
    late.write_bytes(WORD.encode())
    now = timezone.now()
    for fact in (
        turn(call, "late"),
        facts.EventNoted(call_id=call.pk, kind="overlap", at=now, data={"text": WORD}),
        facts.OptedOut(call_id=call.pk, how="asked", words=WORD, at=now),
        facts.RecordingFinished(call_id=call.pk, path=str(late)),
    ):
        record_fact(fact)
    assert WORD not in dump()
    assert not late.exists()
    call.refresh_from_db()
    assert not call.recording


def test_late_orders_and_files_are_removed_by_the_next_run(call, spool):
    forget(number=NUMBER)
    CallOrder.objects.create(call=call, kind="say", data={"text": WORD})
    plant_in_spool(spool, call)
    assert remove_late_writes() == 1
    assert WORD not in dump()
    assert files_with(WORD, under=spool) == []
    assert remove_from_spool() == 0


def test_the_command_removes_late_writes_alone(call, spool, capsys):
    forget(number=NUMBER)
    plant_in_spool(spool, call)
    call_command("forget", "--late")
    assert "late writes about 0 calls" in capsys.readouterr().out
    assert files_with(WORD, under=spool) == []


def test_a_spool_of_strangers_is_left_alone(db, spool):
    stranger = Call(pk=UUID(int=7))
    plant_in_spool(spool, stranger)
    before = {path: path.read_bytes() for path in spool.rglob("*") if path.is_file()}
    assert remove_from_spool() == 0
    assert {path: path.read_bytes() for path in before} == before
    assert os.path.exists(spool / "recordings")
