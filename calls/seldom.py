"""Logs what clients can cause at any rate: a few lines in a while, with the number of those that were left out."""

import logging
import math
import time


class Ration:
    """Allows at most ``lines`` in ``period`` seconds, and counts the others."""

    def __init__(self, *, lines: int = 5, period: float = 10.0) -> None:
        self._most = lines
        self._period = period
        self._ends_at = -math.inf
        self._lines = self._left_out = 0

    def next(self) -> str | None:
        """Return what the next line says of those that were left out, or None if it is left out itself."""
        now = time.monotonic()
        if now >= self._ends_at:
            self._ends_at, self._lines = now + self._period, 0
        if self._lines >= self._most:
            self._left_out += 1
            return None
        more = f" ({self._left_out} more like it since the last such line)" if self._left_out else ""
        self._left_out = 0
        self._lines += 1
        return more


class Seldom:
    """Passes at most ``lines`` warnings to ``logger`` in ``period`` seconds, and counts the others."""

    def __init__(self, logger: logging.Logger, *, lines: int = 5, period: float = 10.0) -> None:
        self._logger = logger
        self._ration = Ration(lines=lines, period=period)

    def warning(self, message: str, *values: object) -> None:
        if (more := self._ration.next()) is not None:
            self._logger.warning(f"{message}%s", *values, more)
