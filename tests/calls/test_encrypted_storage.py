"""Recordings that are encrypted at rest."""

import io
import os
import wave

import pytest
from django.core import signing
from django.core.files.base import ContentFile, File
from django.core.files.storage import FileSystemStorage, default_storage

from calls.api.serializers.calls import RECORDING_SALT
from calls.encrypted_storage import CHUNK, TAG, EncryptedStorage, UnreadableFileError, content_bytes
from calls.models import Agent, Call
from calls.services.facts import RecordingFinished, record_fact

NEW, OLD, OTHER = (bytes([number]) * 32 for number in (1, 2, 3))
SIZES = (0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 17)


@pytest.fixture
def make(tmp_path):
    """Make a storage with these keys, on one folder."""
    inner = {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": str(tmp_path)}}
    return lambda *keys: EncryptedStorage(keys=keys, storage=inner)


def read(storage, name):
    with storage.open(name) as file:
        return file.read()


@pytest.mark.parametrize("size", SIZES)
def test_a_file_comes_back_as_it_was_with_its_size(make, tmp_path, size):
    content, storage = os.urandom(size), make(NEW)
    name = storage.save("a.wav", ContentFile(content))
    stored = (tmp_path / name).read_bytes()
    assert size < 16 or content[:16] not in stored
    assert storage.size(name) == size == content_bytes(len(stored))
    with storage.open(name) as file:
        assert file.size == size
        assert file.read() == content


class CountedFile(File):
    def __init__(self, file, read):
        super().__init__(file)
        self._read = read

    def read(self, size):
        return self._read(size)


class Counting(FileSystemStorage):
    """Counts the bytes that are read from its files."""

    read_bytes = 0

    def _open(self, name, mode="rb"):
        file = super()._open(name, mode)
        read = file.file.read

        def count(size):
            Counting.read_bytes += size
            return read(size)

        return CountedFile(file.file, count)


def test_a_part_is_read_without_the_rest(tmp_path, monkeypatch):
    monkeypatch.setattr(Counting, "read_bytes", 0)
    content = os.urandom(10 * CHUNK)
    counting = {"BACKEND": f"{__name__}.Counting", "OPTIONS": {"location": str(tmp_path)}}
    storage = EncryptedStorage(keys=[NEW], storage=counting)
    name = storage.save("a.wav", ContentFile(content))
    with storage.open(name) as file:
        for start, length in ((5 * CHUNK - 10, 20), (5 * CHUNK, 100), (10 * CHUNK - 3, 50)):
            file.seek(start)
            assert file.read(length) == content[start : start + length]
    assert 0 < Counting.read_bytes <= 7 * (CHUNK + TAG)


def test_a_wav_file_can_be_parsed(make):
    sound = io.BytesIO()
    with wave.open(sound, "wb") as out:
        out.setparams((2, 2, 8000, 0, "NONE", ""))
        out.writeframes(b"\1\2\3\4" * 50_000)
    storage = make(NEW)
    name = storage.save("a.wav", ContentFile(sound.getvalue()))
    with storage.open(name) as file, wave.open(file, "rb") as read:
        assert read.readframes(60_000) == b"\1\2\3\4" * 50_000


def test_the_first_key_encrypts_and_the_others_read_what_they_have_encrypted(make):
    before = make(OLD).save("a.wav", ContentFile(b"said before"))
    rotated = make(NEW, OLD)
    after = rotated.save("b.wav", ContentFile(b"said after"))
    assert (read(rotated, before), read(rotated, after)) == (b"said before", b"said after")
    assert read(make(NEW), after) == b"said after"


def test_files_from_before_there_were_keys_stay_readable(make, tmp_path):
    name = make().save("a.wav", ContentFile(b"RIFF and so on"))
    assert (tmp_path / name).read_bytes() == b"RIFF and so on"
    assert read(make(NEW), name) == b"RIFF and so on"
    assert make(NEW).size(name) == 14


@pytest.mark.parametrize("keys", [(), (OTHER,)])
def test_a_file_of_an_unknown_key_is_a_clear_error(make, keys):
    name = make(NEW).save("a.wav", ContentFile(b"words"))
    with pytest.raises(UnreadableFileError, match=r"a\.wav is encrypted with a key that is not among RECORDING_KEYS"):
        make(*keys).open(name)


def damage_a_bit(stored: bytes) -> bytes:
    return stored[:100] + bytes([stored[100] ^ 1]) + stored[101:]


def cut_off_the_last_chunk(stored: bytes) -> bytes:
    return stored[: -(1000 + TAG)]


def swap_two_chunks(stored: bytes) -> bytes:
    header = len(stored) - 3 * (CHUNK + TAG) - 1000 - TAG
    first, second = (stored[header + number * (CHUNK + TAG) :][: CHUNK + TAG] for number in (0, 1))
    return stored[:header] + second + first + stored[header + 2 * (CHUNK + TAG) :]


@pytest.mark.parametrize(
    "change",
    [damage_a_bit, cut_off_the_last_chunk, swap_two_chunks, lambda stored: stored[:-1], lambda stored: stored[:20]],
)
def test_a_file_that_was_changed_or_cut_off_is_a_clear_error(make, tmp_path, change):
    storage = make(NEW)
    name = storage.save("a.wav", ContentFile(os.urandom(3 * CHUNK + 1000)))
    (tmp_path / name).write_bytes(change((tmp_path / name).read_bytes()))
    with pytest.raises(UnreadableFileError, match=r"a\.wav is damaged"), storage.open(name) as file:
        file.read()


def test_the_same_words_are_never_encrypted_alike(make, tmp_path):
    storage = make(NEW)
    stored = [(tmp_path / storage.save("a.wav", ContentFile(b"the same"))).read_bytes() for _ in range(2)]
    assert stored[0][48:] != stored[1][48:]


def test_the_rest_is_left_to_the_other_storage(make, tmp_path):
    storage = make(NEW)
    name = storage.save("folder/a.wav", ContentFile(b"words"))
    assert storage.exists(name)
    assert storage.listdir("folder") == ([], ["a.wav"])
    assert storage.get_created_time(name).date() == storage.get_modified_time(name).date()
    with pytest.raises(NotImplementedError):
        storage.path(name)
    assert make().path(name) == FileSystemStorage(tmp_path).path(name)
    with pytest.raises(ValueError, match="to be read"):
        storage.open(name, "wb")
    storage.delete(name)
    assert not storage.exists(name)


@pytest.fixture
def encrypted(settings, tmp_path):
    """Have recordings encrypted, as the setting does."""
    default = {"BACKEND": "calls.encrypted_storage.EncryptedStorage", "OPTIONS": {"keys": [NEW]}}
    settings.MEDIA_ROOT = tmp_path
    settings.STORAGES = {**settings.STORAGES, "default": default}


@pytest.mark.django_db
@pytest.mark.usefixtures("encrypted")
def test_the_api_serves_parts_of_an_encrypted_recording_and_says_what_is_wrong(client, tmp_path):
    agent = Agent.objects.create(name="desk")
    call = Call.objects.create(direction="inbound", agent=agent)
    sound = os.urandom(2 * CHUNK + 100)
    call.recording = default_storage.save("recordings/a.wav", ContentFile(sound))
    call.save()
    address = f"/api/recordings/{signing.dumps(str(call.pk), salt=RECORDING_SALT)}/"
    answer = client.get(address, headers={"Range": f"bytes={CHUNK - 5}-{CHUNK + 4}"})
    assert answer.headers["Content-Range"] == f"bytes {CHUNK - 5}-{CHUNK + 4}/{len(sound)}"
    assert answer.getvalue() == sound[CHUNK - 5 : CHUNK + 5]
    stored = tmp_path / "recordings" / "a.wav"
    stored.write_bytes(damage_a_bit(stored.read_bytes())[:-50])
    answer = client.get(address)
    assert (answer.status_code, answer.json()["code"]) == (503, "recording-unreadable")


@pytest.mark.django_db
@pytest.mark.usefixtures("encrypted")
def test_a_reconnected_call_has_one_encrypted_recording(tmp_path):
    call = Call.objects.create(direction="inbound", agent=Agent.objects.create(name="desk"))
    for number in range(2):
        spooled = tmp_path / f"{number}.wav"
        with wave.open(str(spooled), "wb") as out:
            out.setparams((2, 2, 8000, 0, "NONE", ""))
            out.writeframes(bytes([number]) * 4 * 8000)
        record_fact(RecordingFinished(call_id=call.pk, fact_id=str(number), path=str(spooled)))
    call.refresh_from_db()
    assert b"RIFF" not in (tmp_path / call.recording.name).read_bytes()
    with call.recording.open() as file, wave.open(file, "rb") as sound:
        assert sound.readframes(20_000) == bytes(4 * 8000) + b"\1" * 4 * 8000
