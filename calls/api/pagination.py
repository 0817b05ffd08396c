"""
Keyset pagination: a page begins where the previous one ended.

The last page of a million rows is as fast as the first, and no rows are counted.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar, cast
from urllib.parse import urlencode

from django.conf import settings
from django.core import signing
from django.db.models import Model, Q, QuerySet
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from calls.api.problems import invalid, unprocessable

PAGE_SIZE = 50
"""Rows of a page where the client does not ask for another number."""
MAX_PAGE_SIZE = 200
"""Rows that a client may ask for. The limit bounds the size of an answer."""
CURSOR_PATTERN = "^[A-Za-z0-9_-]+:[A-Za-z0-9]+:[A-Za-z0-9_-]+$"
"""How cursors look, as Django signs them."""
_SALT = "calls.api.cursor"
"""Keeps what is signed for another purpose from being accepted as a cursor."""

_Model = TypeVar("_Model", bound=Model)
_Row = TypeVar("_Row")


class _OrderedView(Protocol):
    orderings: Mapping[str, tuple[str, ...]]


class KeysetPagination(BasePagination):
    """
    Reads ``page_size`` and ``cursor``, and ``ordering`` where the view has several ``orderings``.

    The keys of a view's ``orderings`` are their names, the first being the default. The values are the one or two
    columns by which they sort. The last column must be unique.
    """

    parameters = ("page_size", "cursor", "ordering")

    _request: Request
    _ordering: str
    """The name of the ordering that this request asks for."""
    _columns: tuple[str, ...]
    """The columns of the ordering, with ``-`` before those that sort in descending order."""
    _last: object | None
    """The last row of the page if another page follows, else ``None``. Set by ``paginate_queryset``, as those above."""

    def paginate_queryset(
        self, queryset: QuerySet[_Model, _Row] | Sequence[_Row], request: Request, view: APIView | None = None
    ) -> list[_Row]:
        assert isinstance(queryset, QuerySet)  # the base class allows a list, but every view has a query set
        self._request = request
        orderings = cast(_OrderedView, view).orderings
        self._ordering = request.query_params.get("ordering", next(iter(orderings)))
        if self._ordering not in orderings:
            raise invalid("ordering", f"Choose from: {', '.join(orderings)}.", "invalid-choice")
        self._columns = orderings[self._ordering]
        size = self._page_size(request)
        queryset = queryset.order_by(*self._columns)
        if (cursor := request.query_params.get("cursor")) is not None:
            queryset = queryset.filter(_after(self._columns, self._read(cursor)))
        rows = list(queryset[: size + 1])
        self._last = rows[size - 1] if len(rows) > size else None
        return rows[:size]

    def get_paginated_response(self, data: Any) -> Response:
        return Response({"results": data, "next": self._next()})

    @staticmethod
    def _page_size(request: Request) -> int:
        text = request.query_params.get("page_size", str(PAGE_SIZE))
        if not re.fullmatch(r"[0-9]{1,3}", text) or not 1 <= int(text) <= MAX_PAGE_SIZE:
            raise invalid("page_size", f"Write a number from 1 to {MAX_PAGE_SIZE}.")
        return int(text)

    def _read(self, cursor: str) -> list[str | int]:
        values: list[str | int]
        try:
            ordering, *values = signing.loads(cursor, salt=_SALT)
        except signing.BadSignature:
            ordering, values = None, []
        if ordering != self._ordering or len(values) != len(self._columns):
            text = "This cursor does not belong to this list and ordering. Use the address in `next` unchanged."
            raise unprocessable("invalid-cursor", "cursor", text)
        return values

    def _next(self) -> str | None:
        if self._last is None:
            return None
        values = [getattr(self._last, column.lstrip("-")) for column in self._columns]
        position = [value if isinstance(value, int) else str(value) for value in values]
        cursor = signing.dumps([self._ordering, *position], salt=_SALT)
        pairs = [(name, value) for name, values in self._request.query_params.lists() for value in values]
        query = urlencode([*(pair for pair in pairs if pair[0] != "cursor"), ("cursor", cursor)])
        return f"{settings.PUBLIC_BASE_URL}{self._request.path}?{query}"

    def get_paginated_response_schema(self, schema: dict[str, object]) -> dict[str, object]:
        following = {
            "type": ["string", "null"],
            "format": "uri",
            "description": "The address of the next page, or null if this is the last one.",
            "example": None,
        }
        properties = {"results": schema, "next": following}
        return {"type": "object", "required": ["results", "next"], "properties": properties}

    def get_schema_operation_parameters(self, view: APIView) -> list[dict[str, object]]:
        orderings = list(cast(_OrderedView, view).orderings)
        size = {"type": "integer", "minimum": 1, "maximum": MAX_PAGE_SIZE, "default": PAGE_SIZE}
        described: dict[str, tuple[Mapping[str, object], str]] = {
            "page_size": (size, "Rows per page."),
            "cursor": (
                {"type": "string", "minLength": 1, "pattern": CURSOR_PATTERN},
                "Part of the address in `next`. Do not make cursors yourself.",
            ),
        }
        if len(orderings) > 1:
            ordering = {"type": "string", "enum": orderings, "default": orderings[0]}
            described["ordering"] = (ordering, "The column to sort by. With a leading -, in descending order.")
        return [
            {"name": name, "in": "query", "required": False, "schema": schema, "description": text}
            for name, (schema, text) in described.items()
        ]


def _after(columns: tuple[str, ...], values: list[str | int]) -> Q:
    """Match the rows after the one with these values. The first condition has one column, so that an index is used."""

    def beyond(column: str, value: str | int, equal: str = "") -> Q:
        name, direction = column.lstrip("-"), "lt" if column.startswith("-") else "gt"
        return Q(**{f"{name}__{direction}{equal}": value})

    if len(columns) == 1:
        return beyond(columns[0], values[0])
    return beyond(columns[0], values[0], "e") & (beyond(columns[0], values[0]) | beyond(columns[1], values[1]))
