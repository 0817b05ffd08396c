"""
Twilio's REST API for calls, on ``aiohttp.web``: what it answers, and how it fails where a test wants it to.

It serves ``Calls.json`` (POST, GET), ``Calls/{sid}.json`` (POST, GET), ``Calls/{sid}/Recordings.json`` (POST), and what
``rest_account.py`` answers about the account. The real SDK works with it if ``client.api.base_url`` (and for dialling
permissions ``client.voice.base_url``) is ``network.rest_url``. ``rest_forms.py`` says which requests are refused.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, cast

from aiohttp import web

from media.phone.call_request import API_VERSION, CALL_EVENTS, Callback
from media.phone.injections import RestFault
from media.phone.leg import PhoneCall
from media.phone.rest_account import COUNTRIES, ROOT, AccountApi
from media.phone.rest_forms import (
    Form,
    check_create,
    check_update,
    create_warnings,
    magic_error,
    read_call_request,
    read_callback,
    read_program,
    read_recording,
    refuse_unknown_parameters,
)
from media.phone.rest_resources import call_resource, list_resource, page_resource, recording_resource
from media.phone.serving import stop_server
from media.phone.twilio_errors import TwilioError

if TYPE_CHECKING:  # network.py imports this module
    from media.phone.network import PhoneNetwork

SHUTDOWN_TIMEOUT = 1.0
"""Seconds that a request under way has when the network is closed; a client that still waits has given up already."""


class Result(NamedTuple):
    """The answer to a request."""

    status: int
    body: dict[str, object]
    call: PhoneCall | None = None
    """The call that the request was about; a fault may hold the answer back until a callback of it was answered."""


Handler = Callable[[web.Request], Awaitable[Result]]


class RestApi:
    """The HTTP server of one account."""

    def __init__(self, account: PhoneNetwork, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.requests: list[tuple[str, str, dict[str, list[str]]]] = []
        """The requests that came, as (method, path, form)."""
        self._account = account
        self._about = AccountApi(account.account)
        self._address = host, port
        self._concurrent = 0  # requests under way
        self._runner: web.AppRunner | None = None

    async def open(self) -> str:
        """Listen, and return the base URL. Raises ``OSError`` if the port is taken."""
        application = web.Application()
        base = f"/{API_VERSION}/Accounts/{{account_sid}}/Calls"
        application.router.add_post(f"{base}.json", self._serve(self._create))
        application.router.add_get(f"{base}.json", self._serve(self._list))
        application.router.add_post(f"{base}/{{sid}}.json", self._serve(self._update))
        application.router.add_get(f"{base}/{{sid}}.json", self._serve(self._fetch))
        application.router.add_post(f"{base}/{{sid}}/Recordings.json", self._serve(self._record))
        application.router.add_get(f"{base}/{{sid}}/Recordings.json", self._serve(self._list_recordings))
        sound = f"/{API_VERSION}/Accounts/{{account_sid}}/Recordings/{{sid}}.wav"
        application.router.add_get(sound, self._send_sound)
        self._add_account(application.router)
        application.router.add_route("*", "/{path:.*}", self._serve(None))
        self._runner = web.AppRunner(
            application, access_log=None, handler_cancellation=False, shutdown_timeout=SHUTDOWN_TIMEOUT
        )
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, *self._address).start()
        except OSError:
            await self._runner.cleanup()
            raise
        host, port = self._runner.addresses[0][:2]
        self._about.base_url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        return self._about.base_url

    def _add_account(self, router: web.UrlDispatcher) -> None:
        """Add the addresses of what the account has beside its calls."""
        about = self._about
        base = f"{ROOT}/{{account_sid}}"
        answers: dict[str, Callable[[web.Request], dict[str, object]]] = {
            f"{base}.json": lambda request: about.fetch_account(),
            f"{base}/Balance.json": lambda request: about.fetch_balance(),
            f"{base}/IncomingPhoneNumbers.json": lambda request: about.list_numbers(request.query),
            f"{base}/OutgoingCallerIds.json": lambda request: about.list_caller_ids(),
            COUNTRIES: lambda request: about.list_countries(request.query),
            f"{COUNTRIES}/{{code}}": lambda request: about.fetch_country(request.match_info["code"]),
        }
        for path, answer in answers.items():
            router.add_get(path, self._serve(partial(_answer_at_once, answer)))
        router.add_post(f"{base}/IncomingPhoneNumbers/{{sid}}.json", self._serve(self._update_number))

    async def close(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await stop_server(self._runner)

    def _serve(self, handler: Handler | None) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """Return a handler for aiohttp; without ``handler``, one that knows no resource."""

        async def serve(request: web.Request) -> web.StreamResponse:
            self._concurrent += 1
            try:
                return await self._answer(request, handler)
            finally:
                self._concurrent -= 1

        return serve

    async def _answer(self, request: web.Request, handler: Handler | None) -> web.StreamResponse:
        """Answer a request with the headers of Twilio, its errors, and the faults that were injected."""
        headers = {
            "Twilio-Request-Id": "RQ" + uuid.uuid4().hex,
            "Twilio-Concurrent-Requests": str(self._concurrent),
            "X-API-Domain": "api.twilio.com",
        }
        form = await _read_form(request) if request.method == "POST" else request.query
        self.requests.append((request.method, request.path, {name: form.getall(name) for name in form}))
        fault = self._account.injections.for_rest(request.method, request.path) or RestFault()
        status, body, content_type = 0, "", "application/json"
        if fault.carries_out:
            result = await self._carry_out(request, handler, fault)
            status, body = result.status, json.dumps(result.body)
            if fault.after is not None and result.call is not None:
                await result.call.callbacks.wait_for(fault.after)
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
        with suppress(ConnectionError):  # the client may have given up long ago
            await _write_slowly(response, request, encoded, seconds=fault.slow_body)
        return response

    async def _carry_out(self, request: web.Request, handler: Handler | None, fault: RestFault) -> Result:
        try:
            if handler is None:
                raise TwilioError(20404)
            self._authenticate(request)
            if fault.hang_up_first:
                call = self._find_call(request)
                call.hang_up()
                await call.wait()
            return await handler(request)
        except TwilioError as error:
            return Result(error.status, error.body())

    def _authenticate(self, request: web.Request) -> None:
        scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
        try:
            user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise TwilioError(20003) from None
        account = self._account.account
        if scheme.lower() != "basic" or user != account.account_sid or password not in account.tokens:
            raise TwilioError(20003)
        if request.match_info.get("account_sid", account.account_sid) != account.account_sid:
            raise TwilioError(20003)

    def _find_call(self, request: web.Request) -> PhoneCall:
        try:
            return self._account.calls[request.match_info["sid"]]
        except KeyError:
            raise TwilioError(20404, request.path) from None

    async def _create(self, request: web.Request) -> Result:
        form = await _read_form(request)
        if self._account.strict:
            refuse_unknown_parameters(form)
        check_create(form)
        self._check_account(form)
        call = self._account.place(read_call_request(form))
        resource = call_resource(call)
        for warning in create_warnings(form):
            call.alert(warning)
        return Result(201, resource, call)

    def _check_account(self, form: Form) -> None:
        """Raise the error with which the account refuses this create, if any."""
        account = self._account
        code = account.refusals.get(form["To"]) or magic_error(form)
        if code:
            raise TwilioError(code)
        if account.caller_ids is not None and form["From"] not in account.caller_ids:
            raise TwilioError(21210, form["From"])
        live = sum(not call.is_over for call in account.calls.values())
        if account.concurrent_calls is not None and live >= account.concurrent_calls:
            raise TwilioError(10004)

    async def _update(self, request: web.Request) -> Result:
        form = await _read_form(request)
        call = self._find_call(request)
        if self._account.strict:
            refuse_unknown_parameters(form, update=True)
        check_update(form)
        callback = read_callback(form, "StatusCallback", events=CALL_EVENTS) if form.get("Url") else None
        if form.get("StatusCallback") and callback is None:
            call.alert(TwilioError(20001, "StatusCallback can be changed only together with Url"))
        if callback is not None and call.request.callback is not None:
            callback = Callback(callback.url, callback.method, call.request.callback.events)
        limit = form.get("TimeLimit")
        call.update(
            program=read_program(form),
            callback=callback,
            status=form.get("Status", ""),
            time_limit=float(limit) if limit else None,
        )
        return Result(200, call_resource(call), call)

    async def _fetch(self, request: web.Request) -> Result:
        call = self._find_call(request)
        return Result(200, call_resource(call), call)

    async def _record(self, request: web.Request) -> Result:
        call = self._find_call(request)
        if call.status != "in-progress":
            raise TwilioError(21220)
        wanted = read_recording(await _read_form(request), "StartCallRecordingAPI")
        recording = call.recordings.start(wanted)
        return Result(201, recording_resource(recording, call), call)

    async def _list_recordings(self, request: web.Request) -> Result:
        call = self._find_call(request)
        found = [recording_resource(recording, call) for recording in call.recordings.all]
        return Result(200, page_resource("recordings", found, request.path))

    async def _send_sound(self, request: web.Request) -> web.StreamResponse:
        """The tape of a call in place of its recording: the person on one channel, what they heard on the other."""
        try:
            self._authenticate(request)
            calls = self._account.calls.values()
            found = [call for call in calls for one in call.recordings.all if one.sid == request.match_info["sid"]]
            directory = found[0].tape.directory if found and found[0].is_over else None
            if directory is None:
                raise TwilioError(20404, request.path)
        except TwilioError as error:
            return web.json_response(error.body(), status=error.status)
        return web.FileResponse(directory / "call.wav", headers={"Content-Type": "audio/x-wav"})

    async def _update_number(self, request: web.Request) -> Result:
        form = await _read_form(request)
        return Result(200, self._about.update_number(request.match_info["sid"], form))

    async def _list(self, request: web.Request) -> Result:
        calls = list(self._account.calls.values())
        return Result(200, list_resource(calls, request.query, request.path))


async def _answer_at_once(answer: Callable[[web.Request], dict[str, object]], request: web.Request) -> Result:
    return Result(200, answer(request))


async def _read_form(request: web.Request) -> Form:
    return cast(Form, await request.post())  # no request of this API carries a file


async def _write_slowly(response: web.StreamResponse, request: web.Request, body: bytes, *, seconds: float) -> None:
    await response.prepare(request)
    pieces = 10 if seconds else 1
    step = -(-len(body) // pieces) or 1
    for start in range(0, len(body), step):
        await asyncio.sleep(seconds / pieces)
        await response.write(body[start : start + step])
    await response.write_eof()
