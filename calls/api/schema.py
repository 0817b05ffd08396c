"""The OpenAPI document: what every operation has in common."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiExample, OpenApiResponse

from calls.api.problems import CODES
from calls.api.serializers.shared import ProblemSerializer, Strict
from calls.models import WebhookDelivery
from calls.status import Status

PROBLEM = "application/problem+json"
CALL_STATUSES = [status.value for status in Status]
DELIVERY_STATUSES = WebhookDelivery.Status.values

_PROBLEMS: Mapping[int, tuple[str, str, str]] = {
    400: ("invalid-request", "to: This field is required.", "The request is malformed, or parts of it are."),
    401: ("not-authenticated", "Send your API key: Authorization: Bearer <key>.", "No key, or none that fits."),
    403: ("missing-scope", "This key may not do that: it lacks the scope dial.", "The key lacks the scope."),
    404: ("not-found", "There is no such thing.", "There is no such thing."),
    406: ("not-acceptable", "The Accept header names nothing that can be given here.", "Nothing acceptable to give."),
    409: ("call-not-live", "This needs a call with somebody on the line.", "The call is in no state for that."),
    410: ("link-expired", "This link has expired. Get the call again for a new one.", "The link has expired."),
    413: ("body-too-large", "The body is too large.", "The body is too large."),
    415: ("unsupported-media-type", "Send the body as application/json.", "The body is no JSON."),
    422: ("do-not-call", "This number is on the do-not-call list.", "Understood, and refused: `code` says why."),
    429: ("too-many-requests", "Too many requests. Try again in 12 s.", "Too many requests: wait `Retry-After` s."),
    500: ("internal-error", "Something went wrong on our side. It is in the log.", "Our mistake."),
    503: ("database-unavailable", "The database cannot be reached just now. Try again.", "Try again a bit later."),
}
_RETRY_AFTER = {"description": "Seconds to wait.", "schema": {"type": "integer"}}
_FIELDS = {"invalid-request": ("to", "required"), "do-not-call": ("to", "do-not-call")}

_INTRODUCTION = """
Place phone calls, schedule them, watch them, and stop them.

**Keys.** Send `Authorization: Bearer <key>`. A key is made with `manage.py apikey` or in the admin, and has scopes:
`read` to look, `dial` to place calls, `control` to act on what is under way and to change lists. Operators who are
logged in to the admin can use this page without a key.

**Repeating safely.** Send an `Idempotency-Key` with `POST /api/calls/` and `POST /api/calls/batch/`. The same key with
the same body gets the first answer again, with `Idempotent-Replayed: true`, and no second call is made; with another
body it is refused.

**Lists** come newest first in pages; follow `next` until it is null. Times are RFC 3339 with an offset.

**Errors** are `application/problem+json` (RFC 9457) with a `code` that stays the same, and `errors` that name the
fields.

| code | meaning |
|---|---|
"""

_TAGS = {
    "calls": "Place calls, look at them, act on them.",
    "do-not-call": "Numbers that are never dialled.",
    "agents": "Who talks. Agents are changed in the admin.",
    "webhooks": "Addresses that hear of calls, by the specification of standardwebhooks.com.",
    "stats": "How it goes.",
}


class Schema(AutoSchema):
    """Adds to every operation the scope that it needs and the problems that it may answer with."""

    def get_operation(self, *arguments: Any, **options: Any) -> dict[str, Any] | None:
        operation = super().get_operation(*arguments, **options)
        if operation is None:
            return None
        if scope := self._scope():
            operation["description"] = f"{operation.get('description', '')}\n\nScope: `{scope}`.".strip()
        for parameter in operation.get("parameters", ()):
            if parameter["in"] == "query" and parameter["schema"] == {"type": "string"}:
                parameter["schema"]["minLength"] = 1
        for status in self._problems(operation):
            operation["responses"].setdefault(str(status), self._problem(status))
        operation["responses"] = dict(sorted(operation["responses"].items()))
        return operation

    def _scope(self) -> str:
        return str(getattr(self.view, "scopes", {}).get(self.method, ""))

    def _problems(self, operation: Mapping[str, Any]) -> list[int]:
        found = [406, 500, 503, *getattr(self.view, "problems", {}).get(self.method, ())]
        if self._scope():
            found += [401, 403, 429]
        if "{" in self.path:
            found.append(404)
        places = {parameter["in"] for parameter in operation.get("parameters", ())}
        if places & {"query", "header"}:
            found.append(400)
        if "query" in places:
            found.append(422)
        if "requestBody" in operation:
            found += [400, 413, 415, 422]
        return sorted(set(found))

    def _problem(self, status: int) -> dict[str, Any]:
        code, detail, description = _PROBLEMS[status]
        value: dict[str, Any] = {
            "type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "code": code, "detail": detail,
        }  # fmt: skip
        if code in _FIELDS:
            field, own = _FIELDS[code]
            value["errors"] = [{"field": field, "code": own, "detail": detail.removeprefix("to: ")}]
        response = OpenApiResponse(ProblemSerializer, description, [OpenApiExample(code, value)])
        headers = {"headers": {"Retry-After": _RETRY_AFTER}} if status in (429, 503) else {}
        # drf-spectacular annotates neither this function nor the next one.
        described: dict[str, Any] = self._get_response_for_code(response, str(status), [PROBLEM])  # type: ignore[no-untyped-call]
        return headers | described

    def _postprocess_serializer_schema(self, schema: Any, serializer: Any, direction: str) -> Any:
        schema = super()._postprocess_serializer_schema(schema, serializer, direction)  # type: ignore[no-untyped-call]
        if isinstance(serializer, Strict):
            schema["additionalProperties"] = False
        return schema


class KeyScheme(OpenApiAuthenticationExtension):
    target_class = "calls.api.auth.KeyAuthentication"
    name = "key"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {"type": "http", "scheme": "bearer", "description": "An API key."}


class StaffScheme(OpenApiAuthenticationExtension):
    target_class = "calls.api.auth.StaffAuthentication"
    name = "login"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {"type": "apiKey", "in": "cookie", "name": "sessionid", "description": "A login to the admin."}


def describe(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Postprocessing: the introduction with the codes, and the tags."""
    table = "\n".join(f"| `{code}` | {meaning} |" for code, meaning in CODES.items())
    result["info"]["description"] = f"{_INTRODUCTION.strip()}\n{table}\n"
    result["tags"] = [{"name": name, "description": text} for name, text in _TAGS.items()]
    return result
