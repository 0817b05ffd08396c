"""HEAD: the headers of GET, without its work."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from calls.api.views import documentation
from calls.models import DoNotCall
from calls.services.webhooks import make_endpoint

ADDRESSES = (
    "calls/", "calls/{call}/", "stats/", "agents/", "agents/front-desk/", "do-not-call/", "do-not-call/+12025550199/",
    "webhooks/", "webhooks/{webhook}/", "webhooks/{webhook}/deliveries/", "dialling/", "schema/", "docs/",
)  # fmt: skip
"""Every address that has GET, but for ``OTHERS``."""
LIGHT = 5
"""Queries that find the API key, the operator or the row that is asked for."""


OTHERS = {"/api/recordings/{token}/", "/api/calls/{call_id}/events/"}
"""Their answers are streams. ``test_calls`` and ``test_streams`` try HEAD."""


def test_every_documented_address_that_has_get_is_tried():
    documented = {path for path, item in documentation.openapi_document()["paths"].items() if "get" in item}
    names = {"{call}": "{call_id}", "{webhook}": "{webhook_id}", "front-desk": "{name}", "+12025550199": "{number}"}
    tried = set()
    for path in ADDRESSES:
        for given, name in names.items():
            path = path.replace(given, name)
        tried.add(f"/api/{path}")
    assert documented == tried - {"/api/schema/", "/api/docs/"} | OTHERS


@pytest.fixture
def address(make_call):
    call, webhook = make_call(), make_endpoint(url="https://example.com/hook")
    DoNotCall.objects.create(number="+12025550199")
    return lambda path: f"/api/{path.format(call=call.pk, webhook=webhook.pk)}"


@pytest.mark.parametrize("path", ADDRESSES)
def test_head_has_the_headers_of_get_and_no_body(api, address, path):
    head, get = api.head(address(path)), api.get(address(path))
    assert (head.status_code, get.status_code, head.content) == (200, 200, b"")
    assert head["Content-Type"].partition(";")[0] == get["Content-Type"].partition(";")[0]
    assert head.headers.get("Content-Length", get["Content-Length"]) == get["Content-Length"]


@pytest.mark.parametrize(
    "path",
    ["calls/", "calls/{call}/", "calls/{call}/events/", "stats/", "do-not-call/", "webhooks/{webhook}/deliveries/"],
)
def test_head_reads_no_rows(api, address, path):
    with CaptureQueriesContext(connection) as asked:
        api.head(address(path))
    assert len(asked) <= LIGHT
    tables = ("calls_turn", "calls_callevent", "calls_dialattempt", "calls_donotcall", "calls_webhookdelivery")
    assert [query["sql"] for query in asked for table in tables if table in query["sql"]] == []


def test_head_does_not_make_the_openapi_document(client, db, monkeypatch):
    monkeypatch.setattr(documentation, "openapi_document", lambda: pytest.fail("it was made"))
    assert client.head("/api/schema/").status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "calls/?page_size=0", "calls/?cursor=x", "calls/?status=unheard", "calls/?form=1", "stats/?period=week",
        "calls/00000000-0000-0000-0000-000000000000/", "agents/nobody/", "webhooks/0/deliveries/",
        "calls/{call}/cancel/", "calls/batch/", "nothing/",
    ],
)  # fmt: skip
def test_head_refuses_what_get_refuses(api, address, path):
    head, get = api.head(address(path)), api.get(address(path))
    assert head.status_code == get.status_code >= 400


def test_head_needs_the_scope_of_get(api_with, client, address):
    assert api_with("dial").head(address("calls/")).status_code == 403
    assert client.head(address("calls/")).status_code == 401
