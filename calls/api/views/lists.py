"""What stands around the calls: agents, the do-not-call list, and outgoing webhooks."""

from django.http import Http404
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from calls.api import schema
from calls.api.auth import CONTROL, READ
from calls.api.pagination import ListMixin
from calls.api.serializers.lists import (
    AgentSerializer,
    DeliverySerializer,
    DoNotCallSerializer,
    NewDoNotCallSerializer,
    NewWebhookSerializer,
    WebhookSerializer,
    WebhookWithSecretSerializer,
)
from calls.api.views.calls import Endpoint, valid
from calls.models import E164, Agent, DoNotCall, WebhookDelivery, WebhookEndpoint
from calls.services.do_not_call import add_do_not_call, remove_do_not_call
from calls.services.webhooks import change_endpoint, make_endpoint

NAME = OpenApiParameter("name", {"type": "string"}, OpenApiParameter.PATH, description="The agent's name.")
NUMBER = OpenApiParameter(
    "number", {"type": "string"}, OpenApiParameter.PATH, description="In full: +12125550123, the + as %2B if in doubt."
)
WEBHOOK_ID = OpenApiParameter("webhook_id", OpenApiTypes.INT64, OpenApiParameter.PATH, description="The webhook's id.")


# --- Agents ------------------------------------------------------------------------------------------------


class AgentsView(ListMixin, GenericAPIView):
    scopes = {"GET": READ}
    queryset = Agent.objects.all()
    serializer_class = AgentSerializer
    orderings = {"name": ("name",)}

    @extend_schema(
        operation_id="list_agents",
        summary="List agents",
        description="By name. They are changed in the admin.",
        tags=["agents"],
        responses=AgentSerializer(many=True),
        examples=[schema.response(schema.AGENT)],
    )
    def get(self, request: Request) -> Response:
        return self.page(self.get_queryset(), AgentSerializer)


class AgentView(Endpoint):
    scopes = {"GET": READ}

    @extend_schema(
        operation_id="get_agent",
        summary="Get an agent",
        description="How an agent talks and dials.",
        tags=["agents"],
        parameters=[NAME],
        responses=AgentSerializer,
        examples=[schema.response(schema.AGENT)],
    )
    def get(self, request: Request, name: str) -> Response:
        agent = Agent.objects.filter(name=name).first() if "\0" not in name else None
        if agent is None:
            raise Http404
        return Response(AgentSerializer(agent).data)


# --- The do-not-call list ----------------------------------------------------------------------------------


class DoNotCallsView(ListMixin, GenericAPIView):
    scopes = {"GET": READ, "POST": CONTROL}
    queryset = DoNotCall.objects.all()
    serializer_class = DoNotCallSerializer
    orderings = {"-created_at": ("-id",)}

    @extend_schema(
        operation_id="list_do_not_call",
        summary="List the numbers that are never dialled",
        description="The latest first.",
        tags=["do-not-call"],
        responses=DoNotCallSerializer(many=True),
        examples=[schema.response(schema.DO_NOT_CALL)],
    )
    def get(self, request: Request) -> Response:
        return self.page(self.get_queryset(), DoNotCallSerializer)

    @extend_schema(
        operation_id="add_do_not_call",
        summary="Never dial a number again",
        description="From this moment on, calls that wait for it included. Repeating does nothing.",
        tags=["do-not-call"],
        request=NewDoNotCallSerializer,
        responses={
            201: OpenApiResponse(DoNotCallSerializer, "It is on the list now."),
            200: OpenApiResponse(DoNotCallSerializer, "It was on the list before."),
        },
        examples=[
            schema.request({"number": "+12125550123", "reason": "asked by letter"}),
            schema.response(schema.DO_NOT_CALL),
            schema.response(schema.DO_NOT_CALL, status=201),
        ],
    )
    def post(self, request: Request) -> Response:
        fields = valid(NewDoNotCallSerializer(data=request.data)).validated_data
        number, reason = fields["number"], fields.get("reason", "")
        entry, new = add_do_not_call(number=number, source=DoNotCall.Source.API, reason=reason)
        return Response(DoNotCallSerializer(entry).data, status=201 if new else 200)


class DoNotCallView(Endpoint):
    scopes = {"GET": READ, "DELETE": CONTROL}

    @extend_schema(
        operation_id="get_do_not_call",
        summary="Look a number up",
        description="404 if it may be dialled, as far as the list goes.",
        tags=["do-not-call"],
        parameters=[NUMBER],
        responses=DoNotCallSerializer,
        examples=[schema.response(schema.DO_NOT_CALL)],
    )
    def get(self, request: Request, number: str) -> Response:
        entry = DoNotCall.objects.filter(number=number).first() if E164.fullmatch(number) else None
        if entry is None:
            raise Http404
        return Response(DoNotCallSerializer(entry).data)

    @extend_schema(
        operation_id="remove_do_not_call",
        summary="Allow a number again",
        description="Only with the consent of the person whose number it is.",
        tags=["do-not-call"],
        parameters=[NUMBER],
        responses={204: OpenApiResponse(description="It is off the list.")},
    )
    def delete(self, request: Request, number: str) -> Response:
        if not E164.fullmatch(number) or not remove_do_not_call(number=number):
            raise Http404
        return Response(status=204)


