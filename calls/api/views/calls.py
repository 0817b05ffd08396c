"""Calls: place them, look at them, act on them, and how they go."""

import re
from datetime import timedelta
from functools import cache
from operator import itemgetter
from typing import Any

from django.conf import settings
from django.core import signing
from django.core.handlers.asgi import ASGIRequest
from django.http import Http404, HttpResponse
from django.utils import timezone
from django_filters.rest_framework import DjangoFilterBackend
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from drf_spectacular.views import SpectacularAPIView
from rest_framework import serializers
from rest_framework.generics import GenericAPIView
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from calls import recordings
from calls.api import schema, stats, streams
from calls.api.auth import CONTROL, DIAL, READ
from calls.api.fields import moment
from calls.api.filters import CallFilter, as_uuid, check_parameters, find_agent
from calls.api.pagination import METHODS, ListMixin
from calls.api.problems import Problem, error_entry, flat, refusal
from calls.api.serializers.calls import (
    MOST_CALLS,
    RECORDING_SALT,
    BatchAcceptedSerializer,
    BatchSerializer,
    CallDetailSerializer,
    CallSerializer,
    NewCallSerializer,
    OrderSerializer,
    SaySerializer,
    TimelineSerializer,
    TransferSerializer,
    as_accepted,
)
from calls.api.serializers.stats import StatsSerializer
from calls.models import ApiKey, Call
from calls.services import orders
from calls.services.placing import InvalidCalls, NewCall, place_call, place_calls
from calls.services.stopping import cancel_call, hang_up

_VISIBLE_ASCII = re.compile(r"[\x21-\x7e]{1,255}")
_LONGEST = {"hour": timedelta(days=31), "day": timedelta(days=366)}
CALL_ID = OpenApiParameter("call_id", OpenApiTypes.UUID, OpenApiParameter.PATH, description="The call's id.")
IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[\x21-\x7e]+$"},
    OpenApiParameter.HEADER,
    description="Any name for this request that no other has, such as a UUID. With it, repeating is safe.",
)
REPLAYED = OpenApiParameter(
    "Idempotent-Replayed", str, OpenApiParameter.HEADER, response=[201, 202], required=False,
    description="`true`: this answers a request that was answered before.",
)  # fmt: skip
LOCATION = OpenApiParameter(
    "Location", OpenApiTypes.URI, OpenApiParameter.HEADER, response=[201, 202], description="The call's address."
)


def find_call(call_id: str, *related: str) -> Call:
    """The call with its agent, and with the lists that are named."""
    known = as_uuid(call_id)
    calls = Call.objects.select_related("agent").prefetch_related(*related)
    call = calls.filter(pk=known).first() if known else None
    if call is None:
        raise Http404
    return call


def valid(serializer: serializers.Serializer) -> serializers.Serializer:
    serializer.is_valid(raise_exception=True)
    return serializer


def own_key(request: Request) -> ApiKey | None:
    return request.auth if isinstance(request.auth, ApiKey) else None


def idempotency_key(request: Request) -> str:
    key = request.headers.get("Idempotency-Key")
    if key is not None and not _VISIBLE_ASCII.fullmatch(key):
        text = "An idempotency key has 1 to 255 visible ASCII characters and no space."
        error = serializers.ErrorDetail(text, code="invalid")
        raise serializers.ValidationError({"Idempotency-Key": error})
    return key or ""


def _replayed(new: bool) -> dict[str, str]:
    return {} if new else {"Idempotent-Replayed": "true"}


class Endpoint(APIView):
    http_method_names = METHODS


