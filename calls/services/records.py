"""Finds a call, moves its status and writes each event once, for all services."""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from uuid import NAMESPACE_URL, UUID, uuid5

from django.utils import timezone

from calls.call_context import found_call
from calls.errors import CallsError
from calls.models import Call, CallEvent, CallOrder, Lease, StreamToken
from calls.plain_text import storable
from calls.services import webhooks
from calls.status import TERMINAL, Status, may_move

logger = logging.getLogger(__name__)

FORGOTTEN = "forgotten"
"""Replaces the number of a forgotten person."""
FAR_OFF = timedelta(days=1)
"""The largest distance from now of a time that Twilio reports. One further off is not believed."""


def find_call(*, sid: str) -> Call | None:
    """Return the call with this CallSid. It may be the sid of an earlier attempt."""
    call = Call.objects.filter(sid=sid).first() or Call.objects.filter(attempts__sid=sid).first()
    if call is not None:
        found_call(call.pk)
    return call


def get_call(call_id: UUID | str) -> Call:
    call = Call.objects.filter(pk=call_id).first()
    if call is None:
        raise CallsError(f"There is no call {call_id}.", code="unknown-call")
    return call


def is_forgotten(call: Call) -> bool:
    """Whether the person of this call was forgotten, so that nothing about them is written any more."""
    return call.far_number == FORGOTTEN


def move(call: Call, status: Status, *, at: datetime, reason: str = "") -> bool:
    """
    Move a call to ``status`` if the table allows it from the status that the call has by then. False if it does not.

    ``reason`` becomes the call's end reason if it has none yet.
    """
    while may_move(call.status, status):
        stamps: dict[str, object] = {}
        if status is Status.IN_PROGRESS:
            stamps["answered_at"] = at
        elif status in TERMINAL:
            stamps |= {"ended_at": at, "due_at": None, "held_by": None}
            if reason and not call.end_reason:
                stamps["end_reason"] = reason
            if call.answered_at:
                stamps["duration"] = max(0.0, (at - call.answered_at).total_seconds())
        if Call.objects.filter(pk=call.pk, status=call.status).update(status=status, **stamps):
            for name, value in {"status": status, **stamps}.items():
                setattr(call, name, value)
            if status in TERMINAL:
                Lease.objects.filter(call=call).delete()
                StreamToken.objects.filter(call=call, used_at=None).delete()
                CallOrder.objects.filter(call=call, taken_at=None).update(taken_at=at)
            webhooks.announce(call, f"call.{_EVENT_OF.get(status, status)}", at=at)
            return True
        call.refresh_from_db(fields=["status", "answered_at", "end_reason"])
    return False


_EVENT_OF = {Status.IN_PROGRESS: "answered"}
"""Webhook events that are not named after the status that they report."""


def write_event(
    fact_id: str, call_id: UUID, kind: str, at: datetime, data: Mapping[str, object]
) -> tuple[CallEvent, bool]:
    """Write an event once by its ``fact_id``. Returns it, and whether it is new."""
    defaults = {"call_id": call_id, "kind": storable(kind), "at": at, "data": clean_values(data)}
    return CallEvent.objects.get_or_create(fact_id=fact_id, defaults=defaults)


def fact_id_of(*parts: str) -> str:
    """Return an id that is the same for the same report, however often the report comes."""
    return uuid5(NAMESPACE_URL, "\n".join(parts)).hex


def twilio_time(text: str) -> datetime:
    """Parse a time that Twilio sent: RFC 2822 for calls, ISO 8601 for streams. Returns now if it makes no sense."""
    now = timezone.now()
    for parse in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            reported = parse(text)
            reported = reported if reported.tzinfo else reported.replace(tzinfo=UTC)
            # A time that is far off would make calls that never end, or that are due in another century.
            return reported if abs(reported - now) < FAR_OFF else now
        except (ValueError, OverflowError):
            continue
    return now


def clean_values(data: Mapping[str, object]) -> dict[str, object]:
    """Clean the keys and the texts of an event's data, at any depth."""
    return {storable(key): _clean_value(value) for key, value in data.items()}


def _clean_value(value: object) -> object:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, Mapping):
        return clean_values(value)
    return [_clean_value(one) for one in value] if isinstance(value, list | tuple) else value
