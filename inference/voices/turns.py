"""
Shares the threads that synthesise between the calls: who speaks next, and when a clause must pause for another call.

A thread makes one step of the most urgent clause, then looks again. So a long clause delays the first sound of another
call by one step, and a call whose sound runs out soon goes before one that has seconds in hand.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from inference.types import EngineError

RESERVE = 0.3
"""Seconds of sound that a call has in hand before it must be served: about two steps of a slow voice on a busy core."""

SECONDS_PER_WORD = 0.03
"""By how much later a clause without sound is begun for each of its words. The words of a neural voice take about as
long to prepare, so a short clause goes before a long one that was there a moment earlier, and both are heard sooner."""

Steps = Generator[None, None, None]
"""The synthesis of one clause. It blocks between two ``yield``, each of which lets other calls go first."""


class Job(Protocol):
    """A clause that is being synthesised."""

    @property
    def stopped(self) -> bool:
        """Whether nobody needs the sound any more."""

    @property
    def needed_at(self) -> float:
        """
        The time on ``time.monotonic`` at which its next step should begin: ``RESERVE`` before the caller has heard what
        there is; if there is nothing yet, when the clause was submitted, and ``SECONDS_PER_WORD`` later for each word.
        """

    def steps(self) -> Steps: ...

    def done(self, error: EngineError | None) -> None:
        """The synthesis has ended. Called once, on any thread."""


@dataclass(slots=True, eq=False)
class _Waiting:
    job: Job
    number: int
    """Which is first, of clauses that are as urgent."""
    steps: Steps | None = None
    """None until the clause has begun."""


@dataclass(slots=True)
class SynthesisThreads:
    """The threads of one engine. ``count`` clauses are synthesised at the same time."""

    name: str
    count: int = 1
    _executor: ThreadPoolExecutor = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _waiting: list[_Waiting] = field(default_factory=list)
    _submitted: int = 0
    _closed: bool = False

    def __post_init__(self) -> None:
        self._executor = ThreadPoolExecutor(self.count, self.name)

    @property
    def others_wait(self) -> bool:
        """Whether a clause of another call waits for a thread. Asked by a clause that has one."""
        return any(not waiting.job.stopped for waiting in tuple(self._waiting))

    async def run(self, function: Callable[[], None]) -> None:
        """Run a blocking function on a thread, as long as no clause is synthesised yet."""
        await asyncio.get_running_loop().run_in_executor(self._executor, function)

    def submit(self, job: Job) -> None:
        """Synthesise a clause when it is its turn. Raises ``EngineError`` after ``close``."""
        with self._lock:
            if self._closed:
                raise EngineError("the speech engine is closed")
            self._submitted += 1
            self._waiting.append(_Waiting(job, self._submitted))
        self._queue_step()

    def close(self) -> None:
        """End every clause with an error after its present step. Does not wait for that."""
        with self._lock:
            self._closed = True
            waiting, self._waiting = self._waiting, []
        self._executor.shutdown(wait=False, cancel_futures=True)
        for each in waiting:
            self._end(each, EngineError("the speech engine is closed"))

    def _queue_step(self) -> None:
        with suppress(RuntimeError):  # closed in the meantime, which has ended all clauses
            self._executor.submit(self._step)

    def _step(self) -> None:
        """Make one step of the most urgent clause. There are as many calls of this in the queue as clauses wait."""
        with self._lock:
            if not self._waiting:
                return
            waiting = min(self._waiting, key=lambda each: (each.job.needed_at, each.number))
            self._waiting.remove(waiting)
        try:
            if waiting.job.stopped:
                self._end(waiting, None)
                return
            if waiting.steps is None:
                waiting.steps = waiting.job.steps()
            next(waiting.steps)
        except StopIteration:
            waiting.job.done(None)
            return
        except EngineError as error:
            waiting.job.done(error)
            return
        except Exception as error:
            waiting.job.done(EngineError(f"speech synthesis failed: {type(error).__name__}: {error}"))
            return
        with self._lock:
            closed = self._closed
            if not closed:
                self._waiting.append(waiting)
        if closed:
            self._end(waiting, EngineError("the speech engine is closed"))
        else:
            self._queue_step()

    @staticmethod
    def _end(waiting: _Waiting, error: EngineError | None) -> None:
        if waiting.steps is not None:
            waiting.steps.close()
        waiting.job.done(error)
