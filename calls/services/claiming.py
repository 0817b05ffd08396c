"""Claiming: take each call for one attempt once it is due and may be dialled."""

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
"""Calls that one run looks at, so that it ends: it wakes the next one."""
BATCH = 100
"""Calls that are looked at together."""


@dataclass(slots=True)
class Claimed:
    """What one run of a dispatcher has claimed, and put off or ended for good."""

    attempts: list[UUID] = field(default_factory=list)
    put_off: int = 0
    ended: int = 0


def claim_due(*, wanted: int = MOST_AT_ONCE) -> Claimed:
    """
    Claim the calls that are due and may be dialled now, as many as pace and room allow.

    Each id is to be given to ``dial``. An attempt whose ``dial`` never runs is found by ``reconcile``.
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
        _clear_away(obstacles, now, claimed)
        ready = [call for call, obstacle in obstacles.items() if obstacle is None]
        # Places are taken only for what may really be dialled: one that is not used is lost.
        places = pacing.take_starts(min(room, len(ready)), now) if ready else 0
        for call in ready[:places]:
            attempt_id = _claim(call, now, limit)
            if attempt_id is not None:
                claimed.attempts.append(attempt_id)
                room -= 1
        if places < len(ready):
            return claimed
    if looked_at >= MOST_AT_ONCE:
        wake("dial_due")
    return claimed


def _clear_away(obstacles: Mapping[Call, Obstacle | None], now: datetime, claimed: Claimed) -> None:
    """Put off or end what cannot be dialled, all that has the same reason in one go. Its events tell why, once each."""
    put_off: dict[Obstacle, list[Call]] = {}
    for call, obstacle in obstacles.items():
        if obstacle is not None and obstacle.until is not None:
            put_off.setdefault(obstacle, []).append(call)
        elif obstacle is not None and obstacle.status is not None:
            claimed.ended += _close(call, obstacle.status, obstacle.why, now)
    for obstacle, calls in put_off.items():
        # As found: what somebody else has claimed or put off meanwhile is not due any more.
        mine = Call.objects.filter(pk__in=[call.pk for call in calls], status=Status.QUEUED, due_at__lte=now)
        claimed.put_off += mine.update(due_at=obstacle.until)
        CallEvent.objects.bulk_create(
            [_told(call, obstacle, now) for call in calls], batch_size=BATCH, ignore_conflicts=True
        )


def _told(call: Call, obstacle: Obstacle, now: datetime) -> CallEvent:
    assert obstacle.until is not None
    day = obstacle.until.date().isoformat()
    fact_id = fact_id_of("put-off", str(call.pk), str(call.attempts_made), obstacle.why, day)
    data = {"why": obstacle.why, "until": obstacle.until.isoformat()}
    return CallEvent(fact_id=fact_id, call_id=call.pk, kind="put-off", at=now, data=data)


def _claim(call: Call, now: datetime, limit: int) -> UUID | None:
    """Take this call for an attempt; None if somebody else has, or has its number on the line, or all is full."""
    try:
        with transaction.atomic():
            mine = Call.objects.filter(
                pk=call.pk, status=Status.QUEUED, due_at=call.due_at, attempts_made=call.attempts_made, canceled_at=None
            )
            if not mine.update(due_at=None, attempts_made=F("attempts_made") + 1):
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
                raise _Full
    except _Full:
        return None
    except IntegrityError:
        # Somebody else has the number on the line since we looked.
        _clear_away({call: number_busy(now)}, now, Claimed())
        return None
    return attempt.pk


class _Full(Exception):
    """No slot is free after all."""


def _close(call: Call, status: Status, reason: str, now: datetime) -> bool:
    with transaction.atomic():
        mine = Call.objects.filter(pk=call.pk, status=Status.QUEUED, due_at=call.due_at)
        return bool(mine.update(due_at=None)) and move(call, status, at=now, reason=reason)
