"""``manage.py rekey``: recordings that are stored already get the first key."""

import io

import pytest
from django.core.files.base import ContentFile
from django.core.management import CommandError, call_command

from calls.encrypted_storage import EncryptedStorage
from calls.models import Agent, Call
from calls.services import privacy
from calls.services.rekeying import rekey

pytestmark = pytest.mark.django_db

NEW, OLD, LOST = (bytes([number]) * 32 for number in (1, 2, 3))


@pytest.fixture
def use_keys(settings, tmp_path):
    """Encrypt with these keys from now on."""

    def use(*keys):
        default = {"BACKEND": "calls.encrypted_storage.EncryptedStorage", "OPTIONS": {"keys": list(keys)}}
        settings.MEDIA_ROOT = tmp_path
        settings.STORAGES = {**settings.STORAGES, "default": default}

    return use


def record(sound: bytes) -> Call:
    call = Call.objects.create(
        direction="inbound", agent=Agent.objects.get(name="front-desk"), status="completed", from_number="+12025550101"
    )
    call.recording.save(f"{call.pk}-1.wav", ContentFile(sound))
    return call


def sound_of(call: Call) -> bytes:
    call.refresh_from_db()
    with call.recording.open("rb") as file:
        return file.read()


def run(*options: str) -> str:
    out = io.StringIO()
    call_command("rekey", *options, stdout=out, stderr=out)
    return out.getvalue()


@pytest.fixture
def calls(use_keys) -> list[Call]:
    """A call that was stored as it was, one of the old key, and one of the new key."""
    found = []
    for keys in ((), (OLD,), (NEW, OLD)):
        use_keys(*keys)
        found.append(record(f"RIFF {keys}".encode()))
    return found


def test_every_recording_gets_the_first_key_and_nothing_else_is_left(calls, use_keys, tmp_path):
    before = [sound_of(call) for call in calls]
    said = run()
    assert "Of 3 recordings 2 were encrypted with the first key: 1 that were not encrypted, 1 of another key." in said
    assert "needs another key" in said
    use_keys(NEW)
    assert [sound_of(call) for call in calls] == before
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 3
    assert not any(path.read_bytes().startswith(b"RIFF") for path in files)
    assert all(path.name.startswith(tuple(str(call.pk) for call in calls)) for path in files)
    assert "0 were encrypted" in run()
    use_keys(LOST, NEW)
    run()
    run()
    assert [sound_of(call) for call in calls] == before
    assert max(len(call.recording.name) for call in calls) < 100


def test_a_dry_run_counts_and_changes_nothing(calls, tmp_path):
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert "2 would be encrypted" in run("--dry-run")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("options", [(), ("--dry-run",)])
def test_what_cannot_be_read_is_named_and_stays(calls, use_keys, tmp_path, options):
    use_keys(LOST)
    lost = record(b"RIFF lost")
    gone = record(b"RIFF gone")
    (tmp_path / gone.recording.name).unlink()
    stored = (tmp_path / lost.recording.name).read_bytes()
    use_keys(NEW, OLD)
    with pytest.raises(CommandError, match="2 recordings could not be read and stay as they are"):
        run(*options)
    assert (tmp_path / lost.recording.name).read_bytes() == stored


def test_a_run_that_was_stopped_is_continued(calls, monkeypatch, tmp_path):
    delete, before = EncryptedStorage.delete, [sound_of(call) for call in calls]

    def stop(storage, name):
        if "." not in name.rpartition("/")[2].removesuffix(".wav"):
            raise KeyboardInterrupt  # the row has the new file, and the old one is still there
        delete(storage, name)

    monkeypatch.setattr(EncryptedStorage, "delete", stop)
    with pytest.raises(KeyboardInterrupt):
        run()
    monkeypatch.undo()
    run()
    assert [sound_of(call) for call in calls] == before
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 3


def test_a_recording_that_is_deleted_meanwhile_does_not_come_back(calls, monkeypatch, tmp_path):
    save = EncryptedStorage._save

    def forget_meanwhile(storage, name, content):
        stored = save(storage, name, content)
        privacy.forget(number="+12025550101")
        return stored

    monkeypatch.setattr(EncryptedStorage, "_save", forget_meanwhile)
    for _ in rekey():
        pass
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert not Call.objects.exclude(recording="").exists()


def test_without_a_key_nothing_can_be_encrypted(use_keys):
    use_keys()
    with pytest.raises(CommandError, match="set RECORDING_KEYS first"):
        run()
