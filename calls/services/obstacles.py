"""
The rules against dialling a call now.

They are asked twice: for a batch of calls before they are claimed (``find_obstacle``), and for each call again right
before its request is sent (``find_late_obstacle``), because a claim may be old by then.
"""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

from django.conf import settings
from django.db.models import Q

from calls import schedule
from calls.call_context import about_call
from calls.models import Call, DialAttempt, DoNotCall, Lease
from calls.number_forms import forms_of, person_of
from calls.numbers import caller_number
from calls.services import pauses
from calls.services.attempts import may_have_rung
from calls.services.dialable import region_of, zones_of
from calls.status import Status
from calls.zones import names_place

logger = logging.getLogger(__name__)

INACTIVE_AGENT = 300.0
"""Seconds until a call of an inactive agent is looked at again. Nothing reports that an agent is active again."""
NUMBER_BUSY = 15.0
"""Seconds until a call is looked at again whose number is in another call. Most calls last longer than this."""


@dataclass(frozen=True, slots=True)
class Obstacle:
    """
    Why a call is not dialled now.

    Either it is postponed (``until`` is set), or it ends (``status`` is set). ``why`` becomes the end reason of the
    call, or the reason in its event.
    """

    why: str
    until: datetime | None = None
    status: Status | None = None


class KnownNumbers:
    """
    The facts about the numbers of a batch of calls that the rules need, fetched in three queries.

    Who is called is told by ``person_of``, because a number that has two forms is one telephone.
    """

    do_not_call: set[str]
    """The numbers that are on the do-not-call list, in any of their forms."""
    on_the_line: set[str]
    """The people who are in a call or being dialled. ``find_obstacle`` adds those of the calls that it lets pass."""
    recent_attempts: dict[str, list[datetime]]
    """The times of each person's attempts in the last 24 hours, without those in which no phone can have rung."""

    def __init__(self, batch: Sequence[Call], now: datetime) -> None:
        forms = {form for call in batch for form in forms_of(call.to_number)}
        self.do_not_call = set(DoNotCall.objects.filter(number__in=forms).values_list("number", flat=True))
        # Not more than the slots for calls. An address, such as that of a SIP trunk, may contain the number.
        inbound = Lease.objects.filter(call__direction=Call.Direction.INBOUND, expires_at__gt=now)
        callers = map(caller_number, inbound.values_list("call__from_number", flat=True))
        self.on_the_line = set(map(person_of, filter(None, callers)))
        self.recent_attempts = {}
        attempts = DialAttempt.objects.filter(
            Q(created_at__gt=now - timedelta(days=1)) | Q(ended_at=None), to_number__in=forms
        )
        columns = ("to_number", "created_at", "ended_at", "error_code", "sid")
        for number, start, end, code, sid in attempts.values_list(*columns):
            person = person_of(number)
            if end is None:
                self.on_the_line.add(person)
            if may_have_rung(code, sid):
                self.recent_attempts.setdefault(person, []).append(start)


def find_obstacle(call: Call, known: KnownNumbers, now: datetime) -> Obstacle | None:
    """Return why the call must not be claimed now, or None. A call that may be claimed occupies its number."""
    if ban := _find_ban(call, known.do_not_call):
        return ban
    if not call.agent.active:
        return Obstacle("agent-inactive", until=now + timedelta(seconds=INACTIVE_AGENT))
    if closed := outside_hours(call, now):
        return closed
    person, per_day = person_of(call.to_number), settings.ATTEMPTS_PER_NUMBER_AND_DAY
    allowed_at = schedule.day_is_full(known.recent_attempts.get(person, ()), now=now, per_day=per_day)
    if allowed_at is not None:
        return Obstacle("attempts-per-day", until=allowed_at)
    if person in known.on_the_line:
        return number_busy(now)
    known.on_the_line.add(person)
    return None


def find_late_obstacle(attempt: DialAttempt, now: datetime) -> Obstacle | None:
    """Return what has come up since the claim and keeps the request from being sent, or None."""
    call = Call.objects.select_related("agent").get(pk=attempt.call_id)
    listed = DoNotCall.objects.filter(number__in=forms_of(call.to_number)).values_list("number", flat=True)
    if obstacle := _find_ban(call, listed) or outside_hours(call, now):
        return obstacle
    if _is_dialled_in_another_form(attempt):
        return number_busy(now)
    pause = pauses.read_pauses(now).blocking(attempt)
    # Without an end the call is due at once, so that it is held in its place of the queue.
    return None if pause is None else Obstacle("dialling is paused", until=pause.until or now)


def _is_dialled_in_another_form(attempt: DialAttempt) -> bool:
    """
    Whether another process is dialling the same person by another form of the number.

    The database allows one live attempt for each form only. Each process sets ``requested_at`` before it looks here, so
    that of two at least one sees the other. If both do, both calls wait, and the next batch has them in turn.
    """
    others = forms_of(attempt.to_number) - {attempt.to_number}
    live = DialAttempt.objects.filter(to_number__in=others, ended_at=None, requested_at__isnull=False)
    return bool(others) and live.exists()


def number_busy(now: datetime) -> Obstacle:
    """The obstacle of a call whose number is in another call, or has another live attempt."""
    return Obstacle("number-busy", until=now + timedelta(seconds=NUMBER_BUSY))


def outside_hours(call: Call, now: datetime) -> Obstacle | None:
    """Return an obstacle if it is outside calling hours in a time zone that the call's number may be in."""
    try:
        # An earlier version took names that are those of no place. A call with one is dialled as one without.
        zones = (call.timezone,) if names_place(call.timezone) else zones_of(call.to_number)
        hours = _calling_hours(tuple(settings.CALLING_HOURS.items())).of(region_of(call.to_number))
        opens = schedule.next_allowed(now, zones=zones, hours=hours)
    except ValueError as error:  # a time zone or number that this machine's tables no longer contain
        with about_call(call.pk):
            logger.error("Ended call %s without dialling it: its calling hours are unknown: %s", call.pk, error)
        return Obstacle("unknown-hours", status=Status.FAILED)
    if opens is None:
        return Obstacle("no-calling-hours", status=Status.FAILED)
    return Obstacle("calling-hours", until=opens) if opens > now else None


def _find_ban(call: Call, do_not_call: Collection[str]) -> Obstacle | None:
    """Return an obstacle if the call was canceled, or if its number is on the do-not-call list."""
    if call.canceled_at is not None:
        return Obstacle("canceled", status=Status.CANCELED)
    if not forms_of(call.to_number).isdisjoint(do_not_call):
        return Obstacle("do-not-call", status=Status.CANCELED)
    return None


@lru_cache(maxsize=8)
def _calling_hours(table: tuple[tuple[str, str], ...]) -> schedule.CallingHours:
    return schedule.CallingHours.parse(dict(table))
