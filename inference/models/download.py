"""
Downloads one file: with resumption, a digest that is computed on the way, and a clear end whatever happens.

Nothing appears under the file's own name before it is whole and its digest right. Until then it grows as ``NAME.part``,
which a later download continues.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from inference.models.digests import BLOCK_BYTES, Digest, Hasher, digest_of, hasher
from inference.models.hub import Answer, Hub, Interrupted, RangeRefused, read
from inference.types import EngineError

ATTEMPTS = 5
"""Attempts in a row that bring no byte. One that brings some is not counted."""
FIRST_WAIT = 1.0
"""Seconds before the second attempt; each further wait is twice as long."""
LONGEST_WAIT = 60.0
"""Seconds, also of the wait that a server asks for."""
LOOK_EVERY_BYTES = 16 * BLOCK_BYTES
"""After so many bytes of a file of unknown size it is looked whether the disk has room: less than ``SPARE_BYTES``."""
SPARE_BYTES = 50 * 10**6
"""What a download leaves free on the disk."""


class DiskError(EngineError):
    """A file cannot be written here, whatever the hub does."""

    def __init__(self, message: str) -> None:
        super().__init__(message, permanent=True)


class _Damaged(EngineError):
    """What has arrived is not the file. ``resumed``: a part of it had arrived earlier, and may be to blame."""

    def __init__(self, message: str, *, resumed: bool) -> None:
        super().__init__(f"{message} What had arrived was deleted.", permanent=True)
        self.resumed = resumed


class Progress(Protocol):
    """Is told how far a file has come."""

    def begin(self, name: str, done: int, size: int | None) -> None:
        """A file begins or continues: so many of its bytes are there."""

    def advance(self, done: int) -> None: ...

    def note(self, message: str) -> None:
        """Something a person should know, such as a wait before another attempt."""

    def end(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """
    A file to download.

    ``target`` is where it is put. ``digest`` is the one that it must have and ``digest_from`` says who says so; None:
    the one that the hub publishes. ``size`` is None if it is not known.
    """

    url: str
    target: Path
    size: int | None = None
    digest: Digest | None = None
    digest_from: str = "the catalogue"


@dataclass(frozen=True, slots=True)
class Downloaded:
    """What is known of a file that was downloaded. ``commit`` is that of the repository, if the hub reported it."""

    digest: Digest
    size: int
    commit: str = ""


@dataclass(slots=True)
class Download:
    """Downloads one file from a hub. Blocks. ``sleep`` and ``free_bytes`` are there for the tests."""

    wanted: Wanted
    hub: Hub
    progress: Progress
    sleep: Callable[[float], None] = time.sleep
    free_bytes: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free

    def run(self) -> Downloaded:
        """
        Raises ``Interrupted`` if the attempts are used up, and otherwise a permanent ``EngineError``. Both leave what
        has arrived for the next time, unless it is wrong.
        """
        with writing(self.wanted.target):
            self.wanted.target.parent.mkdir(parents=True, exist_ok=True)
            failures, longest, begun_anew = 0, self._part_bytes(), False
            while True:
                try:
                    return self._attempt()
                except RangeRefused:  # cannot go on for ever: there is no part next time, unless an attempt brings one
                    self._begin_anew()
                except _Damaged as damaged:
                    if begun_anew or not damaged.resumed:
                        self._forget()
                        raise
                    begun_anew = True
                    self._begin_anew()
                except Interrupted as interrupted:
                    # A server without ranges begins anew each time: only more than ever before is progress.
                    failures = 1 if self._part_bytes() > longest else failures + 1
                    longest = max(longest, self._part_bytes())
                    if failures >= ATTEMPTS:
                        raise
                    wait = min(max(FIRST_WAIT * 2 ** (failures - 1), interrupted.retry_after), LONGEST_WAIT)
                    self.progress.note(f"{interrupted} Trying again in {wait:.0f} s.")
                    self.sleep(wait)

    @property
    def _part(self) -> Path:
        return part_of(self.wanted.target)

    @property
    def _notes(self) -> Path:
        return self._part.with_name(self._part.name + ".json")

    def _part_bytes(self) -> int:
        return self._part.stat().st_size if self._part.exists() else 0

    def _forget(self) -> None:
        self._part.unlink(missing_ok=True)
        self._notes.unlink(missing_ok=True)

    def _begin_anew(self) -> None:
        self.progress.note(f"What had arrived of {self.wanted.target.name} is not of this file. Beginning anew.")
        self._forget()

    def _attempt(self) -> Downloaded:
        done, etag = self._resumable()
        try:
            answer = self.hub.ask(self.wanted.url, offset=done, etag=etag)
        except RangeRefused as refused:
            if refused.size != done or self.wanted.digest is None:
                raise
            return self._finish(self._hash_part(self.wanted.digest.kind, done), done, "", resumed=True)
        with answer.body:
            if answer.offset != done:
                if answer.offset:
                    raise Interrupted(f"{self.wanted.url} sent another part of the file than was asked for.")
                done = 0  # the server knows no ranges, or the file has changed since
            elif done and not (self.wanted.digest or answer.digest) and answer.etag and answer.etag != etag:
                # It takes no conditions, or cannot: weak tags are not sent. No digest would tell later.
                raise RangeRefused(f"{self.wanted.url} has changed since its first part arrived.", size=None)
            return self._receive(answer, done)

    def _resumable(self) -> tuple[int, str]:
        """
        The bytes that are there and the entity tag with which they were sent.

        Without a tag only the digest can tell whether the rest belongs to them; without either, they are dropped. So
        are those of a file that was to have another digest.
        """
        done, notes = self._part_bytes(), self._read_notes()
        etag = notes.get("etag", "") if notes.get("url") == self.wanted.url else ""
        is_other = bool(self.wanted.digest) and notes.get("digest", "") not in ("", str(self.wanted.digest))
        if done and (etag or self.wanted.digest) and not is_other:
            return done, etag
        self._forget()
        return 0, ""

    def _read_notes(self) -> dict[str, str]:
        """What is known of the part: the address, the entity tag and the digest that the whole file must have."""
        with suppress(OSError, ValueError):
            notes = json.loads(self._notes.read_text(encoding="utf-8"))
            return {name: str(value) for name, value in notes.items()} if isinstance(notes, dict) else {}
        return {}

    def _receive(self, answer: Answer, done: int) -> Downloaded:
        self._check(answer)
        resumed = done > 0
        size = answer.size if answer.size is not None else self.wanted.size
        if size is not None:
            self._make_sure_there_is_room(size - done)
        expected = self.wanted.digest or answer.digest
        # Git's digest begins with the size. Without it, only SHA-256 can be computed on the way.
        kind = expected.kind if expected and (expected.kind == "sha256" or size is not None) else "sha256"
        computed = self._hash_part(kind, done, size)
        notes = {"url": self.wanted.url, "etag": answer.etag, "digest": str(expected or "")}
        self._notes.write_text(json.dumps(notes), encoding="utf-8")
        self.progress.begin(self.wanted.target.name, done, size)
        try:
            with self._part.open("ab" if done else "wb") as part:
                for block in _blocks(answer, self.wanted.url):
                    self._make_sure_it_may_grow(done, len(block), size, resumed=resumed)
                    write(part, block)
                    computed.update(block)
                    done += len(block)
                    self.progress.advance(done)
        finally:
            self.progress.end()
        if size is not None and done < size:
            raise Interrupted(f"{self.wanted.url} ended after {done} of {size} bytes.")
        return self._finish(computed, done, answer.commit, kind=kind, published=answer.digest, of=size, resumed=resumed)

    def _check(self, answer: Answer) -> None:
        """Refuse before the download what would be refused after it."""
        wanted = self.wanted
        if wanted.digest and answer.digest and wanted.digest.kind == answer.digest.kind == "sha256":
            if wanted.digest != answer.digest:
                raise EngineError(
                    f"{wanted.url} has changed: the hub has {answer.digest}, {wanted.digest_from} says "
                    f"{wanted.digest}. It was not downloaded.",
                    permanent=True,
                )
        elif wanted.size is not None and answer.size is not None and wanted.size != answer.size:
            raise EngineError(
                f"{wanted.url} has {answer.size} bytes, and {wanted.digest_from} says {wanted.size}. It was not "
                "downloaded.",
                permanent=True,
            )

    def _make_sure_there_is_room(self, needed: int) -> None:
        free = self.free_bytes(self.wanted.target.parent)
        if needed > 0 and free < needed + SPARE_BYTES:
            raise DiskError(
                f"The disk of {self.wanted.target.parent} has {free / 1e6:.0f} MB free, and "
                f"{self.wanted.target.name} needs {needed / 1e6:.0f} MB and {SPARE_BYTES / 1e6:.0f} MB to spare. Free "
                "some, or set MODELS_FOLDER to a folder on another disk."
            )

    def _make_sure_it_may_grow(self, done: int, by: int, size: int | None, *, resumed: bool) -> None:
        """Stop a server that sends more than the file, which would fill the disk before its digest tells."""
        if size is None:
            if (done + by) // LOOK_EVERY_BYTES > done // LOOK_EVERY_BYTES:
                self._make_sure_there_is_room(by)
        elif done + by > size:
            raise _Damaged(f"{self.wanted.url} sends more than the {size} bytes that the file has.", resumed=resumed)

    def _hash_part(self, kind: str, done: int, size: int | None = None) -> Hasher:
        computed = hasher(kind, done if size is None else size)
        if done:
            with self._part.open("rb") as part:
                while block := part.read(BLOCK_BYTES):
                    computed.update(block)
        return computed

    def _finish(
        self,
        computed: Hasher,
        size: int,
        commit: str,
        *,
        resumed: bool,
        kind: str = "",
        published: Digest | None = None,
        of: int | None = None,
    ) -> Downloaded:
        """Put the file into its place. ``of`` is how many bytes it must have, if that is known."""
        wanted = self.wanted
        expected = wanted.digest or published
        digest = Digest(kind or (expected.kind if expected else "sha256"), computed.hexdigest())
        if expected and expected.kind == digest.kind:
            if expected != digest and expected == published:
                digest = self._plain_sha1(expected) or digest
            if expected.hex != digest.hex:
                raise _Damaged(
                    f"{wanted.url} is damaged or another file: it has {digest}, and "
                    f"{wanted.digest_from if wanted.digest else 'the hub'} says {expected}.",
                    resumed=resumed,
                )
        elif of not in (None, size):
            raise _Damaged(f"{wanted.url} has sent {size} bytes, and the file has {of}.", resumed=resumed)
        os.replace(self._part, wanted.target)
        self._notes.unlink(missing_ok=True)
        return Downloaded(digest, size, commit)

    def _plain_sha1(self, expected: Digest) -> Digest | None:
        """The plain SHA-1 of the file if that is the published one: some mirrors tag files with it."""
        plain = digest_of(self._part, "sha1") if expected.kind == "git-sha1" else None
        return plain if plain is not None and plain.hex == expected.hex else None


def part_of(target: Path) -> Path:
    """Where a file grows until it is whole."""
    return target.with_name(target.name + ".part")


def write(file: IO[bytes], block: bytes) -> None:
    """Write a block. A test puts a disk in its place that is full."""
    file.write(block)


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """Say in words why a file cannot be written."""
    try:
        yield
    except OSError as error:
        raise DiskError(f"Cannot write {target}: {_reason(error)}") from error


def _reason(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full. Free some space, or set MODELS_FOLDER to a folder on another disk."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "this user may not write there. Set MODELS_FOLDER to a folder of yours."
    return f"{error.strerror or error}."


def _blocks(answer: Answer, url: str) -> Iterator[bytes]:
    while block := read(answer.body, url, BLOCK_BYTES):
        yield block
