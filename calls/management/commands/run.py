"""``manage.py run``: everything that one machine needs, in one window."""

import os
import signal
import subprocess
import sys
import threading
from argparse import ArgumentParser
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from queue import SimpleQueue
from typing import IO, Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

PATIENCE = 15.0
"""Seconds that a process gets to end what it is doing."""


_WORKER = ("worker", "--beat", "--without-mingle", "--without-gossip")


class Command(BaseCommand):
    help = (
        "Run the web server (with reload), the Celery worker with its beat, and, as long as no Twilio account is set, "
        "the simulated telephone network. Ctrl-C ends them all."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("address", nargs="?", default="127.0.0.1:8000", help="where to listen (127.0.0.1:8000)")
        parser.add_argument("--no-network", action="store_true", help="without the simulated telephone network")

    def handle(self, address: str, no_network: bool, **_: Any) -> None:
        python = [sys.executable, "-u"]
        manage = [*python, sys.argv[0]]
        commands = {
            "web": [*manage, "runserver", address],
            "worker": [*python, "-m", "celery", "-A", "clientcaller", *_WORKER],
        }
        if settings.SIMULATED and not no_network:
            commands["network"] = [*manage, "network", "--app-url", f"http://{address}"]
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        ended = run_together(commands, out=self.stdout)
        if ended:
            raise CommandError(f"{ended} has ended by itself, so the others were stopped. Its last lines say why.")


def run_together(commands: Mapping[str, Sequence[str]], *, out: Any) -> str:
    """
    Run these until one ends or Ctrl-C comes, then stop the rest. Returns the name of the one that ended, if one did.

    Their lines go to ``out`` with the name in front.
    """
    ends: SimpleQueue[str] = SimpleQueue()
    writing = threading.Lock()
    width = max(map(len, commands))
    running: dict[str, subprocess.Popen[str]] = {}
    readers: list[threading.Thread] = []

    def pass_on(name: str, lines: IO[str]) -> None:
        with lines:
            for line in lines:
                with writing:
                    out.write(f"{name:<{width}} | {line.rstrip()}")
        ends.put(name)

    try:
        for name, command in commands.items():
            # A session of its own: Ctrl-C reaches it from here only, once, and with its children.
            running[name] = process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
            )
            assert process.stdout is not None
            readers.append(threading.Thread(target=pass_on, args=(name, process.stdout), daemon=True))
            readers[-1].start()
        return ends.get()
    except KeyboardInterrupt:
        return ""
    finally:
        _stop(running.values())
        for reader in readers:
            reader.join(PATIENCE)


def _stop(processes: Collection[subprocess.Popen[str]]) -> None:
    """Ask them to end, all at once, and insist where that does not help, or where somebody is impatient."""
    try:
        _signal(processes, signal.SIGTERM)
        for process in processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE)
    except KeyboardInterrupt:
        pass
    finally:
        _signal(processes, signal.SIGKILL)
        for process in processes:
            process.wait()


def _signal(processes: Collection[subprocess.Popen[str]], number: signal.Signals) -> None:
    """To each with its children, which may outlive it."""
    for process in processes:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
