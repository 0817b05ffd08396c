"""Problems: every error is answered with one kind of document, whose code is documented."""

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
    """Check that the answer is a problem, and return its status and code."""
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
def test_an_address_at_which_nothing_is_found_answers_404(api, path):
    assert problem(api.get(f"/api/{path.lstrip('/')}")) == (404, "not-found")


def test_an_unknown_method_is_answered_with_the_allowed_ones(api):
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
        (b'{"metadata": ' + b"[" * 10_000, "application/json", (400, "malformed-json")),
        (b'{"metadata": ' + b"[" * 50 + b"]" * 50 + b"}", "application/json", (422, "too-large")),
        (b'{"max_duration": ' + b"9" * 5000 + b"}", "application/json", (400, "malformed-json")),
        (b'{"to": "+12025550101", "to": "+12025550102"}', "application/json", (400, "malformed-json")),
        (b'{"metadata": {"a": {"b": 1, "c": 2, "\\u0062": 3}}}', "application/json", (400, "malformed-json")),
        (b"{}", "application/json; charset=no-such-thing", (400, "invalid-request")),
        (b"[]", "application/json", (400, "invalid-request")),
        (b"null", "application/json", (400, "invalid-request")),
        (b"", "application/json", (400, "invalid-request")),
        (b"to=1", "application/x-www-form-urlencoded", (415, "unsupported-media-type")),
        (b"<to/>", "text/xml", (415, "unsupported-media-type")),
        (b'{"to": "' + b"1" * 70_000 + b'"}', "application/json", (413, "body-too-large")),
        (b" " * 2_700_000, "application/json", (413, "body-too-large")),
    ],
)
def test_a_malformed_body_is_refused(api, body, content_type, expected):
    assert problem(api.generic("POST", "/api/calls/", body, content_type=content_type)) == expected


def test_an_accept_header_without_a_possible_type_is_refused(api):
    assert problem(api.get("/api/calls/", HTTP_ACCEPT="text/html")) == (406, "not-acceptable")


def test_an_unexpected_error_is_logged_and_not_shown(api, monkeypatch, caplog):
    def broken(*_, **__):
        raise RuntimeError("a private detail")

    monkeypatch.setattr(calls, "find_call", broken)
    response = api.get(f"/api/calls/{UNKNOWN}/")
    assert problem(response) == (500, "internal-error")
    assert b"private detail" not in response.content
    assert "private detail" in caplog.text


def test_while_the_database_is_unavailable_the_client_is_asked_to_try_again(api, monkeypatch):
    def unavailable(*_, **__):
        raise OperationalError("connection refused")

    monkeypatch.setattr(Call.objects, "select_related", unavailable)
    response = api.get(f"/api/calls/{UNKNOWN}/")
    assert problem(response) == (503, "database-unavailable")
    assert response["Retry-After"] == "5"


def test_an_address_with_and_without_the_trailing_slash_is_the_same(api, make_call):
    call = make_call()
    for path in ("/api/calls", f"/api/calls/{call.pk}", f"/api/calls/{call.pk}/events", "/api/stats", "/api/agents"):
        answers = [api.get(path + end, HTTP_ACCEPT="application/json") for end in ("", "/")]
        assert [answer.status_code for answer in answers] == [200, 200]


def test_every_code_in_the_source_of_the_api_is_documented():
    used = set()
    for source in Path(api_package.__file__).parent.rglob("*.py"):
        used |= set(re.findall(r"Problem\(\s*\d+, \"([a-z-]+)\"", source.read_text(encoding="utf-8")))
    assert len(used) > 10
    assert used <= set(problems.CODES)


def test_a_client_without_a_key_gets_the_same_404():
    assert problem(APIClient().get("/api/nothing/")) == (404, "not-found")
