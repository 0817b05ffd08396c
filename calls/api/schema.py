"""The OpenAPI document: what every operation has in common, and the examples."""

import json
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
        return headers | self._get_response_for_code(response, str(status), [PROBLEM])

    def _postprocess_serializer_schema(self, schema: Any, serializer: Any, direction: str) -> Any:
        schema = super()._postprocess_serializer_schema(schema, serializer, direction)
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


# --- Examples ----------------------------------------------------------------------------------------------

CALL: dict[str, Any] = {
    "id": "6c0a6f5e-0a2f-4f0e-9d52-3b1f3f0f6a11",
    "sid": None,
    "direction": "outbound",
    "status": "queued",
    "from": "+12125550100",
    "to": "+12125550123",
    "agent": "front-desk",
    "created_at": "2030-01-31T09:30:00Z",
    "scheduled_for": None,
    "due_at": "2030-01-31T09:30:00Z",
    "attempts_made": 0,
    "answered_at": None,
    "answered_by": "",
    "ended_at": None,
    "duration": None,
    "end_reason": "",
    "transfer_to": "",
    "max_duration": None,
    "machine_detection": None,
    "record": None,
    "timezone": "",
    "variables": {"name": "Ada"},
    "metadata": {"order": 1815},
    "has_recording": False,
}
SCHEDULED = CALL | {
    "scheduled_for": "2030-02-01T15:00:00Z", "due_at": "2030-02-01T15:00:00Z", "timezone": "America/New_York",
}  # fmt: skip
CANCELED = CALL | {"status": "canceled", "due_at": None, "ended_at": "2030-01-31T09:30:05Z", "end_reason": "canceled"}
OVER = CALL | {
    "sid": "CA0123456789abcdef0123456789abcdef",
    "status": "completed",
    "due_at": None,
    "attempts_made": 1,
    "answered_at": "2030-01-31T09:30:08Z",
    "ended_at": "2030-01-31T09:31:20Z",
    "duration": 72.0,
    "end_reason": "caller-hung-up",
    "has_recording": True,
}
TURN: dict[str, Any] = {
    "number": 2,
    "speaker": "agent",
    "who": "agent",
    "said": "We open at nine.",
    "heard": "We open at nine.",
    "interrupted": False,
    "fallback": False,
    "started_at": "2030-01-31T09:30:15.370000Z",
    "ended_at": "2030-01-31T09:30:16.800000Z",
    "response_latency": 0.37,
    "stages": {"endpointing": 0.25, "first_speech": 0.1, "send": 0.02},
}
EVENT = {"kind": "dialled", "at": "2030-01-31T09:30:01Z", "data": {"attempt": 1}}
ATTEMPT: dict[str, Any] = {
    "id": "0b6c3c1e-6f0b-4a57-8a54-0c2a7be7f3d2",
    "number": 1,
    "sid": "CA0123456789abcdef0123456789abcdef",
    "status": "completed",
    "from": "+12125550100",
    "to": "+12125550123",
    "created_at": "2030-01-31T09:30:00Z",
    "requested_at": "2030-01-31T09:30:00.100000Z",
    "answered_at": "2030-01-31T09:30:08Z",
    "ended_at": "2030-01-31T09:31:20Z",
    "answered_by": "",
    "sip_code": None,
    "error_code": "",
    "error": "",
}
DETAIL = OVER | {
    "transcript": ["caller: When do you open?", "agent: We open at nine."],
    "turns": [TURN],
    "events": [EVENT],
    "attempts": [ATTEMPT],
    "recording": {"url": "https://phone.example.com/api/recordings/IjZj…/", "expires_at": "2030-01-31T10:32:00Z"},
}
ITEM = {"id": "turn-4711", "type": "turn", "at": "2030-01-31T09:30:16.800000Z", "data": TURN}
SSE_EVENT: dict[str, Any] = {
    "type": "object",
    "required": ["event", "id", "data"],
    "properties": {
        "event": {"type": "string", "enum": ["status", "attempt", "event", "turn", "end"]},
        "id": {"type": "string", "description": "For `Last-Event-ID`."},
        "data": {"type": "string", "contentMediaType": "application/json", "description": "A TimelineItem."},
    },
}
SSE = {"event": "turn", "id": "e7.t4711.a1-completed.s1-in-progress", "data": json.dumps(ITEM)}
DO_NOT_CALL = {
    "number": "+12125550123", "reason": "asked by letter", "source": "api", "call": None,
    "created_at": "2030-01-31T09:30:00Z",
}  # fmt: skip
WEBHOOK = {
    "id": 3, "url": "https://example.com/hooks/calls", "events": ["call.completed"], "active": True,
    "created_at": "2030-01-31T09:30:00Z",
}  # fmt: skip
DELIVERY: dict[str, Any] = {
    "id": "1f7d9a52-3f0c-4c67-9b0d-2f2b0c9f8f10",
    "call": CALL["id"],
    "event": "call.completed",
    "status": "delivered",
    "attempts": 1,
    "created_at": "2030-01-31T09:31:20Z",
    "due_at": None,
    "delivered_at": "2030-01-31T09:31:20.400000Z",
    "response_status": 204,
    "payload": {"type": "call.completed", "timestamp": "2030-01-31T09:31:20Z", "data": {"call": CALL["id"]}},
    "log": [{"at": "2030-01-31T09:31:20.400000Z", "result": 204, "ms": 80}],
}
AGENT: dict[str, Any] = {
    "name": "front-desk",
    "active": True,
    "phone_number": "",
    "prompt": "You are the front desk of Harper Hall. You are talking to {{ name }}.",
    "greeting": "Hello {{ name }}, this is Harper Hall.",
    "greeting_interruptible": True,
    "disclosure": "",
    "voice": "",
    "language": "en",
    "max_duration": 600,
    "record": True,
    "opt_out_key": "9",
    "transfer_targets": {"sales": "+12125550111"},
    "ring_timeout": 25,
    "machine_detection": "off",
    "voicemail_message": "",
    "max_attempts": 3,
    "retry_busy_after": 600,
    "retry_no_answer_after": 7200,
    "retry_failed_after": 1800,
    "created_at": "2030-01-01T00:00:00Z",
    "updated_at": "2030-01-01T00:00:00Z",
}
_FIGURES: dict[str, Any] = {
    "calls": 120,
    "by_status": {
        "queued": 0, "initiated": 0, "ringing": 0, "in-progress": 2, "completed": 96, "busy": 8, "no-answer": 12,
        "failed": 1, "canceled": 1,
    },
    "answer_rate": 0.8167,
    "average_duration": 74.2,
    "latency": {
        "response_latency": {"count": 410, "p50": 0.374, "p90": 0.381, "p95": 0.387, "p99": 0.45},
        "endpointing": {"count": 410, "p50": 0.25, "p90": 0.25, "p95": 0.26, "p99": 0.31},
    },
}  # fmt: skip
STATS: dict[str, Any] = {
    "from": "2030-01-31T09:00:00Z",
    "to": "2030-01-31T10:00:00Z",
    "period": "hour",
    "total": _FIGURES,
    "periods": [{"start": "2030-01-31T09:00:00Z", **_FIGURES}],
    "current": {
        "live_calls": 2, "free_slots": 18, "waiting_calls": 40, "due_calls": 3, "dialling_paused_until": None,
        "dialling_paused_because": "",
    },
}  # fmt: skip


def request(value: Any, name: str = "Request") -> OpenApiExample:
    return OpenApiExample(name, value, request_only=True)


def response(value: Any, name: str = "Response", status: int = 200) -> OpenApiExample:
    return OpenApiExample(name, value, response_only=True, status_codes=[str(status)])
