"""The JSON of calls and recordings in Twilio's REST API, and the search for the calls of a list. Without I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from urllib.parse import urlencode

from media.phone.call_request import API_VERSION
from media.phone.leg import PhoneCall
from media.phone.leg_recordings import Recording
from media.phone.twilio_errors import TwilioError

_SUBRESOURCES = ("events", "notifications", "payments", "recordings", "siprec", "streams", "transcriptions")


def call_resource(call: PhoneCall) -> dict[str, object]:
    """Return a call as the API shows it: numbers as strings, times as RFC 2822."""
    account_sid = call.network.account_sid
    uri = f"/{API_VERSION}/Accounts/{account_sid}/Calls/{call.sid}"
    return {
        "sid": call.sid,
        "account_sid": account_sid,
        "parent_call_sid": call.parent.sid if call.parent else None,
        "status": call.status,
        "direction": call.direction,
        "to": call.request.to_number,
        "to_formatted": _format_number(call.request.to_number),
        "from": call.request.from_number,
        "from_formatted": _format_number(call.request.from_number),
        "date_created": format_datetime(call.created_at),
        "date_updated": format_datetime(call.updated_at),
        "start_time": _format_time(call.started_at),
        "end_time": _format_time(call.ended_at),
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
        "subresource_uris": {name: f"{uri}/{name.capitalize()}.json" for name in _SUBRESOURCES},
    }


def recording_resource(recording: Recording, call: PhoneCall) -> dict[str, object]:
    """Return a recording as the API shows it."""
    account_sid = call.network.account_sid
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


def list_resource(calls: Sequence[PhoneCall], query: Mapping[str, str], path: str) -> dict[str, object]:
    """Return one page of the calls that match the query, the newest first. Raises 20001 for a query without sense."""
    try:
        size = min(max(int(query.get("PageSize", 50)), 1), 1000)
        page = max(int(query.get("Page", 0)), 0)
        matching = [call for call in reversed(calls) if _matches(call, query)]
    except ValueError as error:
        raise TwilioError(20001, str(error)) from error
    shown = matching[page * size : (page + 1) * size]
    filters = [(name, value) for name, value in query.items() if name not in ("Page", "PageSize", "PageToken")]

    def uri(number: int) -> str:
        return f"{path}?{urlencode([*filters, ('PageSize', size), ('Page', number)])}"

    return {
        "calls": [call_resource(call) for call in shown],
        "page": page,
        "page_size": size,
        "start": page * size,
        "end": max(page * size + len(shown) - 1, 0),
        "uri": uri(page),
        "first_page_uri": uri(0),
        "next_page_uri": uri(page + 1) if (page + 1) * size < len(matching) else None,
        "previous_page_uri": uri(page - 1) if page else None,
    }


def page_resource(key: str, found: Sequence[Mapping[str, object]], path: str) -> dict[str, object]:
    """Return the only page of a short list."""
    uri = f"{path}?PageSize=50&Page=0"
    return {
        key: list(found),
        "page": 0,
        "page_size": 50,
        "start": 0,
        "end": max(len(found) - 1, 0),
        "uri": uri,
        "first_page_uri": uri,
        "next_page_uri": None,
        "previous_page_uri": None,
    }


def _matches(call: PhoneCall, query: Mapping[str, str]) -> bool:
    actual = {
        "To": call.request.to_number,
        "From": call.request.from_number,
        "Status": call.status,
        "ParentCallSid": call.parent.sid if call.parent else "",
    }
    if any(query[name] != value for name, value in actual.items() if name in query):
        return False
    # A call that still waits in the queue has no start time; it is found by when it was created.
    times = {"StartTime": call.started_at or call.created_at, "EndTime": call.ended_at}
    return all(
        _time_matches(time, query[name + sign], sign)
        for name, time in times.items()
        for sign in ("", "<", ">")
        if name + sign in query
    )


def _time_matches(time: datetime | None, text: str, sign: str) -> bool:
    """Compare at the precision that was asked for: a day (``2026-01-31``) or a second."""
    if time is None:
        return False
    is_day = len(text) == 10
    asked = datetime.fromisoformat(text).replace(tzinfo=UTC)
    actual = time.replace(microsecond=0)
    if is_day:
        actual = actual.replace(hour=0, minute=0, second=0)
    return {"": actual == asked, "<": actual <= asked, ">": actual >= asked}[sign]


def _format_time(time: datetime | None) -> str | None:
    return format_datetime(time) if time else None


def _format_number(number: str) -> str:
    american = re.fullmatch(r"\+1(\d{3})(\d{3})(\d{4})", number)
    return "({}) {}-{}".format(*american.groups()) if american else number
