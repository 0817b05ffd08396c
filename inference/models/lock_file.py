"""
Remembers what was fetched: ``models.lock``, a JSON file in the folder of the models.

It holds the digest of every file, also of those whose digest the catalogue does not know, so that a later download or
``manage.py models verify`` notices a change. It also keeps two processes from fetching the same model at once.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from inference.models.digests import Digest
from inference.types import EngineError

NAME = "models.lock"


@dataclass(frozen=True, slots=True)
class Entry:
    """
    A file that was fetched. ``digest`` is as in ``sha256 …``, ``when`` the time in UTC.

    ``url`` is where it came from: an address, or the path of the copied file. ``commit`` is that of the hub's
    repository; empty if it is not known.
    """

    name: str
    file: str
    url: str
    digest: str
    size: int
    when: str
    commit: str = ""

    @property
    def parsed(self) -> Digest:
        kind, _, value = self.digest.partition(" ")
        return Digest(kind, value)


@dataclass(frozen=True, slots=True)
class LockFile:
    """The lock file of a folder of models. Its methods read or write it, and raise ``EngineError`` or ``OSError``."""

    folder: Path

    def find(self, model: str, file: str) -> Entry | None:
        return self._read().get(_key(model, file))

    def commit_of(self, model: str) -> str:
        """The commit from which this model was fetched; empty if none is known."""
        return next((entry.commit for entry in self._read().values() if entry.name == model and entry.commit), "")

    def add(self, model: str, file: str, *, url: str, digest: Digest, size: int, commit: str = "") -> None:
        when = datetime.now(UTC).isoformat(timespec="seconds")
        entry = Entry(model, file, url, str(digest), size, when, commit)
        self._change(lambda entries: entries.update({_key(model, file): entry}))

    def forget(self, model: str) -> list[Entry]:
        """Forget the files of a model, and return what was known of them."""
        forgotten: list[Entry] = []
        self._change(
            lambda entries: forgotten.extend(entries.pop(key) for key in list(entries) if entries[key].name == model)
        )
        return forgotten

    def restore(self, forgotten: Sequence[Entry]) -> None:
        """Take back what was forgotten, but for files that were added since."""
        self._change(lambda entries: [entries.setdefault(_key(each.name, each.file), each) for each in forgotten])

    def _read(self) -> dict[str, Entry]:
        path = self.folder / NAME
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            return {_key(item["name"], item["file"]): Entry(**item) for item in stored["files"]}
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise EngineError(f"{path} cannot be read: {error.strerror or error}.", permanent=True) from error
        except (ValueError, KeyError, TypeError) as error:
            raise EngineError(
                f"{path} is damaged ({error}). Delete it: the digests of the catalogue still count, and the others are "
                "taken anew at the next download.",
                permanent=True,
            ) from error

    def _change(self, change: Callable[[dict[str, Entry]], Any]) -> None:
        with alone(self.folder / f".{NAME}"):
            entries = self._read()
            change(entries)
            path = self.folder / NAME
            new = path.with_name(f"{NAME}.new")
            files = [asdict(entries[key]) for key in sorted(entries)]
            new.write_text(json.dumps({"files": files}, indent=2) + "\n", encoding="utf-8")
            os.replace(new, path)


@contextmanager
def alone(path: Path, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """
    Hold a lock that one process may hold at a time, in a file that is made for it.

    ``on_wait`` is called if another process holds it, before the wait. A process that dies gives the lock back.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            with suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_UN)


def _key(model: str, file: str) -> str:
    return f"{model}/{file}"
