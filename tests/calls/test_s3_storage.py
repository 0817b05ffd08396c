"""Recordings in a bucket: a store that speaks S3 (moto) on this machine."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import threading
import wave
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import boto3
import pytest
from asgiref.sync import sync_to_async
from django.core import signing
from django.core.files.base import ContentFile
from django.test import override_settings
from django.utils import timezone
from moto.server import ThreadedMotoServer

from calls.api.serializers.calls import RECORDING_SALT
from calls.encrypted_storage import CHUNK, EncryptedStorage
from calls.errors import CallsError, StorageUnavailableError
from calls.models import Agent, Call
from calls.s3_storage import FIRST_BYTES, PIECE_BYTES, S3Storage
from calls.services.facts import EventNoted, RecordingFinished, record_fact
from calls.services.privacy import apply_retention, forget
from calls.services.rekeying import rekey
from media.runtime import Runtime
from tests.calls.test_encrypted_storage import NEW, OLD, read
from tests.media.test_runtime import engines
from tests.real_services import ROOT, process_env, reserve_port

KEYS = {"access_key": "an-id", "secret_key": "a-secret"}
SIZES = (0, 1, FIRST_BYTES - 1, FIRST_BYTES, FIRST_BYTES + 1, FIRST_BYTES + PIECE_BYTES + 17)


class Store:
    """The store, which may be away."""

    def __init__(self) -> None:
        self.port = reserve_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._server: ThreadedMotoServer | None = None

    def start(self) -> None:
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=self.port, verbose=False)
        self._server.start()

    def stop(self) -> None:
        """It keeps what it has."""
        if self._server is not None:
            self._server.stop()
            self._server = None

    @property
    def client(self):
        secret = {"aws_access_key_id": "an-id", "aws_secret_access_key": "a-secret"}
        return boto3.client("s3", endpoint_url=self.url, region_name="us-east-1", **secret)

    def names(self) -> set[str]:
        return {found["Key"] for found in self.client.list_objects_v2(Bucket="calls").get("Contents", ())}

    def options(self, bucket: str = "calls") -> dict[str, str]:
        return {"bucket": bucket, "endpoint": self.url, "region": "us-east-1", **KEYS}


@pytest.fixture(scope="module")
def running() -> Iterator[Store]:
    store = Store()
    store.start()
    store.client.create_bucket(Bucket="calls")
    yield store
    store.stop()


@pytest.fixture
def store(running: Store) -> Store:
    for name in running.names():
        running.client.delete_object(Bucket="calls", Key=name)
    return running


@pytest.fixture
def encrypted(settings, store: Store) -> None:
    """Recordings are encrypted, and in the bucket."""
    options = {"keys": [NEW], "storage": {"BACKEND": "calls.s3_storage.S3Storage", "OPTIONS": store.options()}}
    backend = {"BACKEND": "calls.encrypted_storage.EncryptedStorage", "OPTIONS": options}
    settings.STORAGES = {**settings.STORAGES, "default": backend}


@pytest.mark.parametrize(
    ("keys", "sizes"), [((), (0, 1, 9 * 1024 * 1024)), ((NEW,), SIZES)], ids=["plain, in two parts", "encrypted"]
)
def test_a_file_comes_back_as_it_was_with_its_size(store, keys, sizes):
    inner = {"BACKEND": "calls.s3_storage.S3Storage", "OPTIONS": store.options()}
    storage = EncryptedStorage(keys=keys, storage=inner)
    for size in sizes:
        content = os.urandom(size)
        name = storage.save(f"recordings/2026/{size}.wav", ContentFile(content))
        assert name == f"recordings/2026/{size}.wav"
        assert storage.exists(name)
        assert storage.size(name) == size
        with storage.open(name) as file:
            assert file.size == size
            assert file.read() == content
    assert storage.listdir("recordings")[0] == ["2026"]
    assert sorted(storage.listdir("recordings/2026")[1]) == sorted(f"{size}.wav" for size in sizes)
    storage.delete("recordings/2026/1.wav")
    assert not storage.exists("recordings/2026/1.wav")
    storage.delete("recordings/2026/1.wav")  # as often as one likes
    with pytest.raises(FileNotFoundError):
        storage.open("recordings/2026/1.wav")


def test_a_part_is_read_without_the_rest(store, monkeypatch):
    inner = {"BACKEND": "calls.s3_storage.S3Storage", "OPTIONS": store.options()}
    storage = EncryptedStorage(keys=[NEW], storage=inner)
    content = os.urandom(100 * CHUNK)
    storage.save("a.wav", ContentFile(content))
    asked: list[int] = []
    client = storage._inner.connection.meta.client
    client.meta.events.register("after-call.s3.GetObject", lambda parsed, **_: asked.append(parsed["ContentLength"]))
    with storage.open("a.wav") as file:
        for start in (50 * CHUNK - 10, 50 * CHUNK + 5):
            file.seek(start)
            assert file.read(100) == content[start : start + 100]
    assert 0 < sum(asked) <= 2 * FIRST_BYTES + 3 * PIECE_BYTES


def test_a_file_that_was_replaced_is_not_mixed_with_the_one_before(store):
    storage = S3Storage(**store.options())
    storage.save("a.wav", ContentFile(b"a" * (FIRST_BYTES + PIECE_BYTES)))
    with storage.open("a.wav") as file:
        file.read(10)
        storage.save("a.wav", ContentFile(b"b" * (FIRST_BYTES + PIECE_BYTES)))
        file.seek(FIRST_BYTES)
        with pytest.raises(StorageUnavailableError, match=r"refused a\.wav: PreconditionFailed"):
            file.read()


def test_a_bucket_that_is_missing_is_not_a_file_that_is_missing(store):
    storage = S3Storage(**store.options(bucket="nothing-here"))
    for action in (
        lambda: storage.open("a.wav"),
        lambda: storage.save("a.wav", ContentFile(b"1")),
        lambda: storage.delete("a.wav"),
    ):
        with pytest.raises(StorageUnavailableError, match="NoSuchBucket"):
            action()


@pytest.fixture
def call() -> Call:
    agent = Agent.objects.create(name="desk")
    return Call.objects.create(direction="inbound", agent=agent, from_number="+12025550123", status="completed")


def spool(folder: Path, call: Call, sound: bytes, number: int = 0) -> RecordingFinished:
    """A finished recording in the spool, and its fact."""
    path = folder / f"{call.pk}.{number}.wav"
    with wave.open(str(path), "wb") as out:
        out.setparams((2, 2, 8000, 0, "NONE", ""))
        out.writeframes(sound)
    return RecordingFinished(call_id=call.pk, fact_id=f"fact{number}", path=str(path))


@pytest.mark.django_db
@pytest.mark.usefixtures("encrypted")
def test_a_recording_is_stored_served_in_pieces_and_forgotten(store, call, tmp_path, client):
    begun, continued = os.urandom(4 * 8000), os.urandom(400 * 8000)
    for number, sound in enumerate((begun, continued)):
        record_fact(fact := spool(tmp_path, call, sound, number))
        assert not Path(fact.path).exists()
    call.refresh_from_db()
    assert store.names() == {call.recording.name}
    whole = b"".join(store.client.get_object(Bucket="calls", Key=call.recording.name)["Body"])
    assert continued[:100] not in whole

    address = f"/api/recordings/{signing.dumps(str(call.pk), salt=RECORDING_SALT)}/"
    answer = client.get(address, headers={"Range": "bytes=100044-100143"})
    assert answer.status_code == 206
    assert answer.getvalue() == (begun + continued)[100_000:100_100]
    assert client.get(address).getvalue()[44:] == begun + continued
    assert client.head(address).headers["Content-Length"] == str(44 + len(begun + continued))

    store.stop()
    try:
        answer = client.get(address)
        assert (answer.status_code, answer.json()["code"]) == (503, "storage-unavailable")
        with pytest.raises(CallsError):
            forget(number=call.from_number)
    finally:
        store.start()
    forget(number=call.from_number)
    assert store.names() == set()
    assert client.get(address).status_code == 404


@pytest.mark.django_db
@pytest.mark.usefixtures("encrypted")
def test_retention_deletes_what_is_in_the_bucket(store, call, tmp_path, settings):
    settings.RETENTION_RECORDINGS_DAYS = 1
    record_fact(spool(tmp_path, call, bytes(4000)))
    later = timezone.now() + timedelta(days=2)
    store.stop()
    try:
        assert apply_retention(now=later).recordings == 0
    finally:
        store.start()
    assert store.names()
    assert apply_retention(now=later).recordings == 1
    assert store.names() == set()


@pytest.mark.django_db
def test_recordings_get_a_new_key_in_the_bucket(store, call, tmp_path, settings):
    inner = {"BACKEND": "calls.s3_storage.S3Storage", "OPTIONS": store.options()}
    for keys in ([OLD], [NEW, OLD]):
        options = {"keys": keys, "storage": inner}
        default = {"BACKEND": "calls.encrypted_storage.EncryptedStorage", "OPTIONS": options}
        settings.STORAGES = {**settings.STORAGES, "default": default}
        if keys == [OLD]:
            record_fact(spool(tmp_path, call, b"\1" * 4000))
    *_, counts = rekey()
    assert (counts.older, counts.unreadable) == (1, [])
    call.refresh_from_db()
    assert store.names() == {call.recording.name}
    only_new = EncryptedStorage(keys=[NEW], storage=inner)
    assert read(only_new, call.recording.name)[44:] == b"\1" * 4000


def is_spooled(fact: RecordingFinished) -> bool:
    return Path(fact.path).exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("encrypted")
async def test_a_recording_waits_in_the_spool_while_the_store_is_away_and_other_facts_do_not(
    store, call, tmp_path, monkeypatch
):
    told = threading.Event()
    monkeypatch.setattr(logging.getLogger("media.spool"), "warning", lambda text, *values: told.set())
    with override_settings(ENGINES=engines(), SPOOL_DIR=tmp_path):
        runtime = Runtime()
        fact = spool(tmp_path, call, bytes(4000))
        store.stop()
        try:
            runtime.keep_recording(call.pk, Path(fact.path))
            runtime.facts.record(EventNoted(call_id=call.pk, fact_id="e", kind="note", at=timezone.now(), data={}))
            assert await runtime.facts.drain(60)
            assert await sync_to_async(call.events.filter(kind="note").exists)()
            assert await asyncio.to_thread(told.wait, 60)
            assert is_spooled(fact)
        finally:
            store.start()
        assert await runtime.recording_facts.drain(60)
        await runtime.close()
    assert not is_spooled(fact)
    await call.arefresh_from_db()
    assert store.names() == {call.recording.name}
    assert not list(tmp_path.rglob("rejected.jsonl"))


SHOW = """
import django
django.setup()
from calls.models import Call
storage = Call._meta.get_field("recording").storage._inner
print(type(storage).__name__, storage.bucket_name, storage.endpoint_url, storage.region_name)
"""


def test_the_settings_name_the_bucket():
    bucket = {"BUCKET": "calls", "ENDPOINT": "https://s3.example.com/", "REGION": "eu"}
    variables = {f"RECORDINGS_S3_{name}": value for name, value in bucket.items()}
    env = process_env(Path("/nonexistent"), database_url="sqlite://:memory:", **variables)
    out = subprocess.run([sys.executable, "-c", SHOW], env=env, cwd=ROOT, check=True, capture_output=True, text=True)
    assert out.stdout.split() == ["S3Storage", "calls", "https://s3.example.com", "eu"]
