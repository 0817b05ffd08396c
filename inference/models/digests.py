"""Digests of files: SHA-256, and git's SHA-1, which hubs publish for their small files."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

BLOCK_BYTES = 2**20
"""How much of a file is read at once: a megabyte, so that Ctrl-C and progress do not wait."""


@dataclass(frozen=True, slots=True)
class Digest:
    """``kind`` is ``sha256`` or ``git-sha1``; ``hex`` has lower-case hexadecimal digits."""

    kind: str
    hex: str

    def __str__(self) -> str:
        return f"{self.kind} {self.hex}"


class Hasher(Protocol):
    def update(self, data: bytes, /) -> None: ...
    def hexdigest(self) -> str: ...


def hasher(kind: str, size: int) -> Hasher:
    """A new computation of a digest over ``size`` bytes. Git's digest begins with the size."""
    if kind == "sha256":
        return hashlib.sha256()
    if kind != "git-sha1":
        raise ValueError(f"There is no digest {kind!r}.")
    git = hashlib.sha1(usedforsecurity=False)
    git.update(b"blob %d\0" % size)
    return git


def published(etag: str | None) -> Digest | None:
    """The digest in an entity tag of a hub: 64 hexadecimal digits are SHA-256, 40 are git's SHA-1, others are none."""
    value = (etag or "").removeprefix("W/").strip('"').lower()
    if not value or set(value) - set("0123456789abcdef"):
        return None
    kind = {64: "sha256", 40: "git-sha1"}.get(len(value))
    return Digest(kind, value) if kind else None


def digest_of(path: Path, kind: str = "sha256") -> Digest:
    """Read a file and compute its digest. Blocks. Raises ``OSError``."""
    with path.open("rb") as file:
        computed = hasher(kind, path.stat().st_size)
        while block := file.read(BLOCK_BYTES):
            computed.update(block)
    return Digest(kind, computed.hexdigest())
