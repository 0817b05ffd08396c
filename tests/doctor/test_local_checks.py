"""What the doctor says of a deployment's own parts: each fault in one line, and nothing of a healthy one."""

from __future__ import annotations

import os
import resource
import shutil
import time
from collections import namedtuple
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.core.files.storage import FileSystemStorage
from django.db.migrations.recorder import MigrationRecorder
from django.utils import timezone

from calls.encrypted_storage import EncryptedStorage
from calls.models import Agent, Heartbeat
from calls.services import heartbeats
from clientcaller.doctor import clock, engines, processes
from inference.remote.placement import RemoteEngine
from tests.doctor.conftest import SCRIPTED
from tests.doctor.faults import Fault, Faults, World, assert_found, lines, look, use_database
from tests.real_services import reserve_port

pytestmark = pytest.mark.django_db(transaction=True)
FAULTS = Faults()
STATVFS = os.statvfs
FALLBACK = "inference.engines.fallback.FallbackTextToSpeech"


@FAULTS.add("settings", "red", "PUBLIC_BASE_URL must be the https address", "Change the setting")
def _public_url_is_http(world: World) -> None:
    world.settings.PUBLIC_BASE_URL = "http://phone.example.com"


@FAULTS.add("settings", "red", "PUBLIC_BASE_URL names a port", "Change the setting")
def _public_url_has_a_port(world: World) -> None:
    world.settings.PUBLIC_BASE_URL = "https://phone.example.com:8443"


@FAULTS.add("settings", "yellow", "SESSION_COOKIE_SECURE", "")
def _cookies_are_sent_without_tls(world: World) -> None:
    world.settings.SESSION_COOKIE_SECURE = False


@FAULTS.add("settings", "yellow", "DEBUG=1", "Set DEBUG=0")
def _debug_is_on(world: World) -> None:
    world.settings.DEBUG = True


@FAULTS.add("secret-key", "red", "can be guessed", "openssl rand")
def _secret_key_is_easy(world: World) -> None:
    world.settings.SECRET_KEY = "aaaa" * 20


@FAULTS.add("secret-key", "red", "development key", "openssl rand")
def _secret_key_is_public(world: World) -> None:
    world.settings.SECRET_KEY = world.settings.DEVELOPMENT_SECRET_KEY


@FAULTS.add("database", "red", "does not answer", "DATABASE_URL")
def _database_is_down(world: World) -> None:
    use_database(world, f"postgres://x@127.0.0.1:{reserve_port()}/x")


@FAULTS.add("database", "red", "can only be read", "primary")
def _database_is_a_replica(world: World) -> None:
    server = world.request.getfixturevalue("postgres_server")
    use_database(world, server.create_database("doctor_replica") + "?options=-c%20default_transaction_read_only%3Don")


@FAULTS.add("migrations", "red", "migrations are missing", "manage.py migrate")
def _migrations_are_missing(world: World) -> None:
    use_database(world, world.request.getfixturevalue("postgres_server").create_database("doctor_empty"))


@FAULTS.add("migrations", "yellow", "ahead of this version: calls 9999_later", "update")
def _database_is_newer(world: World) -> None:
    leaf = MigrationRecorder.Migration.objects.create(app="calls", name="9999_later")
    world.request.addfinalizer(leaf.delete)


@FAULTS.add("agents", "red", "no active agent answers …142", "make an agent active")
def _nobody_answers(world: World) -> None:
    Agent.objects.update(active=False)


@FAULTS.add("beat", "red", "no beat has ever run", "make worker")
def _beat_never_ran(world: World) -> None:
    Heartbeat.objects.all().delete()


@FAULTS.add("beat", "red", "last at work 3 hours ago", "make worker")
def _beat_is_dead(world: World) -> None:
    Heartbeat.objects.update(at=timezone.now() - timedelta(hours=3))


@FAULTS.add("beat", "yellow", "2 beats run at once", "--beat")
def _beat_runs_twice(world: World) -> None:
    heartbeats.note_heartbeat(heartbeats.Kind.BEAT, process="another:1")


