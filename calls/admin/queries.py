"""Refuses addresses of the admin whose query no list can answer, where Django's own lists end in an error of ours."""

from __future__ import annotations

import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

LARGEST_NUMBER = 2**63 - 1
"""The largest number that a column can have."""
YEARS = range(1, 9999)
"""The years that a list can be limited to: of 9999 the end is no date any more."""
LONGEST_SEARCH = 500
"""Characters to search for. SQLite refuses some thousand words, and PostgreSQL takes long for them."""
_SEARCH = "q"


class QueryMiddleware:
    """Answers 400 to staff who ask for a page of the admin with such a query. All others only see the login."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self._get_response(request)

    def process_view(self, request: HttpRequest, *_: Any) -> HttpResponseBase | None:
        if request.resolver_match is None or request.resolver_match.app_name != "admin" or not request.user.is_staff:
            return None
        for name, values in request.GET.lists():
            for value in values:
                if fault := find_fault(name, value):
                    text = f"The address of this page cannot be used: {fault}.\n"
                    return HttpResponse(text, status=HTTPStatus.BAD_REQUEST, content_type="text/plain")
        return None


def find_fault(name: str, value: str) -> str:
    """Return why no list can be searched or limited by this value, or nothing."""
    if "\0" in value or "\0" in name:
        return "it contains a NUL character"
    if name == _SEARCH:
        return f"it searches for more than {LONGEST_SEARCH} characters" if len(value) > LONGEST_SEARCH else ""
    numbers = [part.strip() for part in value.split(",") if re.fullmatch(r"\s*[-+]?[0-9]+\s*", part)]
    if any(len(number) > 20 or abs(int(number)) > LARGEST_NUMBER for number in numbers):
        return "a number in it is too large"
    if name.endswith("__year") and any(int(number) not in YEARS for number in numbers):
        return "there is no such year"
    return ""
