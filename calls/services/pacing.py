"""
Limits the dialler: calls per second and calls at once.

All of it is one row, ``DialPace``, which any number of dispatchers change by compare-and-set.
"""

from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.db.models import Count, Q
from django.utils import timezone

from calls import schedule
from calls.models import Call, DialAttempt, DialPace
from calls.services import pauses
from calls.services.pauses import PauseState, Scope
from calls.waking import wake

LIMIT_GROWS = 60.0
"""Seconds after which the learned limit of calls at once grows by one, to find out whether the carrier takes more."""


def get_pace(now: datetime) -> DialPace:
    return DialPace.objects.get_or_create(pk=1, defaults={"next_at": now})[0]


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


def resume_dialling(*, by: str) -> int:
    """
    Dial again at once, and forget the failures and the learned limit of calls at once.

    ``by`` is who wants it, for the log. Returns how many pauses were ended.
    """
    DialPace.objects.update(limit=None, limit_at=None)
    ended = pauses.resume(by=by)
    wake("dial_due")
    return ended


@dataclass(frozen=True, slots=True)
class DiallerState:
    """The state of the dialler, for the admin and the statistics."""

    pace: DialPace | None
    """None until something was dialled for the first time."""
    pauses: list[PauseState]
    out: int
    """Attempts that have not ended."""
    due: int
    """Calls that could be dialled now. Those that a pause holds are not among them."""
    later: int
    """Calls that wait for a later time."""

    @property
    def stopped(self) -> list[PauseState]:
        """The pauses because of which nothing at all is dialled, the one that lasts longest first."""
        everything = [state for state in self.pauses if state.pause.scope == Scope.EVERYTHING]
        return sorted(everything, key=lambda state: state.ends_at or timezone.now(), reverse=True)

    @property
    def held(self) -> int:
        """Due calls that a pause of their caller id or country holds."""
        return sum(state.held for state in self.pauses)


def get_dialler_state() -> DiallerState:
    now = timezone.now()
    free = Call.objects.filter(due_at__isnull=False, held_by__isnull=True)
    waiting = free.aggregate(due=Count("pk", filter=Q(due_at__lte=now)), later=Count("pk", filter=Q(due_at__gt=now)))
    return DiallerState(
        pace=DialPace.objects.filter(pk=1).first(),
        pauses=pauses.list_pauses(now),
        out=DialAttempt.objects.filter(ended_at=None).count(),
        due=waiting["due"],
        later=waiting["later"],
    )
