"""The rules against dialling a call now, checked when it is claimed and again before its request."""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

from django.conf import settings
from django.db.models import Q

from calls import numbers, schedule
from calls.models import Call, DialAttempt, DoNotCall, Lease
from calls.services import pacing
from calls.services.attempts import UNCOUNTED
from calls.status import Status

logger = logging.getLogger(__name__)

INACTIVE = 300.0
"""Seconds after which a call whose agent is switched off is looked at again."""
NUMBER_BUSY = 15.0
"""Seconds after which a call whose number is on the line already is looked at again."""


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why a call is not dialled now: it is put off ``until`` then, or over as ``status``."""

    why: str
    until: datetime | None = None
    status: Status | None = None


class KnownNumbers:
    """What the rules need of all the numbers of a batch, in three queries."""

    def __init__(self, batch: Sequence[Call], now: datetime) -> None:
        wanted = {call.to_number for call in batch}
        self.do_not_call = set(DoNotCall.objects.filter(number__in=wanted).values_list("number", flat=True))
        self.on_the_line = set(
            Lease.objects.filter(
                call__from_number__in=wanted, call__direction=Call.Direction.INBOUND, expires_at__gt=now
            ).values_list("call__from_number", flat=True)
        )
        self.starts: dict[str, list[datetime]] = {}
        recent = DialAttempt.objects.filter(
            Q(created_at__gt=now - timedelta(days=1)) | Q(ended_at=None), to_number__in=wanted
        )
        for number, start, end, code in recent.values_list("to_number", "created_at", "ended_at", "error_code"):
            if end is None:
                self.on_the_line.add(number)
            if code not in UNCOUNTED:
                self.starts.setdefault(number, []).append(start)


def find_obstacle(call: Call, known: KnownNumbers, now: datetime) -> Obstacle | None:
    if ban := _ban(call, known.do_not_call):
        return ban
    if not call.agent.active:
        return Obstacle("agent-inactive", until=now + timedelta(seconds=INACTIVE))
    if closed := outside_hours(call, now):
        return closed
    per_day = settings.ATTEMPTS_PER_NUMBER_AND_DAY
    free = schedule.day_is_full(known.starts.get(call.to_number, ()), now=now, per_day=per_day)
    if free is not None:
        return Obstacle("attempts-per-day", until=free)
    if call.to_number in known.on_the_line:
        return number_busy(now)
    known.on_the_line.add(call.to_number)
    return None


def number_busy(now: datetime) -> Obstacle:
    return Obstacle("number-busy", until=now + timedelta(seconds=NUMBER_BUSY))


def _ban(call: Call, do_not_call: Collection[str]) -> Obstacle | None:
    """Somebody does not want this call."""
    if call.canceled_at is not None:
        return Obstacle("canceled", status=Status.CANCELED)
    if call.to_number in do_not_call:
        return Obstacle("do-not-call", status=Status.CANCELED)
    return None


def outside_hours(call: Call, now: datetime) -> Obstacle | None:
    """It is not the time of day for this call, in one of the time zones that its number may be in."""
    try:
        zones = (call.timezone,) if call.timezone else numbers.zones_of(call.to_number)
        hours = _calling_hours(tuple(settings.CALLING_HOURS.items())).of(numbers.region_of(call.to_number))
        opens = schedule.next_allowed(now, zones=zones, hours=hours)
    except ValueError as error:  # a zone or a number that this machine's tables do not know any more
        logger.error("Call %s cannot be dialled: %s", call.pk, error)
        return Obstacle("unknown-hours", status=Status.FAILED)
    if opens is None:
        return Obstacle("no-calling-hours", status=Status.FAILED)
    return Obstacle("calling-hours", until=opens) if opens > now else None


@lru_cache(maxsize=8)
def _calling_hours(table: tuple[tuple[str, str], ...]) -> schedule.CallingHours:
    return schedule.CallingHours.parse(dict(table))


def find_late_obstacle(attempt: DialAttempt, now: datetime) -> Obstacle | None:
    """What has come in between since the claim; None if the request may be sent."""
    call = Call.objects.select_related("agent").get(pk=attempt.call_id)
    listed = DoNotCall.objects.filter(number=call.to_number).values_list("number", flat=True)
    if obstacle := _ban(call, listed) or outside_hours(call, now):
        return obstacle
    pace = pacing.get_pace(now)
    return Obstacle("dialling is paused", until=pace.paused_until) if pacing.is_paused(pace, now) else None
