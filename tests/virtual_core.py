"""The time that real work would take on a processor of its own, for calls in virtual time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar
from unittest import mock

from tests.virtual_time import VirtualLoop

Result = TypeVar("Result")
_DONE = 1e-9
"""Seconds of work that are nothing: what rounding leaves."""


class VirtualCore:
    """
    One processor of a loop in virtual time, which shares it fairly among the work in progress.

    Work is done at once, on the thread of the loop. Its result comes when the processor time that it took has passed on
    the loop's clock: later if there is other work, as for threads on one core. Meanwhile the loop goes on. The time is
    that of the whole process, so nothing else may run in it, and libraries must not wait busily.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *, clock: Callable[[], float] = time.process_time) -> None:
        self.busy = 0.0
        """Seconds of work so far."""
        self._loop, self._clock = loop, clock
        self._left: dict[Callable[[], None], float] = {}
        """The seconds of work that each result still needs."""
        self._settled_at = 0.0
        """The time of the loop up to which the work is counted."""
        self._timer: asyncio.TimerHandle | None = None

    def run(self, function: Callable[..., Result], *arguments: Any) -> asyncio.Future[Result]:
        """Do the work; the future has its result once its time has passed."""
        future: asyncio.Future[Result] = self._loop.create_future()
        began = self._clock()
        try:
            finish = partial(_set, future.set_result, future, function(*arguments))
        except Exception as error:
            finish = partial(_set, future.set_exception, future, error)
        seconds = self._clock() - began
        self.busy += seconds
        self._settle()
        self._left[finish] = seconds
        self._arm()
        return future

    def _settle(self) -> None:
        """Count the work that was done since the last time."""
        now = self._loop.time()
        share = (now - self._settled_at) / max(1, len(self._left))
        self._left = {finish: left - share for finish, left in self._left.items()}
        self._settled_at = now

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        if self._left:
            due = self._loop.time() + max(0.0, min(self._left.values())) * len(self._left)
            self._timer = self._loop.call_at(due, self._fire)

    def _fire(self) -> None:
        self._settle()
        done = [finish for finish, left in self._left.items() if left <= _DONE]
        for finish in done:
            del self._left[finish]
            finish()
        self._arm()


def _set(set_outcome: Callable[[Any], None], future: asyncio.Future[Any], outcome: Any) -> None:
    if not future.done():
        set_outcome(outcome)


class CoreLoop(VirtualLoop):
    """A loop in virtual time whose threads are a ``VirtualCore``."""

    def __init__(self) -> None:
        super().__init__()
        self.core = VirtualCore(self)

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, function: Callable[..., Result], *arguments: Any
    ) -> asyncio.Future[Result]:
        return self.core.run(function, *arguments)


class AtOnce(Executor):
    """Does work on the thread that submits it, and takes no time of a loop."""

    def submit(self, function: Callable[..., Result], /, *arguments: Any, **options: Any) -> Future[Result]:
        future: Future[Result] = Future()
        try:
            future.set_result(function(*arguments, **options))
        except Exception as error:
            future.set_exception(error)
        return future


@contextmanager
def core_loop() -> Iterator[CoreLoop]:
    """A loop whose time is also that of ``time.monotonic()``, by which the simulated network goes."""
    loop = CoreLoop()
    try:
        with mock.patch("time.monotonic", loop.time):
            yield loop
    finally:
        loop.close()
