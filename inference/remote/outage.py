"""Logs one warning for each outage, however often the attempt is repeated."""

from __future__ import annotations

import logging


class Outage:
    """Something that may be unavailable for a while, such as the channel layer."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._is_known = False

    def report(self, message: str, *arguments: object) -> None:
        """Log the failure as a warning if it is the first one since all was well."""
        if not self._is_known:
            self._logger.warning(message, *arguments)
        self._is_known = True

    def end(self) -> None:
        """Note a success: the next failure is a new outage."""
        self._is_known = False
