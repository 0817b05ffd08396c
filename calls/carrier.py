"""
Calls through Twilio's REST API. Only this module makes clients of Twilio's SDK.

Every failure is a ``CarrierError``, whose ``kind`` says what it means to the dialler. The kind that matters most is
``UNKNOWN``: Twilio has no idempotency key for placing a call, so after a timeout the call may exist. The dialler must
look for it (``find_calls``) before it requests the call again. For the same reason this module never retries.
"""

import ipaddress
import json
import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache
from math import isfinite
from typing import Any, Literal, cast
from urllib.parse import urlsplit

import requests
from django.conf import settings
from twilio.base.exceptions import TwilioException
from twilio.http import HttpClient
from twilio.http.response import Response
from twilio.rest import Client
from twilio.rest.api.v2010.account.call import CallInstance
from urllib3.exceptions import HTTPError, NewConnectionError

from calls.carrier_errors import REFUSALS
from calls.errors import CarrierError, FailureKind
from calls.twiml import CALLBACK_RETRIES

STATUS_EVENTS = ["initiated", "ringing", "answered", "completed"]
"""The changes of a call's status that Twilio reports."""
SHORTEST_CALL = 60
"""Seconds: the lowest ``TimeLimit`` that Twilio accepts."""
FOUND_AT_MOST = 50
"""Calls that ``find_calls`` reads: one page. One number has far fewer calls in the few minutes that it looks back."""
LONGEST_WAIT = 3600.0
"""Seconds: a longer ``Retry-After`` is cut to this, so that a nonsensical one does not stop dialling for days."""
CLOCK_LEEWAY = timedelta(minutes=2)
"""
The largest difference between this machine's clock and Twilio's.

Finding one call too many does no harm; missing one means that a person's phone rings twice.
"""
_NOT_FOUND = 20404
"""Twilio's error code for a call that it does not know."""
_NOT_IN_PROGRESS = 21220
"""Twilio's error code for ending a call that has ended already."""


@dataclass(frozen=True, slots=True)
class CarrierCall:
    """
    A call as Twilio describes it; ``status`` and ``answered_by`` are in Twilio's words, ``duration`` in seconds.

    A call that is still in Twilio's queue has no ``started_at``. One that was just made may even lack ``created_at``.
    """

    sid: str
    status: str
    to_number: str
    from_number: str
    direction: str
    created_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    duration: float | None
    answered_by: str


class Carrier:
    """
    One account at Twilio. Its methods block; all threads of a process may share one instance.

    ``timeout`` is in seconds. It bounds connecting, each wait for data, and the whole answer.
    """

    def __init__(self, *, account_sid: str, auth_token: str, base_url: str, timeout: float = 10.0) -> None:
        client = make_client(account_sid=account_sid, auth_token=auth_token, base_url=base_url, timeout=timeout)
        # Created here, once: the SDK creates its parts lazily and without a lock.
        self._calls = client.calls

    def create_call(
        self,
        *,
        to_number: str,
        from_number: str,
        voice_url: str,
        status_url: str,
        amd_url: str = "",
        machine_detection: Literal["", "Enable", "DetectMessageEnd"] = "",
        ring_timeout: int,
        time_limit: int,
    ) -> CarrierCall:
        """
        Place a call. Twilio queues and dials it, and requests ``voice_url`` when the call is answered.

        ``ring_timeout`` (1 to 600) is how long it rings, ``time_limit`` (at least 60) how long it may last, both in
        whole seconds.
        """
        detection: dict[str, Any] = {}
        if machine_detection:  # asynchronous: otherwise the person hears nothing until Twilio has decided
            detection = {"machine_detection": machine_detection, "async_amd": "true"}
            if amd_url:
                detection |= {
                    "async_amd_status_callback": amd_url + CALLBACK_RETRIES,
                    "async_amd_status_callback_method": "POST",
                }
        with unreadable_as_carrier_error():
            return _read_call(
                self._calls.create(
                    to=to_number,
                    from_=from_number,
                    url=voice_url + CALLBACK_RETRIES,
                    method="POST",
                    status_callback=status_url + CALLBACK_RETRIES,
                    status_callback_event=STATUS_EVENTS,
                    status_callback_method="POST",
                    timeout=ring_timeout,
                    time_limit=max(SHORTEST_CALL, time_limit),
                    **detection,
                )
            )

    def find_calls(self, *, to_number: str, from_number: str, since: datetime) -> list[CarrierCall]:
        """
        Return the calls between these two numbers that were made since then, newest first, at most ``FOUND_AT_MOST``.

        The result may contain calls that are up to ``CLOCK_LEEWAY`` older; the caller ignores those whose sid it knows.
        """
        # Twilio filters by the start time, which a queued call does not have, so the time is compared here.
        with unreadable_as_carrier_error():
            found = self._calls.list(to=to_number, from_=from_number, limit=FOUND_AT_MOST, page_size=FOUND_AT_MOST)
            calls = [_read_call(instance) for instance in found]
        earliest, just_made = since - CLOCK_LEEWAY, datetime.max.replace(tzinfo=UTC)
        calls.sort(key=lambda call: call.created_at or just_made, reverse=True)
        return [call for call in calls if call.created_at is None or call.created_at >= earliest]

    def fetch_call(self, sid: str) -> CarrierCall | None:
        """Return the call with this sid, or None if Twilio does not know it."""
        try:
            with unreadable_as_carrier_error():
                return _read_call(self._calls(sid).fetch())
        except CarrierError as error:
            if error.twilio_code == _NOT_FOUND:
                return None
            raise

    def hang_up(self, sid: str, *, ringing: bool) -> bool:
        """
        End a call in whatever state it is. Return False if it had ended already.

        ``ringing`` says whether the call is believed to be unanswered; a wrong belief costs one more request.
        """
        if ringing and self._end(sid, "canceled") not in (None, "in-progress"):
            return True
        # The call was answered, perhaps only a moment ago, or it has ended.
        return self._end(sid, "completed") is not None

    def _end(self, sid: str, status: Literal["canceled", "completed"]) -> str | None:
        """Return the call's status afterwards, or None if its state does not allow the change."""
        try:
            with unreadable_as_carrier_error():
                return _read_call(self._calls(sid).update(status=status)).status
        except CarrierError as error:
            if error.twilio_code in (_NOT_IN_PROGRESS, _NOT_FOUND):
                return None
            raise


