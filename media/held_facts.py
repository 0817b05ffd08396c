"""
The facts that redaction holds back, on disk without any digits, so that a process that dies does not lose them.

The next process finds them as it finds the other facts of a dead one, and records those that are not recorded yet.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from calls.services import CallsError, Fact
from calls.services.facts import encode
from media.spool_file import Pwrite, SpoolFile

logger = logging.getLogger(__name__)

AGE = 10**20 - 1
"""The age in the name of these files: they are read behind all others, which may have the facts as they are."""
LARGEST = 1 << 20
"""Bytes of a file, about a thousand facts. It is deleted once all its facts are recorded, so another one is begun."""


@dataclass(slots=True)
class _Part:
    """A file, with the ids of its facts that are still held back."""

    file: SpoolFile
    size: int = 0
    held: set[str] = field(default_factory=set)


class HeldFacts:
    """
    The held facts of one process, in ``folder``, in which ``FactSpool`` looks for those of dead processes.

    ``keep`` and ``drop`` return at once; a thread does the work.
    """

    def __init__(self, folder: Path, *, pwrite: Pwrite = os.pwrite) -> None:
        self._folder = folder
        self._pwrite = pwrite
        self._thread: ThreadPoolExecutor | None = None
        self._parts: list[_Part] = []
        """Used by the thread only. The last one gets what comes."""
        self._is_failing = False
        """The disk took nothing the last time, and that was logged."""

    def keep(self, fact: Fact) -> None:
        """Write a fact that is held back, without what must not be stored."""
        self._submit(fact)

    def drop(self, fact_ids: Collection[str]) -> None:
        """These facts were given to the spool."""
        self._submit(set(fact_ids))

    def close(self) -> None:
        """Wait until everything is written, and release the files. What is still held is left to the next process."""
        if self._thread is not None:
            self._thread.shutdown()
            self._thread = None
        while self._parts:
            self._parts.pop().file.release()

    def _submit(self, job: Fact | set[str]) -> None:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="held facts")
        self._thread.submit(self._run, job)

    # -- on the thread --------------------------------------------------------------------------------------

    def _run(self, job: Fact | set[str]) -> None:
        try:
            if isinstance(job, set):
                self._drop(job)
            else:
                self._keep(job)
            self._is_failing = False
        except (OSError, CallsError) as error:
            if not self._is_failing:
                logger.warning("Words that are held back for redaction wait in memory only: %s", error)
            self._is_failing = True

    def _keep(self, fact: Fact) -> None:
        line = encode(fact) + b"\n"
        if not self._parts or self._parts[-1].size > LARGEST:
            self._parts.append(_Part(SpoolFile.create(self._folder, AGE, self._pwrite)))
        part = self._parts[-1]
        part.file.append(line)
        part.size += len(line)
        part.held.add(fact.fact_id)

    def _drop(self, fact_ids: set[str]) -> None:
        for part in self._parts:
            part.held -= fact_ids
        done = [part for part in self._parts if not part.held]
        self._parts = [part for part in self._parts if part.held]
        for part in done:
            part.file.remove()
