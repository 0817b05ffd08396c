"""Checks a number against the settings and the do-not-call list, and finds where it may ring."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager

from django.conf import settings

from calls import dial_rules
from calls.errors import CallsError
from calls.models import DoNotCall
from calls.number_forms import forms_of
from calls.numbers import NumberRefused


@contextmanager
def refused_at(field: str) -> Iterator[None]:
    """Turn the refusal of a number into a ``CallsError`` that names the field of the request."""
    try:
        yield
    except NumberRefused as error:
        raise CallsError(str(error), code=error.code, field=field) from error


def dialable(text: str, *, field: str) -> str:
    """Return ``text`` in E.164 if the settings allow this number. Raises ``CallsError`` with ``field``."""
    with refused_at(field):
        return dial_rules.dialable(
            text, countries=settings.DIAL_COUNTRIES, types=settings.DIAL_NUMBER_TYPES, new_codes=settings.NEW_AREA_CODES
        )


def refuse_listed(number: str, *, field: str, listed: Collection[str] | None = None) -> None:
    """
    Raise ``CallsError`` with ``field`` if the number is on the do-not-call list, in any of its forms.

    ``listed`` is the whole list if it is at hand already; without it the database is asked.
    """
    forms = forms_of(number)
    if not forms.isdisjoint(listed) if listed is not None else DoNotCall.objects.filter(number__in=forms).exists():
        raise CallsError("This number is on the do-not-call list.", code="do-not-call", field=field)


def zones_of(number: str) -> tuple[str, ...]:
    """Return all time zones in which the number may ring. Raises ``ValueError`` if it is not a number."""
    return dial_rules.zones_of(number, new_codes=settings.NEW_AREA_CODES)


def region_of(number: str) -> str:
    """Return the ISO code of the number's country. Raises ``ValueError`` if it is not a number."""
    return dial_rules.region_of(number, new_codes=settings.NEW_AREA_CODES)
