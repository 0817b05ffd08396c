"""Celery's messages from one process to another, through files and through Redis, and those that no worker takes."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine
from celery import Celery
from celery.exceptions import OperationalError
from django.conf import settings
from kombu import Connection, Exchange, Queue

import clientcaller
from clientcaller import beat, file_broker, redis_broker
from tests.real_services import ROOT, Process, RedisServer, process, process_env

WORKER = (sys.executable, *"-m celery -A clientcaller worker --pool threads --concurrency 4".split())
WORKER = (*WORKER, *"--without-mingle --without-gossip --include tests.celery_tasks".split())
SENDER = """
import json, sys, clientcaller
for message in json.loads(sys.argv[1]):
    clientcaller.celery_app.send_task(**{"name": "tests.celery_tasks.log_word", **message})
"""
QUEUE = Queue("celery", Exchange("celery"), routing_key="celery")


def send(env: dict[str, str], *messages: dict[str, Any]) -> None:
    """Send the messages from another process."""
    subprocess.run([sys.executable, "-c", SENDER, json.dumps(messages)], env=env, cwd=ROOT, check=True)


def message(word: str, **options: Any) -> dict[str, Any]:
    """A message that starts ``log_word``, as arguments of ``send_task``."""
    return {"args": [word], **options}


# --- Worker and beat -------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["files", "redis"])
def env(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    redis_url = request.getfixturevalue("redis_server").url if request.param == "redis" else ""
    return process_env(tmp_path_factory.mktemp("var"), redis_url=redis_url)


@pytest.fixture(scope="module")
def worker(env: dict[str, str]) -> Iterator[Process]:
    """A worker that starts when messages wait already, all of them expired but the last."""
    send(env, *(message(f"stale {n}", expires=0) for n in range(20)), message("fresh", expires=600))
    with process(*WORKER, env=env) as started:
        started.wait_for(r"celery@.* ready")
        yield started


def test_a_worker_that_starts_late_ignores_expired_messages(worker):
    worker.wait_for("said")
    assert worker.lines[-1].endswith("said fresh")


def test_a_worker_runs_the_task_of_another_process_and_logs_in_the_project_format(worker, env):
    send(env, message("hello"))
    worker.wait_for(r"^\S+ \S+ WARNING tests\.celery_tasks: said hello$")


def test_a_worker_that_shall_end_finishes_its_tasks_and_writes_json_alone_if_it_shall(tmp_path):
    env = process_env(tmp_path, LOG_FORMAT="json")
    send(env, {**message("hello"), "name": "tests.celery_tasks.log_word_late"})
    with process(*WORKER, env=env) as worker:
        worker.wait_for("begins with hello")
        worker.signal(signal.SIGTERM)
        worker.wait_for("said hello")
        assert worker.wait() == 0
        assert "Warm shutdown" in worker.text
        said = [json.loads(line) for line in worker.lines if "said hello" in line]
        assert [(line["level"], line["logger"]) for line in said] == [("WARNING", "tests.celery_tasks")]
        assert [line for line in worker.lines if line and not line.startswith(("{", "worker: "))] == []


def test_beat_and_worker_continue_when_redis_is_back_and_log_its_absence_once(own_redis, tmp_path):
    env = process_env(tmp_path, redis_url=own_redis.url, DJANGO_SETTINGS_MODULE="tests.celery_settings")
    with process(*WORKER, "--beat", env=env) as worker:
        worker.wait_for("said tick")
        own_redis.kill()
        worker.wait_for("The message broker is unavailable")
        own_redis.start()
        worker.wait_for("The message broker is available again")
        worker.wait_for("said tick")
        assert sum("The message broker is unavailable" in line for line in worker.lines) == 1


def test_beat_ends_with_a_killed_worker_and_leaves_no_file(tmp_path):
    env = process_env(tmp_path, DJANGO_SETTINGS_MODULE="tests.celery_settings")
    with process(*WORKER, "--beat", env=env) as worker:
        worker.wait_for("said tick")
        worker.signal(signal.SIGKILL)
        worker.wait_for_group()
    assert not [*ROOT.glob("celerybeat*"), *tmp_path.glob("celerybeat*")]


def test_beat_wakes_about_twice_for_each_message(monkeypatch):
    monkeypatch.setattr(beat, "note_beat", lambda: None)
    app = Celery(broker="memory://", set_as_current=False)
    app.conf.beat_schedule = {"tick": {"task": "tick", "schedule": 1.0}}
    with time_machine.travel(1_800_000_000, tick=False) as clock:
        scheduler = beat.Scheduler(app)
        queue = app.amqp.queues["celery"](scheduler.connection.default_channel)
        queue.purge()  # of what other tests of this process have sent
        for _ in range(21):
            clock.shift(timedelta(seconds=scheduler.tick()))
        assert queue.queue_declare().message_count == 10


# --- Sending ---------------------------------------------------------------------------------------------


@contextmanager
def no_redis(kind: str) -> Iterator[str]:
    """The URL of a Redis that refuses connections, or accepts them and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        if kind == "refusing":
            server.close()
        yield f"redis://127.0.0.1:{port}/0"


