"""
``manage.py migrate``, which processes may run at once: one migrates, and the others wait for it.

The lock ends with the process that holds it, however that ends. Nothing needs to be removed by hand.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from django.core.management.base import CommandError, CommandParser, OutputWrapper
from django.core.management.commands import migrate
from django.db import Error, connections
from django.db.backends.base.base import BaseDatabaseWrapper

WAIT = 600.0
"""Seconds to wait for another process. A migration takes seconds, but minutes if it rewrites a large table."""
POLL = 0.25
"""
Seconds between two attempts to take the lock. A process that waits inside a query instead would hold a snapshot of
the database, for which ``CREATE INDEX CONCURRENTLY`` of the process that migrates would wait.
"""
LOCK_ID = 0x636C69656E74
"""The number of the advisory lock. It means something in one database only, so databases of one server are apart."""


class Command(migrate.Command):
    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--wait",
            type=float,
            default=WAIT,
            metavar="SECONDS",
            help=f"how long to wait while another process migrates the database (default {WAIT:g})",
        )

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Hold the lock for the system checks too: on SQLite they wait for a writer, and a migration is one."""
        if options["plan"] or options["check_unapplied"]:  # they change nothing
            return super().execute(*args, **options)
        if options.get("stderr"):
            self.stderr = OutputWrapper(options["stderr"])
        with _lock(connections[options["database"]]) as try_lock:
            self._wait(try_lock, options.get("wait", WAIT))
            return super().execute(*args, **options)

    def _wait(self, try_lock: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        if try_lock():
            return
        self.stderr.write(f"Another process is migrating the database. Waiting for it, {seconds:g} s at most.")
        while not try_lock():
            if time.monotonic() >= deadline:
                raise CommandError(
                    f"Another process has been migrating the database for more than {seconds:g} s, so this one did "
                    "nothing. See whether that process is stuck, or wait longer with --wait SECONDS."
                )
            time.sleep(POLL)


@contextmanager
def _lock(connection: BaseDatabaseWrapper) -> Iterator[Callable[[], bool]]:
    """Yields a function that tries to take the lock and says whether it did. The end of the block releases it."""
    if connection.vendor == "postgresql":
        with _advisory_lock(connection) as try_lock:
            yield try_lock
    elif path := _file_of(connection):
        with _file_lock(f"{path}.migrating") as try_lock:
            yield try_lock
    else:
        yield lambda: True


def _file_of(connection: BaseDatabaseWrapper) -> str:
    """The path of SQLite's file; empty for other databases, and for those in memory, which no other process has."""
    name = str(connection.settings_dict["NAME"])
    is_file = connection.vendor == "sqlite" and name != ":memory:" and not name.startswith("file:")
    return name if is_file and os.path.isdir(os.path.dirname(name) or ".") else ""


_KEEP_OPEN = """
    SELECT set_config(name, '0', true) FROM pg_settings
    WHERE name IN ('idle_in_transaction_session_timeout', 'transaction_timeout')
"""
"""Whatever limits the server sets, they do not end the transaction that holds the lock. Not each version has both."""


@contextmanager
def _advisory_lock(connection: BaseDatabaseWrapper) -> Iterator[Callable[[], bool]]:
    """
    The lock belongs to a connection of its own, because a migration may close or replace the other one, and to one
    transaction that stays open: a pooler such as PgBouncer may give a session to somebody else after each transaction.
    ``READ COMMITTED`` has no snapshot between two queries, for which ``CREATE INDEX CONCURRENTLY`` would wait.
    """
    own = connection.copy()
    held = False

    def try_lock() -> bool:
        nonlocal held
        if not held:
            own.set_autocommit(False)
            with own.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
                cursor.execute(_KEEP_OPEN)
                cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [LOCK_ID])
                held = bool(cursor.fetchone()[0])
            if not held:
                own.rollback()
        return held

    try:
        yield try_lock
        if held:
            with suppress(Error):  # the connection broke: the lock has ended, and the migration has not failed
                own.rollback()  # if the connection belongs to a pool, it outlives this block
                own.set_autocommit(True)
    finally:
        own.close()


@contextmanager
def _file_lock(path: str) -> Iterator[Callable[[], bool]]:
    """The file stays there: if it were deleted, two processes could hold locks of two files of one name."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def try_lock() -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    try:
        yield try_lock
    finally:
        os.close(descriptor)
