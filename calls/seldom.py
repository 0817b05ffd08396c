"""Logs what clients can cause at any rate: a few lines in a while, with the number of those that were left out."""

import logging
import math
import time

PERIOD, MOST_LINES = 10.0, 5
"""In so many seconds at most so many lines."""


class Seldom:
    """Passes at most ``MOST_LINES`` warnings to ``logger`` in ``PERIOD`` seconds, and counts the others."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._ends_at = -math.inf
        self._lines = self._left_out = 0

    def warning(self, message: str, *values: object) -> None:
        now = time.monotonic()
        if now >= self._ends_at:
            if self._left_out:
                self._logger.warning("%d lines like the next one were left out", self._left_out)
            self._ends_at, self._lines, self._left_out = now + PERIOD, 0, 0
        if self._lines < MOST_LINES:
            self._lines += 1
            self._logger.warning(message, *values)
        else:
            self._left_out += 1
