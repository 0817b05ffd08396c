"""The OpenAPI document."""

from functools import cache
from typing import Any

from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from calls.api.views.shared import headers_only


class SchemaView(SpectacularAPIView):
    """Serves the OpenAPI document without a key. A process makes it once, because that takes seconds."""

    @extend_schema(exclude=True)
    def get(self, request: Request, *arguments: Any, **options: Any) -> Response | HttpResponse:
        if request.method == "HEAD":
            return headers_only(request)
        return Response(openapi_document())


@cache
def openapi_document() -> dict[str, Any]:
    document: dict[str, Any] = SpectacularAPIView.generator_class().get_schema(request=None, public=True)
    return document
