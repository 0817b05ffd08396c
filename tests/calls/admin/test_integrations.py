"""The admin's pages of API keys and webhooks."""

import html
import re

import pytest

from calls.models import ApiKey, WebhookDelivery, WebhookEndpoint
from calls.services.keys import find_key
from tests.calls.admin.pages import messages_after


def shown_secret(response, pattern: str) -> str:
    [secret] = re.findall(pattern, messages_after(response))
    return secret


def test_a_key_is_made_and_its_secret_shown_once(admin_client):
    form = {"name": "crm", "scopes": ["dial", "read"], "rate": "60/minute", "expires_at_0": "", "expires_at_1": ""}
    response = admin_client.post("/admin/calls/apikey/add/", form)
    secret = shown_secret(response, r"cc_[\w-]+")
    key = find_key(secret)
    assert (key.name, key.scopes, key.rate) == ("crm", ["read", "dial"], "60/minute")
    assert secret in admin_client.get("/admin/calls/apikey/").content.decode()
    for address in ("", f"{key.pk}/change/", f"{key.pk}/history/"):
        page = admin_client.get(f"/admin/calls/apikey/{address}").content.decode()
        assert secret[8:] not in page
        assert key.digest not in page


def test_a_key_is_changed_without_touching_its_secret(admin_client):
    key = ApiKey.objects.create(name="crm", prefix="cc_12345", digest="d" * 64, scopes=["read"])
    form = {"name": "crm", "scopes": ["read", "control"], "rate": "", "expires_at_0": "", "expires_at_1": ""}
    assert admin_client.post(f"/admin/calls/apikey/{key.pk}/change/", form).status_code == 302
    key.refresh_from_db()
    assert (key.scopes, key.digest, key.active) == (["read", "control"], "d" * 64, False)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"scopes": []}, "required"),
        ({"scopes": ["admin"]}, "valid choice"),
        ({"rate": "often"}, "600/minute"),
        ({"name": "taken"}, "already exists"),
        ({"expires_at_0": "2020-01-01", "expires_at_1": "00:00"}, "expired already"),
    ],
)
def test_an_invalid_key_is_refused_with_the_reason(admin_client, wrong, message):
    ApiKey.objects.create(name="taken", prefix="cc_12345", digest="d" * 64, scopes=["read"])
    form = {"name": "crm", "scopes": ["read"], "rate": "", "expires_at_0": "", "expires_at_1": "", **wrong}
    page = admin_client.post("/admin/calls/apikey/add/", form)
    assert message in page.content.decode()
    assert ApiKey.objects.count() == 1


def test_an_endpoint_is_made_and_its_secret_shown_once(admin_client):
    form = {"url": "https://example.com/hooks", "events": ["call.completed"]}
    response = admin_client.post("/admin/calls/webhookendpoint/add/", form)
    endpoint = WebhookEndpoint.objects.get()
    assert shown_secret(response, r"whsec_[\w+/=]+") == endpoint.secret
    assert (endpoint.events, endpoint.active) == (["call.completed"], True)
    admin_client.get("/admin/calls/webhookendpoint/")
    for address in ("", f"{endpoint.pk}/change/"):
        assert endpoint.secret not in admin_client.get(f"/admin/calls/webhookendpoint/{address}").content.decode()


def test_the_secret_of_an_endpoint_is_replaced(admin_client):
    endpoint = WebhookEndpoint.objects.create(url="https://example.com/", secret="old")
    chosen = {"action": "renew_secret", "_selected_action": [endpoint.pk]}
    response = admin_client.post("/admin/calls/webhookendpoint/", chosen)
    endpoint.refresh_from_db()
    assert endpoint.secret == shown_secret(response, r"whsec_[\w+/=]+") != "old"
    assert (endpoint.old_secret, "The old secret signs too until" in messages_after(response)) == ("old", True)
    admin_client.get("/admin/calls/webhookendpoint/")  # shows the messages
    for address in ("", f"{endpoint.pk}/change/"):
        page = admin_client.get(f"/admin/calls/webhookendpoint/{address}").content.decode()
        assert "old secret valid until" in page.lower()
        assert endpoint.secret not in page


def test_an_endpoint_is_changed(admin_client):
    endpoint = WebhookEndpoint.objects.create(url="https://example.com/", secret="kept")
    form = {"url": "https://example.com/other", "events": []}
    assert admin_client.post(f"/admin/calls/webhookendpoint/{endpoint.pk}/change/", form).status_code == 302
    endpoint.refresh_from_db()
    assert (endpoint.url, endpoint.secret, endpoint.active) == ("https://example.com/other", "kept", False)


@pytest.mark.parametrize(("url", "message"), [("http://example.com/", "over TLS only"), ("nonsense", "whole address")])
def test_an_endpoint_needs_tls_in_production(admin_client, settings, url, message):
    settings.DEBUG = False
    page = admin_client.post("/admin/calls/webhookendpoint/add/", {"url": url})
    assert page.status_code == 200
    assert message in html.unescape(page.content.decode())


def test_an_endpoint_off_the_internet_is_refused_with_the_setting_that_could_allow_it(admin_client, settings):
    settings.WEBHOOK_ALLOWED_HOSTS = []
    page = admin_client.post("/admin/calls/webhookendpoint/add/", {"url": "https://127.0.0.1/"})
    assert "127.0.0.1 has no address on the internet" in page.content.decode()
    assert "WEBHOOK_ALLOWED_HOSTS" in page.content.decode()


def test_an_endpoint_whose_host_has_gone_can_be_switched_off(admin_client):
    endpoint = WebhookEndpoint.objects.create(url="https://gone.invalid/", secret="kept")
    form = {"url": "https://gone.invalid/", "events": []}
    assert admin_client.post(f"/admin/calls/webhookendpoint/{endpoint.pk}/change/", form).status_code == 302
    endpoint.refresh_from_db()
    assert not endpoint.active


def test_a_delivery_can_be_read_and_delivered_again(admin_client, outbound):
    endpoint = WebhookEndpoint.objects.create(url="https://example.com/", secret="whsec_shh")
    delivery = WebhookDelivery.objects.create(
        endpoint=endpoint,
        call=outbound("completed"),
        event="call.completed",
        payload={"type": "call.completed", "data": {"to": "Müller"}},
        status="failed",
        due_at=None,
        attempts=9,
        log=[{"at": "2026-11-20T12:00:00+00:00", "result": "<refused>", "ms": 12}],
    )
    assert "call.completed" in admin_client.get("/admin/calls/webhookdelivery/").content.decode()
    page = admin_client.get(f"/admin/calls/webhookdelivery/{delivery.pk}/change/").content.decode()
    for shown in ("Müller", "&lt;refused&gt;", "(12 ms)"):
        assert shown in page
    assert "whsec_shh" not in page
    chosen = {"action": "deliver_again", "_selected_action": [str(delivery.pk)]}
    assert messages_after(admin_client.post("/admin/calls/webhookdelivery/", chosen)) == "Queued again: 1 delivery."
    delivery.refresh_from_db()
    assert (delivery.status, delivery.attempts) == ("waiting", 0)
    assert delivery.due_at is not None


def test_an_operator_who_may_only_view_cannot_deliver_again(staff):
    page = staff("view_webhookdelivery").get("/admin/calls/webhookdelivery/")
    assert page.status_code == 200
    assert b"deliver_again" not in page.content
