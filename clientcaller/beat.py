"""What sends the periodic wake-ups: Celery's scheduler, for a schedule of seconds that needs no memory."""

import logging
import os
from typing import Any

from billiard import current_process
from celery import beat

logger = logging.getLogger(__name__)


class Scheduler(beat.Scheduler):
    """
    Keeps no file (everything repeats within minutes), and:

    - ends with its worker: as ``worker --beat`` it is a process of its own, which outlives a worker that was killed,
      so that the next one would be the second;
    - spares the processor: the stock one comes 10 ms early and then looks up to 40 times until it is time;
    - says once that the broker is away, and not with a traceback every second.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._worker_pid = None if current_process().name == "MainProcess" else os.getppid()
        self._away = False
        super().__init__(*args, **kwargs)

    def adjust(self, n: float | None, drift: float = 0.0) -> float | None:
        return n

    def tick(self, *args: Any, **kwargs: Any) -> float:
        if self._worker_pid not in (None, os.getppid()):
            raise SystemExit("the worker is gone")
        interval: float = super().tick(*args, **kwargs)
        return interval

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        try:
            self.apply_async(entry, producer=producer, advance=False)
        except beat.SchedulingError as error:
            if not self._away:
                logger.warning("Nobody can be woken until the broker is back: %s", error)
            self._away = True
        else:
            if self._away:
                logger.warning("The broker is back")
            self._away = False
