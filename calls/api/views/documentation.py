"""The OpenAPI document."""

from functools import cache
from typing import Any

from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView
from rest_framework.request import Request
from rest_framework.response import Response


class SchemaView(SpectacularAPIView):
    """The OpenAPI document. It is made once per process: that takes long, and anybody may ask."""

    @extend_schema(exclude=True)
    def get(self, request: Request, *arguments: Any, **options: Any) -> Response:
        return Response(_document())


@cache
def _document() -> dict[str, Any]:
    document: dict[str, Any] = SpectacularAPIView.generator_class().get_schema(request=None, public=True)
    return document
