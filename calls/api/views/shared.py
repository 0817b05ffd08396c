"""The base classes of the views, and the search for the call of a request."""

from collections.abc import Mapping
from typing import Any, TypeVar

from django.db.models import Model, QuerySet
from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.views import APIView

from calls.api.filters import as_uuid, check_parameters
from calls.api.pagination import KeysetPagination
from calls.models import Call

METHODS = ["get", "post", "patch", "delete", "head"]
"""The methods of all addresses. OPTIONS is not among them, because the OpenAPI document says more."""

_Model = TypeVar("_Model", bound=Model)
_Serializer = TypeVar("_Serializer", bound=BaseSerializer[Any])


class Finishing(APIView):
    """
    Leaves nothing of a request to the garbage collector, which stops all calls while it runs.

    REST framework makes a request, its view and its response refer to each other, and Django gives the view a method of
    itself for HEAD.
    """

    def finalize_response(self, request: Request, response: Response, *args: Any, **kwargs: Any) -> Response:
        finished = super().finalize_response(request, response, *args, **kwargs)
        request.parser_context.clear()
        self.__dict__.pop("head", None)
        if isinstance(finished, Response):  # and not one of Django's
            finished.add_post_render_callback(_let_go)
        return finished


def _let_go(response: Any) -> None:
    response.renderer_context.clear()


class Endpoint(Finishing):
    """
    The base of the other views.

    ``scopes`` has the scope that each method needs of a key, ``permissions`` those that it needs of an operator
    (``calls.api.auth``), and ``problems`` the statuses that the documentation cannot derive.
    """

    http_method_names = METHODS


class ListEndpoint(Finishing, GenericAPIView[_Model]):
    """The base of views of lists: pages, the filters of ``filterset_class``, and no other query parameters."""

    http_method_names = METHODS
    pagination_class = KeysetPagination
    orderings: Mapping[str, tuple[str, ...]]
    """The names of the orderings and their columns, as ``KeysetPagination`` takes them."""

    def get_page(self, queryset: QuerySet[_Model], serializer: type[BaseSerializer[_Model]]) -> Response | HttpResponse:
        filterset = getattr(self, "filterset_class", None)
        # Only the filter by status may be repeated.
        names = {name: name == "status" for name in (filterset.get_filters() if filterset else ())}
        paging = {name: False for name in KeysetPagination.parameters if name != "ordering" or len(self.orderings) > 1}
        check_parameters(self.request, names | paging)
        if self.request.method == "HEAD":
            # Wrong parameters are refused as in GET, but an empty query set asks the database for nothing.
            self.paginate_queryset(self.filter_queryset(queryset).none())
            return headers_only(self.request)
        rows = self.paginate_queryset(self.filter_queryset(queryset)) or []
        # A ListSerializer and its child refer to each other, and would leave all rows to the garbage collector.
        return self.get_paginated_response([*map(serializer().to_representation, rows)])


def headers_only(request: Request) -> HttpResponse:
    """Return the answer to HEAD where the body of GET would be work."""
    return HttpResponse(content_type=request.accepted_renderer.media_type)


def find_call(call_id: str, *related: str) -> Call:
    """Return the call with its agent and the named related rows. Raises ``Http404`` if there is none."""
    calls = Call.objects.select_related("agent").prefetch_related(*related)
    return get_object_or_404(calls, pk=as_uuid(call_id))


def valid(serializer: _Serializer) -> _Serializer:
    """Return the serializer once its data are valid. Raises ``ValidationError``."""
    serializer.is_valid(raise_exception=True)
    return serializer