@FAULTS.add("worker", "red", "no worker was at work for 2 hours", "make worker")
def _worker_is_dead(world: World) -> None:
    long_ago = timezone.now() - timedelta(hours=2)
    Heartbeat.objects.update(started_at=long_ago)
    Heartbeat.objects.filter(kind="worker").update(at=long_ago)


@FAULTS.add("storage", "red", "cannot be written", "right to write")
def _storage_is_read_only(world: World) -> None:
    def refuse(self, name, content):
        raise PermissionError(13, "Permission denied")

    world.monkeypatch.setattr(FileSystemStorage, "_save", refuse)


@FAULTS.add("storage", "red", "not what was written", "something changes its files")
def _storage_changes_files(world: World) -> None:
    save = FileSystemStorage._save

    def spoil(self, name, content):
        content.write(b"spoilt")
        content.seek(0)
        return save(self, name, content)

    world.monkeypatch.setattr(FileSystemStorage, "_save", spoil)


@FAULTS.add("storage", "red", "was not encrypted", "STORAGES")
def _storage_does_not_encrypt(world: World) -> None:
    use_keys(world)
    world.monkeypatch.setattr(EncryptedStorage, "_save", lambda self, name, content: self._inner.save(name, content))


@FAULTS.add("storage", "yellow", "cannot be deleted", "retention")
def _storage_keeps_everything(world: World) -> None:
    world.monkeypatch.setattr(FileSystemStorage, "delete", lambda self, name: None)


@FAULTS.add("disk", "red", "0.1 GB left", "Make room")
def _disk_is_full(world: World) -> None:
    usage = namedtuple("usage", "total used free")
    world.monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(10**12, 10**12, 10**8))


@FAULTS.add("disk", "red", "cannot be written", "right to write")
def _spool_is_a_file(world: World) -> None:
    world.settings.SPOOL_DIR = world.folder / "spool"
    world.settings.SPOOL_DIR.write_text("")


@FAULTS.add("disk", "red", "more files only", "Delete files")
def _disk_has_no_inodes(world: World) -> None:
    world.monkeypatch.setattr(os, "statvfs", lambda folder: _statvfs(folder, files=3))


@FAULTS.add("open-files", "yellow", "may open 1024 files, and MAX_LIVE_CALLS needs", "LimitNOFILE")
def _few_files_can_be_opened(world: World) -> None:
    world.monkeypatch.setattr(resource, "getrlimit", lambda kind: (1024, 1024))


@FAULTS.add("clock", "red", "s behind that of Twilio", "NTP")
def _clock_is_slow(world: World) -> None:
    world.monkeypatch.setattr(clock, "_date_of_public_address", lambda deployment: None)
    world.monkeypatch.setattr(clock, "_date_of_twilio", lambda: time.time() + 300)


@FAULTS.add("clock", "yellow", "ahead of that of the public address", "NTP")
def _clock_is_a_little_fast(world: World) -> None:
    world.monkeypatch.setattr(clock, "_date_of_public_address", lambda deployment: time.time() - 10)
    world.monkeypatch.setattr(clock, "_date_of_twilio", lambda: None)


@FAULTS.add("slots", "yellow", "0 of 0 slots are free", "MAX_LIVE_CALLS")
def _slots_are_taken(world: World) -> None:
    world.settings.MAX_LIVE_CALLS = 0


@FAULTS.add("engines", "red", "tts: ", "manage.py engines tts")
def _voice_is_missing(world: World) -> None:
    world.settings.ENGINES = {**SCRIPTED, "tts": {"BACKEND": "inference.engines.nowhere.Voice", "OPTIONS": {}}}


@FAULTS.add("engines", "yellow", "llm: first words after", "--bench")
def _language_model_is_slow(world: World) -> None:
    world.monkeypatch.setitem(engines.SLOW, "llm", 0.0)


