"""The addresses of calls: placing, reading, following and ending them, and orders to live ones."""

import re
from collections.abc import Sequence
from operator import itemgetter
from typing import Any

from django.conf import settings
from django.core.handlers.asgi import ASGIRequest
from django.http.response import HttpResponse, HttpResponseBase
from django_filters.rest_framework import DjangoFilterBackend
from rest_framework import serializers
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from calls.api import streams
from calls.api.auth import CONTROL, DIAL, READ
from calls.api.filters import CallFilter
from calls.api.operations import documented
from calls.api.problems import Problem, error_entry, flatten, invalid
from calls.api.serializers.calls import (
    MAX_BATCH_CALLS,
    BatchOptionsSerializer,
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
from calls.api.views.shared import Endpoint, ListEndpoint, find_call, headers_only, valid
from calls.errors import CallsError
from calls.models import ApiKey, Call
from calls.services import orders
from calls.services.placing import DuplicatePerson, InvalidCalls, NewCall, describe_duplicate, place_call, place_calls
from calls.services.stopping import cancel_call, hang_up

_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}")
"""Visible ASCII, which every client and proxy passes on unchanged, as long as the column of ``Call`` is."""

SEE_CALL = ("view_call", "view_turn", "view_callevent", "view_dialattempt")
"""What an operator needs to see a call with all that its page in the admin shows."""


def api_key(request: Request) -> ApiKey | None:
    """Return the API key of the request, or ``None`` if an operator sent it."""
    return request.auth if isinstance(request.auth, ApiKey) else None


def idempotency_key(request: Request) -> str:
    """Return the idempotency key of the request, or an empty string if it has none."""
    key = request.headers.get("Idempotency-Key")
    if key is not None and not _IDEMPOTENCY_KEY.fullmatch(key):
        text = "An idempotency key must have 1 to 255 visible ASCII characters and no space."
        raise invalid("Idempotency-Key", text)
    return key or ""


def _replayed_header(new: bool) -> dict[str, str]:
    return {} if new else {"Idempotent-Replayed": "true"}


class CallsView(ListEndpoint[Call]):
    scopes = {"GET": READ, "POST": DIAL}
    permissions = {"GET": ("view_call",), "POST": ("add_call",)}
    filter_backends = [DjangoFilterBackend]
    filterset_class = CallFilter
    queryset = Call.objects.select_related("agent")
    serializer_class = CallSerializer
    orderings = {"-created_at": ("-created_at", "-id"), "created_at": ("created_at", "id")}

    @documented("list_calls")
    def get(self, request: Request) -> Response | HttpResponse:
        return self.get_page(self.get_queryset(), CallSerializer)

    @documented("place_call")
    def post(self, request: Request) -> Response:
        new_call = valid(NewCallSerializer(data=request.data)).to_new_call()
        call, new = place_call(new_call, api_key=api_key(request), idempotency_key=idempotency_key(request))
        later = call.scheduled_for is not None and call.scheduled_for > call.created_at
        headers = {"Location": f"{settings.PUBLIC_BASE_URL}/api/calls/{call.pk}/", **_replayed_header(new)}
        return Response(as_accepted(call), status=202 if later else 201, headers=headers)


class BatchView(Endpoint):
    largest_body = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    scopes = {"POST": DIAL}
    permissions = {"POST": ("add_call",)}

    @documented("place_calls")
    def post(self, request: Request) -> Response:
        key = idempotency_key(request)
        new_calls, errors, allow_duplicates = _read_batch(request.data)
        try:
            # If a row is malformed, the others are only checked, so that the answer has the errors of all rows.
            calls, new = place_calls(
                list(new_calls.values()),
                api_key=api_key(request),
                idempotency_key=key,
                dry_run=bool(errors),
                allow_duplicates=allow_duplicates,
            )
        except InvalidCalls as error:
            rows = list(new_calls)
            errors += [{"row": rows[index], **_row_error(reason, rows)} for index, reason in error.errors.items()]
        if errors:
            errors.sort(key=itemgetter("row"))
            text = f"{len({entry['row'] for entry in errors})} of the calls cannot be placed, so none was."
            raise Problem(422, "invalid-batch", text, errors=errors)
        data = {"count": len(calls), "calls": [as_accepted(call) for call in calls]}
        return Response(data, status=202, headers=_replayed_header(new))


def _row_error(error: CallsError, rows: Sequence[int]) -> dict[str, str]:
    """The entry of ``errors`` for a row of the batch. ``rows`` are those of the calls that were checked."""
    entry = error_entry(error)
    return entry | {"detail": describe_duplicate(rows[error.first])} if isinstance(error, DuplicatePerson) else entry


