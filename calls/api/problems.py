"""Answers every error of the API with one kind of document, ``application/problem+json`` (RFC 9457)."""

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
    "invalid-request": "Parts of the request are missing or invalid. `errors` names each of them.",
    "malformed-json": "The body is not valid JSON.",
    "not-authenticated": "The request has no `Authorization: Bearer …` header, and no operator is logged in.",
    "invalid-key": "The API key is unknown, revoked or expired.",
    "missing-scope": "The API key does not have the scope that this needs, or the operator not the permission.",
    "csrf-failed": "A request from a logged-in browser came without its CSRF token.",
    "not-found": "Nothing was found at this address.",
    "method-not-allowed": "The address does not have this method. The `Allow` header lists its methods.",
    "not-acceptable": "The address cannot answer with any type in the `Accept` header.",
    "call-not-live": "No agent is talking on this call. Send orders while the call is in progress.",
    "call-over": "The call has ended already, so it cannot be canceled. There is nothing left to do.",
    "call-answered": "The call has been answered, so it cannot be canceled. Hang it up instead.",
    "link-expired": "The link to the recording has expired. Get the call again for a new one.",
    "storage-unavailable": "The store of recordings cannot be reached. Try again.",
    "recording-unreadable": "The recording cannot be decrypted: its key is missing, or the file is damaged.",
    "body-too-large": "The body is too large.",
    "body-too-slow": "The body did not arrive in time.",
    "unsupported-media-type": "The body must be `application/json`.",
    "invalid-batch": "Some calls of the batch cannot be placed, so none was. `errors` names each `row`, from 0.",
    "idempotency-key-reused": "The idempotency key was used for a different request.",
    "invalid-number": "This is not a telephone number, or it is not assigned.",
    "emergency-number": "Emergency and service numbers are never dialled.",
    "premium-number": "Premium-rate numbers are never dialled.",
    "country-not-allowed": "Calls to this country are not allowed (`DIAL_COUNTRIES`).",
    "number-type-not-allowed": "Calls to this type of number are not allowed (`DIAL_NUMBER_TYPES`).",
    "do-not-call": "The number is on the do-not-call list.",
    "unknown-agent": "No active agent has this name.",
    "missing-variables": "The agent's texts use variables that the request does not have.",
    "no-voicemail-message": "The agent has no voicemail message to leave.",
    "no-caller-id": "No number to call from is configured.",
    "duplicate-person": "The same number stands in an earlier row of the batch.",
    "unknown-timezone": "The time zone is unknown.",
    "in-the-past": "The time is in the past.",
    "invalid-text": "A string has a NUL character or a lone surrogate, which cannot be stored.",
    "invalid-cursor": "The cursor does not belong to this list and ordering.",
    "too-large": "The value is too large.",
    "invalid": "The value is not allowed here.",
    "too-many-requests": "The client sends too many requests. `Retry-After` has the seconds to wait.",
    "too-many-streams": "Too many event streams are open. `Retry-After` has the seconds to wait.",
    "server-busy": "The server has too many requests at the moment. Try again later.",
    "carrier-failed": "The carrier cannot be reached, or refused the request. Try again.",
    "database-unavailable": "The database cannot be reached. Try again.",
    "internal-error": "An unexpected error occurred. The server has logged it.",
}
"""Every ``code`` of a problem, and what it means. Clients depend on the codes, so none is ever renamed."""

_CONFLICTS = ("call-not-live", "call-over", "call-answered")
"""Codes of ``CallsError`` that are about the state of the call (409), and not about the request (422)."""
_RETRY_AFTER = {"Retry-After": "5"}
"""Seconds until a database or a carrier is likely to be back."""


