"""Checks a number against the settings and the do-not-call list."""

from collections.abc import Collection

from django.conf import settings

from calls import numbers
from calls.errors import CallsError
from calls.models import DoNotCall


def dialable(text: str, *, field: str) -> str:
    """Return ``text`` in E.164 if the settings allow this number. Raises ``CallsError`` with ``field``."""
    try:
        return numbers.dialable(text, countries=settings.DIAL_COUNTRIES, types=settings.DIAL_NUMBER_TYPES)
    except numbers.NumberRefused as error:
        raise CallsError(str(error), code=error.code, field=field) from error


def refuse_listed(number: str, *, field: str, listed: Collection[str] | None = None) -> None:
    """
    Raise ``CallsError`` with ``field`` if the number is on the do-not-call list.

    ``listed`` is the whole list if it is at hand already; without it the database is asked.
    """
    if number in listed if listed is not None else DoNotCall.objects.filter(number=number).exists():
        raise CallsError("This number is on the do-not-call list.", code="do-not-call", field=field)
