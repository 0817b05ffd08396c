"""Digests of files: SHA-256, and the SHA-1 of small files: git's, which hubs publish, or a mirror's plain one."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

BLOCK_BYTES = 2**20
"""How much of a file is read at once: a megabyte, so that Ctrl-C and progress do not wait."""


@dataclass(frozen=True, slots=True)
class Digest:
    """``kind`` is ``sha256``, ``git-sha1`` or ``sha1``; ``hex`` has lower-case hexadecimal digits."""

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
    if kind not in ("git-sha1", "sha1"):
        raise ValueError(f"There is no digest {kind!r}.")
    computed = hashlib.sha1(usedforsecurity=False)
    if kind == "git-sha1":
        computed.update(b"blob %d\0" % size)
    return computed


def published(etag: str | None) -> Digest | None:
    """
    The digest in an entity tag of a hub: 64 hexadecimal digits are SHA-256, others than these and 40 are none.

    40 are called git's SHA-1, as hubs mean it. A mirror that passes on a hub's headers may mean the plain one.
    """
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
