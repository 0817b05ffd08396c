"""Celery's message transport through files on this machine, for an installation without Redis."""

import hashlib
import os
import time
import uuid
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty
from typing import Any
from urllib.parse import quote

from kombu.exceptions import OperationalError
from kombu.transport import virtual
from kombu.utils.json import dumps, loads

MAX_AGE = 3600.0
"""
Seconds after which a file is deleted: a message that no worker took, or half of one from a process that died. Every
periodic message expires sooner.
"""
MESSAGES_BETWEEN_CLEANUPS = 100
"""Messages that a channel sends between two searches for old files, so that sending stays cheap."""


class Channel(virtual.Channel):
    """
    One folder for each queue and one file for each message, for any number of processes on one machine.

    A message only starts a task; the work itself is in the database. So a message may be lost with the worker that
    took it, and equal messages share one file. Kombu's own file-system transport adds a file for each message while
    no worker reads, and lets a reader take a file that is still being written, which ends the worker (measured: one
    message in 750, with two workers).
    """

    def __init__(self, connection: Any, **kwargs: Any) -> None:
        super().__init__(connection, **kwargs)
        self._listed: dict[str, deque[Path]] = {}
        """The messages of each queue that the last listing found and that were not tried yet, oldest first."""
        self._sent_messages = 0

    def _folder(self, queue: str) -> Path:
        client = self.connection.client
        assert client is not None
        assert client.transport_options is not None
        return Path(client.transport_options["folder"], quote(queue, safe=""))

    def _new_queue(self, queue: str, **kwargs: Any) -> None:
        with _as_operational_error():
            self._folder(queue).mkdir(parents=True, exist_ok=True)
            self._delete_old_files(queue)

    def _delete_old_files(self, queue: str) -> None:
        for path in self._folder(queue).iterdir():
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < time.time() - MAX_AGE:
                    path.unlink()

    def _put(self, queue: str, message: dict[str, Any], **kwargs: Any) -> None:
        headers = message["headers"]
        name = hashlib.sha256(repr((headers.get("task"), headers.get("eta"), message["body"])).encode()).hexdigest()
        draft = self._folder(queue) / f".{uuid.uuid4().hex}"
        with _as_operational_error():
            draft.write_text(dumps(message), encoding="utf-8")
            draft.replace(draft.with_name(name))
            self._sent_messages += 1
            if self._sent_messages % MESSAGES_BETWEEN_CLEANUPS == 0:
                self._delete_old_files(queue)

    def _get(self, queue: str, timeout: float | None = None) -> Any:
        """
        Take the oldest message; ``Empty`` if there is none. A listing is used up before the next one is made, so that
        a long queue is not listed for each of its messages.
        """
        listed = self._listed.setdefault(queue, deque())
        if not listed:
            listed.extend(self._oldest_first(queue))
        while listed:
            path = listed.popleft()
            taken = path.with_name(f".{uuid.uuid4().hex}")
            # Another worker took it, or it is incomplete because the machine lost power: try the next one.
            with suppress(FileNotFoundError, ValueError):
                path.rename(taken)
                text = taken.read_bytes()
                taken.unlink()
                return loads(text)
        raise Empty

    def _oldest_first(self, queue: str) -> list[Path]:
        found = []
        with _as_operational_error(), os.scandir(self._folder(queue)) as entries:
            for entry in entries:
                if not entry.name.startswith("."):
                    with suppress(FileNotFoundError):
                        found.append((entry.stat().st_mtime_ns, entry.path))
        return [Path(path) for _, path in sorted(found)]

    def _size(self, queue: str) -> int:
        return len(self._oldest_first(queue))

    def _purge(self, queue: str) -> int:
        waiting = self._oldest_first(queue)
        for path in waiting:
            path.unlink(missing_ok=True)
        return len(waiting)


@contextmanager
def _as_operational_error() -> Iterator[None]:
    """Raise the error that Celery handles as an unavailable broker."""
    try:
        yield
    except OSError as error:
        raise OperationalError(f"Cannot use the folder of Celery's messages: {error}") from error


class Transport(virtual.Transport):
    """The transport of ``files://``, with the transport option ``folder``."""

    Channel = Channel
    driver_type = driver_name = "files"

    def driver_version(self) -> str:
        return "1"
