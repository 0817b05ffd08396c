"""Checks of what a deployment writes to: the database, Redis, the storage of recordings, and the disk."""

from __future__ import annotations

import os
import secrets
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import redis
from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import DatabaseError, InterfaceError, NotSupportedError, connection
from django.db.migrations.executor import MigrationExecutor

from clientcaller.doctor.deployment import Deployment
from clientcaller.doctor.registry import Finding, NotChecked, check, green, red, yellow

TRIES = 5
"""Requests whose median is the latency that is reported."""
SLOW_DATABASE = 0.020
"""Seconds: a callback asks the database ten times before it answers."""
SLOW_REDIS = 0.010
"""Seconds: with engines in workers, each word and each piece of sound passes through Redis."""
OLDEST_REDIS = (6, 2)
"""The oldest version with which the project is tested."""
REDIS_TIMEOUT = 3.0
FULL_MEMORY = 0.9
"""The share of its memory above which a Redis is nearly full."""
FULL_CONNECTIONS = 0.8
"""The share of its connections above which a PostgreSQL is nearly full."""
RECORDING_BYTES = 32_000
"""Bytes of a second of a recording."""
LEAST_FREE, LITTLE_FREE = 256 << 20, 2 << 30
"""Bytes: below the first recordings are dropped soon, below the second an operator should know."""
LEAST_FILES = 10_000
"""Files that a disk must still have room for."""


def latency(ask: Callable[[], object]) -> float:
    """Seconds that this takes, the median of some tries."""
    times = []
    for _ in range(TRIES):
        begun = time.perf_counter()
        ask()
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def milliseconds(seconds: float) -> str:
    digits = 2 if seconds < 0.001 else 1 if seconds < 0.01 else 0
    return f"{1000 * seconds:.{digits}f} ms"


def in_short(error: Exception) -> str:
    """The first line of an error."""
    return " ".join(str(error).strip().partition("\n")[0].split())[:200] or type(error).__name__


# --- The database ------------------------------------------------------------------------------------------


@check("database", about="the database answers, in a version that is supported")
def check_database(deployment: Deployment) -> Iterator[Finding]:
    try:
        connection.ensure_connection()
        connection.check_database_version_supported()
        took = latency(lambda: _ask("SELECT 1"))
    except NotSupportedError as error:
        yield red(in_short(error), "Install a newer version, and move the data with pg_dump and pg_restore.")
        return
    except (DatabaseError, InterfaceError) as error:
        remedy = "Start the database, or correct DATABASE_URL: host, port, name, user and password."
        yield red(f"the database does not answer: {in_short(error)}", remedy)
        return
    version = ".".join(map(str, connection.get_database_version()))
    text = f"{connection.display_name} {version} answers within {milliseconds(took)}"
    if took > SLOW_DATABASE:
        yield yellow(text, "Callbacks are slow: put the database near the web processes.")
    else:
        yield green(text)
    if connection.vendor == "postgresql":
        yield from _postgres()


