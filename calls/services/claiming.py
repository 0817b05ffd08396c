"""
Claiming: take each call for one attempt once it is due and may be dialled.

The database is the truth. A call that waits has a ``due_at``. A dispatcher claims it by one compare-and-set ``UPDATE``,
which any number of dispatchers may try on any database. The claim creates the attempt that ``dialling`` sends.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils import timezone

from calls.models import Call, CallEvent, DialAttempt
from calls.services import pacing
from calls.services.obstacles import KnownNumbers, Obstacle, find_obstacle, number_busy
from calls.services.records import fact_id_of, move
from calls.services.slots import ANSWERING, take_slot
from calls.status import Status
from calls.waking import wake

MOST_AT_ONCE = 1000
"""Calls that one run looks at before it ends and wakes the next, so that no run goes on for ever."""
BATCH = 100
"""Calls that are checked together: enough to share the queries, few enough for the parameters of one query."""


@dataclass(slots=True)
class Claimed:
    """The result of one run of a dispatcher."""

    attempts: list[UUID] = field(default_factory=list)
    """The attempts to be dialled."""
    put_off: int = 0
    """Calls that were postponed."""


def claim_due(*, wanted: int = MOST_AT_ONCE) -> Claimed:
    """
    Claim the calls that are due and may be dialled now, up to ``wanted``, the pace and the limit of calls at once.

    Pass each attempt to ``dialling.dial``. If that never happens, ``reconcile`` finds the attempt.
    """
    now = timezone.now()
    claimed = Claimed()
    pace = pacing.get_pace(now)
    if pacing.is_paused(pace, now):
        return claimed
    limit = pacing.call_limit(pace, now)
    room = min(wanted, limit - DialAttempt.objects.filter(ended_at=None).count())
    looked_at = 0
    while room > 0 and looked_at < MOST_AT_ONCE:
        due = Call.objects.select_related("agent").filter(status=Status.QUEUED, due_at__lte=now)
        batch = list(due.order_by("due_at", "created_at")[:BATCH])
        if not batch:
            return claimed
        looked_at += len(batch)
        known = KnownNumbers(batch, now)
        obstacles = {call: find_obstacle(call, known, now) for call in batch}
        _set_aside(obstacles, now, claimed)
        ready = [call for call, obstacle in obstacles.items() if obstacle is None]
        # Starts are reserved only for calls that can be dialled, because an unused start is lost.
        starts = pacing.take_starts(min(room, len(ready)), now) if ready else 0
        for call in ready[:starts]:
            attempt_id = _claim(call, now, limit)
            if attempt_id is not None:
                claimed.attempts.append(attempt_id)
                room -= 1
        if starts < len(ready):
            return claimed
    if looked_at >= MOST_AT_ONCE:
        wake("dial_due")
    return claimed


def _set_aside(obstacles: Mapping[Call, Obstacle | None], now: datetime, claimed: Claimed) -> None:
    """Postpone or end the calls that have an obstacle: those with the same obstacle in one query."""
    postponed: dict[Obstacle, list[Call]] = {}
    for call, obstacle in obstacles.items():
        if obstacle is not None and obstacle.until is not None:
            postponed.setdefault(obstacle, []).append(call)
        elif obstacle is not None and obstacle.status is not None:
            _end_unclaimed(call, obstacle.status, obstacle.why, now)
    for obstacle, calls in postponed.items():
        # Only those that are still due: another dispatcher may have claimed or postponed some of them meanwhile.
        still_due = Call.objects.filter(pk__in=[call.pk for call in calls], status=Status.QUEUED, due_at__lte=now)
        claimed.put_off += still_due.update(due_at=obstacle.until)
        events = [_put_off_event(call, obstacle, now) for call in calls]
        CallEvent.objects.bulk_create(events, batch_size=BATCH, ignore_conflicts=True)


def _put_off_event(call: Call, obstacle: Obstacle, now: datetime) -> CallEvent:
    """Describe a postponement. Repeated ones for the same reason until the same day have the same id: one event."""
    until = obstacle.until or now
    fact_id = fact_id_of("put-off", str(call.pk), str(call.attempts_made), obstacle.why, until.date().isoformat())
    data = {"why": obstacle.why, "until": until.isoformat()}
    return CallEvent(fact_id=fact_id, call_id=call.pk, kind="put-off", at=now, data=data)


def _claim(call: Call, now: datetime, limit: int) -> UUID | None:
    """Claim a call. None if another dispatcher has claimed it, its number is in a call, or no slot is free."""
    try:
        with transaction.atomic():
            as_seen = Call.objects.filter(
                pk=call.pk, status=Status.QUEUED, due_at=call.due_at, attempts_made=call.attempts_made, canceled_at=None
            )
            if not as_seen.update(due_at=None, attempts_made=F("attempts_made") + 1):
                return None
            attempt = DialAttempt.objects.create(
                call=call,
                number=call.attempts_made + 1,
                to_number=call.to_number,
                from_number=call.from_number,
                created_at=now,
            )
            until = now + timedelta(seconds=call.agent.ring_timeout + ANSWERING)
            if not take_slot(call, now, until=until, below=limit):
                raise _NoFreeSlotError
    except _NoFreeSlotError:
        return None
    except IntegrityError:
        # Another attempt for this number has begun since the batch was checked.
        _set_aside({call: number_busy(now)}, now, Claimed())
        return None
    return attempt.pk


class _NoFreeSlotError(Exception):
    """Rolls a claim back: no slot is free after all."""


def _end_unclaimed(call: Call, status: Status, reason: str, now: datetime) -> None:
    """End a call that waits, unless it is no longer as it was seen."""
    with transaction.atomic():
        as_seen = Call.objects.filter(pk=call.pk, status=Status.QUEUED, due_at=call.due_at)
        if as_seen.update(due_at=None):
            move(call, status, at=now, reason=reason)
