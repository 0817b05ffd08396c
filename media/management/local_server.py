"""Runs the server as a process of its own for as long as a command needs it."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from django.conf import settings
from django.core.management.base import CommandError

READY_TIMEOUT = 180.0
"""Seconds until the server must be ready: enough to load models from a slow disk."""
STOP_TIMEOUT = 15.0
"""Seconds that the server has to stop before it is killed."""
POLL_SECONDS = 0.2
"""Seconds between two questions whether it is ready."""
LOG_LINES = 15
"""The lines of the server's log that an error shows."""


@contextmanager
def running_server(name: str, *, port: int = 0, variables: Mapping[str, str]) -> Iterator[str]:
    """
    Start the server, wait until it is ready, and stop it at the end. Yields its address.

    ``variables`` are added to its environment. Its log is ``<name>-server.log`` in ``VAR_DIR``. Port 0 is any free one.
    Raises ``CommandError`` with the end of the log if it does not get ready. A signal that would end this process ends
    the server first.
    """
    port = port or _free_port()
    log = Path(settings.VAR_DIR) / f"{name}-server.log"
    with _interrupted_by_signals():
        server = _start(port, log, variables)
        try:
            _await_ready(server, port, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            try:
                server.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def _interrupted_by_signals() -> Iterator[None]:
    """Let the ends that a terminal or a supervisor asks for be like Ctrl-C, so that the server is stopped as well."""
    before = {}
    with suppress(ValueError):  # not in the main thread
        before = {
            number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGTERM, signal.SIGHUP)
        }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _start(port: int, log: Path, variables: Mapping[str, str]) -> subprocess.Popen[bytes]:
    log.parent.mkdir(parents=True, exist_ok=True)
    added = [f"{name}={value}" for name, value in variables.items()]
    arguments = f"-u -m daphne -v 0 -b 127.0.0.1 -p {port} clientcaller.asgi:application"
    with log.open("wb") as output:
        # In a session of its own, so that Ctrl-C hangs up the call before the server stops.
        return subprocess.Popen(
            ["env", *added, sys.executable, *arguments.split()],
            cwd=settings.BASE_DIR,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def _await_ready(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + READY_TIMEOUT
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise CommandError(f"The server stopped while it was starting. The end of {log}:\n{_end_of(log)}")
        try:
            with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
                return
        except HTTPError as error:
            with error:
                if error.code != 503:  # it cannot even say what is missing
                    raise CommandError(
                        f"The server cannot take a call (HTTP {error.code}). The end of {log}:\n{_end_of(log)}"
                    ) from None
                if failed := _failed_engines(error.read()):
                    raise CommandError(f"The server cannot take a call: {failed}") from None
        except (URLError, OSError):
            pass
        time.sleep(POLL_SECONDS)
    raise CommandError(f"The server was not ready after {READY_TIMEOUT:.0f} s. The end of {log}:\n{_end_of(log)}")


def _failed_engines(answer: bytes) -> str:
    """The error of engines that did not start; empty while they are loading."""
    with suppress(ValueError):
        problems = json.loads(answer).get("problems", [])
        return next((problem for problem in problems if problem.startswith("engines:")), "")
    return ""


def _end_of(log: Path) -> str:
    """The last lines of a log, without those about the questions of this module."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if not line.endswith(": /readyz")]
    return "\n".join(lines[-LOG_LINES:])
