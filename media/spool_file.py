"""One file of the spool of facts: lines that are appended, read in order, and struck out once they are recorded."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

Pwrite = Callable[[int, bytes, int], int]

_SYNC_INTERVAL = 1.0
"""Seconds between two syncs: what a power cut may cost."""
_RECORDED = b"#"
"""Replaces the first character of a line whose fact is recorded; no line of JSON begins with it."""


class SpoolFile:
    """A file that is locked as long as the process lives to which it belongs."""

    def __init__(self, path: Path, descriptor: int, pwrite: Pwrite) -> None:
        self.age = int(path.name.partition("-")[0])
        """Nanoseconds since the epoch at which the file was begun."""
        self._path = path
        self._descriptor = descriptor
        self._pwrite = pwrite
        self._read_to = 0
        """The byte up to which all lines are recorded."""
        self._written_to = os.fstat(descriptor).st_size
        """The byte at which the next line is written."""
        self._synced_at = 0.0
        self.is_own = not self._written_to
        """This process began the file. The last line of another process's file may be torn, so none may follow it."""

    @property
    def bytes_left(self) -> int:
        """Bytes of the lines that are not recorded yet."""
        return self._written_to - self._read_to

    @classmethod
    def create(cls, folder: Path, age: int, pwrite: Pwrite) -> SpoolFile:
        """A new file. Names sort by ``age``, so that the next process finds the files in their order."""
        folder.mkdir(parents=True, exist_ok=True)
        while True:
            path = folder / f"{age:020d}-{uuid4().hex[:8]}.jsonl"
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            if _lock(descriptor):
                return cls(path, descriptor, pwrite)

    @classmethod
    def left_by_dead_processes(cls, folder: Path, pwrite: Pwrite) -> Iterator[SpoolFile]:
        """The files whose processes have died, oldest first. One process gets them all, so that their order is kept."""
        if not folder.is_dir():
            return
        folder_lock = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(folder_lock, fcntl.LOCK_EX)
            for path in sorted(folder.glob(f"{'[0-9]' * 20}-*.jsonl")):
                with suppress(FileNotFoundError):  # its process lives and has just removed it
                    descriptor = os.open(path, os.O_RDWR)
                    if _lock(descriptor):
                        yield cls(path, descriptor, pwrite)
        finally:
            os.close(folder_lock)

    def append(self, lines: bytes) -> None:
        """Write all the lines or, with an ``OSError``, none."""
        view, end = memoryview(lines), self._written_to
        try:
            while view:
                written = self._pwrite(self._descriptor, bytes(view), end)
                view, end = view[written:], end + written
        except OSError:
            os.ftruncate(self._descriptor, self._written_to)
            raise
        self._written_to = end
        if (now := time.monotonic()) - self._synced_at >= _SYNC_INTERVAL:
            self._synced_at = now
            os.fsync(self._descriptor)

    def lines(self) -> Iterator[bytes]:
        """The lines that are not recorded yet. A line counts as recorded when the next one is asked for."""
        with open(self._descriptor, "rb", closefd=False) as file:
            file.seek(self._read_to)
            for line in file:
                if not line.startswith(_RECORDED):
                    yield line
                    with suppress(OSError):
                        os.pwrite(self._descriptor, _RECORDED, self._read_to)
                self._read_to += len(line)

    def release(self) -> None:
        """Leave the file to the next process."""
        os.close(self._descriptor)

    def remove(self) -> None:
        """Delete the file, whose lines are all recorded."""
        self._path.unlink(missing_ok=True)
        os.close(self._descriptor)


def _lock(descriptor: int) -> bool:
    """Lock the file. If another process was faster, or the file is deleted, close it and return False."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_nlink:
            return True
    except BlockingIOError:
        pass
    os.close(descriptor)
    return False
