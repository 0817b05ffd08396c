"""Whatever goes wrong in the API is answered as one kind of document: ``application/problem+json`` (RFC 9457)."""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from rest_framework import exceptions

from calls.errors import CallsError

logger = logging.getLogger(__name__)

CODES: Mapping[str, str] = {
    "invalid-request": "Parts of the request are missing or wrong. `errors` names each.",
    "malformed-json": "The body is no JSON.",
    "not-authenticated": "There is no `Authorization: Bearer …` header, and no operator is logged in.",
    "invalid-key": "The key is unknown, revoked or expired.",
    "missing-scope": "The key lacks the scope that this needs.",
    "csrf-failed": "A request from a logged-in browser came without its CSRF token.",
    "not-found": "There is no such thing.",
    "method-not-allowed": "This address has no such method. The `Allow` header has those that it has.",
    "not-acceptable": "The `Accept` header names nothing that can be given.",
    "call-not-live": "Nobody is on the line.",
    "call-over": "The call is over.",
    "call-answered": "Somebody has answered: hang up instead.",
    "link-expired": "The link to the recording is too old. Get the call again for a new one.",
    "body-too-large": "The body is too large.",
    "unsupported-media-type": "Bodies are `application/json`.",
    "invalid-batch": "Some calls of the batch cannot be placed, so none was. `errors` tells by `row`, from 0.",
    "idempotency-key-reused": "The key came with another request before.",
    "invalid-number": "No telephone number, or none that exists.",
    "emergency-number": "Emergency and service numbers are never dialled.",
    "premium-number": "Premium-rate numbers are never dialled.",
    "country-not-allowed": "Calls to this country are not allowed (`DIAL_COUNTRIES`).",
    "number-type-not-allowed": "Calls to this type of number are not allowed (`DIAL_NUMBER_TYPES`).",
    "do-not-call": "The number is on the do-not-call list.",
    "unknown-agent": "There is no active agent of this name.",
    "missing-variables": "The agent's texts need variables that are not given.",
    "no-voicemail-message": "The agent has no voicemail message to leave.",
    "no-caller-id": "There is no number to call from.",
    "unknown-timezone": "There is no such time zone.",
    "in-the-past": "The time has passed.",
    "invalid-text": "A text with a NUL or a lone surrogate, which cannot be kept.",
    "invalid-cursor": "A cursor that was not given out for this list and order.",
    "too-large": "More than may be kept of this.",
    "invalid": "This value cannot be.",
    "too-many-requests": "Too many requests. `Retry-After` tells the seconds to wait.",
    "too-many-streams": "Too many event streams are open. `Retry-After` tells the seconds to wait.",
    "carrier-failed": "The carrier cannot be reached or refuses. Try again.",
    "database-unavailable": "The database cannot be reached. Try again.",
    "internal-error": "Something went wrong on our side. It is in the log.",
}
"""Every ``code`` at the top of a problem, and what it means. They stay the same."""

_CONFLICTS = ("call-not-live", "call-over", "call-answered")
_RETRY_DATABASE = 5


class Problem(exceptions.APIException):
    """An answer that is no success. ``errors`` as the document holds them: ``field``, ``code``, ``detail``."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: Sequence[Mapping[str, Any]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status_code = status
        self.code = code
        self.errors = list(errors)
        self.headers = dict(headers or {})


def answer(error: Exception, context: Mapping[str, Any]) -> HttpResponse:
    """REST framework's exception handler: a problem for every exception, the unexpected ones included."""
    return respond(_problem_of(error))


def respond(problem: Problem) -> HttpResponse:
    document: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(problem.status_code).phrase,
        "status": problem.status_code,
        "code": problem.code,
        "detail": str(problem.detail),
    }
    if problem.errors:
        document["errors"] = problem.errors
    return JsonResponse(
        document, status=problem.status_code, content_type="application/problem+json", headers=problem.headers
    )


def not_found(request: HttpRequest, **_: Any) -> HttpResponse:
    """Under ``/api/`` strangers get a problem as well, and no page."""
    return respond(Problem(404, "not-found", "There is nothing at this address. See /api/docs/."))


