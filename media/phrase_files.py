"""A folder of phrases on disk, which the processes of one machine may share."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Hashable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

logger = logging.getLogger(__name__)

MAX_FILES = 2000
"""Files of all the voices that were ever tried; those that were not used for longest are deleted."""
MAX_FILE_BYTES = 64 * 2**20
"""Bytes of all files together."""
_ABANDONED_AFTER = 3600.0
"""Seconds after which a file that was not finished belongs to a process that died while writing it."""
_HASH_BYTES = 32

Key = TypeVar("Key", bound=Hashable)


class PhraseFiles:
    """
    A folder of phrases. Its methods block and never raise.

    The name of a file is the hash of its label. A file is written as a whole or not at all, and begins with a checksum
    and the hash of the weights that made the phrase: a file that was cut off, changed or written by another program is
    not taken for a phrase. The time of its modification is the time of its last use.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._is_failing = False
        """The folder's last use failed, and that was logged."""

    def read(self, labels: Mapping[Key, bytes]) -> dict[Key, tuple[bytes, bytes]]:
        """The sound and the hash of the weights of those phrases that have a file."""
        found = {key: self._read(label) for key, label in labels.items()}
        return {key: phrase for key, phrase in found.items() if phrase is not None}

    def keep(self, phrases: Mapping[bytes, bytes], weights: bytes, made: bool) -> None:
        """Write the sounds that were just ``made`` or have no file, mark the other files as used, and make room."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for label, audio in phrases.items():
                if made or not self._touch(label):
                    self._write(label, weights, audio)
            self._make_room()
        except OSError as error:
            self._report(error)
        else:
            self._is_failing = False

    def _report(self, error: OSError) -> None:
        """Log a failure once, until the folder works again."""
        if not self._is_failing:
            logger.error("Phrases are kept in memory only, their folder fails: %s", error)
        self._is_failing = True

    def _path(self, label: bytes) -> Path:
        return self._folder / f"{hashlib.sha256(label).hexdigest()[:40]}.phrase"

    def _touch(self, label: bytes) -> bool:
        try:
            os.utime(self._path(label))
        except FileNotFoundError:
            return False
        return True

    def _read(self, label: bytes) -> tuple[bytes, bytes] | None:
        path = self._path(label)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            self._report(error)
            return None
        head, audio = content[: 2 * _HASH_BYTES], content[2 * _HASH_BYTES :]
        checksum, weights = head[:_HASH_BYTES], head[_HASH_BYTES:]
        whole = bool(audio) and checksum == _checksum(label, weights, audio)
        with suppress(OSError):  # the disk may be read-only
            if whole:
                os.utime(path)
            else:
                logger.warning("Deleted %s, which is not a complete phrase; it is made again", path.name)
                path.unlink()
        return (audio, weights) if whole else None

    def _write(self, label: bytes, weights: bytes, audio: bytes) -> None:
        path = self._path(label)
        unfinished = path.with_suffix(f".{uuid4().hex}.new")
        try:
            with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(_checksum(label, weights, audio) + weights + audio)
            os.replace(unfinished, path)
        except OSError:
            with suppress(OSError):
                unfinished.unlink(missing_ok=True)
            raise

    def _make_room(self) -> None:
        phrases = []
        with os.scandir(self._folder) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # another process has deleted it
                    state = entry.stat()
                    if entry.name.endswith(".phrase"):
                        phrases.append((state.st_mtime_ns, state.st_size, entry.path))
                    elif entry.name.endswith(".new") and state.st_mtime < time.time() - _ABANDONED_AFTER:
                        os.unlink(entry.path)  # its process died while writing it
        total_bytes = 0
        for number, (_, file_bytes, path) in enumerate(sorted(phrases, reverse=True), start=1):
            total_bytes += file_bytes
            if number > MAX_FILES or total_bytes > MAX_FILE_BYTES:
                with suppress(FileNotFoundError):
                    os.unlink(path)


def _checksum(label: bytes, weights: bytes, audio: bytes) -> bytes:
    return hashlib.sha256(b"%d %b%b%b" % (len(label), label, weights, audio)).digest()
