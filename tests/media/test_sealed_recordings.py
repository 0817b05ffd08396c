"""With RECORDING_KEYS, a recording is never on disk as it is, from its first second on."""

from __future__ import annotations

import os
import wave
from pathlib import Path

import numpy as np
import pytest
from django.core.files.storage import FileSystemStorage

from calls import recordings, sealed_sound
from calls.encrypted_storage import UnreadableFileError, key_id
from calls.models import Agent, Call
from calls.services import spooled_sound
from calls.services.facts import RecordingFinished, record_fact
from inference.mulaw import decode_mulaw
from media.recorder import RecordingSpool
from tests.media.test_recorder import REPLY, VOICE, listen

KEY, OTHER = bytes([7]) * 32, bytes([8]) * 32


@pytest.fixture(autouse=True)
def encrypted(settings, tmp_path):
    default = {"BACKEND": "calls.encrypted_storage.EncryptedStorage", "OPTIONS": {"keys": [KEY]}}
    settings.MEDIA_ROOT = tmp_path / "media"
    settings.STORAGES = {**settings.STORAGES, "default": default}


def read(path: Path, *keys: bytes) -> np.ndarray:
    with recordings.whole_sound(path, keys={key_id(key): key for key in keys}) as file, wave.open(file) as sound:
        return np.frombuffer(sound.readframes(sound.getnframes()), np.int16).reshape(-1, 2)


async def record(folder: Path, *, sealing=spooled_sound) -> Path:
    """Seven and a half seconds, of which the agent's part comes late."""
    spool = RecordingSpool(folder, sealing=sealing)
    recording = spool.open("7b0c5dd4-0000-4000-8000-000000000001")
    listen(recording, 3)
    listen(recording, 3.7, start=3)
    recording.agent(8100, REPLY * 20_000)
    listen(recording, 0.8, start=6.7)
    path = await recording.finish()
    await spool.close()
    return path


async def test_it_is_the_same_recording_and_no_byte_of_the_sound_is_on_disk(tmp_path):
    plain, sealed = await record(tmp_path / "plain", sealing=None), await record(tmp_path / "sealed")
    assert (read(sealed, OTHER, KEY) == read(plain)).all()
    assert len(read(sealed, KEY)) == 60_000
    stored = sealed.read_bytes()
    voice, reply = (decode_mulaw(sign * 4).tobytes() for sign in (VOICE, REPLY))
    assert not any(sound in stored for sound in (voice, reply, b"RIFF"))


async def test_any_part_can_be_read(tmp_path):
    sealed = await record(tmp_path)
    with recordings.whole_sound(sealed, keys={key_id(KEY): KEY}) as file:
        whole = file.read()
        assert file.seek(0, os.SEEK_END) == len(whole) == 44 + 4 * 60_000
        for start in (0, 3, 44, 45, 32_043, 32_044, 40_001, len(whole) - 1):
            file.seek(start)
            assert file.read(40_000) == whole[start : start + 40_000]


@pytest.mark.parametrize("bytes_lost", [1, 3000, 32_000])
async def test_a_second_that_a_crash_has_torn_is_silent_and_the_others_stay(tmp_path, bytes_lost):
    sealed = await record(tmp_path)
    whole = read(sealed, KEY)
    with sealed.open("r+b") as file:
        file.seek(48 + 2 * 32_028 + 100)
        file.write(b"torn")
        file.truncate(sealed.stat().st_size - bytes_lost)
    spool = RecordingSpool(tmp_path, sealing=spooled_sound)
    [(_, recovered)] = spool.recover()
    await spool.close()
    torn = read(recovered, KEY)
    assert not torn[16_000:24_000].any()
    assert (torn[:16_000] == whole[:16_000]).all()
    assert (torn[24_000:48_000] == whole[24_000:48_000]).all()


@pytest.mark.parametrize(
    "beginning", [b"", sealed_sound.SoundSealer(KEY).header, sealed_sound.MAGIC], ids=["nothing", "header", "magic"]
)
async def test_a_file_without_sound_is_not_recovered(tmp_path, beginning):
    (tmp_path / "a.1.wav").write_bytes(beginning)
    spool = RecordingSpool(tmp_path, sealing=spooled_sound)
    assert spool.recover() == []
    assert [*tmp_path.iterdir()] == []
    await spool.close()


async def test_without_its_key_it_cannot_be_read(tmp_path):
    sealed = await record(tmp_path)
    with pytest.raises(UnreadableFileError, match="not among RECORDING_KEYS"):
        read(sealed, OTHER)


@pytest.mark.django_db
@pytest.mark.parametrize("is_encrypted", [True, False])
def test_the_streams_of_a_call_are_stored_as_one_recording_and_no_file_is_written_beside_it(
    settings, tmp_path, monkeypatch, is_encrypted
):
    if not is_encrypted:  # the keys were taken away for what is recorded from now on
        settings.STORAGES = {**settings.STORAGES, "default": {"BACKEND": "calls.encrypted_storage.EncryptedStorage"}}
    written = []
    monkeypatch.setattr(FileSystemStorage, "_save", spy(FileSystemStorage._save, written))
    call = Call.objects.create(direction="inbound", agent=Agent.objects.create(name="desk"))
    for number in range(2):
        spooled = tmp_path / f"{number}.wav"
        write(spooled, bytes([number + 1]) * 4 * 12_000, is_sealed=is_encrypted)
        record_fact(RecordingFinished(call_id=call.pk, fact_id=str(number), path=str(spooled)))
        assert not spooled.exists()
    call.refresh_from_db()
    with call.recording.open() as file, wave.open(file, "rb") as sound:
        assert sound.readframes(30_000) == b"\1" * 4 * 12_000 + b"\2" * 4 * 12_000
    assert [b"\1\1\1\1" in content for content in written] == [not is_encrypted] * 2


def spy(save, written: list[bytes]):
    def keep(self, name, content):
        content.seek(0)
        written.append(content.read())
        return save(self, name, content)

    return keep


def write(path: Path, pcm: bytes, *, is_sealed: bool) -> None:
    if not is_sealed:
        with wave.open(str(path), "wb") as out:
            out.setparams((2, 2, 8000, 0, "NONE", ""))
            out.writeframes(pcm)
        return
    sealer = sealed_sound.SoundSealer(KEY)
    with path.open("wb") as file:
        file.write(sealer.header)
        for second in range(2):
            offset, sealed = sealer.seal(second, pcm[second * 32_000 : (second + 1) * 32_000])
            file.seek(offset)
            file.write(sealed)
