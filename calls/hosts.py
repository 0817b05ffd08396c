"""The host names that this server answers to."""

import logging
import time
from http import HTTPStatus

from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.middleware.common import CommonMiddleware

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
            _refused.note(request.META.get("HTTP_HOST", ""), now=time.monotonic())
            text = "This server does not answer to the host name of this request.\n"
            return HttpResponse(text, status=HTTPStatus.BAD_REQUEST, content_type="text/plain")

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        if request.method == "HEAD" and isinstance(response, HttpResponse) and not response.content:
            return response  # without a length: the body of GET is not empty, but was not made
        return super().process_response(request, response)


class RefusedHosts:
    """Logs a refused host at once, and then at most one of all refused hosts every ``LOG_AGAIN`` seconds."""

    def __init__(self) -> None:
        self._logged_at: float | None = None
        self._unlogged = 0

    def note(self, host: str, *, now: float) -> None:
        """Log that a request for ``host`` was refused. ``now`` is the time in seconds."""
        if self._logged_at is not None and now - self._logged_at < LOG_AGAIN:
            self._unlogged += 1
            return
        others, self._unlogged, self._logged_at = self._unlogged, 0, now
        logger.warning(
            "Refused a request for the host %s%s. Add its name to ALLOWED_HOSTS if this server is to answer to it",
            ascii(host[:LONGEST_NAME]),
            f", and {others} requests for it or other hosts since the last such line" if others else "",
        )


_refused = RefusedHosts()
