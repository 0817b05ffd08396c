"""No header of a request makes it fail, and none brings text that a database cannot store."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import pytest
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from rest_framework.decorators import api_view
from rest_framework.request import Request

from clientcaller.web.bodies import BoundedHttp
from clientcaller.web.handler import Handler
from tests.web_server.test_handler import request

FORM = "application/x-www-form-urlencoded"


def show(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"get": request.GET.dict(), "post": request.POST.dict(), "cookies": request.COOKIES})


@api_view(["POST"])
def show_json(request: Request) -> HttpResponse:
    return JsonResponse(request.data)


show_json.cls.authentication_classes = show_json.cls.permission_classes = []  # type: ignore[attr-defined]
urlpatterns = [path("show/", show), path("json/", show_json)]


@pytest.fixture(autouse=True)
def _site(settings: Any) -> None:
    settings.ROOT_URLCONF = __name__
    settings.ALLOWED_HOSTS = ["*"]
    settings.MIDDLEWARE = []


async def ask(where: str = "/show/", body: bytes = b"", query: bytes = b"", **headers: str) -> tuple[int, Any]:
    headers["content_length"] = str(len(body))
    status, _, answer = await request(BoundedHttp(Handler()), where, body, "POST", "10.0.0.1", headers, query=query)
    return status, json.loads(answer)


@pytest.mark.parametrize(
    "parameter",
    [
        "charset=undefined",
        "charset=rot13",
        "charset=idna",
        "charset=utf-16",
        "charset=unicode_escape",
        "charset=latin1",
        "charset=utf8",
        "charset=no-such-thing",
    ],
)
async def test_text_is_utf_8_whatever_charset_the_content_type_names(parameter):
    text = {"a": "é \\ud800 +2AA-"}
    encoded = urlencode(text).encode()
    part = '--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n{}\r\n--x--\r\n'.format(text["a"]).encode()
    for kind, body in ((FORM, encoded), ("multipart/form-data; boundary=x", part)):
        status, shown = await ask(body=body, query=encoded, content_type=f"{kind}; {parameter}")
        assert (status, shown["get"], shown["post"]) == (200, text, text)
    status, shown = await ask("/json/", json.dumps(text).encode(), content_type=f"application/json; {parameter}")
    assert (status, shown) == (200, text)


@pytest.mark.parametrize("encoding", ["nope", "undefined", "idna"])
@pytest.mark.parametrize("kind", [FORM, "multipart/form-data", "application/json", "text/plain"])
async def test_a_content_type_that_cannot_be_read_counts_as_none(kind, encoding):
    status, shown = await ask(body=b"a=1", query=b"b=2", content_type=f"{kind}; boundary*={encoding}'x'%FF")
    assert (status, shown["get"], shown["post"]) == (200, {"b": "2"}, {})
    status, shown = await ask("/json/", b"{}", content_type=f"{kind}; x*={encoding}'x'%FF")
    assert (status, shown.get("code")) == (415, "unsupported-media-type")


async def test_a_content_type_that_would_take_long_to_read_counts_as_none():
    status, shown = await ask(body=b"a=1", content_type=FORM + "; a=b" * 10_000)
    assert (status, shown["post"]) == (200, {})


async def test_too_many_parameters_are_refused_although_the_content_type_has_a_charset(settings):
    settings.DATA_UPLOAD_MAX_NUMBER_FIELDS = 2
    status, _, _ = await request(
        BoundedHttp(Handler()),
        "/show/",
        b"",
        "GET",
        "10.0.0.1",
        {"content_type": "x/y; charset=utf-8"},
        query=b"a=1&b&c",
    )
    assert status == 400


@pytest.mark.parametrize("value", [r'"a\000b"', r'"\377"', "a\x01b", "é", r'"\012"'])
async def test_a_cookie_that_no_server_sets_is_none(value):
    _, shown = await ask(cookie=f"sessionid={value}; other=kept; empty=")
    assert shown["cookies"] == {"other": "kept", "empty": ""}
