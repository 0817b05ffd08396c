"""Pages by where the last one ended: as fast in the depth of a million rows as at their beginning, without counting."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import urlencode
from uuid import UUID

from django.conf import settings
from django.core import signing
from django.db.models import Model, Q, QuerySet
from rest_framework import serializers
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from calls.api.problems import refusal

PAGE_SIZE = 50
LARGEST_PAGE = 200
_SALT = "calls.api.cursor"

_Model = TypeVar("_Model", bound=Model)
_Row = TypeVar("_Row")


class KeysetPagination(BasePagination):
    """
    ``?page_size=&cursor=``, and ``?ordering=`` where the view has ``orderings``.

    A view's ``orderings`` are names and the columns, one or two, by which they sort; the last column must be unique.
    """

    parameters = ("page_size", "cursor", "ordering")

    def paginate_queryset(
        self, queryset: QuerySet[_Model, _Row] | Sequence[_Row], request: Request, view: APIView | None = None
    ) -> list[_Row]:
        assert isinstance(queryset, QuerySet)  # the base class allows lists; no view has one
        self._request = request
        orderings: Mapping[str, tuple[str, ...]] = view.orderings  # type: ignore[union-attr]
        self._ordering = request.query_params.get("ordering", next(iter(orderings)))
        if self._ordering not in orderings:
            raise _wrong("ordering", f"Order by one of {', '.join(orderings)}.", "invalid-choice")
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
        if not re.fullmatch(r"[0-9]{1,3}", text) or not 1 <= int(text) <= LARGEST_PAGE:
            raise _wrong("page_size", f"This is a number from 1 to {LARGEST_PAGE}.", "invalid")
        return int(text)

    def _read(self, cursor: str) -> list[Any]:
        values: list[Any]
        try:
            ordering, *values = signing.loads(cursor, salt=_SALT)
        except signing.BadSignature:
            ordering, values = None, []
        if ordering != self._ordering or len(values) != len(self._columns):
            text = "Take the address of the next page from `next`, and change nothing."
            raise refusal("invalid-cursor", "cursor", text)
        return values

    def _next(self) -> str | None:
        if self._last is None:
            return None
        values = [getattr(self._last, column.lstrip("-")) for column in self._columns]
        plain = [_plain(value) for value in values]
        cursor = signing.dumps([self._ordering, *plain], salt=_SALT)
        pairs = [(name, value) for name, values in self._request.query_params.lists() for value in values]
        query = urlencode([*(pair for pair in pairs if pair[0] != "cursor"), ("cursor", cursor)])
        return f"{settings.PUBLIC_BASE_URL}{self._request.path}?{query}"

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        following = {
            "type": ["string", "null"],
            "format": "uri",
            "description": "The address of the next page; null: this is the last one.",
            "example": None,
        }
        properties = {"results": schema, "next": following}
        return {"type": "object", "required": ["results", "next"], "properties": properties}

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        orderings = list(view.orderings)
        size = {"type": "integer", "minimum": 1, "maximum": LARGEST_PAGE, "default": PAGE_SIZE}
        described: dict[str, tuple[dict[str, Any], str]] = {
            "page_size": (size, "Rows of a page."),
            "cursor": ({"type": "string", "minLength": 1}, "From `next` of the page before."),
        }
        if len(orderings) > 1:
            ordering = {"type": "string", "enum": orderings, "default": orderings[0]}
            described["ordering"] = (ordering, "By what the rows are sorted; - is downwards.")
        return [
            {"name": name, "in": "query", "required": False, "schema": schema, "description": text}
            for name, (schema, text) in described.items()
        ]


def _after(columns: tuple[str, ...], values: list[Any]) -> Q:
    """The rows behind the one with these values. The first condition, on one column, suits an index."""

    def beyond(column: str, value: Any, equal: str = "") -> Q:
        name, direction = column.lstrip("-"), "lt" if column.startswith("-") else "gt"
        return Q(**{f"{name}__{direction}{equal}": value})

    if len(columns) == 1:
        return beyond(columns[0], values[0])
    return beyond(columns[0], values[0], "e") & (beyond(columns[0], values[0]) | beyond(columns[1], values[1]))


def _plain(value: Any) -> Any:
    match value:
        case datetime():
            return value.isoformat()
        case UUID():
            return str(value)
    return value


def _wrong(name: str, text: str, code: str) -> serializers.ValidationError:
    return serializers.ValidationError({name: serializers.ErrorDetail(text, code=code)})
