"""Checks whether this process can take calls, and whether it wants new ones."""

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from django.db import Error as DatabaseError
from django.db import connection

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why this process takes no new calls at the moment, though it could answer them."""

    why: str
    is_busy: bool
    """Whether there may be room again soon; otherwise an operator has to act."""


_checks: list[Callable[[], str]] = []
"""The checks of those parts of the process that are running: each part adds its own and removes it when it stops."""
_refusals: list[Callable[[], Refusal | None]] = []
_details: list[Callable[[], Mapping[str, Any]]] = []


def add_readiness_check(check: Callable[[], str]) -> Callable[[], None]:
    """
    Have ``/readyz`` call ``check``, which returns what is not ready yet, or an empty string.

    Returns the function that removes the check again; calling it twice does no harm.
    """
    return add_function(_checks, check)


def add_refusal_check(check: Callable[[], Refusal | None]) -> Callable[[], None]:
    """Have each new call admitted only if ``check`` gives no refusal. Returns the function that removes it again."""
    return add_function(_refusals, check)


def add_readiness_details(details: Callable[[], Mapping[str, Any]]) -> Callable[[], None]:
    """Have ``/readyz`` show these values, which can be JSON. Returns the function that removes them again."""
    return add_function(_details, details)


def add_function(functions: list[Callable[[], Answer]], function: Callable[[], Answer]) -> Callable[[], None]:
    """Add ``function`` to the list. Returns the function that removes it again; calling it twice does no harm."""

    # The same function may be added twice; this wrapper makes each addition one of its own.
    def added() -> Answer:
        return function()

    def remove() -> None:
        with suppress(ValueError):
            functions.remove(added)

    functions.append(added)
    return remove


def find_refusal() -> Refusal | None:
    """Return why a new call must be refused now, or None. One that needs an operator comes first."""
    refusals = [refusal for check in _refusals if (refusal := check()) is not None]
    return min(refusals, key=lambda refusal: refusal.is_busy, default=None)


def readiness_details() -> dict[str, Any]:
    return {name: value for details in _details for name, value in details().items()}


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
