"""
Claiming: take each call for one attempt once it is due and may be dialled.

The database is the truth. A call that waits has a ``due_at``. A dispatcher claims it by one compare-and-set ``UPDATE``,
which any number of dispatchers may try on any database. The claim creates the attempt that ``dialling`` sends.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils import timezone

from calls.models import Call, CallEvent, DialAttempt, DialPause
from calls.services import pacing, pauses
from calls.services.obstacles import KnownNumbers, Obstacle, find_obstacle, number_busy
from calls.services.pauses import Pauses
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
    held: int = 0
    """Calls that are held because their caller id or country is paused."""


def claim_due(*, wanted: int = MOST_AT_ONCE) -> Claimed:
    """
    Claim the calls that are due and may be dialled now, up to ``wanted``, the pace and the limit of calls at once.

    Pass each attempt to ``dialling.dial``. If that never happens, ``reconcile`` finds the attempt.
    """
    now = timezone.now()
    claimed = Claimed()
    paused = pauses.read_pauses(now)
    if paused.stops_everything:
        return claimed
    limit = pacing.call_limit(pacing.get_pace(now), now)
    room = min(wanted, limit - DialAttempt.objects.filter(ended_at=None).count())
    if not paused.everything:
        # First, because a long queue would use every start.
        room -= _claim_trials(room, limit, paused, claimed)
        _claim_from_queue(room, limit, paused, claimed)
    elif room > 0 and not _claim_from_queue(1, limit, paused, claimed):
        _claim_trials(1, limit, paused, claimed)
    return claimed


def _claim_from_queue(room: int, limit: int, paused: Pauses, claimed: Claimed) -> int:
    """Claim up to ``room`` calls that are due and not held. Returns how many."""
    now, before, looked_at = paused.now, len(claimed.attempts), 0
    while room > 0 and looked_at < MOST_AT_ONCE:
        due = Call.objects.select_related("agent").filter(status=Status.QUEUED, due_at__lte=now, held_by=None)
        batch = list(due.order_by("due_at", "created_at")[:BATCH])
        if not batch:
            break
        looked_at += len(batch)
        batch = _hold_paused(batch, paused, claimed)
        known = KnownNumbers(batch, now)
        obstacles = {call: find_obstacle(call, known, now) for call in batch}
        _set_aside(obstacles, now, claimed)
        ready = [call for call, obstacle in obstacles.items() if obstacle is None]
        # Starts are reserved only for calls that can be dialled, because an unused start is lost.
        starts = pacing.take_starts(min(room, len(ready)), now) if ready else 0
        for call in ready[:starts]:
            attempt_id = _claim(call, now, limit, trial_of=paused.everything)
            if attempt_id is not None:
                claimed.attempts.append(attempt_id)
                room -= 1
        if starts < len(ready):
            break
    if looked_at >= MOST_AT_ONCE:
        wake("dial_due")
    return len(claimed.attempts) - before


def _hold_paused(batch: list[Call], paused: Pauses, claimed: Claimed) -> list[Call]:
    """Hold the calls of which something is paused. Returns the others."""
    held: dict[int, list[Call]] = {}
    free = []
    for call in batch:
        if found := paused.of(from_number=call.from_number, to_number=call.to_number):
            held.setdefault(found[0].pk, []).append(call)
        else:
            free.append(call)
    for pause in paused.rows:
        if calls := held.get(pause.pk):
            claimed.held += pauses.hold_calls(pause, [call.pk for call in calls])
            claimed.held += pauses.hold_more(pause, paused.now)
    return free


def _claim_trials(room: int, limit: int, paused: Pauses, claimed: Claimed) -> int:
    """Claim one held call for each pause that is to be tried, up to ``room``. Returns how many."""
    before = len(claimed.attempts)
    for pause in paused.to_try:
        if len(claimed.attempts) - before >= room:
            break
        # Those first that were refused least often: perhaps something else is wrong with the others.
        held = Call.objects.select_related("agent").filter(
            held_by=pause.pk, status=Status.QUEUED, due_at__lte=paused.now
        )
        batch = list(held.order_by("attempts_made", "due_at")[:BATCH])
        attempt_id = _claim_trial(batch, pause, limit, paused, claimed) if batch else None
        if attempt_id is not None:
            claimed.attempts.append(attempt_id)
    return len(claimed.attempts) - before


def _claim_trial(batch: list[Call], pause: DialPause, limit: int, paused: Pauses, claimed: Claimed) -> UUID | None:
    """Claim the first of these calls that may be dialled, as the trial of every pause that concerns it."""
    known = KnownNumbers(batch, paused.now)
    for call in batch:
        concerned = paused.of(from_number=call.from_number, to_number=call.to_number, held_by=pause.pk)
        if blocking := next((other for other in concerned if not paused.may_try(other)), None):
            # Another one goes on for longer, so that the call is of no use here.
            pauses.hold_calls(blocking, [call.pk])
        elif obstacle := find_obstacle(call, known, paused.now):
            _set_aside({call: obstacle}, paused.now, claimed)
        elif pacing.take_starts(1, paused.now):
            return _claim(call, paused.now, limit, trial_of=[*paused.everything, *concerned])
        else:
            break
    return None


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


def _claim(call: Call, now: datetime, limit: int, *, trial_of: Sequence[DialPause]) -> UUID | None:
    """
    Claim a call. None if another dispatcher has claimed it, its number is in a call, or no slot is free.

    ``trial_of``: its attempt is the trial of these pauses. None as well if they have another one.
    """
    attempt_id = uuid4()
    try:
        with transaction.atomic():
            if not pauses.begin_trial(attempt_id, trial_of, now):
                raise _NotClaimedError
            as_seen = Call.objects.filter(
                pk=call.pk, status=Status.QUEUED, due_at=call.due_at, attempts_made=call.attempts_made, canceled_at=None
            )
            if not as_seen.update(due_at=None, held_by=None, attempts_made=F("attempts_made") + 1):
                raise _NotClaimedError
            DialAttempt.objects.create(
                id=attempt_id,
                call=call,
                number=call.attempts_made + 1,
                to_number=call.to_number,
                from_number=call.from_number,
                created_at=now,
            )
            until = now + timedelta(seconds=call.agent.ring_timeout + ANSWERING)
            if not take_slot(call, now, until=until, below=limit):
                raise _NotClaimedError
    except _NotClaimedError:
        return None
    except IntegrityError:
        # Another attempt for this number has begun since the batch was checked.
        _set_aside({call: number_busy(now)}, now, Claimed())
        return None
    return attempt_id


class _NotClaimedError(Exception):
    """Rolls a claim back: another dispatcher was first, or no slot is free after all."""


def _end_unclaimed(call: Call, status: Status, reason: str, now: datetime) -> None:
    """End a call that waits, unless it is no longer as it was seen."""
    with transaction.atomic():
        as_seen = Call.objects.filter(pk=call.pk, status=Status.QUEUED, due_at=call.due_at)
        if as_seen.update(due_at=None):
            move(call, status, at=now, reason=reason)
