"""What the views have in common."""

from collections.abc import Mapping
from typing import Any, TypeVar

from django.db.models import Model, QuerySet
from django.http import Http404
from rest_framework.generics import GenericAPIView
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer, ListSerializer
from rest_framework.views import APIView

from calls.api.filters import as_uuid, check_parameters
from calls.api.pagination import KeysetPagination
from calls.models import Call

METHODS = ["get", "post", "patch", "delete", "head"]
"""What any address may have; OPTIONS would tell nothing that the schema does not."""

_Model = TypeVar("_Model", bound=Model)
_Serializer = TypeVar("_Serializer", bound=BaseSerializer[Any])


class Endpoint(APIView):
    http_method_names = METHODS


class ListEndpoint(GenericAPIView[_Model]):
    """A list of rows in pages, with filters if there are any, and no parameters beyond those."""

    http_method_names = METHODS
    pagination_class = KeysetPagination
    orderings: Mapping[str, tuple[str, ...]]

    def page(self, queryset: QuerySet[_Model], serializer: type[BaseSerializer[_Model]]) -> Response:
        filterset = getattr(self, "filterset_class", None)
        names = {name: name == "status" for name in (filterset.get_filters() if filterset else ())}
        paging = {name: False for name in KeysetPagination.parameters if name != "ordering" or len(self.orderings) > 1}
        check_parameters(self.request, names | paging)
        rows = self.paginate_queryset(self.filter_queryset(queryset))
        return self.get_paginated_response(ListSerializer(rows, child=serializer()).data)


def find_call(call_id: str, *related: str) -> Call:
    """The call with its agent, and with the lists that are named."""
    known = as_uuid(call_id)
    calls = Call.objects.select_related("agent").prefetch_related(*related)
    call = calls.filter(pk=known).first() if known else None
    if call is None:
        raise Http404
    return call


def valid(serializer: _Serializer) -> _Serializer:
    serializer.is_valid(raise_exception=True)
    return serializer
