"""The server accepts every example of its own documentation, and what its schema says of texts is so."""

import json
import re
from datetime import timedelta
from uuid import UUID
from zoneinfo import available_timezones

import jsonschema
import pytest
from django.utils import timezone

from calls.api.schema import WebhookAddressField
from calls.api.serializers.lists import WebhookAddress
from calls.api.timeline import Cursor
from calls.api.views.documentation import openapi_document
from calls.models import Agent, Call, DoNotCall, Lease, WebhookEndpoint
from calls.services.webhooks import make_endpoint
from tests.rows import each_row

LIVE, WAITING = UUID(int=1), UUID(int=2)
NUMBER = "+12125550123"


def document():
    return json.loads(json.dumps(openapi_document(), default=str))


def examples() -> list:
    """The method, path and body of every example of a request."""
    return [
        pytest.param(method, path, example["value"], id=f"{method} {path} {name}")
        for path, methods in document()["paths"].items()
        for method, operation in methods.items()
        if "requestBody" in operation
        for name, example in operation["requestBody"]["content"]["application/json"]["examples"].items()
    ]


def property_of(path: str, name: str) -> dict[str, object]:
    """The schema of a field of the body of POST at this path."""
    schema = document()["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    return document()["components"]["schemas"][schema["$ref"].rpartition("/")[2]]["properties"][name]


def parameter(path: str, name: str, method: str = "get") -> dict[str, object]:
    [found] = [one for one in document()["paths"][path][method]["parameters"] if one["name"] == name]
    return found["schema"]


@pytest.fixture(autouse=True)
def _rows(make_call):
    Agent.objects.update(transfer_targets={"sales": "+12125550111"}, greeting="Hello {{ name }}.")
    make_call(pk=WAITING, status="queued", sid=None, due_at=timezone.now() + timedelta(days=1))
    live = make_call(pk=LIVE, status="in-progress", streams=1)
    Lease.objects.create(call=live, slot=1, stream=1, expires_at=timezone.now() + timedelta(days=1))
    endpoint = make_endpoint(url="https://example.com/hooks")
    WebhookEndpoint.objects.filter(pk=endpoint.pk).update(id=1)


@pytest.mark.parametrize(("method", "path", "body"), examples())
def test_the_server_accepts_every_example_of_a_request(api, method, path, body):
    response = api.generic(
        method, path.format(call_id=LIVE, webhook_id=1), json.dumps(body), content_type="application/json"
    )
    assert 200 <= response.status_code < 300, response.json()


def test_a_call_for_later_is_still_for_later_when_the_process_is_months_old(api, settings):
    [later] = [param.values[2] for param in examples() if "scheduled_for" in param.values[2]]
    response = api.post("/api/calls/", later)
    assert response.status_code == 202
    waits = Call.objects.get(pk=response.json()["id"]).scheduled_for - timezone.now()
    assert timedelta(days=150) < waits < timedelta(days=200)


def test_the_time_of_the_example_of_the_statistics_can_be_asked_for(api):
    operation = document()["paths"]["/api/stats/"]["get"]
    [example] = operation["responses"]["200"]["content"]["application/json"]["examples"].values()
    query = {name: example["value"][name] for name in ("from", "to", "period")}
    assert api.get("/api/stats/", query).status_code == 200


def test_a_client_goes_on_from_the_id_of_the_example_of_an_event():
    content = document()["paths"]["/api/calls/{call_id}/events/"]["get"]["responses"]["200"]["content"]
    [example] = content["text/event-stream"]["examples"].values()
    assert str(Cursor.read(example["value"]["id"])) == example["value"]["id"]


@each_row(
    ("path", "name", "values"),
    [
        (
            "/api/calls/",
            "to",
            [NUMBER, "+1 (212) 555-0123", "＋1 212 555 0123", "tel:+12125550123"],
        ),
        ("/api/calls/", "from", [NUMBER, "+1 500 555 0006"]),
        ("/api/calls/", "timezone", ["America/New_York", "Etc/GMT+5", "America/Port-au-Prince", "UTC"]),
        ("/api/do-not-call/", "number", [NUMBER, "+44 (0)20 7946 0018"]),
        ("/api/webhooks/", "url", ["https://example.com/hooks", "HTTPS://example.com/"]),
    ],
)
def test_the_pattern_of_a_text_allows_what_the_server_accepts(api, path, name, values):
    schema = property_of(path, name)
    assert re.compile(schema["pattern"])
    for example in schema.get("examples", []):
        jsonschema.validate(example, schema)
    for value in values:
        jsonschema.validate(value, schema)
        body = {"to": NUMBER, "agent": "front-desk", "variables": {"name": "Ada"}} if path == "/api/calls/" else {}
        response = api.post(path, body | {name: value})
        assert response.status_code in (200, 201), response.json()


@each_row(
    ("path", "name", "value"),
    [
        ("/api/calls/", "to", "212 555 0123"),
        ("/api/calls/", "from", "front-desk"),
        ("/api/calls/", "timezone", "New York"),
        ("/api/calls/", "timezone", "../etc/localtime"),
        ("/api/do-not-call/", "number", "hello"),
        ("/api/webhooks/", "url", "ftp://example.com/"),
    ],
)
def test_the_server_refuses_what_the_pattern_of_a_text_forbids(api, path, name, value):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(value, property_of(path, name))
    body = {"to": NUMBER, "agent": "front-desk", "variables": {"name": "Ada"}} if path == "/api/calls/" else {}
    assert api.post(path, body | {name: value}).status_code in (400, 422)


def test_every_place_matches_the_pattern_of_time_zones():
    pattern = property_of("/api/calls/", "timezone")["pattern"]
    assert all(re.search(pattern, name) for name in available_timezones())


def test_the_pattern_of_cursors_is_that_of_the_cursors_in_use(api, make_call):
    pattern = parameter("/api/calls/", "cursor")["pattern"]
    following = api.get("/api/calls/", {"page_size": 1}).json()["next"]
    cursor = api.get(following).wsgi_request.GET["cursor"]
    assert re.search(pattern, cursor)
    assert not re.search(pattern, "page2")
    assert api.get("/api/calls/", {"cursor": "page2"}).status_code == 422


def test_a_number_in_an_address_has_a_pattern(api):
    DoNotCall.objects.create(number=NUMBER)
    pattern = parameter("/api/do-not-call/{number}/", "number", "delete")["pattern"]
    assert re.search(pattern, NUMBER)
    assert api.delete(f"/api/do-not-call/{NUMBER}/").status_code == 204


@pytest.mark.parametrize(("debug", "status"), [(True, 201), (False, 422)])
def test_webhooks_without_tls_are_promised_where_they_are_accepted(api, settings, debug, status):
    settings.DEBUG = debug
    schema = WebhookAddressField(WebhookAddress()).map_serializer_field(None, "request")
    assert bool(re.search(schema["pattern"], "http://example.com/")) is debug
    assert ("http or https" in WebhookAddress().help_text) is debug
    response = api.post("/api/webhooks/", {"url": "http://example.com/hooks"})
    assert response.status_code == status
    if status == 422:
        assert "over TLS only" in response.json()["errors"][0]["detail"]


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (None, "application/json"),
        ("*/*", "application/json"),
        ("application/*", "application/json"),
        ("application/json", "application/json"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "application/json"),
        ("text/html, text/*;q=0.9, */*;q=0.1", "application/json"),
        ("text/event-stream;q=0, */*", "application/json"),
        ("text/event-stream; q=0.0, application/json", "application/json"),
        ("*/*, text/event-stream;q=0.5", "text/event-stream"),
        ("text/event-stream", "text/event-stream"),
        ("Text/Event-Stream", "text/event-stream"),
        ("text/event-stream, application/json", "text/event-stream"),
        ("application/json, text/event-stream", "text/event-stream"),
    ],
)
def test_the_events_of_a_live_call_are_a_stream_only_if_it_is_asked_for(api, accept, kind):
    headers = {} if accept is None else {"HTTP_ACCEPT": accept}
    response = api.get(f"/api/calls/{LIVE}/events/", **headers)
    assert (response.status_code, response["Content-Type"].partition(";")[0]) == (200, kind)
    if kind == "application/json":
        assert response.json()["over"] is False
