"""Carries out the decisions of a speaker on its row, on the scheduler and on the delivery of its replies."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass

from inference.csm.replies import SoundItem, SpokenReply
from inference.csm.rows import Rows
from inference.csm.scheduler import Scheduler

Outbox = dict[asyncio.AbstractEventLoop, list[tuple[SpokenReply, SoundItem]]]
"""The sound that waits to be delivered, by the event loop of the call."""


@dataclass(frozen=True, slots=True)
class SlotControls:
    """
    The actions of the speaker of one slot.

    Each takes effect before it returns. Only the engine's thread may call them.
    """

    number: int
    """The slot's number."""
    loop: asyncio.AbstractEventLoop
    """The event loop on which the call's replies are delivered."""
    rows: Rows
    outbox: Outbox
    scheduler: Scheduler
    lock: threading.Lock
    """Guards the scheduler."""
    clock: Callable[[], float]

    def prepare_row(self) -> None:
        """Make the call's row ready for a clause: in front of those that do not speak, with a new codec stream."""
        self.rows.prepare_row(self.number)

    def rewind(self, length: int) -> None:
        """Keep only the first ``length`` positions in the model's cache."""
        self.rows.rewind(self.number, length)

    def start_clause(self, positions: int) -> None:
        """Prefill so many more positions at once, then make frames until ``end_clause``."""
        with self.lock:
            self.scheduler.start_clause(self.number, positions, now=self.clock())

    def prefill_later(self, positions: int) -> None:
        """Prefill so many more positions when there is time."""
        with self.lock:
            self.scheduler.prefill_later(self.number, positions, now=self.clock())

    def end_clause(self) -> None:
        """Make no more frames; the caller still hears what was delivered."""
        with self.lock:
            self.scheduler.end_clause(self.number, now=self.clock())

    def stop(self, *, audio_goes_on: bool = False) -> None:
        """Prefill nothing more and make no more frames. The caller hears no more, unless ``audio_goes_on``."""
        with self.lock:
            self.scheduler.stop(self.number, audio_goes_on=audio_goes_on)

    def deliver(self, reply: SpokenReply, item: SoundItem) -> None:
        """Hand this to the reply."""
        self.outbox.setdefault(self.loop, []).append((reply, item))
