"""
What happened in the calls, written down behind them: in order, each fact once by its id, none lost.

A call puts a fact into memory, and one thread of the process applies it to the database. While the database is
away, facts wait in files: one JSON array a line, in order. What a dead process has left there is applied before
anything new. A fact that can never be applied is set aside in ``rejected.jsonl`` with the reason.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from calls.services import CallsError, Fact
from calls.services.facts import decode, encode

logger = logging.getLogger(__name__)

Pwrite = Callable[[int, bytes, int], int]

MAX_WAITING = 5000
"""Facts in memory, about 5 MB. There are so many only if the database hangs; then they go to a file at once."""
_SYNC_EVERY = 1.0  # seconds: what a power cut may cost
_DONE = b"#"  # in place of a line's first character once its fact is applied


class _Segment:
    """One file of the spool, locked as long as the process that owns it lives."""

    def __init__(self, path: Path, file: int, pwrite: Pwrite) -> None:
        self._path = path
        self.age = int(path.name.partition("-")[0])
        self._file = file
        self._pwrite = pwrite
        self._read_to = 0
        self._written_to = os.fstat(file).st_size
        self._synced_at = 0.0
        self.whole = not self._written_to  # not the file of another, whose last line may be torn

    @classmethod
    def create(cls, folder: Path, age: int, pwrite: Pwrite) -> _Segment:
        """A new file; names sort by ``age``, so that the next process finds them in their order."""
        folder.mkdir(parents=True, exist_ok=True)
        while True:
            path = folder / f"{age:020d}-{uuid4().hex[:8]}.jsonl"
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            if _locked(file):
                return cls(path, file, pwrite)

    @classmethod
    def leftovers(cls, folder: Path, pwrite: Pwrite) -> Iterator[_Segment]:
        """The files of dead processes, oldest first; one process gets them all, so that their order is kept."""
        if not folder.is_dir():
            return
        lock = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for path in sorted(folder.glob(f"{'[0-9]' * 20}-*.jsonl")):
                with suppress(FileNotFoundError):  # its process lives, and has just done with it
                    file = os.open(path, os.O_RDWR)
                    if _locked(file):
                        yield cls(path, file, pwrite)
        finally:
            os.close(lock)

    def append(self, lines: bytes) -> None:
        """All of it or, with an ``OSError``, nothing."""
        view, end = memoryview(lines), self._written_to
        try:
            while view:
                written = self._pwrite(self._file, bytes(view), end)
                view, end = view[written:], end + written
        except OSError:
            os.ftruncate(self._file, self._written_to)
            raise
        self._written_to = end
        if (now := time.monotonic()) - self._synced_at >= _SYNC_EVERY:
            self._synced_at = now
            os.fsync(self._file)

    def lines(self) -> Iterator[bytes]:
        """The lines that are not done yet; one is done when the next is asked for."""
        with open(self._file, "rb", closefd=False) as file:
            file.seek(self._read_to)
            for line in file:
                if not line.startswith(_DONE):
                    yield line
                    with suppress(OSError):
                        os.pwrite(self._file, _DONE, self._read_to)
                self._read_to += len(line)

    def release(self) -> None:
        """Leave it to whoever comes next."""
        os.close(self._file)

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)
        os.close(self._file)


def _locked(file: int) -> bool:
    """Lock it; or, if another was faster or the file is gone, close it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(file).st_nlink:
            return True
    except BlockingIOError:
        pass
    os.close(file)
    return False


def _line(fact: Fact) -> bytes:
    return encode(fact) + b"\n"


