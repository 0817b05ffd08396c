"""The OpenAPI document."""

import threading
from functools import cache
from typing import Any

from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView
from rest_framework.request import Request

from calls.api.views.shared import Finishing, headers_only


class SchemaView(Finishing, SpectacularAPIView):
    """Serves the OpenAPI document without a key. A process makes it once, because that takes seconds."""

    @extend_schema(exclude=True)
    def get(self, request: Request, *arguments: Any, **options: Any) -> HttpResponse:
        if request.method == "HEAD":
            return headers_only(request)
        renderer = request.accepted_renderer
        with _making:  # making it changes what the whole process has of it
            if renderer.media_type not in _documents:
                # Writing it out takes a tenth of a second, in which calls would wait.
                text = renderer.render(openapi_document(), renderer_context={})
                _documents[renderer.media_type] = text if isinstance(text, bytes) else text.encode()
        return HttpResponse(_documents[renderer.media_type], content_type=renderer.media_type)


_making = threading.Lock()
_documents: dict[str, bytes] = {}
"""The document as it is sent, by media type."""


@cache
def openapi_document() -> dict[str, Any]:
    document: dict[str, Any] = SpectacularAPIView.generator_class().get_schema(request=None, public=True)
    return document
