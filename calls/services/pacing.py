"""How fast the dialler may go: calls per second, calls at once, and pauses."""

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
LIMIT_GROWS = 60.0
"""Seconds after which one more call at once is tried than the carrier has stood."""


def get_pace(now: datetime) -> DialPace:
    return DialPace.objects.get_or_create(pk=1, defaults={"next_at": now})[0]


def is_paused(pace: DialPace, now: datetime) -> bool:
    """A pause that ends later than any is made for was left by a clock that has stepped back."""
    return pace.paused_until is not None and now < pace.paused_until <= now + LONGEST_PAUSE


def call_limit(pace: DialPace, now: datetime) -> int:
    """How many calls of ours may be out at once: by our own limit, and by what the carrier has stood."""
    limit = min(settings.OUTBOUND_MAX_CALLS, settings.MAX_LIVE_CALLS)
    if pace.limit is not None and pace.limit_at is not None:
        grown = int(max(0.0, (now - pace.limit_at).total_seconds()) / LIMIT_GROWS)
        limit = min(limit, pace.limit + grown)
    return limit


def take_starts(wanted: int, now: datetime) -> int:
    """Take up to ``wanted`` places in the calls per second, shared with every other dispatcher."""
    rate = schedule.Pace(calls_per_second=settings.CALLS_PER_SECOND, burst=max(1, round(settings.CALLS_PER_SECOND)))
    while True:
        pace = get_pace(now)
        granted, next_at = schedule.reserve(rate, next_at=pace.next_at, now=now, wanted=wanted)
        if granted == 0 or DialPace.objects.filter(pk=1, next_at=pace.next_at).update(next_at=next_at):
            return granted


def pause_dialling(reason: str, now: datetime, *, at_least: float = 0.0) -> datetime:
    """
    Dial nothing for a while, longer with each failure in a row; returns until when.

    Requests that were under way together fail together: that is one failure.
    """
    pace = get_pace(now)
    until = now + timedelta(seconds=at_least)
    if is_paused(pace, now):
        DialPace.objects.filter(pk=1, paused_until__lt=until).update(paused_until=until, reason=clean(reason)[:255])
        return max(until, pace.paused_until)
    until = max(until, now + timedelta(seconds=schedule.backoff(pace.failures + 1, jitter=random.random())))
    mine = DialPace.objects.filter(pk=1, failures=pace.failures, paused_until=pace.paused_until)
    if mine.update(paused_until=until, reason=clean(reason)[:255], failures=F("failures") + 1):
        return until
    return pause_dialling(reason, now, at_least=at_least)


@dataclass(frozen=True, slots=True)
class DiallerState:
    """What the dialler is doing, for whoever watches it. ``pause`` is the pace while it is paused."""

    pace: DialPace | None
    pause: DialPace | None
    out: int
    due: int
    later: int


def get_dialler_state() -> DiallerState:
    now = timezone.now()
    pace = DialPace.objects.filter(pk=1).first()
    waiting = Call.objects.filter(due_at__isnull=False).aggregate(
        due=Count("pk", filter=Q(due_at__lte=now)), later=Count("pk", filter=Q(due_at__gt=now))
    )
    pause = pace if pace is not None and is_paused(pace, now) else None
    return DiallerState(
        pace, pause, DialAttempt.objects.filter(ended_at=None).count(), waiting["due"], waiting["later"]
    )


def resume_dialling() -> None:
    """Go on dialling, whatever the carrier has refused."""
    DialPace.objects.update(paused_until=None, reason="", failures=0, limit=None, limit_at=None)
