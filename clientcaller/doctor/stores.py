"""Checks of what a deployment writes to: the database, Redis, the storage of recordings, and the disk."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import DatabaseError, InterfaceError, NotSupportedError, connection
from django.db.migrations.executor import MigrationExecutor
from redis.backoff import NoBackoff
from redis.exceptions import NoPermissionError
from redis.retry import Retry

from clientcaller.doctor.deployment import Deployment
from clientcaller.doctor.registry import Finding, NotChecked, check, green, red, yellow
from clientcaller.web import open_files

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


@dataclass(frozen=True, slots=True)
class RedisUse:
    """A Redis that the settings name."""

    url: str
    setting: str
    """Which setting or settings name it, in words."""
    keeps: bool
    """Whether keys are written to it. Through one of streams alone messages only pass."""


def redis_uses() -> list[RedisUse]:
    """Each Redis of the settings once, that of ``REDIS_URL`` first."""
    named: dict[str, list[str]] = {}
    if settings.REDIS_URL:
        named[settings.REDIS_URL] = ["REDIS_URL"]
    broker = settings.CELERY_BROKER_URL
    brokers = [url for url in broker.split(";") if url.startswith(("redis://", "rediss://", "redis+socket://"))]
    for setting, urls in (("CELERY_BROKER_URL", brokers), ("STREAM_REDIS_URL", settings.STREAM_REDIS_URLS)):
        for number, url in enumerate(urls, start=1):
            if url != settings.REDIS_URL:
                name = f"number {number} of {setting}" if len(urls) > 1 else setting
                named.setdefault(url, []).append(name)
    streams_only = {*settings.STREAM_REDIS_URLS} - {settings.REDIS_URL, *brokers}
    return [RedisUse(url, " and ".join(names), url not in streams_only) for url, names in named.items()]


@check("redis", about="each Redis answers quickly and loses nothing")
def check_redis(deployment: Deployment) -> Iterator[Finding]:
    uses = redis_uses()
    if not uses:
        raise NotChecked("REDIS_URL is not set: all processes run on this machine and do without it")
    with ThreadPoolExecutor(len(uses)) as pool:  # at once, because each that does not answer takes its time-out
        for findings in pool.map(_look_at_redis, uses):
            yield from findings


def _redis_client(use: RedisUse) -> redis.Redis:
    # Kombu has its own scheme for sockets, and Python's names for the verification of certificates.
    url = re.sub(r"^redis\+socket:", "unix:", use.url)
    url = re.sub(r"(?<=ssl_cert_reqs=)CERT_(\w+)", lambda found: found[1].lower(), url)
    return redis.Redis.from_url(
        url,
        socket_connect_timeout=REDIS_TIMEOUT,
        socket_timeout=REDIS_TIMEOUT,
        retry=Retry(NoBackoff(), 0),
        # Without its name the first command is PING, so that the answer of another kind of server is an error.
        driver_info=None,
    )


def _look_at_redis(use: RedisUse) -> list[Finding]:
    try:
        client = _redis_client(use)
    except ValueError:  # its text may contain a part of the password
        return [red(f"{use.setting} is not the URL of a Redis", "Write it as rediss://user:password@host:6379/0.")]
    try:
        took = latency(client.ping)
        info: Any = client.info()
        refusal = _try_to_use(client, use)
    except (redis.RedisError, OSError) as error:
        return [_why_not(error, use)]
    finally:
        client.close()
    version = str(info.get("redis_version", "0"))
    text = f"Redis {version} answers within {milliseconds(took)} ({use.setting})"
    if took > SLOW_REDIS:
        first = yellow(text, "Words and sound pass through it: put it near the web processes and the workers.")
    else:
        first = green(text)
    return [first, *_redis_faults(info, version, use, refusal)]


def _why_not(error: Exception, use: RedisUse) -> Finding:
    text = f"({use.setting}): {in_short(error)}"
    match error:
        case redis.AuthenticationError():
            return red(f"Redis refuses the login {text}", f"Put its user and password into {use.setting}.")
        case NoPermissionError():
            return red(f"Redis refuses commands to this user {text}", "Give it +@all, ~* and &* by ACL SETUSER.")
        case redis.InvalidResponse():
            return red(f"what answers is no Redis {text}", f"Correct host and port in {use.setting}.")
        case redis.ResponseError():
            return red(f"Redis refuses to work {text}", f"Correct {use.setting}, or look at the log of Redis.")
    remedy = f"Start Redis, or correct {use.setting} (host, port, rediss:// for TLS) and its firewall."
    return red(f"Redis does not answer {text}", remedy)


def _try_to_use(client: redis.Redis, use: RedisUse) -> redis.ResponseError | None:
    """Write a key, or publish a message if there are streams alone; return why Redis refuses that, if it does."""
    name = f"clientcaller-doctor-{secrets.token_hex(8)}"
    try:
        if use.keeps:
            client.set(name, "1", ex=10)
            client.delete(name)
        else:
            client.publish(name, "1")
    except NoPermissionError:
        raise
    except redis.ResponseError as error:
        return error
    return None


def _redis_faults(
    info: dict[str, Any], version: str, use: RedisUse, refusal: redis.ResponseError | None
) -> Iterator[Finding]:
    numbers = [int(part) if part.isdecimal() else 0 for part in version.split(".")[:2]]
    where = f"({use.setting})"
    if tuple(numbers) < OLDEST_REDIS:
        yield yellow(f"Redis {version} is older than 6.2, with which this is tested {where}", "Update Redis.")
    is_replica = info.get("role") not in ("master", None)
    if is_replica:
        yield red(f"Redis is a replica, to which nothing can be written {where}", f"Name the primary in {use.setting}.")
    if info.get("cluster_enabled"):
        text = f"Redis is a cluster, which Celery and Channels cannot use {where}"
        yield red(text, "Use a Redis that is no cluster.")
    elif isinstance(refusal, redis.OutOfMemoryError):
        text = f"the memory of Redis is full, and it refuses what is written {where}"
        yield red(text, "Raise maxmemory, or find what fills it with redis-cli --bigkeys.")
    elif refusal and not is_replica:
        text = f"Redis refuses what is written {where}: {in_short(refusal)}"
        yield red(text, "Look at the log of Redis: its disk may be full, or replicas that it needs are missing.")
    if not use.keeps:
        return
    policy, most = str(info.get("maxmemory_policy", "noeviction")), int(info.get("maxmemory", 0))
    if policy != "noeviction" and most:
        text = f"when its memory is full, Redis deletes messages of calls (maxmemory-policy {policy}) {where}"
        yield red(text, "Set maxmemory-policy noeviction, and give it more memory if it is full.")
    if most and int(info.get("used_memory", 0)) > FULL_MEMORY * most and refusal is None:
        share = 100 * int(info["used_memory"]) // most
        yield yellow(f"Redis uses {share} % of its memory {where}", "Raise maxmemory.")


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


@check("open-files", about="the web process may open as many files as its connections need")
def check_open_files(deployment: Deployment) -> Iterator[Finding]:
    allowed, needed = open_files.files_allowed(), open_files.files_needed()
    text = f"a process that is started as this one may open {allowed} files"
    if allowed < needed:
        yield yellow(f"{text}, and MAX_LIVE_CALLS needs {needed}", f"Raise the limit: {open_files.HOW_TO_RAISE}.")
    else:
        yield green(text)


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
