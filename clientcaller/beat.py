"""The scheduler of the periodic tasks: Celery's, for a schedule of seconds that needs no memory."""

import logging
import os
import threading
import time
from typing import Any

from billiard import current_process
from celery import beat
from django.db import Error as DatabaseError
from django.db import connection

logger = logging.getLogger(__name__)

HEARTBEAT_INTERVAL = 10.0
"""Seconds between two records that the beat is at work. One write in so many seconds costs a database nothing."""


def note_beat() -> None:
    """Record that the beat of this process is at work. If the database is unavailable, the next record follows soon."""
    # The models are loaded when the beat runs, but not when Celery imports this module.
    from calls.services import heartbeats

    try:
        heartbeats.note_heartbeat(heartbeats.Kind.BEAT)
    except DatabaseError as error:
        logger.debug("Could not record that the beat is at work: %s", error)
    finally:
        connection.close()


class Scheduler(beat.Scheduler):
    """
    A scheduler without a file, because every entry repeats within minutes. It differs from Celery's in four ways:

    - It ends with its worker. Under ``worker --beat`` it is a process of its own, which would outlive a worker that was
      killed and run beside the scheduler of the next one.
    - It uses less processor time. Celery's wakes 10 ms early and then looks up to 40 times until an entry is due.
    - It logs once that the broker is unavailable, instead of a traceback every second.
    - It records in the database that it is at work, so that an operator can see whether and where it runs.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._worker_pid = None if current_process().name == "MainProcess" else os.getppid()
        """The process of the worker that this scheduler belongs to; None if it runs on its own (``celery beat``)."""
        self._broker_failed = False
        """Whether the last message could not be sent, which is then in the log already."""
        self._noted_at = float("-inf")
        """When this was last recorded, in seconds of the monotonic clock."""
        self._noting = threading.Thread()
        super().__init__(*args, **kwargs)

    def adjust(self, n: float | None, drift: float = 0.0) -> float | None:  # type: ignore[override]  # n may be None
        return n

    def tick(self, *args: Any, **kwargs: Any) -> float:
        if self._worker_pid not in (None, os.getppid()):
            raise SystemExit("The worker has ended, and its scheduler ends with it.")
        self._note()
        interval: float = super().tick(*args, **kwargs)
        return interval

    def _note(self) -> None:
        """Record now and then that the beat is at work, in a thread, because the database may not answer."""
        now = time.monotonic()
        if now - self._noted_at < HEARTBEAT_INTERVAL or self._noting.is_alive():
            return
        self._noted_at = now
        self._noting = threading.Thread(target=note_beat, name="heartbeat of the beat", daemon=True)
        self._noting.start()

    def apply_entry(self, entry: beat.ScheduleEntry, producer: Any = None) -> None:
        try:
            self.apply_async(entry, producer=producer, advance=False)
        except beat.SchedulingError as error:
            if not self._broker_failed:
                logger.warning("The message broker is unavailable; no task runs until it is back: %s", error)
            self._broker_failed = True
        else:
            if self._broker_failed:
                logger.warning("The message broker is available again")
            self._broker_failed = False