class CallsView(ListMixin, GenericAPIView):
    scopes = {"GET": READ, "POST": DIAL}
    filter_backends = [DjangoFilterBackend]
    filterset_class = CallFilter
    queryset = Call.objects.select_related("agent")
    serializer_class = CallSerializer
    orderings = {"-created_at": ("-created_at", "-id"), "created_at": ("created_at", "id")}

    @extend_schema(
        operation_id="list_calls",
        summary="List calls",
        description="Newest first, in pages, by any of the filters together.",
        tags=["calls"],
        responses=CallSerializer(many=True),
        examples=[schema.response(schema.OVER)],
    )
    def get(self, request: Request) -> Response:
        return self.page(self.get_queryset(), CallSerializer)

    @extend_schema(
        operation_id="place_call",
        summary="Place a call",
        description="It is dialled as soon as it may be, by calling hours, pace and free lines, and not before "
        "`scheduled_for`. What it answers is the call as it was accepted; follow it at its address.",
        tags=["calls"],
        parameters=[IDEMPOTENCY_KEY, REPLAYED, LOCATION],
        request=NewCallSerializer,
        responses={
            201: OpenApiResponse(CallSerializer, "Accepted: dialled now."),
            202: OpenApiResponse(CallSerializer, "Accepted: dialled when it is scheduled for."),
        },
        examples=[
            schema.request(
                {
                    "to": "+12125550123",
                    "agent": "front-desk",
                    "variables": {"name": "Ada"},
                    "metadata": {"order": 1815},
                },
                "Now",
            ),
            schema.request(
                {
                    "to": "+12125550123",
                    "agent": "front-desk",
                    "scheduled_for": "2030-02-01T10:00:00-05:00",
                    "timezone": "America/New_York",
                    "variables": {"name": "Ada"},
                    "machine_detection": "hang-up",
                    "max_duration": 300,
                },
                "Later",
            ),
            schema.response(schema.CALL, status=201),
            schema.response(schema.SCHEDULED, status=202),
        ],
    )
    def post(self, request: Request) -> Response:
        wanted = valid(NewCallSerializer(data=request.data)).wanted()  # type: ignore[attr-defined]
        call, new = place_call(wanted, api_key=own_key(request), idempotency_key=idempotency_key(request))
        later = call.scheduled_for is not None and call.scheduled_for > call.created_at
        headers = {"Location": f"{settings.PUBLIC_BASE_URL}/api/calls/{call.pk}/", **_replayed(new)}
        return Response(as_accepted(call), status=202 if later else 201, headers=headers)


class BatchView(Endpoint):
    scopes = {"POST": DIAL}

    @extend_schema(
        operation_id="place_calls",
        summary="Place many calls",
        description="Up to 1000 at once, all or none: if one cannot be placed, none is, and `errors` tells what is "
        "wrong in which `row`, counted from 0.",
        tags=["calls"],
        parameters=[IDEMPOTENCY_KEY, REPLAYED],
        request=BatchSerializer,
        responses={202: OpenApiResponse(BatchAcceptedSerializer, "Accepted, in this order.")},
        examples=[
            schema.request(
                {
                    "calls": [
                        {"to": "+12125550123", "agent": "front-desk", "variables": {"name": "Ada"}},
                        {"to": "+12125550124", "agent": "front-desk", "variables": {"name": "Alan"}},
                    ]
                }
            ),
            schema.response({"count": 1, "calls": [schema.CALL]}, status=202),
        ],
    )
    def post(self, request: Request) -> Response:
        key = idempotency_key(request)
        wanted, errors = _rows(request.data)
        try:
            # Where a row is malformed the others are only looked at, so that all mistakes are told at once.
            calls, new = place_calls(
                list(wanted.values()), api_key=own_key(request), idempotency_key=key, dry_run=bool(errors)
            )
        except InvalidCalls as error:
            rows = list(wanted)
            errors += [{"row": rows[place], **error_entry(one)} for place, one in error.errors.items()]
        if errors:
            errors.sort(key=itemgetter("row"))
            text = f"{len({entry['row'] for entry in errors})} of the calls cannot be placed, so none was."
            raise Problem(422, "invalid-batch", text, errors=errors)
        data = {"count": len(calls), "calls": [as_accepted(call) for call in calls]}
        return Response(data, status=202, headers=_replayed(new))


def _rows(data: Any) -> tuple[dict[int, NewCall], list[dict[str, Any]]]:
    """The well-formed calls of a batch by row, and what is wrong with the others."""
    rows = data.get("calls") if isinstance(data, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows) or len(data) > 1:
        valid(BatchSerializer(data=data))
    if not 1 <= len(rows) <= MOST_CALLS:  # type: ignore[arg-type]
        error = serializers.ErrorDetail(f"Give 1 to {MOST_CALLS} calls.", code="invalid")
        raise serializers.ValidationError({"calls": error})
    wanted: dict[int, NewCall] = {}
    errors: list[dict[str, Any]] = []
    for row, fields in enumerate(rows):  # type: ignore[arg-type]
        try:
            wanted[row] = valid(NewCallSerializer(data=fields)).wanted()  # type: ignore[attr-defined]
        except serializers.ValidationError as error:
            errors += [{"row": row, **entry} for entry in flat(error.detail)]
        except Problem as problem:
            errors += [{"row": row, **entry} for entry in problem.errors]
    return wanted, errors


class CallView(Endpoint):
    scopes = {"GET": READ}

    @extend_schema(
        operation_id="get_call",
        summary="Get a call",
        description="With transcript, turns and their stages, events, attempts, and an expiring link to the recording.",
        tags=["calls"],
        parameters=[CALL_ID],
        responses=CallDetailSerializer,
        examples=[schema.response(schema.DETAIL)],
    )
    def get(self, request: Request, call_id: str) -> Response:
        return Response(CallDetailSerializer(find_call(call_id, "turns", "events", "attempts")).data)