def _read_batch(data: Any) -> tuple[dict[int, NewCall], list[dict[str, str | int]], bool]:
    """
    Return the well-formed calls of a batch by row, the entries of ``errors`` for the other rows, and whether a person
    may be called twice.
    """
    rows = data.get("calls") if isinstance(data, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        valid(BatchSerializer(data=data))
    assert isinstance(rows, list)  # or the serializer has refused the body
    # The rows are read one by one below, so that the answer names all that are wrong.
    options = valid(BatchOptionsSerializer(data={name: value for name, value in data.items() if name != "calls"}))
    if not 1 <= len(rows) <= MAX_BATCH_CALLS:
        raise invalid("calls", f"A batch must have 1 to {MAX_BATCH_CALLS} calls.")
    new_calls: dict[int, NewCall] = {}
    errors: list[dict[str, str | int]] = []
    for row, fields in enumerate(rows):
        try:
            new_calls[row] = valid(NewCallSerializer(data=fields)).to_new_call()
        except serializers.ValidationError as error:
            errors += [{"row": row, **entry} for entry in flatten(error.detail)]
        except Problem as problem:
            errors += [{"row": row, **entry} for entry in problem.errors]
    return new_calls, errors, bool(options.validated_data.get("allow_duplicates"))


class CallView(Endpoint):
    scopes = {"GET": READ}
    permissions = {"GET": SEE_CALL}

    @documented("get_call")
    def get(self, request: Request, call_id: str) -> Response | HttpResponse:
        if request.method == "HEAD":
            find_call(call_id)
            return headers_only(request)
        return Response(CallDetailSerializer(find_call(call_id, "turns", "events", "attempts")).data)


class CancelView(Endpoint):
    scopes = {"POST": CONTROL}
    permissions = {"POST": ("change_call",)}
    problems = {"POST": [409]}

    @documented("cancel_call")
    def post(self, request: Request, call_id: str) -> Response:
        return Response(CallSerializer(cancel_call(call_id=find_call(call_id).pk)).data, status=202)


class HangUpView(Endpoint):
    scopes = {"POST": CONTROL}
    permissions = {"POST": ("change_call",)}

    @documented("hang_up_call")
    def post(self, request: Request, call_id: str) -> Response:
        return Response(CallSerializer(hang_up(call_id=find_call(call_id).pk)).data, status=202)


class SayView(Endpoint):
    scopes = {"POST": CONTROL}
    permissions = {"POST": ("change_call",)}
    problems = {"POST": [409]}

    @documented("say_in_call")
    def post(self, request: Request, call_id: str) -> Response:
        text = valid(SaySerializer(data=request.data)).validated_data["text"]
        return Response(OrderSerializer(orders.say(call_id=find_call(call_id).pk, text=text)).data, status=202)


class TransferView(Endpoint):
    scopes = {"POST": CONTROL}
    permissions = {"POST": ("change_call",)}
    problems = {"POST": [409]}

    @documented("transfer_call")
    def post(self, request: Request, call_id: str) -> Response:
        to = valid(TransferSerializer(data=request.data)).validated_data["to"]
        return Response(OrderSerializer(orders.transfer(call_id=find_call(call_id).pk, to=to)).data, status=202)


class EventsView(Endpoint):
    scopes = {"GET": READ}
    permissions = {"GET": SEE_CALL}
    renderer_classes = [JSONRenderer, streams.EventStreamRenderer]

    def get_renderers(self) -> list[BaseRenderer]:
        """Offer JSON, which ends. The stream does not end while the call is live, so only who names it gets it."""
        json, stream = super().get_renderers()
        if self.request is None:  # for the documentation
            return [json, stream]
        return [stream, json] if streams.is_asked_for(self.request.headers.get("Accept", "")) else [json]

    @documented("watch_call")
    def get(self, request: Request, call_id: str) -> HttpResponseBase:
        call = find_call(call_id)
        if request.method == "HEAD":
            return headers_only(request)
        if request.accepted_renderer.format == "sse":
            return streams.stream(
                call,
                client=f"key {request.auth.pk}" if isinstance(request.auth, ApiKey) else f"user {request.user.pk}",
                last_event_id=request.headers.get("Last-Event-ID", ""),
                can_wait=isinstance(request._request, ASGIRequest),
            )
        items, over = timeline(call)
        return Response({"results": [item.as_dict() for item in items], "over": over})
