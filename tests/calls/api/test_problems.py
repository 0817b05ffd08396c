"""Everything that goes wrong is told in one form, with a code that is documented."""

import re
from pathlib import Path

import pytest
from django.db import OperationalError
from rest_framework.test import APIClient

from calls import api as api_package
from calls.api import problems
from calls.api.views import calls
from calls.models import Call

pytestmark = pytest.mark.django_db
UNKNOWN = "6c0a6f5e-0a2f-4f0e-9d52-3b1f3f0f6a11"


def problem(response) -> tuple[int, str]:
    assert response["Content-Type"] == "application/problem+json"
    document = response.json()
    assert {"type", "title", "status", "code", "detail"} <= set(document)
    assert document["status"] == response.status_code
    assert document["code"] in problems.CODES
    return response.status_code, document["code"]


@pytest.mark.parametrize(
    "path",
    f"/ nothing/ calls/1/ calls/{UNKNOWN}/ calls/{UNKNOWN}/x/ agents/nobody/ agents/%00/ do-not-call/%00/ "
    "do-not-call/12/ webhooks/9999999999999999999999/ recordings/nonsense/".split(),
)
def test_what_is_not_there(api, path):
    assert problem(api.get(f"/api/{path.lstrip('/')}")) == (404, "not-found")


def test_a_wrong_method_names_the_right_ones(api):
    response = api.put("/api/calls/", {})
    assert problem(response) == (405, "method-not-allowed")
    assert response["Allow"] == "GET, POST, HEAD"


@pytest.mark.parametrize(
    ("body", "content_type", "expected"),
    [
        (b"{", "application/json", (400, "malformed-json")),
        (b'{"to": "\xff"}', "application/json", (400, "malformed-json")),
        (b'{"to": "\\u0000"}', "application/json", (422, "invalid-text")),
        (b'{"to": "\\ud800"}', "application/json", (422, "invalid-text")),
        (b'{"metadata": {"\\udfff": 1}}', "application/json", (422, "invalid-text")),
        (b'{"metadata": NaN}', "application/json", (400, "malformed-json")),
        (b'{"metadata": {"a": 1e999}}', "application/json", (400, "malformed-json")),
        (b'{"metadata": ' + b"[" * 100_000, "application/json", (400, "malformed-json")),
        (b'{"metadata": ' + b"[" * 50 + b"]" * 50 + b"}", "application/json", (422, "too-large")),
        (b'{"max_duration": ' + b"9" * 5000 + b"}", "application/json", (400, "malformed-json")),
        (b"{}", "application/json; charset=no-such-thing", (400, "invalid-request")),
        (b"[]", "application/json", (400, "invalid-request")),
        (b"null", "application/json", (400, "invalid-request")),
        (b"", "application/json", (400, "invalid-request")),
        (b"to=1", "application/x-www-form-urlencoded", (415, "unsupported-media-type")),
        (b"<to/>", "text/xml", (415, "unsupported-media-type")),
        (b" " * 2_700_000, "application/json", (413, "body-too-large")),
    ],
)
def test_bodies_that_are_no_request(api, body, content_type, expected):
    assert problem(api.generic("POST", "/api/calls/", body, content_type=content_type)) == expected


def test_nothing_acceptable_to_give(api):
    assert problem(api.get("/api/calls/", HTTP_ACCEPT="text/html")) == (406, "not-acceptable")


def test_a_mistake_of_ours_is_logged_and_not_told(api, monkeypatch, caplog):
    def broken(*_, **__):
        raise RuntimeError("the secret of the house")

    monkeypatch.setattr(calls, "find_call", broken)
    response = api.get(f"/api/calls/{UNKNOWN}/")
    assert problem(response) == (500, "internal-error")
    assert b"secret of the house" not in response.content
    assert "secret of the house" in caplog.text


def test_while_the_database_is_away_there_is_hope(api, monkeypatch):
    def away(*_, **__):
        raise OperationalError("connection refused")

    monkeypatch.setattr(Call.objects, "select_related", away)
    response = api.get(f"/api/calls/{UNKNOWN}/")
    assert problem(response) == (503, "database-unavailable")
    assert response["Retry-After"] == "5"


def test_both_forms_of_every_address_are_the_same(api, make_call):
    call = make_call()
    for path in ("/api/calls", f"/api/calls/{call.pk}", f"/api/calls/{call.pk}/events", "/api/stats", "/api/agents"):
        answers = [api.get(path + end, HTTP_ACCEPT="application/json") for end in ("", "/")]
        assert [answer.status_code for answer in answers] == [200, 200]


def test_every_code_that_is_written_in_the_api_is_documented():
    written = set()
    for source in Path(api_package.__file__).parent.rglob("*.py"):
        written |= set(re.findall(r"Problem\(\s*\d+, \"([a-z-]+)\"", source.read_text(encoding="utf-8")))
    assert len(written) > 10
    assert written <= set(problems.CODES)


def test_strangers_get_no_more_than_others():
    assert problem(APIClient().get("/api/nothing/")) == (404, "not-found")
