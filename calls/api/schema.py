"""The OpenAPI document: its introduction, and the scopes and problems that its operations have in common."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from django.conf import settings
from drf_spectacular.extensions import OpenApiAuthenticationExtension, OpenApiSerializerFieldExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse
from rest_framework.serializers import Serializer

from calls.api.auth import Permissions
from calls.api.fields import NUMBER_PATTERN
from calls.api.problems import CODES
from calls.api.serializers.shared import ProblemSerializer, Strict
from calls.models import WebhookDelivery
from calls.status import Status

PROBLEM = "application/problem+json"
"""The media type of problems (RFC 9457)."""
CALL_STATUSES = [status.value for status in Status]
DELIVERY_STATUSES = WebhookDelivery.Status.values
"""The settings give these two lists their names in the document (``ENUM_NAME_OVERRIDES``)."""

_PROBLEMS: Mapping[int, tuple[str, str, str]] = {
    400: ("invalid-request", "to: This field is required.", "The request or a part of it is malformed."),
    401: ("not-authenticated", "Send your API key: Authorization: Bearer <key>.", "The API key is missing or invalid."),
    403: (
        "missing-scope",
        "This needs the scope dial, which the API key does not have.",
        "The API key does not have the scope.",
    ),
    404: ("not-found", "Nothing was found at this address.", "Nothing was found at this address."),
    406: (
        "not-acceptable",
        "This address cannot answer with any type in the Accept header.",
        "The `Accept` header allows no type of answer.",
    ),
    409: (
        "call-not-live",
        "No agent is talking on this call, which is queued. Send orders while the call is in progress.",
        "The state of the call does not allow this: `code` says why.",
    ),
    410: ("link-expired", "This link has expired. Get the call again for a new one.", "The link has expired."),
    413: ("body-too-large", "The body is too large.", "The body is too large."),
    415: ("unsupported-media-type", "Send the body as application/json.", "The body is not JSON."),
    422: (
        "do-not-call",
        "This number is on the do-not-call list.",
        "The request is well-formed but not allowed: `code` says why.",
    ),
    429: ("too-many-requests", "Too many requests. Try again in 12 s.", "The client sends too many requests."),
    500: ("internal-error", "An unexpected error occurred. The server has logged it.", "An unexpected error occurred."),
    503: (
        "database-unavailable",
        "The database cannot be reached. Try again.",
        "The service is unavailable. Try again.",
    ),
}
"""An example of each status: its code, its detail, and the description of the status."""
_RETRY_AFTER = {"description": "Seconds to wait before the next request.", "schema": {"type": "integer"}}
_RETRIABLE = (429, 503)
"""The statuses whose problems have a ``Retry-After`` header."""
_FIELDS = {"invalid-request": ("to", "required"), "do-not-call": ("to", "do-not-call")}
"""The field and its code in the ``errors`` of an example, by the code of the problem."""

_PATH_PARAMETERS: Mapping[str, tuple[Any, str]] = {
    "call_id": (OpenApiTypes.UUID, "The id of the call."),
    "name": (OpenApiTypes.STR, "The name of the agent."),
    "number": (
        {"type": "string", "pattern": NUMBER_PATTERN},
        "The full number, such as +12125550123. The + may be written as %2B.",
    ),
    "token": (OpenApiTypes.STR, "The last part of the link."),
    "webhook_id": (OpenApiTypes.INT64, "The id of the webhook."),
}
"""The type and the description of each parameter in a path, by its name."""

_INTRODUCTION = """
Place phone calls, schedule them, follow them, and stop them.

**API keys.** Send `Authorization: Bearer <key>`. Make keys with `manage.py apikey` or in the admin. A key has scopes:
`read` to read, `dial` to place calls, `control` to act on calls and to change lists. Operators who are logged in to the
admin can use this page without a key, with the permissions that they have there.

**Idempotency.** Send an `Idempotency-Key` with `POST /api/calls/` and `POST /api/calls/batch/`. If you send the same
body again with the same key, the answer is the first one, with `Idempotent-Replayed: true`, and no second call is
placed. A different body with the same key is refused.

