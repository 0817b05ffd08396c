"""Random requests to the callbacks, signed and forged, made from a seed; and a fingerprint of the database."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from django.apps import apps
from django.conf import settings
from django.http import QueryDict
from twilio.request_validator import RequestValidator

from calls.models import Agent, DialAttempt
from calls.services import claim_stream
from calls.services.admission import receive_call
from calls.services.claiming import claim_due
from calls.services.dialling import dial
from calls.services.placing import NewCall, place_calls
from tests.calls.fake_carrier import FakeCarrier

FORM = "application/x-www-form-urlencoded"
PATHS = [f"/twilio/{name}/" for name in ("voice", "status", "amd", "stream-status", "after-stream", "after-transfer")]
STATUSES = "queued initiated ringing in-progress completed busy no-answer failed canceled".split()
TIMESTAMPS = (
    "Thu, 20 Nov 2025 17:00:00 +0000",
    "2025-11-20T17:00:00.123456789Z",
    "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59-23:59",
    "Mon, 99 Foo 99999 99:99:99 +9999",
    "Thu, 20 Nov 2025 17:00:00 +99999999999",
    "20251120",
    "1e400",
)
ODD_VALUES = (
    "", " ", "\0", "a\0b", "-1", "0", "1e999", "NaN", "²", "٣", "9" * 400, "A" * 20_000, "\ud7ff\ufffd\U0010ffff",
    "' OR 1=1 --", "{{ name }}", "%s%n%00", "../../etc/passwd", "<Response/>", "null", "\r\nX: y", "\u202e",
    "\x7f\x1b[0m",
)  # fmt: skip
FIELDS = (
    "From To Called Caller CallStatus Direction ApiVersion SequenceNumber Timestamp CallDuration Duration "
    "SipResponseCode ErrorCode ErrorMessage AnsweredBy MachineDetectionDuration StreamSid StreamName StreamEvent "
    "StreamError DialCallStatus DialCallSid DialBridged Digits CallbackSource ForwardedFrom"
).split()


@dataclass(frozen=True)
class OddRequest:
    """A request to the application. ``chunks`` is its body, in the pieces in which the server receives it."""

    method: str
    target: str
    headers: tuple[tuple[bytes, bytes], ...]
    chunks: tuple[bytes, ...]

    def __repr__(self) -> str:
        body = b"".join(self.chunks)
        return f"{self.method} {self.target[:500]} {self.headers} {body[:500]!r} ({len(body)} bytes)"


@dataclass
class OddRequests:
    """Makes random requests, some of them about a real call: ``sids`` and ``attempts`` are in the database."""

    seed: int
    sids: Sequence[str]
    attempts: Sequence[str]
    _random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def signed(self) -> OddRequest:
        """Make a request with a valid signature and random contents."""
        target = self._path() + self._query()
        body = self._form()
        return self._request("POST", target, body, {"X-Twilio-Signature": _sign(target, body)})

    def forged(self) -> OddRequest:
        """Make a request without a valid signature: a signed one with one change."""
        genuine_target, body = self._path() + self._query(), self._form()
        request = self._request("POST", genuine_target, body, {"X-Twilio-Signature": _sign(genuine_target, body)})
        forge = self._random.choice(
            (
                self._with_another_signature,
                self._with_another_body,
                self._with_another_query,
                self._with_another_content_type,
                self._with_another_method,
                self._with_another_account,
                self._with_another_charset,
                self._with_random_bytes,
            )
        )
        return forge(request, body)

    # -- forgeries --------------------------------------------------------------------------------

    def _with_another_signature(self, request: OddRequest, body: bytes) -> OddRequest:
        target = request.target
        signature = self._random.choice(
            (
                None,
                "",
                "=",
                "A" * 100_000,
                "\xff\xfe",
                _sign(target, body, token="not-the-token"),
                _sign(target, body, token=""),
                _sign("/twilio/other/", body),
                _sign(target, b""),
                _sign(target, body)[:-2],
            )
        )
        return self._request("POST", target, body, {} if signature is None else {"X-Twilio-Signature": signature})

    def _with_another_body(self, request: OddRequest, body: bytes) -> OddRequest:
        changed = self._random.choice(
            (
                body + b"&More=1",
                body.replace(b"CallSid=", b"CallSid=0"),
                b"",
                b"\0" * 10,
                b"&" * 3000,
                b"a=1&" * 2000,
                b"x" * 3_000_000 if self._random.random() < 0.05 else b"%",
                b"CallSid=%ED%A0%80%00%FF" + self._random.randbytes(50),
            )
        )
        return replace(request, headers=_headers_with_length(request.headers, changed), chunks=self._in_chunks(changed))

    def _with_another_query(self, request: OddRequest, body: bytes) -> OddRequest:
        target = request.target
        separator = "&" if "?" in target else "?"
        more = self._random.choice((f"attempt={uuid.uuid4()}", "stream=2", "%00=%FF", "a" * 5000, "attempt=" * 50))
        return replace(request, target=f"{target}{separator}{more}")

    def _with_another_content_type(self, request: OddRequest, body: bytes) -> OddRequest:
        form = {name: values[-1] for name, values in QueryDict(body).lists()}
        nested = "[" * 100_000 if self._random.random() < 0.1 else "{"
        multipart = "".join(
            f'--x\r\nContent-Disposition: form-data; name="{n}"\r\n\r\n{v}\r\n' for n, v in form.items()
        )
        content_type, changed = self._random.choice(
            (
                ("application/json", json.dumps(form).encode()),
                ("application/json", nested.encode()),
                ("multipart/form-data; boundary=x", multipart.encode() + b"--x--"),
                ("multipart/form-data; boundary=" + "y" * 500, multipart.encode()),
                ("multipart/form-data", body),
                ("text/plain", body),
                ("", body),
                ("application/x-www-form-urlencoded\0", body),
                ("Application/; ;=;charset", body),
                (f"{FORM}; a*=nope'x'%FF", body),
                (f"{FORM}; a*=undefined'x'%FF", body),
                (f"{FORM}; a*0*=idna'x'%FF; a*1=b", body),
            )
        )
        signature = {"X-Twilio-Signature": _sign(request.target, self._random.choice((body, b"")))}
        return self._request("POST", request.target, changed, signature, content_type=content_type)

    def _with_another_method(self, request: OddRequest, body: bytes) -> OddRequest:
        method = self._random.choice(("GET", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH", "TRACE", "PURGE", "x" * 40))
        return replace(request, method=method)

    def _with_another_account(self, request: OddRequest, body: bytes) -> OddRequest:
        wrong = self._random.choice(("AC" + "0" * 32, "", settings.TWILIO_ACCOUNT_SID.lower() + " ", "\0"))
        body = body.replace(f"AccountSid={settings.TWILIO_ACCOUNT_SID}".encode(), f"AccountSid={quote(wrong)}".encode())
        return self._request("POST", request.target, body, {"X-Twilio-Signature": _sign(request.target, body)})

    def _with_another_charset(self, request: OddRequest, body: bytes) -> OddRequest:
        charset = self._random.choice(
            ("utf-16", "utf-7", "idna", "undefined", "rot13", "nothing", "\xff", "utf-8;" * 99)
        )
        headers = {"X-Twilio-Signature": _sign(request.target, body) + "x"}
        return self._request("POST", request.target, body, headers, content_type=f"{FORM}; charset={charset}")

    def _with_random_bytes(self, request: OddRequest, body: bytes) -> OddRequest:
        noise = self._random.randbytes(self._random.choice((0, 1, 100, 5000)))
        headers = {
            self._random.choice(("Host", "X-Forwarded-Host", "Cookie", "Accept-Encoding", "Content-Encoding")): noise[
                :200
            ].decode("latin-1")
        }
        return self._request("POST", request.target, noise, headers)

    # -- parts of requests -------------------------------------------------------------------------

    def _path(self) -> str:
        path = self._random.choice(PATHS)
        return path if self._random.random() < 0.9 else path.rstrip("/")

    def _query(self) -> str:
        chance = self._random.random()
        if chance < 0.3:
            return ""
        if chance < 0.8:
            return f"?attempt={self._attempt()}"
        name = self._random.choice(("attempt", "stream", "attempt[]", "x"))
        return "?" + urlencode({name: self._random.choice((*ODD_VALUES[:11], "1", "2", "3", "-1", "1000", "1.5"))})

    def _attempt(self) -> str:
        known = self._random.choice(self.attempts)
        return self._random.choice((known, known, known.upper(), known.replace("-", ""), str(uuid.uuid4()), "x" * 70))

    def _form(self) -> bytes:
        sid = self._random.choice((*self.sids, f"CA{self._random.getrandbits(128):032x}", "A", "9" * 64))
        form = [("CallSid", sid), ("AccountSid", settings.TWILIO_ACCOUNT_SID)]
        form += [(name, self._value(name)) for name in FIELDS if self._random.random() < 0.6]
        if self._random.random() < 0.1:
            form += [(self._random.choice(ODD_VALUES), self._random.choice(ODD_VALUES)) for _ in range(3)]
        return urlencode(form).encode()

    def _value(self, name: str) -> str:
        if self._random.random() < 0.2:
            return self._random.choice((*ODD_VALUES, *TIMESTAMPS))
        if name.endswith("Status"):
            return self._random.choice((*STATUSES, "answered"))
        if name == "Timestamp":
            return self._random.choice(TIMESTAMPS)
        if name == "AnsweredBy":
            return self._random.choice(("human", "machine_start", "machine_end_beep", "fax", "unknown"))
        if name == "StreamEvent":
            return self._random.choice(("stream-started", "stream-stopped", "stream-error"))
        if name in ("From", "To"):
            return self._random.choice(("+12025550101", "+15005550006", "anonymous", "client:me", "sip:a@b"))
        if name == "Direction":
            return self._random.choice(("inbound", "outbound-api", "outbound-dial"))
        return str(self._random.choice((0, 1, 2, 17, 200, 486, 4_000_000_000)))

    def _request(
        self, method: str, target: str, body: bytes, headers: dict[str, str], *, content_type: str = FORM
    ) -> OddRequest:
        all_headers = {
            "Host": urlsplit(settings.PUBLIC_BASE_URL).netloc,
            "Content-Type": content_type,
            "Content-Length": str(len(body)),
            **headers,
        }
        raw = tuple((name.lower().encode(), value.encode("latin-1", "replace")) for name, value in all_headers.items())
        return OddRequest(method, target, raw, self._in_chunks(body))

    def _in_chunks(self, body: bytes) -> tuple[bytes, ...]:
        cut = self._random.randint(0, len(body))
        return (body,) if self._random.random() < 0.8 else (body[:cut], body[cut:])


def _headers_with_length(headers: tuple[tuple[bytes, bytes], ...], body: bytes) -> tuple[tuple[bytes, bytes], ...]:
    return tuple((name, str(len(body)).encode() if name == b"content-length" else value) for name, value in headers)


def _sign(target: str, body: bytes, token: str | None = None) -> str:
    validator = RequestValidator(settings.TWILIO_AUTH_TOKENS[0] if token is None else token)
    return validator.compute_signature(settings.PUBLIC_BASE_URL + target, QueryDict(body))


def make_calls_and_requests(seed: int) -> OddRequests:
    """Make outbound calls that wait, ring, are answered or talk, and an inbound one. Return requests about them."""
    Agent.objects.update(max_attempts=20, retry_busy_after=0, retry_no_answer_after=0, machine_detection="hang-up")
    place_calls([NewCall(to=f"+1202555010{n}", agent="front-desk") for n in range(6)])
    for attempt_id in claim_due().attempts[:5]:
        dial(attempt_id, carrier=FakeCarrier())
    attempts = list(DialAttempt.objects.order_by("to_number"))
    sids = [attempt.sid for attempt in attempts if attempt.sid]
    our_number = settings.TWILIO_PHONE_NUMBER
    for attempt in attempts[:2]:
        answered = receive_call(
            sid=attempt.sid or "",
            from_number=our_number,
            to_number=attempt.to_number,
            account_sid=settings.TWILIO_ACCOUNT_SID,
            params={},
            attempt_id=str(attempt.pk),
        )
    assert claim_stream(token=answered.token, process="web-1") is not None
    inbound = {"from_number": "+12025550199", "to_number": our_number, "account_sid": settings.TWILIO_ACCOUNT_SID}
    receive_call(sid="CA1", params={}, **inbound)
    return OddRequests(seed, sids=[*sids, "CA1"], attempts=[str(attempt.pk) for attempt in attempts])


async def send_to(application: Any, request: OddRequest) -> int:
    """Pass a request to the application as an ASGI server does, and return the status of the answer."""
    path, _, query = request.target.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": list(request.headers),
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    last = len(request.chunks) - 1
    pieces = [{"type": "http.request", "body": chunk, "more_body": n < last} for n, chunk in enumerate(request.chunks)]
    status = 0

    async def receive() -> dict[str, Any]:
        return pieces.pop(0) if pieces else await _forever()

    async def send(message: dict[str, Any]) -> None:
        nonlocal status
        status = message.get("status", status)

    await application(scope, receive, send)
    return status


async def _forever() -> Any:
    await asyncio.Event().wait()


def fingerprint() -> dict[str, tuple[int, str]]:
    """Return the number of rows of every table of the package ``calls``, and a digest of all their values."""
    prints = {}
    for model in apps.get_app_config("calls").get_models():
        rows = list(model.objects.order_by("pk").values_list())
        prints[model.__name__] = len(rows), hashlib.sha256(repr(rows).encode()).hexdigest()
    return prints
