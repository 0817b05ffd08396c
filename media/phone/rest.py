"""
Twilio's REST API as far as calls go, on ``aiohttp.web``: what it checks, what it answers, how it fails.

``Calls.json`` (POST, GET), ``Calls/{sid}.json`` (POST, GET) and ``Calls/{sid}/Recordings.json`` (POST). The real SDK
works against it with ``client.api.base_url = network.rest_url``.

Errors come by rule (``CREATE_RULES``) or by magic number: Twilio's own test numbers, and ``+199955`` followed by the
five digits of any code of ``twilio_errors.CODES``, so ``+19995521219`` is refused with 21219.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any, Protocol, cast
from urllib.parse import urlencode, urlsplit

from aiohttp import web
from multidict import MultiMapping

from media.phone.call_request import (
    API_VERSION,
    CALL_EVENTS,
    MAX_CALL_SECONDS,
    Callback,
    CallRequest,
    MachineDetection,
    Program,
    RecordingRequest,
)
from media.phone.injections import Injections, RestFault
from media.phone.leg import PhoneCall
from media.phone.leg_recordings import Recording
from media.phone.twilio_errors import CODES, Alert, TwilioError

Form = MultiMapping[str]

LONGEST_TWIML = 4000
MAGIC_TO = {"+15005550001": 21217, "+15005550002": 21214, "+15005550003": 21215, "+15005550004": 21216}
MAGIC_FROM = {"+15005550001": 21212}
ANY_CODE = re.compile(r"\+199955(\d{5})")
_E164 = re.compile(r"\+[1-9]\d{6,14}")
_OTHER_ADDRESS = re.compile(r"(sip:[^@\s]+@\S+|client:\S+)")
_PREMIUM_OR_X11 = re.compile(r"\+1900\d{7}|(\+?1)?[2-9]11")
_DIGITS = re.compile(r"[0-9A-D#*wW]{1,32}")
_PARAMETERS = frozenset(
    "To From Url Method Twiml ApplicationSid FallbackUrl FallbackMethod StatusCallback StatusCallbackMethod "
    "StatusCallbackEvent Timeout TimeLimit SendDigits MachineDetection MachineDetectionTimeout "
    "MachineDetectionSpeechThreshold MachineDetectionSpeechEndThreshold MachineDetectionSilenceTimeout AsyncAmd "
    "AsyncAmdStatusCallback AsyncAmdStatusCallbackMethod Record RecordingChannels RecordingTrack "
    "RecordingStatusCallback RecordingStatusCallbackMethod RecordingStatusCallbackEvent Trim CallerId CallReason "
    "CallToken Byoc ClientNotificationUrl SipAuthUsername SipAuthPassword Passports RecordingConfigurationId".split()
)
_UPDATE_PARAMETERS = frozenset(
    "Url Method Status FallbackUrl FallbackMethod StatusCallback StatusCallbackMethod Twiml TimeLimit".split()
)
_RANGES = {
    "MachineDetectionTimeout": (3, 59),
    "MachineDetectionSpeechThreshold": (1000, 6000),
    "MachineDetectionSpeechEndThreshold": (500, 5000),
    "MachineDetectionSilenceTimeout": (2000, 10000),
    "TimeLimit": (60, 24 * 3600),
}
_URLS = ("Url", "FallbackUrl", "StatusCallback", "AsyncAmdStatusCallback", "RecordingStatusCallback")


class Account(Protocol):
    """What the API needs of the network: one account with its calls."""

    account_sid: str
    auth_token: str
    strict: bool
    injections: Injections
    alerts: list[Alert]
    calls: dict[str, PhoneCall]
    caller_ids: set[str] | None
    concurrent_calls: int | None
    refusals: dict[str, int]

    def place(self, request: CallRequest) -> PhoneCall: ...


def _is_address(text: str) -> bool:
    return bool(_E164.fullmatch(text) or _OTHER_ADDRESS.fullmatch(text))


def _is_url(text: str) -> bool:
    parts = urlsplit(text)
    return parts.scheme in ("http", "https") and bool(parts.hostname) and "_" not in (parts.hostname or "")


def _in_range(text: str, low: int, high: int) -> bool:
    return text.isdecimal() and low <= int(text) <= high


def _magic(number: str, table: Mapping[str, int]) -> int | None:
    match = ANY_CODE.fullmatch(number)
    code = int(match[1]) if match else table.get(number)
    return code if code in CODES else None


CREATE_RULES: tuple[tuple[int, Callable[[Form], object]], ...] = (
    # (the code, what is wrong then); the first that applies is answered
    (21201, lambda form: not form.get("To")),
    (21213, lambda form: not form.get("From")),
    (21202, lambda form: _PREMIUM_OR_X11.fullmatch(form["To"])),
    (21217, lambda form: re.fullmatch(r"[\d ().-]+", form["To"])),  # a number, but not E.164
    (21211, lambda form: not _is_address(form["To"])),
    (21212, lambda form: not _is_address(form["From"])),
    (21212, lambda form: form["To"].startswith("+") and not form["From"].startswith("+")),
    (21218, lambda form: "ApplicationSid" in form),  # the simulated account has no applications
    (21205, lambda form: not form.get("Url") and not form.get("Twiml")),
    (21205, lambda form: any(form.get(name) and not _is_url(form[name]) for name in _URLS)),
    (21206, lambda form: "SendDigits" in form and not _DIGITS.fullmatch(form["SendDigits"])),
    (21208, lambda form: not _in_range(form.get("Timeout", "60"), 1, 600)),
    (20001, lambda form: len(form.get("Twiml", "")) > LONGEST_TWIML),
    (20001, lambda form: form.get("MachineDetection", "Enable") not in ("Enable", "DetectMessageEnd")),
    (20001, lambda form: any(name in form and not _in_range(form[name], *limits) for name, limits in _RANGES.items())),
)


def check_create(form: Form, account: Account) -> None:
    """Raise the error that Twilio answers to this ``POST Calls.json``, if any."""
    for code, applies in CREATE_RULES:
        if applies(form):
            raise TwilioError(code)
    to, from_ = form["To"], form["From"]
    code = account.refusals.get(to) or _magic(to, MAGIC_TO) or _magic(from_, MAGIC_FROM)
    if code:
        raise TwilioError(code)
    if account.caller_ids is not None and from_ not in account.caller_ids:
        raise TwilioError(21210, from_)
    live = sum(not call.is_over for call in account.calls.values())
    if account.concurrent_calls is not None and live >= account.concurrent_calls:
        raise TwilioError(10004)


def warnings(form: Form) -> list[TwilioError]:
    """Return what Twilio accepts in a create but does not do as asked."""
    found = [
        TwilioError(20001, f"StatusCallbackEvent {event!r}: repeat the key once per event")
        for event in form.getall("StatusCallbackEvent", [])
        if event not in CALL_EVENTS
    ]
    asynchronous = form.get("AsyncAmd") == "true" and "MachineDetection" in form
    if asynchronous and not form.get("AsyncAmdStatusCallback"):
        found.append(TwilioError(21262))
    return found


def read_call_request(form: Form) -> CallRequest:
    """Read a checked create."""
    detection = None
    if "MachineDetection" in form:
        detection = MachineDetection(
            mode=cast(Any, form["MachineDetection"]),
            asynchronous=form.get("AsyncAmd") == "true",
            callback=_callback_of(form, "AsyncAmdStatusCallback", events=()),
        )
    return CallRequest(
        to_number=form["To"],
        from_number=form.get("CallerId") or form["From"],
        program=_program_of(form),
        callback=_callback_of(form, "StatusCallback", events=CALL_EVENTS),
        timeout=float(form.get("Timeout", 60)),
        time_limit=float(form.get("TimeLimit", MAX_CALL_SECONDS)),
        send_digits=form.get("SendDigits", ""),
        machine_detection=detection,
        recording=_recording_of(form, "OutboundAPI") if form.get("Record") == "true" else None,
    )


def _program_of(form: Form) -> Program | None:
    if not form.get("Url") and not form.get("Twiml"):
        return None
    return Program(
        url=form.get("Url") or None,  # with both given, Twiml is ignored
        method=form.get("Method", "POST").upper(),
        twiml=form.get("Twiml"),
        fallback_url=form.get("FallbackUrl"),
        fallback_method=form.get("FallbackMethod", "POST").upper(),
    )


def _callback_of(form: Form, name: str, *, events: Iterable[str]) -> Callback | None:
    if not form.get(name):
        return None
    # The description of the recording events says "separated by a space"; the SDK repeats the key. Both work there.
    asked = form.getall(f"{name}Event", [])
    if name == "RecordingStatusCallback":
        asked = [event for value in asked for event in value.split()]
    subscribed = frozenset(asked) & frozenset(events) or frozenset({"completed"})
    return Callback(form[name], form.get(f"{name}Method", "POST").upper(), subscribed)


def _recording_of(form: Form, source: str) -> RecordingRequest:
    events = ("in-progress", "completed", "absent")
    return RecordingRequest(
        source=source,
        callback=_callback_of(form, "RecordingStatusCallback", events=events),
        channels=2 if form.get("RecordingChannels") == "dual" else 1,
        track=form.get("RecordingTrack", "both"),
    )


def call_resource(call: PhoneCall, account_sid: str) -> dict[str, Any]:
    """Return a call as the API shows it: numbers as strings, times as RFC 2822."""
    uri = f"/{API_VERSION}/Accounts/{account_sid}/Calls/{call.sid}"
    parts = ("events", "notifications", "payments", "recordings", "siprec", "streams", "transcriptions")
    return {
        "sid": call.sid,
        "account_sid": account_sid,
        "parent_call_sid": call.parent.sid if call.parent else None,
        "status": call.status,
        "direction": call.direction,
        "to": call.request.to_number,
        "to_formatted": _formatted(call.request.to_number),
        "from": call.request.from_number,
        "from_formatted": _formatted(call.request.from_number),
        "date_created": format_datetime(call.created_at),
        "date_updated": format_datetime(call.updated_at),
        "start_time": _time(call.started_at),
        "end_time": _time(call.ended_at),
        "duration": str(call.duration) if call.is_over else None,
        "price": None,
        "price_unit": "USD",
        "answered_by": call.answered_by,
        "queue_time": str(round(call.queue_time * 1000)),
        "phone_number_sid": None,
        "forwarded_from": None,
        "caller_name": None,
        "group_sid": None,
        "trunk_sid": "",
        "annotation": None,
        "api_version": API_VERSION,
        "uri": f"{uri}.json",
        "subresource_uris": {part: f"{uri}/{part.capitalize()}.json" for part in parts},
    }


def recording_resource(recording: Recording, call: PhoneCall, account_sid: str) -> dict[str, Any]:
    started = format_datetime(recording.started_at)
    return {
        "sid": recording.sid,
        "account_sid": account_sid,
        "call_sid": call.sid,
        "conference_sid": None,
        "status": recording.status,
        "source": recording.request.source,
        "channels": recording.request.channels,
        "track": recording.request.track,
        "date_created": started,
        "date_updated": started,
        "start_time": started,
        "duration": str(recording.duration) if recording.status == "completed" else None,
        "price": None,
        "price_unit": "USD",
        "error_code": None,
        "encryption_details": None,
        "api_version": API_VERSION,
        "uri": f"/{API_VERSION}/Accounts/{account_sid}/Calls/{call.sid}/Recordings/{recording.sid}.json",
    }


def _time(moment: datetime | None) -> str | None:
    return format_datetime(moment) if moment else None


def _formatted(number: str) -> str:
    american = re.fullmatch(r"\+1(\d{3})(\d{3})(\d{4})", number)
    return "({}) {}-{}".format(*american.groups()) if american else number


class RestApi:
    """The HTTP side. ``requests`` lists what was asked, as (method, path, form)."""

    def __init__(self, account: Account, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.requests: list[tuple[str, str, dict[str, list[str]]]] = []
        self._account = account
        self._address = host, port
        self._concurrent = 0
        self._runner: web.AppRunner | None = None

    async def open(self) -> str:
        """Listen, and return the base URL. Raises ``OSError`` where the port is taken."""
        application = web.Application(middlewares=[self._answer])
        base = f"/{API_VERSION}/Accounts/{{account_sid}}/Calls"
        application.router.add_post(f"{base}.json", self._create)
        application.router.add_get(f"{base}.json", self._list)
        application.router.add_post(f"{base}/{{sid}}.json", self._update)
        application.router.add_get(f"{base}/{{sid}}.json", self._fetch)
        application.router.add_post(f"{base}/{{sid}}/Recordings.json", self._record)
        self._runner = web.AppRunner(application, access_log=None, handler_cancellation=False, shutdown_timeout=1.0)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, *self._address).start()
        except OSError:
            await self._runner.cleanup()
            raise
        host, port = self._runner.addresses[0][:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    @web.middleware
    async def _answer(self, request: web.Request, handler: Callable[..., Any]) -> web.StreamResponse:
        """Give every answer its headers, errors their body, and injected faults their way."""
        self._concurrent += 1
        headers = {
            "Twilio-Request-Id": "RQ" + uuid.uuid4().hex,
            "Twilio-Concurrent-Requests": str(self._concurrent),
            "X-API-Domain": "api.twilio.com",
        }
        try:
            form = await request.post() if request.method == "POST" else request.query
            self.requests.append((request.method, request.path, _as_lists(cast(Form, form))))
            fault = self._account.injections.for_rest(request.method, request.path) or RestFault()
            status, body, content_type = 0, "", "application/json"
            if fault.carries_out:
                status, answer, call = await self._carry_out(request, handler, fault)
                body = json.dumps(answer)
                if fault.after is not None and call is not None:
                    await call.wait_for_callback(fault.after)
            if fault.status:
                status, body, content_type = fault.status, fault.body, fault.content_type
            await asyncio.sleep(fault.delay)
            if fault.drop and request.transport is not None:
                request.transport.abort()
                return web.Response()
            response = web.StreamResponse(status=status or 500, headers={**headers, **fault.headers})
            response.content_type, response.charset = content_type, "utf-8"
            encoded = body.encode()
            response.content_length = len(encoded)
            with suppress(ConnectionError):  # whoever asked may have given up long ago
                await _write_slowly(response, request, encoded, seconds=fault.slow_body)
            return response
        finally:
            self._concurrent -= 1

    async def _carry_out(
        self, request: web.Request, handler: Callable[..., Any], fault: RestFault
    ) -> tuple[int, dict[str, Any], PhoneCall | None]:
        try:
            if isinstance(request.match_info.http_exception, web.HTTPException):
                raise TwilioError(20404)
            self._authenticate(request)
            if fault.hang_up_first:
                call = self._call(request)
                call.hang_up()
                await call.wait()
            result: tuple[int, dict[str, Any], PhoneCall | None] = await handler(request)
            return result
        except TwilioError as error:
            return error.status, error.body(), None

    def _authenticate(self, request: web.Request) -> None:
        scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
        try:
            user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise TwilioError(20003) from None
        account = self._account
        if scheme.lower() != "basic" or (user, password) != (account.account_sid, account.auth_token):
            raise TwilioError(20003)
        if request.match_info["account_sid"] != account.account_sid:
            raise TwilioError(20003)

    def _call(self, request: web.Request) -> PhoneCall:
        try:
            return self._account.calls[request.match_info["sid"]]
        except KeyError:
            raise TwilioError(20404, request.path) from None

    def _refuse_unknown(self, form: Form, known: frozenset[str]) -> None:
        unknown = sorted(set(form) - known)
        if unknown and self._account.strict:
            raise TwilioError(20001, ", ".join(unknown))

    async def _create(self, request: web.Request) -> tuple[int, dict[str, Any], PhoneCall]:
        form = cast(Form, await request.post())
        self._refuse_unknown(form, _PARAMETERS)
        check_create(form, self._account)
        call = self._account.place(read_call_request(form))
        resource = call_resource(call, self._account.account_sid)
        for warning in warnings(form):
            call.alert(warning)
        return 201, resource, call

    async def _update(self, request: web.Request) -> tuple[int, dict[str, Any], PhoneCall]:
        form = cast(Form, await request.post())
        call = self._call(request)
        self._refuse_unknown(form, _UPDATE_PARAMETERS)
        status, limit = form.get("Status", ""), form.get("TimeLimit")
        if status not in ("", "canceled", "completed") or (limit and not limit.isdecimal()):
            raise TwilioError(20001)
        if any(form.get(name) and not _is_url(form[name]) for name in ("Url", "FallbackUrl", "StatusCallback")):
            raise TwilioError(21205)
        callback = _callback_of(form, "StatusCallback", events=CALL_EVENTS) if form.get("Url") else None
        if form.get("StatusCallback") and callback is None:
            call.alert(TwilioError(20001, "StatusCallback can be changed only together with Url"))
        if callback is not None and call.request.callback is not None:
            callback = Callback(callback.url, callback.method, call.request.callback.events)
        call.update(
            program=_program_of(form), callback=callback, status=status, time_limit=float(limit) if limit else None
        )
        return 200, call_resource(call, self._account.account_sid), call

    async def _fetch(self, request: web.Request) -> tuple[int, dict[str, Any], PhoneCall]:
        call = self._call(request)
        return 200, call_resource(call, self._account.account_sid), call

    async def _record(self, request: web.Request) -> tuple[int, dict[str, Any], PhoneCall]:
        call = self._call(request)
        if call.status != "in-progress":
            raise TwilioError(21220)
        wanted = _recording_of(cast(Form, await request.post()), "StartCallRecordingAPI")
        recording = call.recordings.start(wanted)
        return 201, recording_resource(recording, call, self._account.account_sid), call

    async def _list(self, request: web.Request) -> tuple[int, dict[str, Any], None]:
        query = request.query
        try:
            size = min(max(int(query.get("PageSize", 50)), 1), 1000)
            page = max(int(query.get("Page", 0)), 0)
            matching = [call for call in reversed(self._account.calls.values()) if _matches(call, query)]
        except ValueError as error:
            raise TwilioError(20001, str(error)) from error
        shown = matching[page * size : (page + 1) * size]

        def uri(number: int) -> str:
            return f"{request.path}?{urlencode([*filters, ('PageSize', size), ('Page', number)])}"

        filters = [(name, value) for name, value in query.items() if name not in ("Page", "PageSize", "PageToken")]
        payload = {
            "calls": [call_resource(call, self._account.account_sid) for call in shown],
            "page": page,
            "page_size": size,
            "start": page * size,
            "end": max(page * size + len(shown) - 1, 0),
            "uri": uri(page),
            "first_page_uri": uri(0),
            "next_page_uri": uri(page + 1) if (page + 1) * size < len(matching) else None,
            "previous_page_uri": uri(page - 1) if page else None,
        }
        return 200, payload, None


async def _write_slowly(response: web.StreamResponse, request: web.Request, body: bytes, *, seconds: float) -> None:
    await response.prepare(request)
    pieces = 10 if seconds else 1
    step = -(-len(body) // pieces) or 1
    for start in range(0, len(body), step):
        await asyncio.sleep(seconds / pieces)
        await response.write(body[start : start + step])
    await response.write_eof()


def _as_lists(form: Form) -> dict[str, list[str]]:
    return {name: form.getall(name) for name in form}


def _matches(call: PhoneCall, query: Mapping[str, str]) -> bool:
    actual = {
        "To": call.request.to_number,
        "From": call.request.from_number,
        "Status": call.status,
        "ParentCallSid": call.parent.sid if call.parent else "",
    }
    if any(query[name] != value for name, value in actual.items() if name in query):
        return False
    # A call that still waits in the queue has no start time yet and is found by when it was made.
    moments = {"StartTime": call.started_at or call.created_at, "EndTime": call.ended_at}
    return all(
        _moment_matches(moment, query[name + sign], sign)
        for name, moment in moments.items()
        for sign in ("", "<", ">")
        if name + sign in query
    )


def _moment_matches(moment: datetime | None, text: str, sign: str) -> bool:
    """Compare at the precision that was asked for: a day (``2026-01-31``) or a second."""
    if moment is None:
        return False
    is_day = len(text) == 10
    asked = datetime.fromisoformat(text).replace(tzinfo=UTC)
    have = moment.replace(microsecond=0)
    if is_day:
        have = have.replace(hour=0, minute=0, second=0)
    return {"": have == asked, "<": have <= asked, ">": have >= asked}[sign]
