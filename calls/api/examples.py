"""The examples in the documentation of the REST API, all of which are about one call."""

import json
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from drf_spectacular.utils import OpenApiExample


def request(value: object, name: str = "Request") -> OpenApiExample:
    return OpenApiExample(name, value, request_only=True)


def response(value: object, name: str = "Response", status: int = 200) -> OpenApiExample:
    return OpenApiExample(name, value, response_only=True, status_codes=[str(status)])


_NOW = datetime.now(UTC).replace(microsecond=0)
_LATER = (_NOW + timedelta(days=180)).astimezone(ZoneInfo("America/New_York")).replace(hour=10, minute=0, second=0)
"""A time for which a call may be scheduled during the next months, in which the process still shows it."""


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


NEW_CALL = {"to": "+12125550123", "agent": "front-desk", "variables": {"name": "Ada"}, "metadata": {"order": 1815}}
NEW_SCHEDULED_CALL = {
    "to": "+12125550123",
    "agent": "front-desk",
    "scheduled_for": _LATER.isoformat(),
    "timezone": "America/New_York",
    "variables": {"name": "Ada"},
    "machine_detection": "hang-up",
    "max_duration": 300,
}
NEW_BATCH = {
    "calls": [
        {"to": "+12125550123", "agent": "front-desk", "variables": {"name": "Ada"}},
        {"to": "+12125550124", "agent": "front-desk", "variables": {"name": "Alan"}},
    ]
}
CALL: dict[str, object] = {
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
    "held_because": "",
    "attempts_made": 0,
    "answered_at": None,
    "answered_by": "",
    "language": "",
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
    "usage": {},
    "estimated_cost": None,
}
SCHEDULED = CALL | {
    "created_at": _utc(_NOW), "scheduled_for": _utc(_LATER), "due_at": _utc(_LATER), "timezone": "America/New_York",
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
    "usage": {"stt": {"deepgram/nova-3": {"seconds": 61.4}}, "tts": {"cartesia/sonic-3.5": {"characters": 312.0}}},
    "estimated_cost": {"amount": 0.016456, "currency": "USD"},
}
TURN: dict[str, object] = {
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
ATTEMPT: dict[str, object] = {
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
SSE_EVENT: dict[str, object] = {
    "type": "object",
    "required": ["event", "id", "data"],
    "properties": {
        "event": {"type": "string", "enum": ["status", "attempt", "event", "turn", "end"]},
        "id": {"type": "string", "description": "The value for `Last-Event-ID`."},
        "data": {"type": "string", "contentMediaType": "application/json", "description": "A TimelineItem as JSON."},
    },
}
SSE = {"event": "turn", "id": "e7.t4711.a1-completed.s1-in-progress", "data": json.dumps(ITEM)}
DO_NOT_CALL = {
    "number": "+12125550123", "reason": "asked by letter", "source": "api", "call": None,
    "created_at": "2030-01-31T09:30:00Z", "warning": "",
}  # fmt: skip
WEBHOOK = {
    "id": 3, "url": "https://example.com/hooks/calls", "events": ["call.completed"], "active": True,
    "created_at": "2030-01-31T09:30:00Z", "old_secret_until": None,
}  # fmt: skip
DELIVERY: dict[str, object] = {
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
AGENT: dict[str, object] = {
    "name": "front-desk",
    "active": True,
    "phone_number": "",
    "prompt": "You are the front desk of Harper Hall. You are talking to {{ name }}.",
    "greeting": "Hello {{ name }}, this is Harper Hall.",
    "greeting_interruptible": True,
    "disclosure": "",
    "voice": "",
    "language": "en",
    "other_languages": {"es": ""},
    "keyterms": ["Okafor", "Wellington boots"],
    "max_duration": 600,
    "record": True,
    "redact_numbers": None,
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
_FIGURES: dict[str, object] = {
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
_PAUSE: dict[str, object] = {
    "id": 12, "scope": "caller-id", "subject": "+12025550100", "cause": "caller-id", "code": "21210",
    "reason": "Twilio refused: 'From' phone number not verified (https://www.twilio.com/docs/errors/21210).",
    "since": "2030-01-31T09:20:00Z", "until": None, "try_at": "2030-01-31T09:34:00Z", "held_calls": 12,
}  # fmt: skip
DIALLING: dict[str, object] = {
    "paused_until": None, "paused_because": "", "most_calls": None, "due_calls": 3, "held_calls": 12, "later_calls": 25,
    "pauses": [_PAUSE],
}  # fmt: skip
RESUMED = DIALLING | {"resumed": 1, "due_calls": 15, "held_calls": 0, "pauses": []}
STATS: dict[str, object] = {
    "from": "2030-01-31T09:00:00Z",
    "to": "2030-01-31T10:00:00Z",
    "period": "hour",
    "total": _FIGURES,
    "periods": [{"start": "2030-01-31T09:00:00Z", **_FIGURES}],
    "current": {
        "live_calls": 2, "free_slots": 18, "waiting_calls": 40, "due_calls": 3, "held_calls": 12,
        "dialling_paused_until": None, "dialling_paused_because": "",
        "pauses": [_PAUSE],
    },
}  # fmt: skip