**Lists** have pages, and the newest entry comes first. Follow `next` until it is null.

**Times** are RFC 3339 with an offset from UTC.

**Errors** are `application/problem+json` (RFC 9457). Each has a `code` that never changes, and `errors` that name the
fields.

| code | meaning |
|---|---|
"""

_TAGS = {
    "calls": "Place calls, read them, and act on them.",
    "do-not-call": "Numbers that are never dialled.",
    "agents": "What agents say and how they dial. Agents are changed in the admin.",
    "webhooks": "Addresses that events of calls are sent to, as standardwebhooks.com specifies.",
    "stats": "Counts, durations and latencies.",
    "dialling": "What is not dialled for the moment, why, and how to go on.",
}


class Schema(AutoSchema):
    """Adds to each operation the scope that it needs and the problems with which it may answer."""

    def get_operation(self, *arguments: Any, **options: Any) -> dict[str, Any] | None:
        operation = super().get_operation(*arguments, **options)
        if operation is None:
            return None
        if scope := self._scope():
            permissions: Permissions = getattr(self.view, "permissions", {})
            needed = ", ".join(f"`calls.{name}`" for name in permissions[self.method])
            access = f"Scope: `{scope}`. Operators need {needed}."
            operation["description"] = f"{operation.get('description', '')}\n\n{access}".strip()
        for parameter in operation.get("parameters", ()):
            if parameter["in"] == "query" and parameter["schema"] == {"type": "string"}:
                parameter["schema"]["minLength"] = 1
        for status in self._problem_statuses(operation):
            operation["responses"].setdefault(str(status), self._problem(status))
        operation["responses"] = dict(sorted(operation["responses"].items()))
        return operation

    def get_override_parameters(self) -> list[OpenApiParameter | Serializer[Any] | type[Serializer[Any]]]:
        return [
            OpenApiParameter(name, kind, OpenApiParameter.PATH, description=text)
            for name, (kind, text) in _PATH_PARAMETERS.items()
            if f"{{{name}}}" in self.path
        ]

    def _scope(self) -> str:
        return str(getattr(self.view, "scopes", {}).get(self.method, ""))

    def _problem_statuses(self, operation: Mapping[str, Any]) -> list[int]:
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
        value: dict[str, object] = {
            "type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "code": code, "detail": detail,
        }  # fmt: skip
        if code in _FIELDS:
            field, field_code = _FIELDS[code]
            value["errors"] = [{"field": field, "code": field_code, "detail": detail.removeprefix("to: ")}]
        response = OpenApiResponse(ProblemSerializer, description, [OpenApiExample(code, value)])
        headers = {"headers": {"Retry-After": _RETRY_AFTER}} if status in _RETRIABLE else {}
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

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, Any]:
        return {"type": "http", "scheme": "bearer", "description": "An API key, as `Authorization: Bearer <key>`."}


class WebhookAddressField(OpenApiSerializerFieldExtension):
    """Promises the schemes that the settings allow."""

    target_class = "calls.api.serializers.lists.WebhookAddress"

    def map_serializer_field(self, auto_schema: AutoSchema | None, direction: str) -> dict[str, Any]:
        optional = "?" if settings.DEBUG else ""
        pattern = f"^[Hh][Tt][Tt][Pp][Ss]{optional}://"
        return {"type": "string", "format": "uri", "minLength": 1, "maxLength": 500, "pattern": pattern}


class StaffScheme(OpenApiAuthenticationExtension):
    target_class = "calls.api.auth.StaffAuthentication"
    name = "login"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, Any]:
        return {
            "type": "apiKey",
            "in": "cookie",
            "name": "sessionid",
            "description": "The session of an operator who is logged in to the admin.",
        }


def describe(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Add the introduction, with the table of codes, and the tags. drf-spectacular calls this at the end."""
    table = "\n".join(f"| `{code}` | {meaning} |" for code, meaning in CODES.items())
    result["info"]["description"] = f"{_INTRODUCTION.strip()}\n{table}\n"
    result["tags"] = [{"name": name, "description": text} for name, text in _TAGS.items()]
    return result
