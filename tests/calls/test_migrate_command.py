"""``manage.py migrate`` of several processes at once: one migrates, and the others wait for it."""

import fcntl
import io
import sys
from contextlib import closing, contextmanager

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from calls.management.commands import migrate
from tests.real_services import process, process_env

MIGRATE_IN_FOUR_PROCESSES = """
import os, signal, django
django.setup()
from django.core.management import execute_from_command_line
from django.db.models.signals import pre_migrate

def migrate(*, killed):
    if child := os.fork():
        return child
    if killed:
        pre_migrate.connect(lambda **_: os.kill(os.getpid(), signal.SIGKILL), weak=False)
    execute_from_command_line(["manage.py", "migrate", "--verbosity", "0"])
    os._exit(0)  # without what the parent has to clean up; an error has raised before

print("the first:", os.waitstatus_to_exitcode(os.waitpid(migrate(killed=True), 0)[1]))
others = [migrate(killed=False) for _ in range(3)]
print("the others:", *(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in others))
"""


@pytest.fixture(params=["sqlite", "postgres"])
def empty_database(request, tmp_path):
    """The environment of processes that have an empty database."""
    url = ""
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_server").create_database("to_migrate")
    return process_env(tmp_path, database_url=url)


def test_three_processes_migrate_at_once_after_one_that_was_killed_while_it_migrated(empty_database):
    with process(sys.executable, "-c", MIGRATE_IN_FOUR_PROCESSES, env=empty_database) as processes:
        processes.wait_for("the first: -9")
        processes.wait_for("the others: 0 0 0")


@contextmanager
def another_process_migrating():
    """Hold the lock of the test database as another process would."""
    if connection.vendor == "postgresql":
        with closing(connection.copy()) as another, another.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s)", [migrate.LOCK_ID])
            yield
    else:
        with open(f"{connection.settings_dict['NAME']}.migrating", "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


@pytest.mark.django_db
def test_a_process_that_waited_too_long_says_what_to_do_and_changes_nothing():
    told = io.StringIO()
    with another_process_migrating(), pytest.raises(CommandError, match=r"for more than 0 s.* --wait SECONDS"):
        call_command("migrate", "--wait", "0", stderr=told)
    assert "Waiting for it, 0 s at most." in told.getvalue()


@pytest.mark.skipif(connection.vendor != "postgresql", reason="a lock of PostgreSQL")
@pytest.mark.django_db
def test_the_lock_is_that_of_one_open_transaction_without_a_snapshot():
    """So it holds behind a pooler that shares sessions, and no ``CREATE INDEX CONCURRENTLY`` waits for it."""
    with migrate._lock(connection) as try_lock, connection.cursor() as cursor:
        assert try_lock()
        assert try_lock()
        cursor.execute(
            "SELECT state, backend_xmin, backend_xid FROM pg_locks JOIN pg_stat_activity USING (pid) "
            "WHERE locktype = 'advisory' AND (classid::bigint << 32) + objid::bigint = %s",
            [migrate.LOCK_ID],
        )
        assert cursor.fetchall() == [("idle in transaction", None, None)]
        with migrate._lock(connection) as another:
            assert not another()
    with migrate._lock(connection) as next_one:
        assert next_one()


@pytest.mark.django_db
@pytest.mark.parametrize("option", ["--check", "--plan"])
def test_what_changes_nothing_waits_for_nobody(option):
    with another_process_migrating():
        call_command("migrate", option, "--wait", "0", stdout=io.StringIO())
