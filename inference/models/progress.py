"""Shows how far a download has come: a bar on a terminal, elsewhere a line every few seconds."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, TaskID, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as RichProgress

from inference.models.download import Progress

EVERY = 5.0
"""Seconds between two lines."""


def progress_on(console: Console) -> Progress:
    return Bars(console) if console.is_terminal else Lines(console)


class Bars:
    """One bar for each file."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars: RichProgress | None = None
        self._task = TaskID(0)

    def begin(self, name: str, done: int, size: int | None) -> None:
        self._bars = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=self._console,
        )
        self._bars.start()
        self._task = self._bars.add_task(escape(name), total=size, completed=done)

    def advance(self, done: int) -> None:
        if self._bars is not None:
            self._bars.update(self._task, completed=done)

    def note(self, message: str) -> None:
        self._console.print(message, markup=False, highlight=False, soft_wrap=True)

    def end(self) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None


class Lines:
    """A line at the beginning and every few seconds, for logs and pipes."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._name = ""
        self._size: int | None = None
        self._next = 0.0

    def begin(self, name: str, done: int, size: int | None) -> None:
        self._name, self._size = name, size
        self._next = self._clock() + EVERY
        of = f", {size / 1e6:.1f} MB" if size is not None else ""
        self._say(f"{name}{of}{f', continued at {done / 1e6:.1f} MB' if done else ''}")

    def advance(self, done: int) -> None:
        if self._clock() < self._next:
            return
        self._next = self._clock() + EVERY
        of = f" of {self._size / 1e6:.1f}" if self._size is not None else ""
        self._say(f"{self._name}: {done / 1e6:.1f}{of} MB")

    def note(self, message: str) -> None:
        self._say(message)

    def end(self) -> None:
        pass

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, soft_wrap=True)
