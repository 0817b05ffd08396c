"""The OpenAPI document."""

import threading
from functools import cache
from typing import Any

from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from calls.api.views.shared import headers_only


class SchemaView(SpectacularAPIView):
    """Serves the OpenAPI document without a key. A process makes it once, because that takes seconds."""

    @extend_schema(exclude=True)
    def get(self, request: Request, *arguments: Any, **options: Any) -> HttpResponse:
        if request.method == "HEAD":
            return headers_only(request)
        renderer = request.accepted_renderer
        with _making:  # making it changes what the whole process has of it
            document = _rendered(type(renderer))
        return HttpResponse(document, content_type=renderer.media_type)


_making = threading.Lock()


@cache
def _rendered(renderer: type[BaseRenderer]) -> bytes:
    """Writing the document out takes a tenth of a second, in which calls would wait."""
    document = renderer().render(openapi_document(), renderer_context={})
    return document if isinstance(document, bytes) else document.encode()


@cache
def openapi_document() -> dict[str, Any]:
    document: dict[str, Any] = SpectacularAPIView.generator_class().get_schema(request=None, public=True)
    return document
