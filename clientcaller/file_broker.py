"""Celery's messages as files of this machine, for an installation without Redis."""

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

WORTHLESS_AFTER = 3600.0
"""Seconds after which a file is removed: a message that nobody took, or half of one, left by a process that died."""
TIDY_EVERY = 100
"""Messages between two looks for such files."""


class Channel(virtual.Channel):
    """
    One folder for each queue, one file for each message: any number of processes of one machine, and no service.

    Every message is taken for a wake-up, because what there is to do stands in the database: it may get lost with
    the worker that took it, and one file stands for all that say the same. Kombu's own file-system transport
    grows by a file for each message while nobody reads, and lets a reader take a file that is still being
    written, which ends the worker (measured: one message in 750, with two workers).
    """

    def __init__(self, connection: Any, **kwargs: Any) -> None:
        super().__init__(connection, **kwargs)
        self._listed: dict[str, deque[Path]] = {}
        self._put_so_far = 0

    def _folder(self, queue: str) -> Path:
        return Path(self.connection.client.transport_options["folder"], quote(queue, safe=""))

    def _new_queue(self, queue: str, **kwargs: Any) -> None:
        with _errors_that_celery_knows():
            self._folder(queue).mkdir(parents=True, exist_ok=True)
            self._tidy(queue)

    def _tidy(self, queue: str) -> None:
        for path in self._folder(queue).iterdir():
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < time.time() - WORTHLESS_AFTER:
                    path.unlink()

    def _put(self, queue: str, message: dict[str, Any], **kwargs: Any) -> None:
        headers = message["headers"]
        name = hashlib.sha256(repr((headers.get("task"), headers.get("eta"), message["body"])).encode()).hexdigest()
        draft = self._folder(queue) / f".{uuid.uuid4().hex}"
        with _errors_that_celery_knows():
            draft.write_text(dumps(message), encoding="utf-8")
            draft.replace(draft.with_name(name))
            self._put_so_far += 1
            if self._put_so_far % TIDY_EVERY == 0:
                self._tidy(queue)

    def _get(self, queue: str) -> Any:
        """The oldest message. A listing is used up before the next is made: a long queue is not read over and over."""
        listed = self._listed.setdefault(queue, deque())
        if not listed:
            listed.extend(self._oldest_first(queue))
        while listed:
            path = listed.popleft()
            taken = path.with_name(f".{uuid.uuid4().hex}")
            # Another worker was quicker, or the power went before the text was on the disk: the next one, then.
            with suppress(FileNotFoundError, ValueError):
                path.rename(taken)
                text = taken.read_bytes()
                taken.unlink()
                return loads(text)
        raise Empty

    def _oldest_first(self, queue: str) -> list[Path]:
        found = []
        with _errors_that_celery_knows(), os.scandir(self._folder(queue)) as entries:
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
def _errors_that_celery_knows() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OperationalError(f"the folder of Celery's messages: {error}") from error


class Transport(virtual.Transport):
    """``files://``, with the transport option ``folder``."""

    Channel = Channel
    driver_type = driver_name = "files"

    def driver_version(self) -> str:
        return "1"
