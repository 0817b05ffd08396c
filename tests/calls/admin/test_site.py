"""The behaviour that all pages of the admin share."""

from uuid import uuid4

import pytest
from django.test import Client
from django.utils import timezone

from calls.models import ApiKey, DoNotCall, WebhookDelivery, WebhookEndpoint


@pytest.mark.parametrize("address", ["/", "/admin"])
def test_the_root_address_redirects_to_the_admin(client: Client, address):
    response = client.get(address)
    assert (response.status_code, response["Location"]) == (302, "/admin/")


def test_a_visitor_who_is_not_logged_in_is_redirected_to_the_login(client: Client, outbound):
    call = outbound(due_at=timezone.now())
    for address in (f"/admin/calls/call/{call.pk}/do/cancel/", "/admin/calls/call/place/", "/admin/calls/dialpace/"):
        assert client.post(address)["Location"].startswith("/admin/login/")
    call.refresh_from_db()
    assert call.status == "queued"


def test_every_list_takes_as_many_queries_when_it_is_long(admin_client, outbound, django_assert_max_num_queries):
    def more() -> None:
        endpoint = WebhookEndpoint.objects.create(url="https://example.com/")
        for number in range(5):
            call = outbound("completed")
            DoNotCall.objects.create(number=f"+1202555{DoNotCall.objects.count() + 1000}", call=call)
            WebhookDelivery.objects.create(endpoint=endpoint, call=call, event="call.completed", payload={})
            ApiKey.objects.create(name=uuid4().hex, digest=uuid4().hex, prefix="cc_12345", scopes=[str(number)])

    names = ("donotcall", "webhookdelivery", "webhookendpoint", "apikey")
    more()
    costs = {}
    for name in names:
        with django_assert_max_num_queries(30) as cost:
            admin_client.get(f"/admin/calls/{name}/")
        costs[name] = len(cost)
    more()
    for name in names:
        with django_assert_max_num_queries(costs[name]):
            admin_client.get(f"/admin/calls/{name}/")