@pytest.mark.parametrize("kind", ["refusing", "silent"])
def test_sending_without_redis_fails_within_seconds(kind, tmp_path):
    with no_redis(kind) as url:
        sender = subprocess.run(
            [sys.executable, "-c", SENDER_WITH_A_STOPWATCH],
            env=process_env(tmp_path, redis_url=url),
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
    assert sender.stderr == ""
    assert float(sender.stdout) < 5.0  # a second of time-outs; a busy machine may add to it


# Everything is loaded before the time is taken, so that it holds the waits and little else.
SENDER_WITH_A_STOPWATCH = """
import time, clientcaller
from celery.exceptions import OperationalError
clientcaller.celery_app.connection_for_write().transport
started_at = time.monotonic()
try:
    clientcaller.celery_app.send_task("tests.celery_tasks.log_word", ["hello"])
except OperationalError:
    print(time.monotonic() - started_at)
"""


def test_a_folder_that_cannot_be_used_raises_the_error_of_an_unavailable_broker(tmp_path):
    (tmp_path / "broker").write_text("a file where the folder should be")
    with (
        files(tmp_path) as connection,
        pytest.raises(OperationalError, match="Cannot use the folder of Celery's messages"),
    ):
        post(connection, "hello")


# --- Files -----------------------------------------------------------------------------------------------


def files(var_dir: Path) -> Connection:
    # The polling interval is 0: a reader that never pauses meets the writers and other readers at every moment.
    return Connection("files://localhost", transport_options={"folder": str(var_dir / "broker"), "polling_interval": 0})


def post(connection: Connection, *words: str) -> None:
    producer = connection.Producer()
    for word in words:
        producer.publish(word, exchange=QUEUE.exchange, routing_key=QUEUE.routing_key, declare=[QUEUE])


def waiting(connection: Connection) -> int:
    return QUEUE(connection.default_channel).queue_declare().message_count


def read(connection: Connection, *, until: threading.Event | None = None) -> list[str]:
    """Take the waiting messages; with ``until``, also those that arrive before the event is set."""
    words: list[str] = []
    with connection.Consumer(QUEUE, callbacks=[lambda body, message: (words.append(body), message.ack())]):
        while (until is not None and not until.is_set()) or waiting(connection):
            with suppress(TimeoutError):
                connection.drain_events(timeout=0.05)
    return words


def test_messages_are_read_in_the_order_in_which_they_were_sent(tmp_path):
    with files(tmp_path) as connection:
        words = [str(n) for n in range(50)]
        post(connection, *words)
        assert read(connection) == words
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_message_that_waits_already_is_not_added_again(tmp_path):
    with files(tmp_path) as connection:
        post(connection, *["dial"] * 300, *["tidy"] * 300)
        assert waiting(connection) == 2
        assert sorted(read(connection)) == ["dial", "tidy"]
        post(connection, "dial")
        assert read(connection) == ["dial"]


def test_each_message_is_read_once_and_whole_with_several_readers_and_writers(tmp_path):
    long = "x" * 100_000
    words = [[f"{writer}-{n} {long}" for n in range(100)] for writer in range(2)]
    received: list[str] = []
    all_written = threading.Event()

    def reader() -> None:
        with files(tmp_path) as connection:
            received.extend(read(connection, until=all_written))

    def writer(mine: list[str]) -> None:
        with files(tmp_path) as connection:
            post(connection, *mine)

    readers = [threading.Thread(target=reader) for _ in range(3)]
    writers = [threading.Thread(target=writer, args=(mine,)) for mine in words]
    for thread in (*readers, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    all_written.set()
    for thread in readers:
        thread.join()
    assert sorted(word.split()[0] for word in received) == sorted(word.split()[0] for word in words[0] + words[1])
    assert set(received) == {*words[0], *words[1]}


def test_files_older_than_an_hour_are_deleted(tmp_path):
    with files(tmp_path) as connection:
        post(connection, "old", "new")
        folder = tmp_path / "broker" / "celery"
        (folder / ".half-written").write_text("{")
        (folder / ".being-written").write_text("{")
        long_ago = time.time() - file_broker.MAX_AGE - 1
        old = min((path for path in folder.iterdir() if path.name[0] != "."), key=lambda path: path.stat().st_mtime_ns)
        for path in (old, folder / ".half-written"):
            os.utime(path, (long_ago, long_ago))
        post(connection, *["new"] * file_broker.MESSAGES_BETWEEN_CLEANUPS)
        assert read(connection) == ["new"]
        assert os.listdir(folder) == [".being-written"]


def test_an_empty_file_that_a_power_cut_left_is_skipped(tmp_path):
    with files(tmp_path) as connection:
        post(connection, "hello")
        (tmp_path / "broker" / "celery" / "0").touch()
        assert read(connection) == ["hello"]
        assert os.listdir(tmp_path / "broker" / "celery") == []


# --- Redis -----------------------------------------------------------------------------------------------


def test_a_full_queue_in_redis_drops_its_oldest_messages(own_redis: RedisServer, monkeypatch):
    monkeypatch.setattr(redis_broker, "MAX_QUEUE_MESSAGES", 10)
    clientcaller.celery_app.set_current()
    with Connection(own_redis.url) as connection:
        post(connection, *map(str, range(25)))
        assert waiting(connection) == 10
        assert read(connection) == [str(n) for n in range(15, 25)]


def test_each_periodic_message_expires_before_the_next_one_is_sent():
    for entry in settings.CELERY_BEAT_SCHEDULE.values():
        assert 0 < entry["options"]["expires"] <= entry["schedule"]