def make_client(*, account_sid: str, auth_token: str, base_url: str, timeout: float) -> Client:
    """Make a client of Twilio's SDK whose failures are ``CarrierError``. Raises one if the account is not set."""
    if not account_sid or not auth_token:  # the SDK would send requests without credentials
        raise CarrierError("TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN must be set.", kind=FailureKind.ACCOUNT)
    client = Client(
        account_sid,
        auth_token,
        http_client=_Http(base_url, timeout=timeout),
        # Without this the SDK reads an edge and a region from the environment, which only the settings may read, and
        # rewrites the host of every address accordingly.
        environment={"TWILIO_EDGE": "", "TWILIO_REGION": ""},
    )
    # The SDK has no parameter for the base URL. It builds all addresses from this attribute, those of further pages of
    # a list included.
    client.api.base_url = base_url
    return client


def get_carrier() -> Carrier:
    """Return the carrier for the account in the settings. Raises ``CarrierError`` (``ACCOUNT``) if they name none."""
    # One for each process: on a connection shared with a forked worker the answers of both would mix.
    return _carrier(settings.TWILIO_ACCOUNT_SID, settings.TWILIO_AUTH_TOKEN, settings.TWILIO_API_BASE_URL, os.getpid())


@lru_cache(maxsize=4)
def _carrier(account_sid: str, auth_token: str, base_url: str, _process: int) -> Carrier:
    return Carrier(account_sid=account_sid, auth_token=auth_token, base_url=base_url)


