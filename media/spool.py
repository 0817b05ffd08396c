"""
The facts of the calls, recorded behind them: in order, each fact once by its id, and none lost.

A call puts a fact into memory, and one thread of the process records it in the database. While the database is away,
facts wait in files: one JSON object a line, in order. What a dead process has left in its files is recorded before
anything new. A fact that can never be recorded is set aside in ``rejected.jsonl``, with the reason.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from calls.services import CallsError, Fact, about_call
from calls.services.facts import decode, encode
from media import metrics
from media.spool_file import Pwrite, SpoolFile

logger = logging.getLogger(__name__)

MAX_WAITING = 5000
"""Facts in memory, about 5 MB. There are so many only if the database hangs; more of them go to a file at once."""
REJECTED = "rejected.jsonl"
"""The file, in the spool's folder, of facts that can never be recorded."""


class FactSpool:
    """
    The facts of one process on their way to the database.

    ``record_fact`` is called on the spool's own thread. What it raises of the types ``transient`` means that it will
    succeed later, anything else that it never will. ``folder`` may be shared by processes. From ``first_retry`` to
    ``last_retry`` seconds pass between attempts, doubling. ``pwrite`` is ``os.pwrite``, or a test's replacement.
    ``needs`` names in the log what is away then.
    """

    def __init__(
        self,
        record_fact: Callable[[Fact], None],
        *,
        folder: Path,
        transient: tuple[type[Exception], ...],
        max_waiting: int = MAX_WAITING,
        first_retry: float = 0.5,
        last_retry: float = 15.0,
        pwrite: Pwrite = os.pwrite,
        needs: str = "The database",
    ) -> None:
        self._record_fact = record_fact
        self._folder = folder
        self._transient = transient
        self._max_waiting = max_waiting
        self._first_retry, self._last_retry = first_retry, last_retry
        self._pwrite = pwrite
        self._needs = needs
        self._changed = threading.Condition()
        """Guards what the thread shares with the others, and wakes it."""
        # Facts wait in three places: those in the files are older than those in memory, those in the overflow younger.
        self._files: deque[SpoolFile] = deque()
        """Used by the thread only."""
        self._waiting: deque[Fact] = deque()
        self._overflow: SpoolFile | None = None
        """The file for facts for which there is no room in memory; None while there is room."""
        self._age = 0
        """The age of the file that was begun last."""
        self._is_idle = True
        """Every fact is recorded or rejected."""
        self._moved_at = time.monotonic()
        """When a fact last left the spool, or came into an empty one."""
        self._is_closing = False
        self._database_is_away = False
        """The last attempt failed for a transient reason, and that was logged."""
        self._retry_after = 0.0
        """Seconds from the last failed attempt to the next; 0 while the database answers."""
        self._thread: threading.Thread | None = None
        self._drains: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        """The loops on which ``drain`` waits, and the futures that it waits for."""

    def start(self) -> None:
        """Start, first with what dead processes have left. The first ``record`` does it too. Idempotent."""
        with self._changed:
            if self._thread is None and not self._is_closing:
                self._is_idle = False
                self._moved_at = time.monotonic()
                self._thread = threading.Thread(target=self._run, name="facts", daemon=True)
                self._thread.start()

    def record(self, fact: Fact) -> None:
        """
        Have a fact recorded in its turn; from any thread.

        Never raises, and touches the disk in one case only: the database hangs and memory is full.
        """
        self.start()
        with self._changed:
            if self._is_idle:
                self._moved_at = time.monotonic()
            self._is_idle = False
            if self._is_closing or self._overflow or len(self._waiting) >= self._max_waiting:
                self._append_to_overflow(fact)
            else:
                self._waiting.append(fact)
            self._changed.notify_all()

    @property
    def waiting(self) -> int:
        """Facts that wait in memory."""
        return len(self._waiting)

    @property
    def bytes_on_disk(self) -> int:
        """Bytes of the facts that wait on disk."""
        overflow = self._overflow
        return sum(file.bytes_left for file in list(self._files)) + (overflow.bytes_left if overflow else 0)

    @property
    def stalled(self) -> float:
        """Seconds for which facts have waited and none was recorded; 0 if none waits."""
        return 0.0 if self._is_idle else time.monotonic() - self._moved_at

    async def drain(self, timeout: float) -> bool:  # noqa: ASYNC109
        """Wait until every fact is recorded or rejected; False if that takes longer than ``timeout`` seconds."""
        loop = asyncio.get_running_loop()
        drained: asyncio.Future[None] = loop.create_future()
        with self._changed:
            if self._is_idle:
                return True
            self._drains.append((loop, drained))
        try:
            async with asyncio.timeout(timeout):
                await drained
        except TimeoutError:
            return False
        return True

    async def close(self, timeout: float = 10.0) -> None:  # noqa: ASYNC109
        """Record what waits in memory; after ``timeout`` seconds the rest is left on disk for the next process."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, timeout)
            if self._thread.is_alive():
                logger.error("%s hangs, leaving %d facts to the next process", self._needs, len(self._waiting))
                self._move_waiting_to_disk()

    def _append_to_overflow(self, fact: Fact) -> None:
        try:
            self._overflow = self._overflow or SpoolFile.create(self._folder, self._next_age(), self._pwrite)
            self._overflow.append(_line(fact))
        except (OSError, CallsError) as error:
            metrics.FACTS["lost"].inc()
            logger.error("Lost %s: neither the database nor the disk takes it (%s)", _name(fact), error)
            logger.debug("Lost: %r", fact)

    def _next_age(self) -> int:
        """The age of a file that begins now, younger than every earlier one even if the clock was set back."""
        self._age = max(self._age + 1000, time.time_ns())
        return self._age

    # -- on the thread --------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._files.extend(SpoolFile.left_by_dead_processes(self._folder, self._pwrite))
        except OSError as error:
            logger.error("Could not read the facts of earlier processes, they stay in the spool: %s", error)
        while True:
            # Nothing is put into memory once the spool is closing, so one more round takes everything.
            is_last_round = self._is_closing
            try:
                all_recorded = self._record_files() and self._record_waiting()
            except Exception:
                logger.exception("Unexpected error in recording facts, trying again")
                all_recorded = False
            if not all_recorded:
                self._move_waiting_to_disk()
            if is_last_round:
                break
            self._rest(all_recorded)
        with self._changed:
            left = [*self._files, self._overflow] if self._overflow else [*self._files]
            self._files.clear()
            self._overflow = None
            if all_recorded and not left:
                self._become_idle()
        for file in left:
            file.release()

    def _record_files(self) -> bool:
        """Record what is on disk; False if the database is away or the spool is closing."""
        while self._files:
            for line in self._files[0].lines():
                if self._is_closing or not self._try_to_record_line(line):
                    return False
            self._files.popleft().remove()
        return True

    def _record_waiting(self) -> bool:
        """Record what is in memory; False if the database is away."""
        while True:
            with self._changed:
                if not self._waiting:
                    return True
                fact = self._waiting[0]
            if not self._try_to_record(fact):
                return False
            with self._changed:
                if self._waiting and self._waiting[0] is fact:
                    self._waiting.popleft()

    def _move_waiting_to_disk(self) -> None:
        """Move the facts from memory to the disk, behind those that are there. If the disk is full, they stay."""
        with self._changed:
            facts = list(self._waiting)
            age = self._overflow.age - 1 if self._overflow else self._next_age()
        lines = bytearray()
        for fact in facts:
            try:
                lines += _line(fact)
            except CallsError as error:
                self._reject(_name(fact), repr(fact), error)
        try:
            if lines:
                if not (self._files and self._files[-1].is_own):
                    self._files.append(SpoolFile.create(self._folder, age, self._pwrite))
                self._files[-1].append(bytes(lines))
        except OSError as error:
            logger.error("%d facts wait in memory only, because the disk fails as well: %s", len(facts), error)
            return
        with self._changed:
            for fact in facts:
                if self._waiting and self._waiting[0] is fact:
                    self._waiting.popleft()
            self._adopt_overflow()

    def _adopt_overflow(self) -> None:
        """Once nothing older is in memory, the overflow is a file like the others."""
        if self._overflow and not self._waiting:
            self._files.append(self._overflow)
            self._overflow = None

    def _rest(self, all_recorded: bool) -> None:
        """Wait for a fact or, while the database is away, for the next attempt."""
        with self._changed:
            if all_recorded:
                self._retry_after = 0.0
                self._adopt_overflow()
                if not self._waiting and not self._files:
                    self._become_idle()
                    self._changed.wait_for(lambda: self._waiting or self._overflow or self._is_closing)
                return
        self._retry_after = min(max(2 * self._retry_after, self._first_retry), self._last_retry)
        until = time.monotonic() + self._retry_after
        known = len(self._waiting)
        while not self._is_closing and (left := until - time.monotonic()) > 0:
            with self._changed:
                self._changed.wait_for(lambda: len(self._waiting) > known or self._is_closing, left)  # noqa: B023
            if len(self._waiting) > known:
                self._move_waiting_to_disk()
                known = len(self._waiting)

    def _become_idle(self) -> None:
        self._is_idle = True
        drains, self._drains = self._drains, []
        for loop, drained in drains:
            with suppress(RuntimeError):  # the loop is closed, so nothing waits on it any more
                loop.call_soon_threadsafe(_resolve, drained)

    def _try_to_record(self, fact: Fact) -> bool:
        """Record or reject a fact; False if the database is away."""
        with about_call(fact.call_id):
            return self._try_to_record_known(fact)

    def _try_to_record_known(self, fact: Fact) -> bool:
        begun = time.monotonic()
        try:
            self._record_fact(fact)
        except self._transient as error:
            if not self._database_is_away:
                logger.warning("%s is away, facts wait on disk: %s", self._needs, error)
            self._database_is_away = True
            return False
        except Exception as error:
            try:
                line = encode(fact).decode()
            except CallsError:
                line = repr(fact)
            self._reject(_name(fact), line, error)
        else:
            metrics.FACTS["recorded"].inc()
        self._moved_at = time.monotonic()
        metrics.FACT_SECONDS.observe(self._moved_at - begun)
        if self._database_is_away:
            logger.info("%s is back, recording the facts that waited", self._needs)
        self._database_is_away = False
        return True

    def _try_to_record_line(self, line: bytes) -> bool:
        try:
            fact = decode(line)
        except CallsError as error:  # a crash has torn the line
            self._reject(f"a line of {len(line)} bytes", line.decode(errors="replace"), error)
            return True
        return self._try_to_record(fact)

    def _reject(self, name: str, fact: str, error: Exception) -> None:
        """Set a fact aside for good. Of an error of the database, which may quote the fact, only the type is logged."""
        metrics.FACTS["rejected"].inc()
        reason = f"{type(error).__name__}: {error}"
        logged = reason if isinstance(error, CallsError) else type(error).__name__
        logger.error("Could not record %s, it is kept in %s: %s", name, self._folder / REJECTED, logged)
        logger.debug("Could not record %s: %s", name, reason, exc_info=error)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with open(self._folder / REJECTED, "a", encoding="utf-8") as file:
                file.write(json.dumps({"reason": reason, "fact": fact.strip()}, ensure_ascii=False) + "\n")
        except OSError as failure:
            metrics.FACTS["lost"].inc()
            logger.error("Lost %s: it cannot be kept in %s either (%s)", name, REJECTED, failure)
            logger.debug("Lost: %s", fact)


def _line(fact: Fact) -> bytes:
    return encode(fact) + b"\n"


def _name(fact: Fact) -> str:
    """The fact for the log, without what was said."""
    return f"{type(fact).__name__} {fact.fact_id} of call {fact.call_id}"


def _resolve(drained: asyncio.Future[None]) -> None:
    if not drained.done():
        drained.set_result(None)
