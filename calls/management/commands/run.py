"""``manage.py run``: run all processes that one machine needs, in one terminal."""

import os
import signal
import subprocess
import sys
import threading
from argparse import ArgumentParser
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import IO, Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, OutputWrapper

PATIENCE = 15.0
"""Seconds that a process gets to end by itself before it is killed."""
LOOK_EVERY = 0.5
"""Seconds after which the wait for an end begins anew. Ctrl-C in the moment before a wait begins does not interrupt it,
and would have no effect until a process ends."""
_WORKER = ("worker", "--beat", "--without-mingle", "--without-gossip")


class Command(BaseCommand):
    help = (
        "Run the web server (with reload), the Celery worker with its beat, and the simulated telephone network unless "
        "a Twilio account is set. Ctrl-C stops them all."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "address", nargs="?", default="127.0.0.1:8000", help="where to listen (default: 127.0.0.1:8000)"
        )
        parser.add_argument("--no-network", action="store_true", help="do not run the simulated telephone network")

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
            raise CommandError(f"`{ended}` ended by itself, so the others were stopped. Its last lines say why.")


def run_together(commands: Mapping[str, Sequence[str]], *, out: OutputWrapper) -> str:
    """
    Run these commands until one ends or Ctrl-C is pressed, then stop the rest.

    Returns the name of the one that ended, or an empty string after Ctrl-C. The commands' output is written to ``out``,
    each line after the name of its command.
    """
    ends: SimpleQueue[str] = SimpleQueue()
    writing = threading.Lock()
    width = max(map(len, commands))
    running: dict[str, subprocess.Popen[str]] = {}
    readers: list[threading.Thread] = []

    def copy_lines(name: str, lines: IO[str]) -> None:
        with lines:
            for line in lines:
                with writing:
                    out.write(f"{name:<{width}} | {line.rstrip()}")
        ends.put(name)

    try:
        for name, command in commands.items():
            # In a session of its own, so that only this process passes Ctrl-C on, once, and to its children as well.
            running[name] = process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
            )
            assert process.stdout is not None
            readers.append(threading.Thread(target=copy_lines, args=(name, process.stdout), daemon=True))
            readers[-1].start()
        while True:
            with suppress(Empty):
                return ends.get(timeout=LOOK_EVERY)
    except KeyboardInterrupt:
        return ""
    finally:
        _stop(running.values())
        for reader in readers:
            reader.join(PATIENCE)


def _stop(processes: Collection[subprocess.Popen[str]]) -> None:
    """Ask all processes to end. Kill them if they do not, or at once if Ctrl-C is pressed again."""
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
    """Send a signal to each process and to its children, which may outlive it."""
    for process in processes:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
