"""
Twilio's REST API, as far as calls go; nothing else imports the SDK.

Whatever goes wrong is a ``CarrierError``, whose ``kind`` says what it means to whoever dials. The one that matters is
``UNKNOWN``: there is no idempotency key for placing a call, so that after a timeout the call may exist. It must be
looked for (``find_calls``) before anybody asks for it again. For the same reason nothing here retries.
"""

from __future__ import annotations

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
from enum import StrEnum
from functools import lru_cache
from math import isfinite
from typing import Any, Literal
from urllib.parse import urlsplit

import requests
from django.conf import settings
from twilio.base.exceptions import TwilioException
from twilio.http import HttpClient
from twilio.http.response import Response
from twilio.rest import Client
from urllib3.exceptions import HTTPError, NewConnectionError

CALLBACK_RETRIES = "#rc=3&rp=ct,rt,5xx"
"""Twilio does not repeat a callback that met a 500 unless the address asks for it. Neither sent to us nor signed."""
STATUS_EVENTS = ["initiated", "ringing", "answered", "completed"]
SHORTEST_CALL = 60
"""Seconds: Twilio refuses a lower ``TimeLimit``."""
FOUND_AT_MOST = 50
LONGEST_WAIT = 3600.0
"""Seconds that a ``Retry-After`` is believed."""
CLOCK_LEEWAY = timedelta(minutes=2)
"""Between our clock and Twilio's. Finding a call too many does no harm, missing one is a person rung twice."""


class Kind(StrEnum):
    """What an error means to the dialler."""

    LATER = "later"
    """Not processed: ask again, after a while."""
    CAPACITY = "capacity"
    """Not processed, for too many calls are live: ask again once one of them is over."""
    UNKNOWN = "unknown"
    """It may have been carried out or not."""
    NUMBER = "number"
    """This number cannot be called, now or ever."""
    SETTINGS = "settings"
    """Calls like this one are refused until the operator changes something: permissions, numbers, addresses."""
    ACCOUNT = "account"
    """No call at all can be placed: stop dialling and tell the operator."""


_CODES = {
    Kind.LATER: (20429,),
    Kind.CAPACITY: (10004,),
    Kind.NUMBER: (13223, 13224, 13225, 21201, 21202, 21211, 21214, 21216, 21217, 32203),
    Kind.SETTINGS: (13227, 20001, 21203, 21205, 21206, 21208, 21210, 21212, 21213, 21215, 21218, 21219, 32205),
    Kind.ACCOUNT: (10001, 20003, 20005, 20006, 20008),
}
KINDS = {code: kind for kind, codes in _CODES.items() for code in codes}
"""Of Twilio's error codes. Others go by their HTTP status."""
_NOT_FOUND, _NOT_IN_PROGRESS = 20404, 21220


