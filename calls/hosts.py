"""The host names that this server answers to."""

import logging
from http import HTTPStatus

from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.middleware.common import CommonMiddleware

from calls.seldom import Seldom

logger = logging.getLogger(__name__)

PROBES = frozenset({"/healthz", "/readyz"})
"""The addresses for probes, which ask by whatever name or address the process has where they run."""
LONGEST_NAME = 100
"""Characters of a refused host that are logged. A name has up to 253, but few have more than this."""
LOG_AGAIN = 60.0
"""Seconds between two log lines about refused hosts: a scanner may send any number of requests."""


class HostMiddleware(CommonMiddleware):
    """
    Django's ``CommonMiddleware``, which refuses hosts that are not in ``ALLOWED_HOSTS``.

    Here probes are answered whatever their ``Host``, a refused host is logged with what to set, and HEAD tells no
    length where the body was not made.
    """

    # The stubs of Django promise that its own answer is always a redirect.
    def process_request(self, request: HttpRequest) -> HttpResponseBase | None:  # type: ignore[override]
        if (request.path_info.rstrip("/") or "/") in PROBES:
            return None
        try:
            return super().process_request(request)
        except DisallowedHost:
            host = ascii(request.META.get("HTTP_HOST", "")[:LONGEST_NAME])
            what = "Add its name to ALLOWED_HOSTS if this server is to answer to it"
            _refused.warning("Refused a request for the host %s. %s", host, what)
            text = "This server does not answer to the host name of this request.\n"
            return HttpResponse(text, status=HTTPStatus.BAD_REQUEST, content_type="text/plain")

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        if request.method == "HEAD" and isinstance(response, HttpResponse) and not response.content:
            return response  # without a length: the body of GET is not empty, but was not made
        return super().process_response(request, response)


_refused = Seldom(logger, lines=1, period=LOG_AGAIN)