class CancelView(Endpoint):
    scopes = {"POST": CONTROL}
    problems = {"POST": [409]}

    @extend_schema(
        operation_id="cancel_call",
        summary="Cancel a call",
        description="Do not dial it, or stop dialling it. A call that was answered must be hung up instead. Repeating "
        "does nothing.",
        tags=["calls"],
        parameters=[CALL_ID],
        request=None,
        responses={202: CallSerializer},
        examples=[schema.response(schema.CANCELED, status=202)],
    )
    def post(self, request: Request, call_id: str) -> Response:
        return Response(CallSerializer(cancel_call(call_id=find_call(call_id).pk)).data, status=202)


class HangUpView(Endpoint):
    scopes = {"POST": CONTROL}

    @extend_schema(
        operation_id="hang_up_call",
        summary="Hang up",
        description="End the call, whatever it is doing: politely where the agent talks. Repeating does nothing.",
        tags=["calls"],
        parameters=[CALL_ID],
        request=None,
        responses={202: CallSerializer},
        examples=[schema.response(schema.OVER | {"status": "in-progress", "ended_at": None}, status=202)],
    )
    def post(self, request: Request, call_id: str) -> Response:
        return Response(CallSerializer(hang_up(call_id=find_call(call_id).pk)).data, status=202)


_ORDER = {"id": 12, "call": schema.CALL["id"], "created_at": "2030-01-31T09:30:20Z"}


class SayView(Endpoint):
    scopes = {"POST": CONTROL}
    problems = {"POST": [409]}

    @extend_schema(
        operation_id="say_in_call",
        summary="Have the agent say something",
        description="It is said as soon as the agent may speak.",
        tags=["calls"],
        parameters=[CALL_ID],
        request=SaySerializer,
        responses={202: OrderSerializer},
        examples=[
            schema.request({"text": "Somebody from the workshop will join us in a minute."}),
            schema.response({**_ORDER, "kind": "say", "data": {"text": "Somebody from …"}}, status=202),
        ],
    )
    def post(self, request: Request, call_id: str) -> Response:
        text = valid(SaySerializer(data=request.data)).validated_data["text"]
        return Response(OrderSerializer(orders.say(call_id=find_call(call_id).pk, text=text)).data, status=202)


class TransferView(Endpoint):
    scopes = {"POST": CONTROL}
    problems = {"POST": [409]}

    @extend_schema(
        operation_id="transfer_call",
        summary="Transfer a call",
        description="Hand the caller over to a number that may be dialled, or to one of the agent's transfer targets.",
        tags=["calls"],
        parameters=[CALL_ID],
        request=TransferSerializer,
        responses={202: OrderSerializer},
        examples=[
            schema.request({"to": "sales"}, "By name"),
            schema.request({"to": "+12125550111"}, "To a number"),
            schema.response({**_ORDER, "kind": "transfer", "data": {"to": "+12125550111"}}, status=202),
        ],
    )
    def post(self, request: Request, call_id: str) -> Response:
        to = valid(TransferSerializer(data=request.data)).validated_data["to"]
        return Response(OrderSerializer(orders.transfer(call_id=find_call(call_id).pk, to=to)).data, status=202)


class EventsView(Endpoint):
    scopes = {"GET": READ}
    renderer_classes = [streams.EventStreamRenderer, JSONRenderer]

    @extend_schema(
        operation_id="watch_call",
        summary="Watch a call",
        description="Server-sent events (`text/event-stream`): `status`, `attempt`, `event` and `turn` as they happen, "
        "then `end`, after which the stream closes. `Last-Event-ID` goes on where another stream has ended; after the "
        "end it answers 204. With `Accept: application/json` it answers at once with what there is.",
        tags=["calls"],
        parameters=[
            CALL_ID,
            OpenApiParameter("Last-Event-ID", str, OpenApiParameter.HEADER, description="The last `id:` received."),
        ],
        responses={
            (200, "text/event-stream"): OpenApiResponse(
                schema.SSE_EVENT, "The stream, event by event.", [schema.response(schema.SSE, "Event")]
            ),
            (200, "application/json"): OpenApiResponse(
                TimelineSerializer, "So far.", [schema.response({"results": [schema.ITEM], "over": False})]
            ),
            204: OpenApiResponse(description="Nothing more will come."),
        },
    )
    def get(self, request: Request, call_id: str) -> Response | HttpResponse:
        call = find_call(call_id)
        if request.accepted_renderer.format == "sse":
            last = request.headers.get("Last-Event-ID", "")
            return streams.stream(call, last_event_id=last, can_wait=isinstance(request._request, ASGIRequest))
        items, over = streams.timeline(call)
        return Response({"results": [item.as_dict() for item in items], "over": over})