def _ask(query: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchone()[0]


def _postgres() -> Iterator[Finding]:
    if _ask("SHOW transaction_read_only") == "on":
        yield red("the database can only be read", "Connect to the primary and not to a replica (DATABASE_URL).")
    if (encoding := _ask("SHOW server_encoding")) != "UTF8":
        text = f"the database has the encoding {encoding}, in which words of many languages cannot be stored"
        yield red(text, "Create it anew with ENCODING 'UTF8' and restore the data into it.")
    most, used = int(_ask("SHOW max_connections")), int(_ask("SELECT count(*) FROM pg_stat_activity"))
    if used > FULL_CONNECTIONS * most:
        text = f"{used} of the {most} connections of PostgreSQL are in use"
        yield yellow(text, "Raise max_connections, or put PgBouncer between.")


@check("migrations", about="the tables are those of this version", needs=("database",))
def check_migrations(deployment: Deployment) -> Iterator[Finding]:
    executor = MigrationExecutor(connection)
    missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    known = executor.loader.disk_migrations
    apps = {app for app, _ in known}
    newer = sorted(f"{app} {name}" for app, name in executor.loader.applied_migrations if app in apps)
    newer = [one for one in newer if tuple(one.split()) not in known and not _was_replaced(executor, one)]
    if missing:
        first = missing[0][0]
        text = f"{len(missing)} migrations are missing, the first: {first.app_label} {first.name}"
        yield red(text, "Run manage.py migrate, and then restart the processes.")
    elif newer:
        text = f"the database is ahead of this version: {newer[-1]}"
        yield yellow(text, "Expected during an update. Otherwise this is an old version: update it.")
    else:
        yield green("all are applied")


def _was_replaced(executor: MigrationExecutor, one: str) -> bool:
    app, name = one.split()
    return any((app, name) in migration.replaces for migration in executor.loader.disk_migrations.values())


# --- Redis -------------------------------------------------------------------------------------------------


@check("redis", about="Redis answers quickly and loses nothing")
def check_redis(deployment: Deployment) -> Iterator[Finding]:
    if not settings.REDIS_URL:
        raise NotChecked("REDIS_URL is not set: all processes run on this machine and do without it")
    client = redis.Redis.from_url(
        settings.REDIS_URL, socket_connect_timeout=REDIS_TIMEOUT, socket_timeout=REDIS_TIMEOUT
    )
    try:
        took = latency(client.ping)
        info: Any = client.info()
    except redis.AuthenticationError as error:
        yield red(f"Redis refuses the login: {in_short(error)}", "Put its user and password into REDIS_URL.")
        return
    except (redis.RedisError, OSError) as error:
        yield red(f"Redis does not answer: {in_short(error)}", "Start Redis, or correct REDIS_URL and its firewall.")
        return
    finally:
        client.close()
    version = str(info.get("redis_version", "0"))
    text = f"Redis {version} answers within {milliseconds(took)}"
    if took > SLOW_REDIS:
        yield yellow(text, "Words and sound pass through it: put it near the web processes and the workers.")
    else:
        yield green(text)
    yield from _redis_faults(info, version)


def _redis_faults(info: dict[str, Any], version: str) -> Iterator[Finding]:
    numbers = [int(part) if part.isdecimal() else 0 for part in version.split(".")[:2]]
    if tuple(numbers) < OLDEST_REDIS:
        yield yellow(f"Redis {version} is older than 6.2, with which this is tested", "Update Redis.")
    if info.get("role") not in ("master", None):
        yield red("it is a replica, to which nothing can be written", "Name the primary in REDIS_URL.")
    if info.get("cluster_enabled"):
        yield red("it is a cluster, which Celery and Channels cannot use", "Use a Redis that is no cluster.")
    policy, most = str(info.get("maxmemory_policy", "noeviction")), int(info.get("maxmemory", 0))
    if policy != "noeviction" and most:
        text = f"when its memory is full, Redis deletes messages of calls (maxmemory-policy {policy})"
        yield red(text, "Set maxmemory-policy noeviction, and give it more memory if it is full.")
    if most and int(info.get("used_memory", 0)) > FULL_MEMORY * most:
        yield yellow(f"it uses {100 * int(info['used_memory']) // most} % of its memory", "Raise maxmemory.")


# --- Files -------------------------------------------------------------------------------------------------


@check("storage", about="recordings can be stored, read and deleted")
def check_storage(deployment: Deployment) -> Iterator[Finding]:
    content = secrets.token_bytes(1000)
    begun = time.perf_counter()
    try:
        name = default_storage.save(f"doctor-{secrets.token_hex(8)}.bin", ContentFile(content))
    except Exception as error:
        yield red(f"recordings cannot be written: {in_short(error)}", "Give the server's user the right to write.")
        return
    is_encrypted = None
    try:
        with default_storage.open(name) as stored:
            same = stored.read() == content
        storage: Any = default_storage
        if getattr(storage, "keys", None):
            is_encrypted = storage.key_id_of(name) == storage.first_key_id
    except Exception as error:
        yield red(f"what was written cannot be read: {in_short(error)}", "Look at its rights, keys and bucket.")
        return
    finally:
        deleted = _delete(name)
    took = milliseconds(time.perf_counter() - begun)
    if not same:
        yield red("what is read is not what was written", "Look at the storage: something changes its files.")
    elif is_encrypted is False:
        yield red("RECORDING_KEYS is set, but the file was not encrypted", "Look at STORAGES in the settings.")
    else:
        how = "encrypted" if is_encrypted else "as they are (RECORDING_KEYS is not set)"
        yield green(f"recordings are stored {how}; written, read and deleted within {took}")
    if not deleted:
        yield yellow(f"{name} cannot be deleted", "Give the right to delete, or retention deletes no recording.")


def _delete(name: str) -> bool:
    try:
        default_storage.delete(name)
        return not default_storage.exists(name)
    except Exception:
        return False


@check("disk", about="there is room for recordings and the spool")
def check_disk(deployment: Deployment) -> Iterator[Finding]:
    seen: set[int] = set()
    for setting, folder in (("VAR_DIR", Path(settings.VAR_DIR)), ("the spool", Path(settings.SPOOL_DIR))):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            probe = folder / f".doctor-{secrets.token_hex(8)}"
            probe.write_bytes(b"doctor")
            probe.unlink()
        except OSError as error:
            text = f"{setting} cannot be written: {error.strerror or error}"
            yield red(text, f"Give the server's user the right to write to {folder}.")
            continue
        status = folder.stat()
        if status.st_uid != os.geteuid():
            text = f"{setting} belongs to another user than the one who runs this"
            yield yellow(text, "Run manage.py doctor as the user of the server, who may have other rights.")
        if status.st_dev in seen:
            continue
        seen.add(status.st_dev)
        yield _judge_room(setting, folder)


def _judge_room(setting: str, folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    hours = free / RECORDING_BYTES / 3600
    text = f"{setting} has {free / 1e9:.1f} GB left, room for {hours:.0f} hours of recordings"
    files = os.statvfs(folder)
    if free < LEAST_FREE:
        return red(text, "Make room: recordings of calls are dropped when the disk is full.")
    if files.f_files and files.f_favail < LEAST_FILES:
        return red(f"{setting} has room for {files.f_favail} more files only", "Delete files, or use another disk.")
    if free < LITTLE_FREE:
        return yellow(text, "Make room, or set RETENTION_RECORDINGS_DAYS.")
    return green(text)