@FAULTS.add("gpu-workers", "red", "stt: no worker", "manage.py runworker stt")
def _no_worker_serves(world: World) -> None:
    world.settings.ENGINES = {
        **SCRIPTED,
        "stt": {"BACKEND": "inference.engines.remote.RemoteSpeechToText", "OPTIONS": {"start_timeout": 0.5}},
    }


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_is_found_and_one_line_says_what_to_do(fault: Fault, world: World, at_work: None):
    assert_found(fault, world)


HEALTHY = ("settings", "secret-key", "database", "migrations", "redis", "storage", "disk", "agents", "beat", "worker")


@pytest.mark.parametrize("name", [*HEALTHY, "slots", "engines", "open-files"])
def test_a_healthy_deployment_is_green(name: str, world: World, at_work: None, redis_server):
    world.settings.REDIS_URL = redis_server.url
    bad = [one for one in look(name).findings if one.level != "green" and "SQLite is used" not in one.text]
    assert bad == []


def test_a_healthy_postgres_is_green(world: World, postgres_server):
    use_database(world, postgres_server.create_database("doctor_healthy"))
    assert look("database").level == "green", lines(look("database"))
    assert "PostgreSQL" in look("database").findings[0].text


def test_an_encrypted_storage_says_so_and_leaves_nothing_behind(world: World):
    use_keys(world)
    (finding,) = look("storage").findings
    assert finding.text.startswith("recordings are stored encrypted")
    assert not [*world.settings.MEDIA_ROOT.glob("doctor*")]


@pytest.mark.parametrize(
    ("news", "level", "text"),
    [
        ([("ready", 3, 4), ("draining", 1, 4)], "green", "stt: 1 of 2 workers are ready, 3 of 4 slots are free"),
        ([("ready", 0, 4)], "yellow", "stt: 1 of 1 workers are ready, 0 of 4 slots are free"),
        ([("loading", 0, 0)], "red", "stt: 0 of 1 workers are ready, 0 of 0 slots are free"),
    ],
    ids=["free", "full", "loading"],
)
def test_workers_are_counted_by_what_they_announce(news, level, text, world: World, monkeypatch):
    class Heard(RemoteEngine):
        kind = "stt"

        async def start(self) -> None:
            announced = [SimpleNamespace(state=state, free=free, slots=slots) for state, free, slots in news]
            self.workers = SimpleNamespace(all_news=announced)

        async def close(self) -> None: ...

    monkeypatch.setattr(processes, "make_engine", lambda alias, entry: Heard())
    monkeypatch.setattr(processes, "LISTEN", 0.0)
    remote = {"BACKEND": "inference.engines.remote.RemoteSpeechToText", "OPTIONS": {}}
    world.settings.ENGINES = {**SCRIPTED, "stt": {"BACKEND": "a.fallback", "OPTIONS": {"engines": [remote]}}}
    (finding,) = look("gpu-workers").findings
    assert (finding.level, finding.text) == (level, text)


def test_an_engine_of_a_fallback_that_fails_is_yellow_though_the_next_one_helps(world: World):
    broken = {"BACKEND": "inference.engines.scripted.ScriptedTextToSpeech", "OPTIONS": {"failures": [{"rate": 1.0}]}}
    both = {"engines": [{"NAME": "broken", **broken}, {"NAME": "whole", **SCRIPTED["tts"]}]}
    world.settings.ENGINES = {**SCRIPTED, "tts": {"BACKEND": FALLBACK, "OPTIONS": both}}
    first, second, *_ = look("engines").findings
    assert first.level == "green"
    assert second.level == "yellow"
    assert second.text.startswith("tts engine 1 (broken) of the fallback failed: scripted speech")


def _statvfs(folder, *, files: int) -> SimpleNamespace:
    real = STATVFS(folder)
    values = {name: getattr(real, name) for name in dir(real) if name.startswith("f_")}
    return SimpleNamespace(**values | {"f_files": 10**6, "f_favail": files})


def use_keys(world: World) -> None:
    storage = {"BACKEND": "calls.encrypted_storage.EncryptedStorage", "OPTIONS": {"keys": [b"k" * 32]}}
    world.settings.STORAGES = {**world.settings.STORAGES, "default": storage}