class _Wave(BaseRenderer):
    media_type = "audio/wav"
    format = "wav"
    charset = None
    render_style = "binary"


class RecordingView(Endpoint):
    authentication_classes: list[Any] = []
    permission_classes: list[Any] = []
    throttle_classes: list[Any] = []
    renderer_classes = [_Wave]
    problems = {"GET": [410]}

    @extend_schema(
        operation_id="get_recording",
        summary="Hear a call",
        description="The recording behind a link of `GET /api/calls/{call_id}/`: caller left, agent right. It needs no "
        "key, and knows ranges. The link expires.",
        tags=["calls"],
        auth=[],
        parameters=[
            OpenApiParameter("token", str, OpenApiParameter.PATH, description="From the link."),
            OpenApiParameter("Range", str, OpenApiParameter.HEADER, description="Such as bytes=0-65535."),
        ],
        responses={
            (200, "audio/wav"): OpenApiResponse(OpenApiTypes.BINARY, "All of it."),
            (206, "audio/wav"): OpenApiResponse(OpenApiTypes.BINARY, "A part of it, of 1 MiB at most."),
            416: OpenApiResponse(description="The range is beyond the end."),
        },
    )
    def get(self, request: Request, token: str) -> HttpResponse:
        try:
            call_id = signing.loads(token, salt=RECORDING_SALT, max_age=settings.RECORDING_LINK_TTL)
        except signing.SignatureExpired as error:
            text = "This link has expired. Get the call again for a new one."
            raise Problem(410, "link-expired", text) from error
        except signing.BadSignature as error:
            raise Http404 from error
        call = find_call(call_id)
        if not call.recording:
            raise Http404
        try:
            return recordings.serve(call.recording, request.headers.get("Range", ""))
        except FileNotFoundError as error:
            raise Http404 from error


class StatsView(Endpoint):
    scopes = {"GET": READ}

    @extend_schema(
        operation_id="get_stats",
        summary="See how it goes",
        description="Counts by status, answer rate, durations, and percentiles of the response latency and of each of "
        "its stages, together and by period (UTC), over the calls created in a stretch of time: up to 31 days by hour "
        "and 366 by day. `current` is about this moment.",
        tags=["stats"],
        parameters=[
            OpenApiParameter("from", OpenApiTypes.DATETIME, description="Left out: a day before, or 30 by day."),
            OpenApiParameter("to", OpenApiTypes.DATETIME, description="Left out: now."),
            OpenApiParameter("period", str, enum=["hour", "day"], default="hour"),
            OpenApiParameter("agent", {"type": "string", "minLength": 1}, description="The name of an agent."),
            OpenApiParameter("direction", str, enum=Call.Direction.values),
        ],
        responses=StatsSerializer,
        examples=[schema.response(schema.STATS)],
    )
    def get(self, request: Request) -> Response:
        check_parameters(request, dict.fromkeys(("from", "to", "period", "agent", "direction"), False))
        asked = request.query_params
        period = _one_of(asked.get("period", "hour"), "period", list(_LONGEST))
        until = _moment(asked.get("to"), "to") or timezone.now()
        since = _moment(asked.get("from"), "from") or until - timedelta(days=1 if period == "hour" else 30)
        if not timedelta(0) < until - since <= _LONGEST[period]:
            text = f"By {period}, give a stretch of up to {_LONGEST[period].days} days, its beginning first."
            raise refusal("invalid", "from", text)
        calls = Call.objects.filter(created_at__gte=since, created_at__lt=until)
        if (name := asked.get("agent")) is not None:
            calls = calls.filter(agent=find_agent(name))
        if (direction := asked.get("direction")) is not None:
            calls = calls.filter(direction=_one_of(direction, "direction", Call.Direction.values))
        data = {"from": since, "to": until, "period": period, **stats.report(calls, period=period)}
        return Response({**data, "current": stats.current()})


def _moment(text: str | None, name: str) -> Any:
    try:
        return None if text is None else moment(text.replace(" ", "+"))
    except ValueError as error:
        raise serializers.ValidationError({name: serializers.ErrorDetail(str(error), code="invalid")}) from error


def _one_of(value: Any, name: str, choices: list[Any]) -> Any:
    if value not in choices:
        error = serializers.ErrorDetail(f"Choose of {', '.join(choices)}.", code="invalid-choice")
        raise serializers.ValidationError({name: error})
    return value


class SchemaView(SpectacularAPIView):
    """The OpenAPI document. It is made once per process: that takes long, and anybody may ask."""

    @extend_schema(exclude=True)
    def get(self, request: Request, *arguments: Any, **options: Any) -> Response:
        return Response(_document())


@cache
def _document() -> dict[str, Any]:
    return SpectacularAPIView.generator_class().get_schema(request=None, public=True)