def _problem_of(error: Exception) -> Problem:
    match error:
        case Problem():
            return error
        case CallsError():
            return of_calls_error(error)
        case exceptions.ValidationError():
            errors = list(flat(error.detail))
            few = "; ".join(f"{one['field']}: {one['detail']}" if one["field"] else one["detail"] for one in errors[:3])
            return Problem(400, "invalid-request", few + (" …" if len(errors) > 3 else ""), errors=errors)
        case exceptions.ParseError():
            return Problem(400, "malformed-json", str(error.detail))
        case exceptions.NotAuthenticated():
            text = "Send your API key: Authorization: Bearer <key>."
            return Problem(401, "not-authenticated", text, headers=_challenge(error))
        case exceptions.AuthenticationFailed():
            return Problem(401, "invalid-key", str(error.detail), headers=_challenge(error))
        case Http404() | exceptions.NotFound():
            return Problem(404, "not-found", "There is no such thing.")
        case PermissionDenied() | exceptions.PermissionDenied():
            return Problem(403, "missing-scope", str(getattr(error, "detail", error)) or "You may not do that.")
        case exceptions.MethodNotAllowed():
            return Problem(405, "method-not-allowed", str(error.detail))
        case exceptions.NotAcceptable():
            return Problem(406, "not-acceptable", "The Accept header names nothing that can be given here.")
        case exceptions.UnsupportedMediaType():
            return Problem(415, "unsupported-media-type", "Send the body as application/json.")
        case exceptions.Throttled():
            wait = max(1, math.ceil(error.wait or 1))  # type: ignore[attr-defined]  # the stubs forget the attribute
            text = f"Too many requests. Try again in {wait} s."
            return Problem(429, "too-many-requests", text, headers={"Retry-After": str(wait)})
        case RequestDataTooBig():
            return Problem(413, "body-too-large", "The body is too large.")
        case SuspiciousOperation():
            return Problem(400, "invalid-request", "The request makes no sense.")
        case OperationalError() | InterfaceError():
            logger.error("The database failed a request: %s", error)
            text, again = "The database cannot be reached just now. Try again.", {"Retry-After": str(_RETRY_DATABASE)}
            return Problem(503, "database-unavailable", text, headers=again)
    logger.error("A request to the API failed", exc_info=error)
    return Problem(500, "internal-error", "Something went wrong on our side. It is in the log.")


def refusal(code: str, field: str, detail: str) -> Problem:
    """Understood, and refused because of one field."""
    return Problem(422, code, detail, errors=[{"field": field, "code": code, "detail": detail}])


def of_calls_error(error: CallsError) -> Problem:
    """What a service refuses: the request, the moment, or, where another try may help, the circumstances."""
    errors = [error_entry(error)] if error.field else []
    if not error.permanent:
        return Problem(503, error.code, str(error), errors=errors, headers={"Retry-After": "5"})
    return Problem(409 if error.code in _CONFLICTS else 422, error.code, str(error), errors=errors)


def error_entry(error: CallsError) -> dict[str, Any]:
    return {"field": error.field, "code": error.code, "detail": str(error)}


def flat(detail: Any, path: str = "") -> Iterator[dict[str, Any]]:
    """REST framework's nested details as entries of ``errors``; ``field`` is the path, such as ``variables.name``."""
    if isinstance(detail, Mapping):
        for name, inner in detail.items():
            own = "" if name in ("non_field_errors", "__all__") else str(name)
            yield from flat(inner, ".".join(filter(None, (path, own))))
    elif isinstance(detail, list):
        for place, inner in enumerate(detail):
            # A list of texts is about one value; a list of anything else is about the items of a list.
            yield from flat(inner, path if isinstance(inner, str) else f"{path}.{place}".lstrip("."))
    else:
        code = str(getattr(detail, "code", "invalid")).replace("_", "-")
        yield {"field": path, "code": code, "detail": str(detail)}


def _challenge(error: exceptions.APIException) -> dict[str, str]:
    header = getattr(error, "auth_header", None)
    return {"WWW-Authenticate": header} if header else {}
