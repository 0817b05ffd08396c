"""The documentation of every operation of the REST API: its purpose, parameters, bodies and examples."""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema

from calls.api import examples
from calls.api.serializers import calls, lists
from calls.api.serializers.dialling import DiallingSerializer, ResumedSerializer, ResumeSerializer
from calls.api.serializers.stats import StatsSerializer
from calls.models import Call

_Method = TypeVar("_Method", bound=Callable[..., Any])

_HEADER: Final = "header"
_IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[\x21-\x7e]+$"},
    _HEADER,
    description="A name that no other request has, such as a UUID. With it, the request can be repeated safely.",
)
_REPLAYED = OpenApiParameter(
    "Idempotent-Replayed", str, _HEADER, response=[201, 202], required=False,
    description="`true` if this is the answer to an earlier request, sent again.",
)  # fmt: skip
_LOCATION = OpenApiParameter(
    "Location", OpenApiTypes.URI, _HEADER, response=[201, 202], description="The address of the call."
)


def documented(operation_id: str) -> Callable[[_Method], _Method]:
    """Decorate the method of a view that carries out the operation, to document it."""
    [(tag, operation)] = [(tag, group[operation_id]) for tag, group in OPERATIONS.items() if operation_id in group]
    decorate: Callable[[_Method], _Method] = extend_schema(operation_id=operation_id, tags=[tag], **operation)
    return decorate


def _operation(summary: str, description: str, **options: Any) -> dict[str, Any]:
    return {"summary": summary, "description": description, **options}


_ORDER: dict[str, Any] = {"id": 12, "call": examples.CALL["id"], "created_at": "2030-01-31T09:30:20Z"}

