"""Calls: place them, look at them, and act on them."""

import re
from operator import itemgetter
from typing import Any

from django.conf import settings
from django.core.handlers.asgi import ASGIRequest
from django.http.response import HttpResponseBase
from django_filters.rest_framework import DjangoFilterBackend
from rest_framework import serializers
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from calls.api import streams
from calls.api.auth import CONTROL, DIAL, READ
from calls.api.filters import CallFilter
from calls.api.operations import documented
from calls.api.problems import Problem, error_entry, flat
from calls.api.serializers.calls import (
    MOST_CALLS,
    BatchSerializer,
    CallDetailSerializer,
    CallSerializer,
    NewCallSerializer,
    OrderSerializer,
    SaySerializer,
    TransferSerializer,
    as_accepted,
)
from calls.api.timeline import timeline
from calls.api.views.shared import Endpoint, ListEndpoint, find_call, valid
from calls.models import ApiKey, Call
from calls.services import orders
from calls.services.placing import InvalidCalls, NewCall, place_call, place_calls
from calls.services.stopping import cancel_call, hang_up

_VISIBLE_ASCII = re.compile(r"[\x21-\x7e]{1,255}")


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


class CallsView(ListEndpoint[Call]):
    scopes = {"GET": READ, "POST": DIAL}
    filter_backends = [DjangoFilterBackend]
    filterset_class = CallFilter
    queryset = Call.objects.select_related("agent")
    serializer_class = CallSerializer
    orderings = {"-created_at": ("-created_at", "-id"), "created_at": ("created_at", "id")}

    @documented("list_calls")
    def get(self, request: Request) -> Response:
        return self.page(self.get_queryset(), CallSerializer)

    @documented("place_call")
    def post(self, request: Request) -> Response:
        wanted = valid(NewCallSerializer(data=request.data)).wanted()
        call, new = place_call(wanted, api_key=own_key(request), idempotency_key=idempotency_key(request))
        later = call.scheduled_for is not None and call.scheduled_for > call.created_at
        headers = {"Location": f"{settings.PUBLIC_BASE_URL}/api/calls/{call.pk}/", **_replayed(new)}
        return Response(as_accepted(call), status=202 if later else 201, headers=headers)


class BatchView(Endpoint):
    scopes = {"POST": DIAL}

    @documented("place_calls")
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
            wanted[row] = valid(NewCallSerializer(data=fields)).wanted()
        except serializers.ValidationError as error:
            errors += [{"row": row, **entry} for entry in flat(error.detail)]
        except Problem as problem:
            errors += [{"row": row, **entry} for entry in problem.errors]
    return wanted, errors


class CallView(Endpoint):
    scopes = {"GET": READ}

    @documented("get_call")
    def get(self, request: Request, call_id: str) -> Response:
        return Response(CallDetailSerializer(find_call(call_id, "turns", "events", "attempts")).data)


class CancelView(Endpoint):
    scopes = {"POST": CONTROL}
    problems = {"POST": [409]}

    @documented("cancel_call")
    def post(self, request: Request, call_id: str) -> Response:
        return Response(CallSerializer(cancel_call(call_id=find_call(call_id).pk)).data, status=202)


class HangUpView(Endpoint):
    scopes = {"POST": CONTROL}

    @documented("hang_up_call")
    def post(self, request: Request, call_id: str) -> Response:
        return Response(CallSerializer(hang_up(call_id=find_call(call_id).pk)).data, status=202)


class SayView(Endpoint):
    scopes = {"POST": CONTROL}
    problems = {"POST": [409]}

    @documented("say_in_call")
    def post(self, request: Request, call_id: str) -> Response:
        text = valid(SaySerializer(data=request.data)).validated_data["text"]
        return Response(OrderSerializer(orders.say(call_id=find_call(call_id).pk, text=text)).data, status=202)


class TransferView(Endpoint):
    scopes = {"POST": CONTROL}
    problems = {"POST": [409]}

    @documented("transfer_call")
    def post(self, request: Request, call_id: str) -> Response:
        to = valid(TransferSerializer(data=request.data)).validated_data["to"]
        return Response(OrderSerializer(orders.transfer(call_id=find_call(call_id).pk, to=to)).data, status=202)


class EventsView(Endpoint):
    scopes = {"GET": READ}
    renderer_classes = [streams.EventStreamRenderer, JSONRenderer]

    @documented("watch_call")
    def get(self, request: Request, call_id: str) -> HttpResponseBase:
        call = find_call(call_id)
        if request.accepted_renderer.format == "sse":
            last = request.headers.get("Last-Event-ID", "")
            return streams.stream(call, last_event_id=last, can_wait=isinstance(request._request, ASGIRequest))
        items, over = timeline(call)
        return Response({"results": [item.as_dict() for item in items], "over": over})
