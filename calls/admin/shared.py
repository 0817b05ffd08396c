"""Formats values, checks permissions, and defines read-only pages for the other pages of the admin."""

from collections.abc import Callable
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html

from calls.errors import CallsError
from calls.numbers import read_beginning, spelled_out

EMPTY = "–"
"""Shown where there is no value."""


def names(text: str) -> tuple[str, ...]:
    """Return the words of ``text``: the names of the fields that a page shows."""
    return tuple(text.split())


def milliseconds(seconds: float | None) -> str:
    return EMPTY if seconds is None else f"{seconds * 1000:.0f} ms"


def link_to(name: str, target: Model | None, *, text: str = "") -> str:
    """Link to the admin's page of ``target``, a model called ``name``. Without a target, show that there is none."""
    if target is None:
        return EMPTY
    return format_html('<a href="{}">{}</a>', reverse(f"admin:calls_{name}_change", args=[target.pk]), text or target)


def is_permitted(request: HttpRequest, codename: str) -> bool:
    return request.user.has_perm(f"calls.{codename}")


def checked_by(service: Callable[[str], str], value: str) -> str:
    """Return ``value`` as the service accepts it. If the service refuses it, the form shows the service's message."""
    try:
        return service(value)
    except CallsError as error:
        raise ValidationError(str(error)) from error


class NumberSearch:
    """Searches for a number in any spelling, such as ``+44 (0)20 7946``, by the form in which it is stored."""

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = read_beginning(search_term) if spelled_out(search_term).startswith("+") else ""
        found: tuple[QuerySet[Any], bool] = super().get_search_results(  # type: ignore[misc]
            request, queryset, term or search_term
        )
        return found


class ReadOnly:
    """A model that operators may look at but neither add nor change, because calls write its rows."""

    can_delete = False
    """Whether the rows on the page of a call can be deleted there."""

    def has_add_permission(self, *_: Any) -> bool:
        return False

    def has_change_permission(self, *_: Any) -> bool:
        return False