OPERATIONS: Mapping[str, Mapping[str, dict[str, Any]]] = {
    "calls": {
        "list_calls": _operation(
            "List calls",
            "The calls that match all the given filters, in pages, the newest first.",
            responses=calls.CallSerializer(many=True),
            examples=[examples.response(examples.OVER)],
        ),
        "place_call": _operation(
            "Place a call",
            "The call is dialled as soon as calling hours, pace and free slots allow it, but not before "
            "`scheduled_for`. The answer is the call as it was accepted. Follow it at its address.",
            parameters=[_IDEMPOTENCY_KEY, _REPLAYED, _LOCATION],
            request=calls.NewCallSerializer,
            responses={
                201: OpenApiResponse(calls.CallSerializer, "The call was accepted and is dialled now."),
                202: OpenApiResponse(
                    calls.CallSerializer, "The call was accepted and is dialled at its scheduled time."
                ),
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
            "Up to 1000 calls in one request. If one of them cannot be placed, none is, and `errors` names what is "
            "wrong in which `row`, counted from 0.",
            parameters=[_IDEMPOTENCY_KEY, _REPLAYED],
            request=calls.BatchSerializer,
            responses={202: OpenApiResponse(calls.BatchAcceptedSerializer, "The calls were accepted, in this order.")},
            examples=[
                examples.request(examples.NEW_BATCH),
                examples.response({"count": 1, "calls": [examples.CALL]}, status=202),
            ],
        ),
        "get_call": _operation(
            "Get a call",
            "The call with its transcript, its turns and their stages, its events, its attempts, and a link to the "
            "recording that expires.",
            responses=calls.CallDetailSerializer,
            examples=[examples.response(examples.DETAIL)],
        ),
        "cancel_call": _operation(
            "Cancel a call",
            "Do not dial the call, or stop dialling it. A call that was answered must be hung up instead. A repeated "
            "request changes nothing.",
            request=None,
            responses={202: calls.CallSerializer},
            examples=[examples.response(examples.CANCELED, status=202)],
        ),
        "hang_up_call": _operation(
            "Hang up",
            "End the call in any state. If the agent is talking with the caller, it says goodbye first. A repeated "
            "request changes nothing.",
            request=None,
            responses={202: calls.CallSerializer},
            examples=[examples.response(examples.OVER | {"status": "in-progress", "ended_at": None}, status=202)],
        ),
        "say_in_call": _operation(
            "Have the agent say something",
            "The agent says the text as soon as it may speak.",
            request=calls.SaySerializer,
            responses={202: calls.OrderSerializer},
            examples=[
                examples.request({"text": "A colleague from the workshop will join us in a minute."}),
                examples.response({**_ORDER, "kind": "say", "data": {"text": "A colleague from …"}}, status=202),
            ],
        ),
        "transfer_call": _operation(
            "Transfer a call",
            "Connect the caller to a number that may be dialled, or to one of the agent's transfer targets.",
            request=calls.TransferSerializer,
            responses={202: calls.OrderSerializer},
            examples=[
                examples.request({"to": "sales"}, "By name"),
                examples.request({"to": "+12125550111"}, "To a number"),
                examples.response({**_ORDER, "kind": "transfer", "data": {"to": "+12125550111"}}, status=202),
            ],
        ),
        "watch_call": _operation(
            "Follow a call",
            "What has happened so far. With `Accept: text/event-stream`, the answer are server-sent events instead: "
            "`status`, `attempt`, `event` and `turn` as they happen, then `end`, after which the stream closes. With "
            "`Last-Event-ID`, the stream continues after that event; if that was the `end`, the answer is 204.",
            parameters=[
                OpenApiParameter("Last-Event-ID", str, _HEADER, description="The last `id:` that you received.")
            ],
            responses={
                (200, "text/event-stream"): OpenApiResponse(
                    examples.SSE_EVENT, "The stream of events.", [examples.response(examples.SSE, "Event")]
                ),
                (200, "application/json"): OpenApiResponse(
                    calls.TimelineSerializer,
                    "What has happened so far.",
                    [examples.response({"results": [examples.ITEM], "over": False})],
                ),
                204: OpenApiResponse(description="The stream has ended before."),
            },
        ),
        "get_recording": _operation(
            "Get a recording",
            "The recording at a link from `GET /api/calls/{call_id}/`, with the caller on the left channel and the "
            "agent on the right. It needs no API key and supports ranges. The link expires.",
            auth=[],
            parameters=[
                OpenApiParameter("Range", str, _HEADER, description="A range of bytes, such as bytes=0-65535.")
            ],
            responses={
                (200, "audio/wav"): OpenApiResponse(OpenApiTypes.BINARY, "The whole recording."),
                (206, "audio/wav"): OpenApiResponse(OpenApiTypes.BINARY, "A part of the recording, of at most 1 MiB."),
                416: OpenApiResponse(description="The range begins after the end of the recording."),
            },
        ),
    },
    "stats": {
        "get_stats": _operation(
            "Get statistics",
            "Counts by status, the answer rate, durations, and percentiles of the response latency and of its stages, "
            "for the calls that were created between two times: in total, and by hour (up to 31 days) or by day (up to "
            "366 days) in UTC. Calls from a number to itself are left out: they are tests. `current` describes the "
            "present moment.",
            parameters=[
                OpenApiParameter(
                    "from", OpenApiTypes.DATETIME, description="Default: a day before `to`, or 30 days by day."
                ),
                OpenApiParameter("to", OpenApiTypes.DATETIME, description="Default: now."),
                OpenApiParameter("period", str, enum=["hour", "day"], default="hour"),
                OpenApiParameter(
                    "agent",
                    {"type": "string", "minLength": 1},
                    description="Only the calls of the agent with this name.",
                ),
                OpenApiParameter("direction", str, enum=Call.Direction.values),
            ],
            responses=StatsSerializer,
            examples=[examples.response(examples.STATS)],
        ),
    },
    "dialling": {
        "get_dialling": _operation(
            "Get the state of the dialler",
            "What is not dialled for the moment and why, and how many calls wait. A pause without `until` ends when a "
            "trial, one call that is dialled at `try_at`, is accepted by the carrier, or when it is resumed.",
            responses=DiallingSerializer,
            examples=[examples.response(examples.DIALLING)],
        ),
        "resume_dialling": _operation(
            "Resume dialling",
            "End one pause, or all of them, when what caused it has been put right. The calls that it held are due at "
            "once. If the carrier refuses the next one again, the pause begins again. A repeated request changes "
            "nothing.",
            request=ResumeSerializer,
            responses=ResumedSerializer,
            examples=[
                examples.request({"pause": 12}, "What one pause holds"),
                examples.request({}, "Everything"),
                examples.response(examples.RESUMED),
            ],
        ),
    },
    "agents": {
        "list_agents": _operation(
            "List agents",
            "The agents in the order of their names. They are changed in the admin.",
            responses=lists.AgentSerializer(many=True),
            examples=[examples.response(examples.AGENT)],
        ),
        "get_agent": _operation(
            "Get an agent",
            "What an agent says, how it sounds and how it dials.",
            responses=lists.AgentSerializer,
            examples=[examples.response(examples.AGENT)],
        ),
    },
    "do-not-call": {
        "list_do_not_call": _operation(
            "List the do-not-call list",
            "The numbers that are never dialled, the newest first.",
            responses=lists.DoNotCallSerializer(many=True),
            examples=[examples.response(examples.DO_NOT_CALL)],
        ),
        "add_do_not_call": _operation(
            "Add a number to the do-not-call list",
            "The number is not dialled any more, not even for calls that wait already. A repeated request changes "
            "nothing.",
            request=lists.NewDoNotCallSerializer,
            responses={
                201: OpenApiResponse(lists.DoNotCallSerializer, "The number was added."),
                200: OpenApiResponse(lists.DoNotCallSerializer, "The number was on the list before."),
            },
            examples=[
                examples.request({"number": "+12125550123", "reason": "asked by letter"}),
                examples.response(examples.DO_NOT_CALL),
                examples.response(examples.DO_NOT_CALL, status=201),
            ],
        ),
        "get_do_not_call": _operation(
            "Look up a number on the do-not-call list",
            "The answer is 404 if the number is not on the list.",
            responses=lists.DoNotCallSerializer,
            examples=[examples.response(examples.DO_NOT_CALL)],
        ),
        "remove_do_not_call": _operation(
            "Remove a number from the do-not-call list",
            "Do this only with the consent of the person whose number it is.",
            responses={204: OpenApiResponse(description="The number was removed.")},
        ),
    },
    "webhooks": {
        "list_webhooks": _operation(
            "List webhooks",
            "The addresses that events of calls are sent to.",
            responses=lists.WebhookSerializer(many=True),
            examples=[examples.response(examples.WEBHOOK)],
        ),
        "make_webhook": _operation(
            "Make a webhook",
            "The `secret` signs every delivery. It is shown only in this answer.",
            request=lists.NewWebhookSerializer,
            responses={201: lists.WebhookWithSecretSerializer},
            examples=[
                examples.request({"url": "https://example.com/hooks/calls", "events": ["call.completed"]}),
                examples.response(examples.WEBHOOK | {"secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}, status=201),
            ],
        ),
        "get_webhook": _operation(
            "Get a webhook",
            "The webhook, without its secret.",
            responses=lists.WebhookSerializer,
            examples=[examples.response(examples.WEBHOOK)],
        ),
        "change_webhook": _operation(
            "Change a webhook",
            "Fields that are left out keep their values. Nothing is sent to a webhook that is not `active`.",
            request=lists.NewWebhookSerializer(partial=True),
            responses=lists.WebhookSerializer,
            examples=[examples.request({"active": False}), examples.response(examples.WEBHOOK | {"active": False})],
        ),
        "remove_webhook": _operation(
            "Remove a webhook",
            "Remove the webhook and the log of its deliveries.",
            responses={204: OpenApiResponse(description="The webhook was removed.")},
        ),
        "renew_webhook_secret": _operation(
            "Renew the secret of a webhook",
            "Deliveries are signed with a new `secret`, which is shown only in this answer, and until "
            "`old_secret_until`, a day from now, with the old one too. Enter the new one at the receiver meanwhile.",
            request=None,
            responses=lists.WebhookWithSecretSerializer,
            examples=[
                examples.response(
                    examples.WEBHOOK
                    | {"old_secret_until": "2030-02-01T09:30:00Z", "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}
                )
            ],
        ),
        "list_deliveries": _operation(
            "List deliveries",
            "The deliveries to one webhook and their results, the newest first.",
            responses=lists.DeliverySerializer(many=True),
            examples=[examples.response(examples.DELIVERY)],
        ),
    },
}
"""The documentation by tag and operation id, in the order in which the page shows it."""