class FactSpool:
    """
    The facts of one process.

    ``apply`` is called on the spool's own thread with a fact; what it raises of type ``transient`` means "later",
    anything else "never". ``folder`` is one that processes may share. From
    ``first_retry`` to ``last_retry`` seconds lie between attempts, doubling. ``pwrite`` is
    ``os.pwrite``, or what stands for it in a test.
    """

    def __init__(
        self,
        apply: Callable[[Fact], None],
        *,
        folder: Path,
        transient: tuple[type[Exception], ...],
        max_waiting: int = MAX_WAITING,
        first_retry: float = 0.5,
        last_retry: float = 15.0,
        pwrite: Pwrite = os.pwrite,
    ) -> None:
        self._apply = apply
        self._folder = folder
        self._transient = transient
        self._max_waiting = max_waiting
        self._first_retry, self._last_retry = first_retry, last_retry
        self._pwrite = pwrite
        self._changed = threading.Condition()
        # Three ages of facts: the segments are older than what waits in memory, the overflow is younger.
        self._segments: deque[_Segment] = deque()  # the thread's own
        self._waiting: deque[Fact] = deque()
        self._overflow: _Segment | None = None
        self._age = 0
        self._idle = True
        self._closing = False
        self._away = False
        self._retry = 0.0
        self._thread: threading.Thread | None = None
        self._drains: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []

    def start(self) -> None:
        """Begin, with what dead processes have left. The first ``record`` does it too. Idempotent."""
        with self._changed:
            if self._thread is None and not self._closing:
                self._idle = False
                self._thread = threading.Thread(target=self._run, name="facts", daemon=True)
                self._thread.start()

    def record(self, fact: Fact) -> None:
        """
        Have a fact applied, in its turn; from any thread.

        Never raises, and touches the disk in one case only: the database hangs and memory is full.
        """
        self.start()
        with self._changed:
            self._idle = False
            if self._closing or self._overflow or len(self._waiting) >= self._max_waiting:
                self._put_aside(fact)
            else:
                self._waiting.append(fact)
            self._changed.notify_all()

    async def drain(self, timeout: float) -> bool:  # noqa: ASYNC109
        """Wait until every fact is applied or rejected; False if that takes longer than ``timeout``."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        with self._changed:
            if self._idle:
                return True
            self._drains.append((loop, done))
        try:
            async with asyncio.timeout(timeout):
                await done
        except TimeoutError:
            return False
        return True

    async def close(self, timeout: float = 10.0) -> None:  # noqa: ASYNC109
        """Apply what waits in memory; what cannot be applied within ``timeout`` stays on disk for the next process."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, timeout)
            if self._thread.is_alive():
                logger.error("The database hangs: %d facts are left on disk for the next process", len(self._waiting))
                self._save_waiting()

    def _put_aside(self, fact: Fact) -> None:
        try:
            self._overflow = self._overflow or _Segment.create(self._folder, self._next_age(), self._pwrite)
            self._overflow.append(_line(fact))
        except (OSError, CallsError) as error:
            logger.error("Lost %s: neither the database nor the disk takes it (%s)", _name(fact), error)
            logger.debug("Lost: %r", fact)

    def _next_age(self) -> int:
        """For a file that begins now; nanoseconds, if the clock was not set back. The caller holds the lock."""
        self._age = max(self._age + 1000, time.time_ns())
        return self._age

    # -- on the thread --------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._segments.extend(_Segment.leftovers(self._folder, self._pwrite))
        except OSError as error:
            logger.error("The facts of earlier processes cannot be read: %s", error)
        while True:
            last = self._closing  # nothing is put into memory after that, so one more round takes all that is there
            try:
                here = self._replay() and self._apply_waiting()
            except Exception:
                logger.exception("Writing down facts met something unknown")
                here = False
            if not here:
                self._save_waiting()
            if last:
                break
            self._rest(here)
        with self._changed:
            left = [*self._segments, self._overflow] if self._overflow else [*self._segments]
            self._segments.clear()
            self._overflow = None
            if here and not left:
                self._become_idle()
        for segment in left:
            segment.release()

    def _replay(self) -> bool:
        """Apply what lies on disk; False if the database is away or there is no time left."""
        while self._segments:
            for line in self._segments[0].lines():
                if self._closing or not self._settle_line(line):
                    return False
            self._segments.popleft().remove()
        return True

    def _apply_waiting(self) -> bool:
        """Apply what lies in memory; False if the database is away."""
        while True:
            with self._changed:
                if not self._waiting:
                    return True
                fact = self._waiting[0]
            if not self._settle(fact):
                return False
            with self._changed:
                if self._waiting and self._waiting[0] is fact:
                    self._waiting.popleft()

    def _save_waiting(self) -> None:
        """Move what lies in memory to the disk, behind what is there; if the disk is full, it stays."""
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
                if not (self._segments and self._segments[-1].whole):
                    self._segments.append(_Segment.create(self._folder, age, self._pwrite))
                self._segments[-1].append(bytes(lines))
        except OSError as error:
            logger.error("%d facts wait in memory only, for the disk fails as well: %s", len(facts), error)
            return
        with self._changed:
            for fact in facts:
                if self._waiting and self._waiting[0] is fact:
                    self._waiting.popleft()
            self._adopt_overflow()

    def _adopt_overflow(self) -> None:
        if self._overflow and not self._waiting:
            self._segments.append(self._overflow)
            self._overflow = None

    def _rest(self, here: bool) -> None:
        """Wait for something to do or, with the database away, for the next attempt."""
        with self._changed:
            if here:
                self._retry = 0.0
                self._adopt_overflow()
                if not self._waiting and not self._segments:
                    self._become_idle()
                    self._changed.wait_for(lambda: self._waiting or self._overflow or self._closing)
                return
        self._retry = min(max(2 * self._retry, self._first_retry), self._last_retry)
        until = time.monotonic() + self._retry
        known = len(self._waiting)
        while not self._closing and (left := until - time.monotonic()) > 0:
            with self._changed:
                self._changed.wait_for(lambda: len(self._waiting) > known or self._closing, left)  # noqa: B023
            if len(self._waiting) > known:
                self._save_waiting()
                known = len(self._waiting)

    def _become_idle(self) -> None:
        self._idle = True
        drains, self._drains = self._drains, []
        for loop, done in drains:
            with suppress(RuntimeError):  # nobody waits any more: the loop is closed
                loop.call_soon_threadsafe(_resolve, done)

    def _settle(self, fact: Fact) -> bool:
        """Apply or reject it; False if the database is away."""
        try:
            self._apply(fact)
        except self._transient as error:
            if not self._away:
                logger.warning("The database is away, facts wait on disk: %s", error)
            self._away = True
            return False
        except Exception as error:
            try:
                line = encode(fact).decode()
            except CallsError:
                line = repr(fact)
            self._reject(_name(fact), line, error)
        if self._away:
            logger.info("The database is back")
        self._away = False
        return True

    def _settle_line(self, line: bytes) -> bool:
        try:
            fact = decode(line)
        except CallsError as error:  # torn by a crash
            self._reject(f"a line of {len(line)} bytes", line.decode(errors="replace"), error)
            return True
        return self._settle(fact)

    def _reject(self, name: str, fact: str, error: Exception) -> None:
        """Set a fact aside for good. Of an error of the database, which may quote the fact, only the type is logged."""
        reason = f"{type(error).__name__}: {error}"
        told = reason if isinstance(error, CallsError) else type(error).__name__
        logger.error("Could not record %s, it is kept in %s: %s", name, self._folder / "rejected.jsonl", told)
        logger.debug("Could not record %s: %s", name, reason, exc_info=error)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with open(self._folder / "rejected.jsonl", "a", encoding="utf-8") as file:
                file.write(json.dumps({"reason": reason, "fact": fact.strip()}, ensure_ascii=False) + "\n")
        except OSError as failure:
            logger.error("Lost %s: it cannot be kept in rejected.jsonl either (%s)", name, failure)
            logger.debug("Lost: %s", fact)


def _name(fact: Fact) -> str:
    """The fact for the log, without what was said."""
    return f"{type(fact).__name__} {fact.fact_id} of call {fact.call_id}"


def _resolve(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)
