"""What the pages of the admin have in common: how they show values, and who may do what."""

from collections.abc import Callable
from typing import Any, TypeVar

from django.core.exceptions import ValidationError
from django.db.models import Model
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html

from calls.errors import CallsError

_Value = TypeVar("_Value")


def milliseconds(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds * 1000:.0f} ms"


def link_to(name: str, target: Model | None, *, text: str = "") -> str:
    """A link to the page of ``target``, if there is any."""
    if target is None:
        return "–"
    return format_html('<a href="{}">{}</a>', reverse(f"admin:calls_{name}_change", args=[target.pk]), text or target)


def is_permitted(request: HttpRequest, what: str) -> bool:
    return request.user.has_perm(f"calls.{what}")


def checked(check: Callable[[], _Value]) -> _Value:
    """What a service says of a value, as the form's complaint."""
    try:
        return check()
    except CallsError as error:
        raise ValidationError(str(error)) from error


class ReadOnly:
    """Records are written by calls, not by people."""

    def has_add_permission(self, *_: Any) -> bool:
        return False

    def has_change_permission(self, *_: Any) -> bool:
        return False