class Problem(exceptions.APIException):
    """An error and its answer. Each of ``errors`` has a ``field``, a ``code`` and a ``detail``."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: Sequence[Mapping[str, str | int]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status_code = status
        self.code = code
        self.errors = list(errors)
        self.headers = dict(headers or {})


def handle_exception(error: Exception, context: Mapping[str, object]) -> HttpResponse:
    """Answer an exception with a problem, whether it was expected or not. REST framework calls this."""
    return to_response(problem_for(error))


def to_response(problem: Problem) -> HttpResponse:
    document: dict[str, object] = {
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
    """Answer an unknown address below ``/api/`` with a problem instead of a page."""
    return to_response(Problem(404, "not-found", "Nothing is at this address. See /api/docs/."))


def problem_for(error: Exception) -> Problem:
    match error:
        case Problem():
            return error
        case CallsError():
            return problem_for_calls_error(error)
        case exceptions.ValidationError():
            errors = list(flatten(error.detail))
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
            return Problem(404, "not-found", "Nothing was found at this address.")
        case PermissionDenied() | exceptions.PermissionDenied():
            return Problem(
                403, "missing-scope", str(getattr(error, "detail", error)) or "You do not have the permission for this."
            )
        case exceptions.MethodNotAllowed():
            return Problem(405, "method-not-allowed", str(error.detail))
        case exceptions.NotAcceptable():
            return Problem(406, "not-acceptable", "This address cannot answer with any type in the Accept header.")
        case exceptions.UnsupportedMediaType():
            return Problem(415, "unsupported-media-type", "Send the body as application/json.")
        case exceptions.Throttled():
            wait = max(1, math.ceil(error.wait or 1))  # type: ignore[attr-defined]  # the stubs forget the attribute
            text = f"Too many requests. Try again in {wait} s."
            return Problem(429, "too-many-requests", text, headers={"Retry-After": str(wait)})
        case RequestDataTooBig():
            return Problem(413, "body-too-large", "The body is too large.")
        case SuspiciousOperation():
            return Problem(400, "invalid-request", "The request is malformed.")
        case OperationalError() | InterfaceError():
            logger.error("The database is unavailable, so an API request was answered with 503: %s", error)
            text = "The database cannot be reached. Try again."
            return Problem(503, "database-unavailable", text, headers=_RETRY_AFTER)
    logger.error("An API request failed with an unexpected error", exc_info=error)
    return Problem(500, "internal-error", "An unexpected error occurred. The server has logged it.")


def invalid(field: str, detail: str, code: str = "invalid") -> exceptions.ValidationError:
    """Return the error of a request of which one field or parameter is malformed."""
    return exceptions.ValidationError({field: exceptions.ErrorDetail(detail, code=code)})


def unprocessable(code: str, field: str, detail: str) -> Problem:
    """Return the problem of a request that is well-formed but not allowed, because of one field."""
    return Problem(422, code, detail, errors=[{"field": field, "code": code, "detail": detail}])


def problem_for_calls_error(error: CallsError) -> Problem:
    """Return the problem for what a service refused: 503 if another try may succeed, else 409 or 422."""
    errors = [error_entry(error)] if error.field else []
    if not error.permanent:
        return Problem(503, error.code, str(error), errors=errors, headers=_RETRY_AFTER)
    return Problem(409 if error.code in _CONFLICTS else 422, error.code, str(error), errors=errors)


def error_entry(error: CallsError) -> dict[str, str]:
    """Return an entry of ``errors``."""
    return {"field": error.field, "code": error.code, "detail": str(error)}


def flatten(detail: Any, path: str = "") -> Iterator[dict[str, str]]:
    """Convert REST framework's nested details to entries of ``errors``, with paths such as ``variables.name``."""
    if isinstance(detail, Mapping):
        for name, inner in detail.items():
            own = "" if name in ("non_field_errors", "__all__") else str(name)
            yield from flatten(inner, ".".join(filter(None, (path, own))))
    elif isinstance(detail, list):
        for index, inner in enumerate(detail):
            # A list of strings is about one value. A list of anything else is about the items of a list.
            yield from flatten(inner, path if isinstance(inner, str) else f"{path}.{index}".lstrip("."))
    else:
        code = str(getattr(detail, "code", "invalid")).replace("_", "-")
        yield {"field": path, "code": code, "detail": str(detail)}


def _challenge(error: exceptions.APIException) -> dict[str, str]:
    header = getattr(error, "auth_header", None)
    return {"WWW-Authenticate": header} if header else {}
