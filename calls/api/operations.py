"""How each operation of the REST API is documented: what it is for, what it takes and answers, with examples."""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema

from calls.api import examples
from calls.api.serializers.calls import (
    BatchAcceptedSerializer,
    BatchSerializer,
    CallDetailSerializer,
    CallSerializer,
    NewCallSerializer,
    OrderSerializer,
    SaySerializer,
    TimelineSerializer,
    TransferSerializer,
)
from calls.api.serializers.lists import (
    AgentSerializer,
    DeliverySerializer,
    DoNotCallSerializer,
    NewDoNotCallSerializer,
    NewWebhookSerializer,
    WebhookSerializer,
    WebhookWithSecretSerializer,
)
from calls.api.serializers.stats import StatsSerializer
from calls.models import Call

_Method = TypeVar("_Method", bound=Callable[..., Any])

_PATH: Final = "path"
_HEADER: Final = "header"
_CALL_ID = OpenApiParameter("call_id", OpenApiTypes.UUID, _PATH, description="The call's id.")
_NAME = OpenApiParameter("name", {"type": "string"}, _PATH, description="The agent's name.")
_NUMBER = OpenApiParameter(
    "number", {"type": "string"}, _PATH, description="In full: +12125550123, the + as %2B if in doubt."
)
_WEBHOOK_ID = OpenApiParameter("webhook_id", OpenApiTypes.INT64, _PATH, description="The webhook's id.")
_IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[\x21-\x7e]+$"},
    _HEADER,
    description="Any name for this request that no other has, such as a UUID. With it, repeating is safe.",
)
_REPLAYED = OpenApiParameter(
    "Idempotent-Replayed", str, _HEADER, response=[201, 202], required=False,
    description="`true`: this answers a request that was answered before.",
)  # fmt: skip
_LOCATION = OpenApiParameter(
    "Location", OpenApiTypes.URI, _HEADER, response=[201, 202], description="The call's address."
)


def documented(operation_id: str) -> Callable[[_Method], _Method]:
    """Decorate the method of a view that carries out this operation."""
    [(tag, operation)] = [(tag, group[operation_id]) for tag, group in OPERATIONS.items() if operation_id in group]
    decorate: Callable[[_Method], _Method] = extend_schema(operation_id=operation_id, tags=[tag], **operation)
    return decorate


def _operation(summary: str, description: str, **options: Any) -> dict[str, Any]:
    return {"summary": summary, "description": description, **options}


_ORDER = {"id": 12, "call": examples.CALL["id"], "created_at": "2030-01-31T09:30:20Z"}