class CarrierError(Exception):
    """
    Twilio did not do as asked, or nobody knows whether it did. The message is for a person and holds no secrets.

    ``code`` is Twilio's (None if it gave none), ``status`` that of HTTP (None without an answer), ``retry_after`` the
    seconds that Twilio asks to wait, if it does. ``permanent``: asking for the same call again is useless.
    """

    def __init__(
        self,
        message: str,
        *,
        kind: Kind,
        code: int | None = None,
        status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.kind, self.code, self.status, self.retry_after = kind, code, status, retry_after

    @property
    def permanent(self) -> bool:
        return self.kind in (Kind.NUMBER, Kind.SETTINGS)


@dataclass(frozen=True, slots=True)
class CarrierCall:
    """
    A call as Twilio tells it; ``status`` in Twilio's words.

    A call still in the queue has no ``started_at``, and one just made may lack even ``created_at``.
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
    One account at Twilio. Blocking; to be shared by all threads of a process.

    ``timeout`` is in seconds: for connecting, for each wait, and for the whole answer.
    """

    def __init__(self, *, account_sid: str, auth_token: str, base_url: str, timeout: float = 10.0) -> None:
        if not account_sid or not auth_token:  # the SDK would ask without saying who is asking
            raise CarrierError("TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN must be set.", kind=Kind.ACCOUNT)
        client = Client(
            account_sid,
            auth_token,
            http_client=_Http(base_url, timeout=timeout),
            # Without this the SDK looks for an edge and a region in the environment, which is for the settings to
            # read, and rewrites the host of every address by them.
            environment={"TWILIO_EDGE": "", "TWILIO_REGION": ""},
        )
        # The SDK has no parameter for it. Its other way, an HTTP client that rewrites addresses, is only needed where
        # an edge or a region rewrites them too; the addresses of further pages are made from this one as well.
        client.api.base_url = base_url
        self._calls = client.calls  # made once, here: the SDK makes its parts lazily and without a lock

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
        Place a call: Twilio queues it, dials it, and asks ``voice_url`` what to do once somebody answers.

        ``ring_timeout`` (1 to 600) and ``time_limit`` (at least 60) are whole seconds.
        """
        detection: dict[str, Any] = {}
        if machine_detection:  # asynchronous: otherwise whoever answers hears nothing until the verdict
            detection = {"machine_detection": machine_detection, "async_amd": "true"}
            if amd_url:
                detection |= {
                    "async_amd_status_callback": amd_url + CALLBACK_RETRIES,
                    "async_amd_status_callback_method": "POST",
                }
        with _readable():
            return _read_call(
                self._calls.create(
                    to=to_number,
                    from_=from_number,
                    url=voice_url,
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
        The calls between these two numbers made since then, newest first, ``FOUND_AT_MOST`` of them.

        May hold calls of up to ``CLOCK_LEEWAY`` earlier: leave out those whose sid is known.
        """
        # Twilio filters by the start, which a queued call does not have: the time is compared here.
        with _readable():
            found = self._calls.list(to=to_number, from_=from_number, limit=FOUND_AT_MOST, page_size=FOUND_AT_MOST)
            calls = [_read_call(instance) for instance in found]
        earliest, just_made = since - CLOCK_LEEWAY, datetime.max.replace(tzinfo=UTC)
        calls.sort(key=lambda call: call.created_at or just_made, reverse=True)
        return [call for call in calls if call.created_at is None or call.created_at >= earliest]

    def fetch_call(self, sid: str) -> CarrierCall | None:
        """None if Twilio has no such call."""
        try:
            with _readable():
                return _read_call(self._calls(sid).fetch())
        except CarrierError as error:
            if error.code == _NOT_FOUND:
                return None
            raise

    def hang_up(self, sid: str, *, ringing: bool) -> bool:
        """End a call, whether it still waits and rings or not; ``ringing`` is a guess. False if it was over already."""
        if ringing and self._end(sid, "canceled") not in (None, "in-progress"):
            return True
        # Answered, perhaps only a moment ago; or over.
        return self._end(sid, "completed") is not None

    def _end(self, sid: str, status: Literal["canceled", "completed"]) -> str | None:
        """The call's status afterwards; None if it is in no state for this."""
        try:
            with _readable():
                return _read_call(self._calls(sid).update(status=status)).status
        except CarrierError as error:
            if error.code in (_NOT_IN_PROGRESS, _NOT_FOUND):
                return None
            raise


def get_carrier() -> Carrier:
    """The account of the settings. Raises ``CarrierError`` (``ACCOUNT``) where they name none."""
    # By process, since a connection shared with a forked worker would carry the answers of both.
    return _carrier(settings.TWILIO_ACCOUNT_SID, settings.TWILIO_AUTH_TOKEN, settings.TWILIO_API_BASE_URL, os.getpid())


@lru_cache(maxsize=4)
def _carrier(account_sid: str, auth_token: str, base_url: str, _process: int) -> Carrier:
    return Carrier(account_sid=account_sid, auth_token=auth_token, base_url=base_url)


class _Http(HttpClient):
    """
    The SDK's way to the network. Unlike its own it bounds the time of a whole answer, and raises ``CarrierError``
    itself, while the headers are at hand: the SDK's exceptions come in three families and have none.
    """

    def __init__(self, base_url: str, *, timeout: float) -> None:
        super().__init__(logging.getLogger(__name__), is_async=False, timeout=timeout)
        self._host = urlsplit(base_url).hostname or ""
        self._give_up_after = timeout
        self._session = requests.Session()
        # A proxy of the environment is right on the way to Twilio and wrong on the way to this machine.
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
        give_up_at = time.monotonic() + self._give_up_after
        try:
            with self._session.request(
                method,
                url,
                params=params,
                data=data,
                headers=headers,
                auth=auth,
                timeout=self._give_up_after,
                allow_redirects=False,  # a redirected POST would be repeated as a GET
                stream=True,
            ) as answer:
                body = _read_body(answer, give_up_at=give_up_at).decode("utf-8", errors="replace")
        except (requests.RequestException, HTTPError) as error:
            raise self._no_answer(error) from error
        if not 200 <= answer.status_code < 300:
            raise _refusal(answer.status_code, body, answer.headers)
        return Response(answer.status_code, body, answer.headers)

    def _no_answer(self, error: Exception) -> CarrierError:
        if isinstance(error, ValueError):  # an address that makes no sense; nothing was sent
            return CarrierError("TWILIO_API_BASE_URL is not an address that can be asked.", kind=Kind.SETTINGS)
        reason = getattr(error.args[0], "reason", None) if error.args else None
        if isinstance(error, requests.ConnectTimeout) or isinstance(reason, NewConnectionError):
            return CarrierError(f"Twilio cannot be reached at {self._host}; nothing was sent.", kind=Kind.LATER)
        if isinstance(error, requests.Timeout):
            message = f"Twilio did not answer within {self._give_up_after:g} s; the request may have been carried out."
        else:
            message = "The connection to Twilio broke before its answer came; the request may have been carried out."
        return CarrierError(message, kind=Kind.UNKNOWN)


def _read_body(answer: requests.Response, *, give_up_at: float) -> bytes:
    """``requests`` bounds the wait for each piece only: an answer in drips would last forever."""
    body = bytearray()
    while piece := answer.raw.read1(65536, decode_content=True):
        body += piece
        if time.monotonic() > give_up_at:
            raise requests.ReadTimeout
    return bytes(body)


def _refusal(status: int, body: str, headers: Mapping[str, str]) -> CarrierError:
    """The error in an answer: Twilio's JSON, that of its newer services (RFC 9457), or a proxy's page."""
    try:
        answer = json.loads(body)
        code: int | None = int(answer["code"])
        text = str(answer.get("detail") or answer.get("title") or answer.get("message") or "no reason given")
        message = f"Twilio refused: {text.rstrip('.')} (https://www.twilio.com/docs/errors/{code})."
    except (ValueError, TypeError, LookupError, AttributeError):
        code, message = None, f"Twilio answered with HTTP status {status} and no reason that can be read."
    kind = KINDS.get(code or 0) or _kind_of_status(status)
    return CarrierError(
        message, kind=kind, code=code, status=status, retry_after=_seconds(headers.get("Retry-After", ""))
    )


def _kind_of_status(status: int) -> Kind:
    if status in (401, 403):
        return Kind.ACCOUNT
    if status == 429:
        return Kind.LATER
    if status == 408 or status >= 500:
        return Kind.UNKNOWN
    return Kind.SETTINGS


def _seconds(retry_after: str) -> float | None:
    """``Retry-After``: a number of seconds, or a date."""
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(retry_after).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return min(max(0.0, seconds), LONGEST_WAIT) if isfinite(seconds) else None


@contextmanager
def _readable() -> Iterator[None]:
    """Turn what the SDK raises over an answer that it cannot read."""
    try:
        yield
    except (TwilioException, ValueError, TypeError, LookupError, AttributeError) as error:
        message = "Twilio's answer cannot be read; the request may have been carried out."
        raise CarrierError(message, kind=Kind.UNKNOWN) from error


def _read_call(instance: Any) -> CarrierCall:
    if not instance.sid or not instance.status:
        raise ValueError("a call without sid or status")
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
