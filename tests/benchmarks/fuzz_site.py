"""The server that ``tests/benchmarks/fuzz.py`` sends odd things to, and what came of them. It needs no Django."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.request import urlopen

from tests.real_services import Process

SHARES = (10, 25, 50, 75, 100)
"""Per cent of the messages at which the memory is read."""
MOST_GROWTH_MB = 8.0
"""By which the memory in use may grow from 50 % to 100 %, in which nothing is loaded any more."""
PATIENCE = 60.0
"""Seconds for one answer."""
RECORDS_PATIENCE = 300.0
"""Seconds until the streams of a batch are on record: a busy server works off what their sockets have sent before."""
LOOK_INTERVAL = 0.05
"""Seconds between two looks at whether the server is ready, or the streams are on record."""
BEFORE, BEHIND = 5, 60
"""Lines of the log that are shown before and from the first line of a traceback."""


class Fault(Exception):
    """The server did what it must not do."""


class Memory(NamedTuple):
    """Resident memory of the server in MB, while no socket is open."""

    peak: float
    """As it is. It holds what was freed too, so it shows the most that was ever in use."""
    in_use: float
    """Behind the return of what was freed."""

    def __str__(self) -> str:
        return f"{self.in_use:.1f} MB in use, {self.peak:.1f} MB with what was freed"


@dataclass
class Site:
    """The server under test, and what was sent to it."""

    port: int
    process: Process
    sent: Counter[str] = field(default_factory=Counter)
    """Messages and requests, by kind."""
    answers: dict[str, Counter[Any]] = field(default_factory=dict)
    """How each kind of sockets and requests was answered."""
    memory: dict[str, dict[int, Memory]] = field(default_factory=dict)
    """By what was sent and by share of it in per cent."""

    def note(self, kind: str, answer: object) -> None:
        self.answers.setdefault(kind, Counter())[str(answer)] += 1

    def note_memory(self, what: str, done: float) -> None:
        """Read the memory, if a share is reached; ``done`` is from 0 to 1."""
        sizes = self.memory.setdefault(what, {})
        reached = [share for share in SHARES if share not in sizes and done * 100 >= share]
        if reached:
            peak = self.resident_mb()
            self.return_free_memory()
            sizes |= dict.fromkeys(reached, Memory(peak, self.resident_mb()))

    def return_free_memory(self) -> None:
        os.kill(self.process.pid, signal.SIGUSR1)
        # The thread that reads requests handles the signal first. It does not matter how it answers.
        with suppress(HTTPError), urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=PATIENCE):
            pass

    def resident_mb(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024

    def check(self) -> None:
        if not self.process.running:
            raise Fault("the process has ended")
        lines = self.process.lines
        for at, line in enumerate(lines):
            if "Traceback" in line:
                around = "\n".join(lines[max(0, at - BEFORE) : at + BEHIND])
                raise Fault(f"a traceback is in the log:\n{around}")

    def check_memory(self) -> None:
        for what, sizes in self.memory.items():
            if sizes[100].in_use - sizes[50].in_use > MOST_GROWTH_MB:
                course = "; ".join(f"{share} %: {size}" for share, size in sizes.items())
                raise Fault(f"{what}: the memory in use has grown by more than {MOST_GROWTH_MB:g} MB: {course}")


async def exchange(port: int, request: Any) -> tuple[int, bytes]:
    """Send the request. Returns the status, 0 if the connection was closed without an answer, and the body."""
    target = request.target.encode("latin-1", "replace").replace(b" ", b"%20")
    head = b"%s %s HTTP/1.1\r\n" % (request.method.encode(), target)
    head += b"".join(b"%s: %s\r\n" % header for header in request.headers) + b"connection: close\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = b""
    try:
        writer.write(head)
        for chunk in request.chunks:
            writer.write(chunk)
        async with asyncio.timeout(PATIENCE):
            await writer.drain()
            answer = await reader.read()
    except ConnectionError:
        pass  # a large body is refused before it was read
    except TimeoutError:
        raise Fault(f"a request was not answered: {request}") from None
    finally:
        writer.transport.abort()
    found = re.match(rb"HTTP/1\.1 (\d+)", answer)
    return int(found[1]) if found else 0, answer.partition(b"\r\n\r\n")[2]
