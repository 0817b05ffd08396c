"""Random requests of strangers and readers to the console, the REST API, the probes and the rest, made from a seed."""

from __future__ import annotations

import base64
import random
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode

from tests.calls.odd_requests import FORM, ODD_VALUES, TIMESTAMPS, OddRequest

TOKEN = "a" * 32
"""Of a form and of its cookie, as Django asks for it."""
PATHS = (
    "/", "/admin/", "/admin/login/", "/admin/login/", "/admin/login/", "/admin/logout/", "/admin/jsi18n/", "/healthz",
    "/readyz/", "/api/", "/api/calls/", "/api/calls/", "/api/calls/batch/", "/api/stats/", "/api/agents/",
    "/api/agents/front-desk/", "/api/do-not-call/", "/api/webhooks/", "/api/schema/", "/api/docs/",
    "/api/recordings/x/", "/static/admin/css/base.css", "/twilio/voice/", "/twilio/media/", "/nothing", "//",
    "/admin//evil.example/",
)  # fmt: skip
METHODS = ("GET", "GET", "GET", "GET", "POST", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE")
QUERIES = (
    "next status direction agent to from created_after created_before scheduled_after answered_by end_reason search "
    "has_recording page_size cursor ordering period format page limit attempt stream _popup e"
).split()
KINDS = (
    FORM, FORM, "multipart/form-data; boundary=x", "multipart/form-data; boundary=x", "application/json",
    "text/plain", "multipart/form-data", "multipart/form-data; boundary=" + "y" * 300, "",
)  # fmt: skip
PARAMETERS = (
    "", "", "",
    "; charset=undefined", "; charset=rot13", "; charset=idna", "; charset=unicode_escape", "; charset=utf-7",
    "; charset=utf-16", "; charset=\xff", "; a*=nope'x'%FF", "; a*=undefined'x'%FF", "; a*=idna'x'%FF", "; a*0*=x''b",
    "; a*1=b; a*1=c", "; a*99999999999999999999=b", ";;=;=", '; a="', "; boundary*=nope''x",
    "; a=b" * 10_000,
)  # fmt: skip
BODIES = (
    "", "{", "[]", "null", "NaN", '"\\ud800"', '{"to":"\\u0000"}', '{"a":1,"a":2}', "[" * 100_000, '{"a":' * 50_000,
    '{"to":' + "9" * 5000 + "}", "a=1&" * 1200, "=&=&%", "\0" * 100, "--x--", "--x\r\n\r\n\r\n--x--",
    "--x\r\nContent-Disposition: form-data; name*=nope''a\r\n\r\n1\r\n--x--\r\n",
    '--x\r\nContent-Disposition: form-data; name="a"; filename="b"\r\nContent-Type: c; d*=idna\'\'%FF\r\n\r\n1\r\n',
    '--x\r\nContent-Disposition: form-data; name="a"\r\nContent-Transfer-Encoding: base64\r\n\r\n=\r\n--x--',
)  # fmt: skip
COOKIES = (
    'sessionid="aaaaaaaaaa\\000"',
    "sessionid=" + "a" * 5000, 'sessionid="aaaaaaaaaa\\377"', "sessionid=\x01", "sessionid",
    'csrftoken="\\000"', "csrftoken=x", 'messages="\\000"', "messages=" + "a" * 4000, ";;;=;=", "\xff=\xfe",
    "known-browser=a:b:c", 'known-browser="\\000"', "__class__=x",
)  # fmt: skip
HEADERS = (
    "accept accept-encoding accept-language authorization cookie cookie cookie expect if-match if-modified-since "
    "if-none-match idempotency-key last-event-id origin range referer user-agent x-csrftoken x-forwarded-for "
    "x-forwarded-host x-forwarded-proto x-http-method-override x-requested-with connection"
).split()
HEADER_VALUES = (
    "", " ", "\xff\xfe", "a" * 9000, "bytes=abc-", "bytes=-0", "bytes=0-" + "9" * 30, "bytes=5-1", "unix:",
    "fe80::1%eth0", "::1", "1.2.3.4, foo", "*/*;q=x", "application/json; indent=99999999", "text/event-stream",
    "application/json; a*=x'y", "Bearer", "Bearer \xff", "Basic !!!", "Token a b", "e9.t9.a9-x.s9-y",
    "Mon, 99 Foo 99999 99:99:99 GMT", '"', "W/", "null", "https://evil.example", "100-continue", "gzip;q=\xb2, *;q=0",
    "DELETE", "' OR 1=1 --",
)  # fmt: skip


@dataclass
class OddStrangers:
    """Makes random requests to ``host``. Some have ``key``, which may read."""

    seed: int
    host: str
    key: str
    _random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def request(self) -> OddRequest:
        chance = self._random
        path = chance.choice(PATHS)
        if chance.random() < 0.1:
            path += quote(chance.choice((*ODD_VALUES[:-2], "..", "%2e%2e%2f")))[:2000]
        logs_in = path == "/admin/login/" and chance.random() < 0.7
        method = "POST" if logs_in else chance.choice(METHODS)
        has_body = method in ("POST", "PUT", "PATCH") or chance.random() < 0.1
        kind, body = self._form() if logs_in else self._body() if has_body else ("", b"")
        headers = {"host": self.host}
        if has_body:
            headers["content-length"] = str(len(body))
        if has_body or chance.random() < 0.3:
            headers["content-type"] = kind + chance.choice(PARAMETERS)
        if logs_in:
            headers["cookie"] = f"csrftoken={TOKEN}"  # without it, nothing would get past the token of the form
        if path.startswith("/api/") and chance.random() < 0.7:
            headers["authorization"] = f"Bearer {self.key}"
        for _ in range(chance.choice((0, 1, 1, 2, 5))):
            name = chance.choice(HEADERS)
            headers[name] = chance.choice(COOKIES if name == "cookie" else HEADER_VALUES)
        raw = tuple((name.encode(), value.encode("latin-1")) for name, value in headers.items())
        return OddRequest(method, path + self._query(), raw, (body,) if body else ())

    def _query(self) -> str:
        if self._random.random() < 0.5:
            return ""
        pairs = [(self._random.choice(QUERIES), self._value()) for _ in range(self._random.choice((1, 1, 2, 3)))]
        return "?" + urlencode(pairs)[:30_000]

    def _body(self) -> tuple[str, bytes]:
        """A body, and perhaps its content type."""
        if self._random.random() < 0.5:
            return self._random.choice(KINDS), self._random.choice(BODIES).encode()
        if self._random.random() < 0.2:
            return self._random.choice(KINDS), self._random.randbytes(500)
        return self._form()

    def _form(self) -> tuple[str, bytes]:
        form = {name: self._value() for name in ("username", "password", "next")} | {"csrfmiddlewaretoken": TOKEN}
        if self._random.random() < 0.5:
            return FORM, urlencode(form).encode()
        part = '--x\r\nContent-Disposition: form-data; name="{}"\r\n\r\n{}\r\n'
        body = "".join(part.format(*pair) for pair in form.items()) + "--x--\r\n"
        return "multipart/form-data; boundary=x", body.encode()

    def _value(self) -> str:
        odd = ("anna", "\\ud800", "+2AA-", "x" * 300, "+12025550101", "completed", "\u200b", str(2**63), "-1", "\u3000")
        value = self._random.choice((*ODD_VALUES, *TIMESTAMPS, *odd))
        return base64.b64encode(value.encode()).decode() if self._random.random() < 0.05 else value
