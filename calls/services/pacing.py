"""
Limits the dialler: calls per second, calls at once, and pauses after failures.

All of it is one row, ``DialPace``, which any number of dispatchers change by compare-and-set.
"""

import random
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Count, F, Q
from django.utils import timezone

from calls import schedule
from calls.models import Call, DialAttempt, DialPace
from calls.services.records import clean

LONGEST_PAUSE = timedelta(hours=2)
"""
Longer than any pause that is ever set: the longest is the ``Retry-After`` of an hour that ``calls.carrier`` believes.

A pause that ends later was set before the clock stepped back, and is ignored.
"""
ENGINES = "engines: "
"""The beginning of the reason while dialling pauses because of the engines."""
LIMIT_GROWS = 60.0
"""Seconds after which the learned limit of calls at once grows by one, to find out whether the carrier takes more."""


def get_pace(now: datetime) -> DialPace:
    return DialPace.objects.get_or_create(pk=1, defaults={"next_at": now})[0]


def is_paused(pace: DialPace, now: datetime) -> bool:
    return pace.paused_until is not None and now < pace.paused_until <= now + LONGEST_PAUSE


def call_limit(pace: DialPace, now: datetime) -> int:
    """Return the number of calls that may be out at once, by the settings and by what the carrier has accepted."""
    limit: int = min(settings.OUTBOUND_MAX_CALLS, settings.MAX_LIVE_CALLS)
    if pace.limit is not None and pace.limit_at is not None:
        grown = int(max(0.0, (now - pace.limit_at).total_seconds()) / LIMIT_GROWS)
        limit = min(limit, pace.limit + grown)
    return limit


def learn_call_limit(now: datetime) -> None:
    """The carrier refused a call because too many are live: allow only as many as are out without it."""
    out = DialAttempt.objects.filter(ended_at=None, requested_at__isnull=False).count()  # the refused one included
    DialPace.objects.filter(pk=1).update(limit=max(1, out - 1), limit_at=now)


def take_starts(wanted: int, now: datetime) -> int:
    """Reserve up to ``wanted`` starts out of the calls per second that all dispatchers share. Returns how many."""
    rate = schedule.Pace(calls_per_second=settings.CALLS_PER_SECOND, burst=max(1, round(settings.CALLS_PER_SECOND)))
    while True:
        pace = get_pace(now)
        granted, next_at = schedule.reserve(rate, next_at=pace.next_at, now=now, wanted=wanted)
        if granted == 0 or DialPace.objects.filter(pk=1, next_at=pace.next_at).update(next_at=next_at):
            return granted


def pause_dialling(reason: str, now: datetime, *, at_least: float = 0.0) -> datetime:
    """
    Stop dialling for at least ``at_least`` seconds, longer with each consecutive failure. Returns when it goes on.

    Requests that were sent together fail together. That counts as one failure: during a pause, another failure only
    prolongs it to its own ``at_least``.
    """
    pace = get_pace(now)
    until = now + timedelta(seconds=at_least)
    if pace.paused_until is not None and is_paused(pace, now):
        DialPace.objects.filter(pk=1, paused_until__lt=until).update(paused_until=until, reason=clean(reason)[:255])
        return max(until, pace.paused_until)
    until = max(until, now + timedelta(seconds=schedule.backoff(pace.failures + 1, jitter=random.random())))
    as_seen = DialPace.objects.filter(pk=1, failures=pace.failures, paused_until=pace.paused_until)
    if as_seen.update(paused_until=until, reason=clean(reason)[:255], failures=F("failures") + 1):
        return until
    return pause_dialling(reason, now, at_least=at_least)


def hold_dialling(*, why: str, seconds: float) -> datetime:
    """
    Dial nothing for so many seconds, because engines could not serve the calls. Returns when it ends by itself.

    It is no failure of the carrier, so the next pause is no longer for it. A pause that lasts longer stays as it is.
    """
    now = timezone.now()
    until = now + timedelta(seconds=min(seconds, LONGEST_PAUSE.total_seconds()))
    get_pace(now)
    earlier = Q(paused_until=None) | Q(paused_until__lt=until)
    DialPace.objects.filter(earlier, pk=1).update(paused_until=until, reason=clean(ENGINES + why)[:255])
    return until


def release_dialling(until: datetime) -> None:
    """Dial again, if dialling pauses because of the ``hold_dialling`` that returned ``until``, and of no other."""
    DialPace.objects.filter(pk=1, paused_until=until, reason__startswith=ENGINES).update(paused_until=None, reason="")


def note_success(now: datetime) -> None:
    """The carrier took a call: forget past failures. Not during a pause, which may be younger than the request."""
    DialPace.objects.filter(pk=1, failures__gt=0).exclude(paused_until__gt=now).update(
        failures=0, paused_until=None, reason=""
    )


def resume_dialling() -> None:
    """Dial again at once, and forget the failures and the learned limit of calls at once."""
    DialPace.objects.update(paused_until=None, reason="", failures=0, limit=None, limit_at=None)


@dataclass(frozen=True, slots=True)
class DiallerState:
    """The state of the dialler, for the admin and the statistics."""

    pace: DialPace | None
    """None until something was dialled for the first time."""
    pause: DialPace | None
    """The pace while dialling is paused, else None."""
    out: int
    """Attempts that have not ended."""
    due: int
    """Calls that could be dialled now."""
    later: int
    """Calls that wait for a later time."""


def get_dialler_state() -> DiallerState:
    now = timezone.now()
    pace = DialPace.objects.filter(pk=1).first()
    waiting = Call.objects.filter(due_at__isnull=False).aggregate(
        due=Count("pk", filter=Q(due_at__lte=now)), later=Count("pk", filter=Q(due_at__gt=now))
    )
    return DiallerState(
        pace=pace,
        pause=pace if pace is not None and is_paused(pace, now) else None,
        out=DialAttempt.objects.filter(ended_at=None).count(),
        due=waiting["due"],
        later=waiting["later"],
    )
