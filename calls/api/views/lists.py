"""The addresses of agents, of the do-not-call list, and of webhooks."""

from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404
from rest_framework.request import Request
from rest_framework.response import Response

from calls.api.auth import CONTROL, READ
from calls.api.operations import documented
from calls.api.serializers.lists import (
    AgentSerializer,
    DeliverySerializer,
    DoNotCallSerializer,
    NewDoNotCallSerializer,
    NewWebhookSerializer,
    WebhookSerializer,
    WebhookWithSecretSerializer,
)
from calls.api.views.shared import Endpoint, ListEndpoint, valid
from calls.errors import CallsError
from calls.models import Agent, DoNotCall, WebhookDelivery, WebhookEndpoint
from calls.services.do_not_call import add_do_not_call, find_entries, read_entry, remove_do_not_call
from calls.services.webhooks import change_endpoint, make_endpoint, renew_secret

# --- Agents ------------------------------------------------------------------------------------------------


class AgentsView(ListEndpoint[Agent]):
    scopes = {"GET": READ}
    permissions = {"GET": ("view_agent",)}
    queryset = Agent.objects.all()
    serializer_class = AgentSerializer
    orderings = {"name": ("name",)}

    @documented("list_agents")
    def get(self, request: Request) -> Response | HttpResponse:
        return self.get_page(self.get_queryset(), AgentSerializer)


class AgentView(Endpoint):
    scopes = {"GET": READ}
    permissions = {"GET": ("view_agent",)}

    @documented("get_agent")
    def get(self, request: Request, name: str) -> Response:
        if "\0" in name:
            raise Http404
        return Response(AgentSerializer(get_object_or_404(Agent, name=name)).data)


# --- The do-not-call list ----------------------------------------------------------------------------------


class DoNotCallsView(ListEndpoint[DoNotCall]):
    scopes = {"GET": READ, "POST": CONTROL}
    permissions = {"GET": ("view_donotcall",), "POST": ("add_donotcall",)}
    queryset = DoNotCall.objects.all()
    serializer_class = DoNotCallSerializer
    orderings = {"-created_at": ("-id",)}

    @documented("list_do_not_call")
    def get(self, request: Request) -> Response | HttpResponse:
        return self.get_page(self.get_queryset(), DoNotCallSerializer)

    @documented("add_do_not_call")
    def post(self, request: Request) -> Response:
        fields = valid(NewDoNotCallSerializer(data=request.data)).validated_data
        number, reason = fields["number"], fields.get("reason", "")
        entry, new = add_do_not_call(number=number, source=DoNotCall.Source.API, reason=reason)
        return Response(DoNotCallSerializer(entry).data, status=201 if new else 200)


class DoNotCallView(Endpoint):
    scopes = {"GET": READ, "DELETE": CONTROL}
    permissions = {"GET": ("view_donotcall",), "DELETE": ("delete_donotcall",)}

    @documented("get_do_not_call")
    def get(self, request: Request, number: str) -> Response:
        if (entry := find_entries(_read_entry(number)).first()) is None:
            raise Http404
        return Response(DoNotCallSerializer(entry).data)

    @documented("remove_do_not_call")
    def delete(self, request: Request, number: str) -> Response:
        if not remove_do_not_call(number=_read_entry(number)):
            raise Http404
        return Response(status=204)


def _read_entry(number: str) -> str:
    """Read the number in an address. Text that is no number is on no list."""
    try:
        return read_entry(number)
    except CallsError:
        raise Http404 from None


# --- Webhooks ----------------------------------------------------------------------------------------------


class WebhooksView(ListEndpoint[WebhookEndpoint]):
    scopes = {"GET": CONTROL, "POST": CONTROL}
    permissions = {"GET": ("view_webhookendpoint",), "POST": ("add_webhookendpoint",)}
    queryset = WebhookEndpoint.objects.all()
    serializer_class = WebhookSerializer
    orderings = {"id": ("id",)}

    @documented("list_webhooks")
    def get(self, request: Request) -> Response | HttpResponse:
        return self.get_page(self.get_queryset(), WebhookSerializer)

    @documented("make_webhook")
    def post(self, request: Request) -> Response:
        fields = valid(NewWebhookSerializer(data=request.data)).validated_data
        endpoint = make_endpoint(url=fields["url"], events=fields.get("events", ()))
        if fields.get("active") is False:
            change_endpoint(endpoint, active=False)
        return Response(WebhookWithSecretSerializer(endpoint).data, status=201)


class WebhookView(Endpoint):
    scopes = {"GET": CONTROL, "PATCH": CONTROL, "DELETE": CONTROL}
    permissions = {
        "GET": ("view_webhookendpoint",),
        "PATCH": ("change_webhookendpoint",),
        # The log of its deliveries is deleted with it.
        "DELETE": ("delete_webhookendpoint", "delete_webhookdelivery"),
    }

    @documented("get_webhook")
    def get(self, request: Request, webhook_id: str) -> Response:
        return Response(WebhookSerializer(_find_endpoint(webhook_id)).data)

    @documented("change_webhook")
    def patch(self, request: Request, webhook_id: str) -> Response:
        endpoint = _find_endpoint(webhook_id)
        fields = valid(NewWebhookSerializer(data=request.data, partial=True)).validated_data
        change_endpoint(endpoint, **fields)
        return Response(WebhookSerializer(endpoint).data)

    @documented("remove_webhook")
    def delete(self, request: Request, webhook_id: str) -> Response:
        _find_endpoint(webhook_id).delete()
        return Response(status=204)


class SecretView(Endpoint):
    scopes = {"POST": CONTROL}
    permissions = {"POST": ("change_webhookendpoint",)}

    @documented("renew_webhook_secret")
    def post(self, request: Request, webhook_id: str) -> Response:
        endpoint = _find_endpoint(webhook_id)
        renew_secret(endpoint.pk)
        endpoint.refresh_from_db()
        return Response(WebhookWithSecretSerializer(endpoint).data)


class DeliveriesView(ListEndpoint[WebhookDelivery]):
    scopes = {"GET": CONTROL}
    permissions = {"GET": ("view_webhookdelivery",)}
    queryset = WebhookDelivery.objects.all()
    serializer_class = DeliverySerializer
    orderings = {"-created_at": ("-created_at", "-id")}

    @documented("list_deliveries")
    def get(self, request: Request, webhook_id: str) -> Response | HttpResponse:
        return self.get_page(_find_endpoint(webhook_id).deliveries.all(), DeliverySerializer)


def _find_endpoint(webhook_id: str) -> WebhookEndpoint:
    # Longer numbers do not fit into the column.
    is_id = webhook_id.isascii() and webhook_id.isdecimal() and len(webhook_id) <= 18
    return get_object_or_404(WebhookEndpoint, pk=int(webhook_id) if is_id else None)