OPERATIONS: Mapping[str, Mapping[str, dict[str, Any]]] = {
    "calls": {
        "list_calls": _operation(
            "List calls",
            "Newest first, in pages, by any of the filters together.",
            responses=CallSerializer(many=True),
            examples=[examples.response(examples.OVER)],
        ),
        "place_call": _operation(
            "Place a call",
            "It is dialled as soon as it may be, by calling hours, pace and free lines, and not before "
            "`scheduled_for`. What it answers is the call as it was accepted; follow it at its address.",
            parameters=[_IDEMPOTENCY_KEY, _REPLAYED, _LOCATION],
            request=NewCallSerializer,
            responses={
                201: OpenApiResponse(CallSerializer, "Accepted: dialled now."),
                202: OpenApiResponse(CallSerializer, "Accepted: dialled when it is scheduled for."),
            },
            examples=[
                examples.request(examples.NEW_CALL, "Now"),
                examples.request(examples.NEW_SCHEDULED_CALL, "Later"),
                examples.response(examples.CALL, status=201),
                examples.response(examples.SCHEDULED, status=202),
            ],
        ),
        "place_calls": _operation(
            "Place many calls",
            "Up to 1000 at once, all or none: if one cannot be placed, none is, and `errors` tells what is "
            "wrong in which `row`, counted from 0.",
            parameters=[_IDEMPOTENCY_KEY, _REPLAYED],
            request=BatchSerializer,
            responses={202: OpenApiResponse(BatchAcceptedSerializer, "Accepted, in this order.")},
            examples=[
                examples.request(examples.NEW_BATCH),
                examples.response({"count": 1, "calls": [examples.CALL]}, status=202),
            ],
        ),
        "get_call": _operation(
            "Get a call",
            "With transcript, turns and their stages, events, attempts, and an expiring link to the recording.",
            parameters=[_CALL_ID],
            responses=CallDetailSerializer,
            examples=[examples.response(examples.DETAIL)],
        ),
        "cancel_call": _operation(
            "Cancel a call",
            "Do not dial it, or stop dialling it. A call that was answered must be hung up instead. Repeating "
            "does nothing.",
            parameters=[_CALL_ID],
            request=None,
            responses={202: CallSerializer},
            examples=[examples.response(examples.CANCELED, status=202)],
        ),
        "hang_up_call": _operation(
            "Hang up",
            "End the call, whatever it is doing: politely where the agent talks. Repeating does nothing.",
            parameters=[_CALL_ID],
            request=None,
            responses={202: CallSerializer},
            examples=[examples.response(examples.OVER | {"status": "in-progress", "ended_at": None}, status=202)],
        ),
        "say_in_call": _operation(
            "Have the agent say something",
            "It is said as soon as the agent may speak.",
            parameters=[_CALL_ID],
            request=SaySerializer,
            responses={202: OrderSerializer},
            examples=[
                examples.request({"text": "Somebody from the workshop will join us in a minute."}),
                examples.response({**_ORDER, "kind": "say", "data": {"text": "Somebody from …"}}, status=202),
            ],
        ),
        "transfer_call": _operation(
            "Transfer a call",
            "Hand the caller over to a number that may be dialled, or to one of the agent's transfer targets.",
            parameters=[_CALL_ID],
            request=TransferSerializer,
            responses={202: OrderSerializer},
            examples=[
                examples.request({"to": "sales"}, "By name"),
                examples.request({"to": "+12125550111"}, "To a number"),
                examples.response({**_ORDER, "kind": "transfer", "data": {"to": "+12125550111"}}, status=202),
            ],
        ),
        "watch_call": _operation(
            "Watch a call",
            "Server-sent events (`text/event-stream`): `status`, `attempt`, `event` and `turn` as they happen, "
            "then `end`, after which the stream closes. `Last-Event-ID` goes on where another stream has ended; after "
            "the end it answers 204. With `Accept: application/json` it answers at once with what there is.",
            parameters=[
                _CALL_ID,
                OpenApiParameter("Last-Event-ID", str, _HEADER, description="The last `id:` received."),
            ],
            responses={
                (200, "text/event-stream"): OpenApiResponse(
                    examples.SSE_EVENT, "The stream, event by event.", [examples.response(examples.SSE, "Event")]
                ),
                (200, "application/json"): OpenApiResponse(
                    TimelineSerializer, "So far.", [examples.response({"results": [examples.ITEM], "over": False})]
                ),
                204: OpenApiResponse(description="Nothing more will come."),
            },
        ),
        "get_recording": _operation(
            "Hear a call",
            "The recording behind a link of `GET /api/calls/{call_id}/`: caller left, agent right. It needs no "
            "key, and knows ranges. The link expires.",
            auth=[],
            parameters=[
                OpenApiParameter("token", str, _PATH, description="From the link."),
                OpenApiParameter("Range", str, _HEADER, description="Such as bytes=0-65535."),
            ],
            responses={
                (200, "audio/wav"): OpenApiResponse(OpenApiTypes.BINARY, "All of it."),
                (206, "audio/wav"): OpenApiResponse(OpenApiTypes.BINARY, "A part of it, of 1 MiB at most."),
                416: OpenApiResponse(description="The range is beyond the end."),
            },
        ),
    },
    "stats": {
        "get_stats": _operation(
            "See how it goes",
            "Counts by status, answer rate, durations, and percentiles of the response latency and of each of "
            "its stages, together and by period (UTC), over the calls created in a stretch of time: up to 31 days by "
            "hour and 366 by day. `current` is about this moment.",
            parameters=[
                OpenApiParameter("from", OpenApiTypes.DATETIME, description="Left out: a day before, or 30 by day."),
                OpenApiParameter("to", OpenApiTypes.DATETIME, description="Left out: now."),
                OpenApiParameter("period", str, enum=["hour", "day"], default="hour"),
                OpenApiParameter("agent", {"type": "string", "minLength": 1}, description="The name of an agent."),
                OpenApiParameter("direction", str, enum=Call.Direction.values),
            ],
            responses=StatsSerializer,
            examples=[examples.response(examples.STATS)],
        ),
    },
    "agents": {
        "list_agents": _operation(
            "List agents",
            "By name. They are changed in the admin.",
            responses=AgentSerializer(many=True),
            examples=[examples.response(examples.AGENT)],
        ),
        "get_agent": _operation(
            "Get an agent",
            "How an agent talks and dials.",
            parameters=[_NAME],
            responses=AgentSerializer,
            examples=[examples.response(examples.AGENT)],
        ),
    },
    "do-not-call": {
        "list_do_not_call": _operation(
            "List the numbers that are never dialled",
            "The latest first.",
            responses=DoNotCallSerializer(many=True),
            examples=[examples.response(examples.DO_NOT_CALL)],
        ),
        "add_do_not_call": _operation(
            "Never dial a number again",
            "From this moment on, calls that wait for it included. Repeating does nothing.",
            request=NewDoNotCallSerializer,
            responses={
                201: OpenApiResponse(DoNotCallSerializer, "It is on the list now."),
                200: OpenApiResponse(DoNotCallSerializer, "It was on the list before."),
            },
            examples=[
                examples.request({"number": "+12125550123", "reason": "asked by letter"}),
                examples.response(examples.DO_NOT_CALL),
                examples.response(examples.DO_NOT_CALL, status=201),
            ],
        ),
        "get_do_not_call": _operation(
            "Look a number up",
            "404 if it may be dialled, as far as the list goes.",
            parameters=[_NUMBER],
            responses=DoNotCallSerializer,
            examples=[examples.response(examples.DO_NOT_CALL)],
        ),
        "remove_do_not_call": _operation(
            "Allow a number again",
            "Only with the consent of the person whose number it is.",
            parameters=[_NUMBER],
            responses={204: OpenApiResponse(description="It is off the list.")},
        ),
    },
    "webhooks": {
        "list_webhooks": _operation(
            "List webhooks",
            "Where events of calls are sent.",
            responses=WebhookSerializer(many=True),
            examples=[examples.response(examples.WEBHOOK)],
        ),
        "make_webhook": _operation(
            "Make a webhook",
            "Its `secret` signs every delivery, and is shown this once.",
            request=NewWebhookSerializer,
            responses={201: WebhookWithSecretSerializer},
            examples=[
                examples.request({"url": "https://example.com/hooks/calls", "events": ["call.completed"]}),
                examples.response(examples.WEBHOOK | {"secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}, status=201),
            ],
        ),
        "get_webhook": _operation(
            "Get a webhook",
            "Without its secret.",
            parameters=[_WEBHOOK_ID],
            responses=WebhookSerializer,
            examples=[examples.response(examples.WEBHOOK)],
        ),
        "change_webhook": _operation(
            "Change a webhook",
            "What is left out stays. One that is not `active` gets nothing.",
            parameters=[_WEBHOOK_ID],
            request=NewWebhookSerializer(partial=True),
            responses=WebhookSerializer,
            examples=[
                examples.request({"active": False}),
                examples.response(examples.WEBHOOK | {"active": False}),
            ],
        ),
        "remove_webhook": _operation(
            "Remove a webhook",
            "With the log of its deliveries.",
            parameters=[_WEBHOOK_ID],
            responses={204: OpenApiResponse(description="It is gone.")},
        ),
        "list_deliveries": _operation(
            "See what became of the deliveries",
            "The log of one webhook, the latest first.",
            parameters=[_WEBHOOK_ID],
            responses=DeliverySerializer(many=True),
            examples=[examples.response(examples.DELIVERY)],
        ),
    },
}
