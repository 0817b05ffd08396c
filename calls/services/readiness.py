"""Checks whether this process can take calls."""

import logging
from collections.abc import Callable
from contextlib import suppress

from django.db import Error as DatabaseError
from django.db import connection

logger = logging.getLogger(__name__)

_checks: list[Callable[[], str]] = []
"""The checks of those parts of the process that are running: each part adds its own and removes it when it stops."""


def add_readiness_check(check: Callable[[], str]) -> Callable[[], None]:
    """
    Have ``/readyz`` call ``check``, which returns what is not ready yet, or an empty string.

    Returns the function that removes the check again; calling it twice does no harm.
    """

    # The same check may be added twice; this wrapper makes each addition a check of its own.
    def added() -> str:
        return check()

    def remove() -> None:
        with suppress(ValueError):
            _checks.remove(added)

    _checks.append(added)
    return remove


def readiness_problems() -> list[str]:
    """Return what keeps this process from taking a call; an empty list when it can."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM calls_agent LIMIT 1")
        problems = []
    except DatabaseError as error:
        logger.warning("The database is not ready: %s", error)
        problems = ["database"]
    return problems + [problem for check in _checks if (problem := check())]
