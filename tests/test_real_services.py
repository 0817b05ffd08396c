"""The servers and processes that other tests rely on."""

import os
import signal
import subprocess
import sys

import psycopg
import pytest
from django.db import connection
from redis import Redis
from redis.exceptions import ConnectionError

from tests import real_services
from tests.real_services import ROOT, NotInstalled, PostgresServer, RedisServer, migrate, process, process_env

WRITES_READY_AND_WAITS = ("sh", "-c", "echo starting; echo ready 7; sleep 60 & wait")


def test_the_option_chooses_the_database_of_django(request, db):
    assert connection.vendor == {"sqlite": "sqlite", "postgres": "postgresql"}[request.config.getoption("database")]


# --- Redis -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["stop", "kill"])
def test_redis_is_empty_at_the_same_address_after_a_restart(own_redis, ending):
    with Redis.from_url(own_redis.url) as client:
        client.set("key", "value")
        getattr(own_redis, ending)()
        with pytest.raises(ConnectionError):
            client.get("key")
        own_redis.start()
        assert client.get("key") is None


def test_two_redis_servers_share_no_data(redis_server, own_redis):
    with Redis.from_url(redis_server.url) as shared, Redis.from_url(own_redis.url) as own:
        own.set("only here", "1")
        assert shared.get("only here") is None


def test_the_error_without_redis_says_what_to_install(monkeypatch):
    monkeypatch.setattr(real_services, "_package", lambda name: None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(NotInstalled, match=r"requirements/dev\.txt"):
        RedisServer()


# --- PostgreSQL ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["stop", "kill"])
def test_postgresql_keeps_committed_data(own_postgres, ending):
    url = own_postgres.create_database("kept")
    with psycopg.connect(url) as client:
        client.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    getattr(own_postgres, ending)()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)
    own_postgres.start()
    with psycopg.connect(url) as client:
        assert client.execute("SELECT answer FROM kept").fetchall() == [(42,)]


def test_a_recreated_database_is_empty_even_if_a_client_is_connected(postgres_server):
    url = postgres_server.create_database("again")
    with psycopg.connect(url, autocommit=True) as client:
        client.execute("CREATE TABLE leftover (id int)")
        assert postgres_server.create_database("again") == url
        client.close()
    with psycopg.connect(url) as client:
        assert client.execute("SELECT to_regclass('leftover')").fetchone() == (None,)


def test_postgresql_runs_as_an_ordinary_user_and_listens_for_that_user_only(postgres_server):
    with psycopg.connect(postgres_server.url) as client:
        (folder,) = client.execute("SELECT current_setting('unix_socket_directories')").fetchone()
        assert client.execute("SELECT current_setting('listen_addresses')").fetchone() == ("",)
    assert os.stat(folder).st_uid != 0
    assert os.stat(folder).st_mode & 0o077 == 0


def test_the_error_without_postgresql_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(real_services, "_package", lambda name: tmp_path)
    monkeypatch.setattr(real_services, "DEBIAN", tmp_path)
    with pytest.raises(NotInstalled, match=r"requirements/dev\.txt"):
        PostgresServer()


# --- Processes -------------------------------------------------------------------------------------------


def test_wait_for_finds_the_line_of_a_process():
    with process(*WRITES_READY_AND_WAITS, env=os.environ) as program:
        assert program.wait_for(r"ready (\d)")[1] == "7"
        assert program.running
        assert program.text == "starting\nready 7"


def test_a_process_that_ends_without_the_line_is_reported_with_its_output():
    with (
        process("sh", "-c", "echo sorry; exit 3", env=os.environ) as program,
        pytest.raises(AssertionError, match=r"sh ended without writing 'ready'\. It wrote:\nsorry"),
    ):
        program.wait_for("ready")
    assert program.wait() == 3


def test_a_process_and_its_children_end_with_the_block():
    with process(*WRITES_READY_AND_WAITS, env=os.environ) as program:
        program.wait_for("ready")
    program.wait_for_group()
    assert program.wait() == -signal.SIGKILL


def test_processes_end_when_the_tests_are_killed(tmp_path):
    fifo = tmp_path / "held open by the grandchild"
    os.mkfifo(fifo)
    tests = """
import os, signal, sys
from tests.real_services import Process
Process("sh", "-c", 'exec 3>"$1"; echo ready; sleep 60', "sh", sys.argv[1], env=os.environ).wait_for("ready")
os.kill(os.getpid(), signal.SIGKILL)
"""
    with subprocess.Popen([sys.executable, "-c", tests, fifo], env=process_env(tmp_path), cwd=ROOT) as killed:
        assert fifo.read_bytes() == b""  # returns when the grandchild has ended
    assert killed.returncode == -signal.SIGKILL


def test_a_process_of_the_project_does_not_inherit_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("TWILIO_AUTH_TOKEN", "a real token")
    env = process_env(tmp_path, redis_url="redis://127.0.0.1:1/0", MAX_LIVE_CALLS="7")
    assert "TWILIO_AUTH_TOKEN" not in env
    assert (env["VAR_DIR"], env["REDIS_URL"], env["MAX_LIVE_CALLS"]) == (str(tmp_path), "redis://127.0.0.1:1/0", "7")


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_a_process_of_the_project_uses_the_migrated_database(database, request, tmp_path):
    url = ""
    if database == "postgres":
        url = request.getfixturevalue("postgres_server").create_database("of_a_process")
    env = process_env(tmp_path, database_url=url)
    migrate(env)
    program = "import django; django.setup(); from calls.models import Agent; from django.db import connection\n"
    program += "print('agents:', Agent.objects.count(), connection.vendor)"
    with process(sys.executable, "-c", program, env=env) as finished:
        assert finished.wait_for(r"agents: 1 (\w+)")[1].startswith(database)