# --- Webhooks ----------------------------------------------------------------------------------------------


class WebhooksView(ListMixin, GenericAPIView):
    scopes = {"GET": CONTROL, "POST": CONTROL}
    queryset = WebhookEndpoint.objects.all()
    serializer_class = WebhookSerializer
    orderings = {"id": ("id",)}

    @extend_schema(
        operation_id="list_webhooks",
        summary="List webhooks",
        description="Where events of calls are sent.",
        tags=["webhooks"],
        responses=WebhookSerializer(many=True),
        examples=[schema.response(schema.WEBHOOK)],
    )
    def get(self, request: Request) -> Response:
        return self.page(self.get_queryset(), WebhookSerializer)

    @extend_schema(
        operation_id="make_webhook",
        summary="Make a webhook",
        description="Its `secret` signs every delivery, and is shown this once.",
        tags=["webhooks"],
        request=NewWebhookSerializer,
        responses={201: WebhookWithSecretSerializer},
        examples=[
            schema.request({"url": "https://example.com/hooks/calls", "events": ["call.completed"]}),
            schema.response(schema.WEBHOOK | {"secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}, status=201),
        ],
    )
    def post(self, request: Request) -> Response:
        fields = valid(NewWebhookSerializer(data=request.data)).validated_data
        endpoint = make_endpoint(url=fields["url"], events=fields.get("events", ()))
        if fields.get("active") is False:
            change_endpoint(endpoint, active=False)
        return Response(WebhookWithSecretSerializer(endpoint).data, status=201)


class WebhookView(Endpoint):
    scopes = {"GET": CONTROL, "PATCH": CONTROL, "DELETE": CONTROL}

    @extend_schema(
        operation_id="get_webhook",
        summary="Get a webhook",
        description="Without its secret.",
        tags=["webhooks"],
        parameters=[WEBHOOK_ID],
        responses=WebhookSerializer,
        examples=[schema.response(schema.WEBHOOK)],
    )
    def get(self, request: Request, webhook_id: str) -> Response:
        return Response(WebhookSerializer(_endpoint(webhook_id)).data)

    @extend_schema(
        operation_id="change_webhook",
        summary="Change a webhook",
        description="What is left out stays. One that is not `active` gets nothing.",
        tags=["webhooks"],
        parameters=[WEBHOOK_ID],
        request=NewWebhookSerializer(partial=True),
        responses=WebhookSerializer,
        examples=[schema.request({"active": False}), schema.response(schema.WEBHOOK | {"active": False})],
    )
    def patch(self, request: Request, webhook_id: str) -> Response:
        endpoint = _endpoint(webhook_id)
        fields = valid(NewWebhookSerializer(data=request.data, partial=True)).validated_data
        change_endpoint(endpoint, **fields)
        return Response(WebhookSerializer(endpoint).data)

    @extend_schema(
        operation_id="remove_webhook",
        summary="Remove a webhook",
        description="With the log of its deliveries.",
        tags=["webhooks"],
        parameters=[WEBHOOK_ID],
        responses={204: OpenApiResponse(description="It is gone.")},
    )
    def delete(self, request: Request, webhook_id: str) -> Response:
        _endpoint(webhook_id).delete()
        return Response(status=204)


class DeliveriesView(ListMixin, GenericAPIView):
    scopes = {"GET": CONTROL}
    queryset = WebhookDelivery.objects.all()
    serializer_class = DeliverySerializer
    orderings = {"-created_at": ("-created_at", "-id")}

    @extend_schema(
        operation_id="list_deliveries",
        summary="See what became of the deliveries",
        description="The log of one webhook, the latest first.",
        tags=["webhooks"],
        parameters=[WEBHOOK_ID],
        responses=DeliverySerializer(many=True),
        examples=[schema.response(schema.DELIVERY)],
    )
    def get(self, request: Request, webhook_id: str) -> Response:
        return self.page(_endpoint(webhook_id).deliveries.all(), DeliverySerializer)


def _endpoint(webhook_id: str) -> WebhookEndpoint:
    known = webhook_id.isascii() and webhook_id.isdecimal() and len(webhook_id) <= 18
    endpoint = WebhookEndpoint.objects.filter(pk=int(webhook_id)).first() if known else None
    if endpoint is None:
        raise Http404
    return endpoint
