"""What the decisions of a speaker come to: changes of its row, of the scheduler and of what is delivered."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from inference.csm.replies import SoundItem, SpokenReply
from inference.csm.rows import Rows
from inference.csm.scheduler import Scheduler

Outbox = dict[asyncio.AbstractEventLoop, list[tuple[SpokenReply, SoundItem]]]
"""What waits to be delivered, by the event loop of the call."""


class SlotControls:
    """What the speaker of one slot has done, at once and on the engine's thread."""

    def __init__(
        self,
        number: int,
        loop: asyncio.AbstractEventLoop,
        *,
        rows: Rows,
        outbox: Outbox,
        scheduler: Scheduler,
        lock: threading.Lock,
        clock: Callable[[], float],
    ) -> None:
        self._number = number
        self._loop = loop
        """Where the call's replies are delivered."""
        self._rows = rows
        self._outbox = outbox
        self._scheduler = scheduler
        self._lock = lock
        self._clock = clock

    def prepare_row(self) -> None:
        self._rows.prepare_row(self._number)

    def rewind(self, length: int) -> None:
        self._rows.rewind(self._number, length)

    def start_clause(self, positions: int) -> None:
        with self._lock:
            self._scheduler.start_clause(self._number, positions, now=self._clock())

    def prefill_later(self, positions: int) -> None:
        with self._lock:
            self._scheduler.prefill_later(self._number, positions, now=self._clock())

    def end_clause(self) -> None:
        with self._lock:
            self._scheduler.end_clause(self._number, now=self._clock())

    def stop(self, *, audio_goes_on: bool = False) -> None:
        with self._lock:
            self._scheduler.stop(self._number, audio_goes_on=audio_goes_on)

    def deliver(self, reply: SpokenReply, item: SoundItem) -> None:
        self._outbox.setdefault(self._loop, []).append((reply, item))