class _Http(HttpClient):
    """
    The HTTP client that the SDK uses.

    Unlike the SDK's own client it bounds the time of a whole answer. It also raises ``CarrierError`` itself, because
    the SDK's exceptions come in three families and lack the headers.
    """

    def __init__(self, base_url: str, *, timeout: float) -> None:
        super().__init__(logging.getLogger(__name__), is_async=False, timeout=timeout)
        self._host = urlsplit(base_url).hostname or ""
        self._timeout = timeout
        self._session = requests.Session()
        # A proxy named in the environment leads to Twilio, but not to this machine.
        self._session.trust_env = not _is_this_machine(self._host)

    def request(
        self,
        method: str,
        url: str,
        params: dict[str, object] | None = None,
        data: dict[str, object] | None = None,
        headers: dict[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        timeout: float | None = None,
        allow_redirects: bool = False,
    ) -> Response:
        deadline = time.monotonic() + self._timeout
        try:
            with self._session.request(
                method,
                url,
                params=cast("dict[str, str] | None", params),  # the SDK says `object`, and passes text
                data=data,
                headers=headers,
                auth=auth,
                timeout=self._timeout,
                allow_redirects=False,  # a redirected POST would be repeated as a GET
                stream=True,
            ) as answer:
                body = _read_body(answer, deadline=deadline).decode("utf-8", errors="replace")
        except (requests.RequestException, HTTPError) as error:
            raise self._describe(error) from error
        if not 200 <= answer.status_code < 300:
            raise _read_refusal(answer.status_code, body, answer.headers)
        return Response(answer.status_code, body, answer.headers)

    def _describe(self, error: Exception) -> CarrierError:
        """Turn an error of the connection into a ``CarrierError``."""
        if isinstance(error, ValueError):  # the URL is invalid; nothing was sent
            return CarrierError("TWILIO_API_BASE_URL is not a valid URL.", kind=FailureKind.SETTINGS)
        reason = getattr(error.args[0], "reason", None) if error.args else None
        if isinstance(error, requests.ConnectTimeout) or isinstance(reason, NewConnectionError):
            return CarrierError(f"Twilio cannot be reached at {self._host}; nothing was sent.", kind=FailureKind.LATER)
        if isinstance(error, requests.Timeout):
            message = f"Twilio did not answer within {self._timeout:g} s; the request may have been carried out."
        else:
            message = "The connection to Twilio broke before its answer came; the request may have been carried out."
        return CarrierError(message, kind=FailureKind.UNKNOWN)


def _read_body(answer: requests.Response, *, deadline: float) -> bytes:
    """
    Read the answer until ``deadline`` (monotonic seconds).

    ``requests`` bounds only the wait for each piece, so a server that sends byte by byte could hold it for ever.
    """
    body = bytearray()
    while piece := answer.raw.read1(65536, decode_content=True):
        body += piece
        if time.monotonic() > deadline:
            raise requests.ReadTimeout
    return bytes(body)


def _read_refusal(status: int, body: str, headers: Mapping[str, str]) -> CarrierError:
    """Read the error from an answer: Twilio's JSON, that of its newer services (RFC 9457), or a proxy's HTML page."""
    try:
        answer = json.loads(body)
        code: int | None = int(answer["code"])
        text = str(answer.get("detail") or answer.get("title") or answer.get("message") or "no reason given")
        message = f"Twilio refused: {text.rstrip('.')} (https://www.twilio.com/docs/errors/{code})."
    except (ValueError, TypeError, LookupError, AttributeError):
        code, message = None, f"Twilio answered with HTTP status {status} and without a readable reason."
    known = REFUSALS.get(code or 0)
    kind = known.kind if known else _kind_of_status(status, has_code=code is not None)
    return CarrierError(
        message, kind=kind, twilio_code=code, status=status, retry_after=_seconds(headers.get("Retry-After", ""))
    )


def _kind_of_status(status: int, *, has_code: bool) -> FailureKind:
    """``has_code``: Twilio itself has refused the request, for a reason that this program does not know."""
    if status in (401, 402, 403):
        return FailureKind.ACCOUNT
    if status == 429:
        return FailureKind.LATER
    if status == 408 or status >= 500:
        return FailureKind.UNKNOWN
    # A bad request may be bad for what is particular to it. Without a code of Twilio's, or where nothing is found, the
    # address is wrong, or what stands there is no API of Twilio's.
    return FailureKind.CALL if has_code and status != 404 else FailureKind.SETTINGS


def _seconds(retry_after: str) -> float | None:
    """Convert a ``Retry-After`` header, which is a number of seconds or a date, to seconds."""
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(retry_after).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return min(max(0.0, seconds), LONGEST_WAIT) if isfinite(seconds) else None


@contextmanager
def unreadable_as_carrier_error() -> Iterator[None]:
    """Turn the exceptions that the SDK raises for an answer it cannot read into ``CarrierError``."""
    try:
        yield
    except (TwilioException, ValueError, TypeError, LookupError, AttributeError) as error:
        message = "Twilio's answer is unreadable; the request may have been carried out."
        raise CarrierError(message, kind=FailureKind.UNKNOWN) from error


def _read_call(instance: CallInstance) -> CarrierCall:
    if not instance.sid or not instance.status:
        raise ValueError("The answer has no sid or no status.")
    return CarrierCall(
        sid=str(instance.sid),
        status=str(instance.status),
        to_number=str(instance.to or ""),
        from_number=str(instance._from or ""),
        direction=str(instance.direction or ""),
        created_at=instance.date_created,
        started_at=instance.start_time,
        ended_at=instance.end_time,
        duration=None if instance.duration is None else float(instance.duration),
        answered_by=str(instance.answered_by or ""),
    )


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
