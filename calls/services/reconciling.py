"""Finding out at the carrier what became of the attempts of which nothing was heard for too long."""

import logging
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import Q, QuerySet
from django.utils import timezone

from calls.carrier import Carrier, CarrierError, get_carrier
from calls.errors import CallsError
from calls.models import Call, CallOrder, DialAttempt, Lease
from calls.services.attempts import NOT_SENT, adopt, apply_news, move_attempt
from calls.services.obstacles import outside_hours
from calls.services.records import fact_id_of, write_event
from calls.services.slots import ANSWERING
from calls.services.stopping import end_attempt, hang_up_at_carrier
from calls.status import TERMINAL, UNANSWERED, Status

logger = logging.getLogger(__name__)

MOST_AT_ONCE = 200
"""Hang-ups that one run sees to, so that it ends: the next one goes on."""
ENOUGH = 5
"""Failed questions after which the carrier is left alone until the next run."""
FORGOTTEN = 15.0
"""Seconds after which an attempt that was claimed and not requested is taken up by somebody else."""
UNANSWERED_REQUEST = 30.0
"""Seconds after which a request without an answer is looked for at the carrier: longer than any takes."""
NEVER_ARRIVED = 300.0
"""Seconds after which one of which the carrier knows nothing has surely not arrived, by clocks that differ as well."""
SILENT = 60.0
"""Seconds beyond its ringing after which the carrier is asked about an attempt that nothing is heard of."""
LONG_CALL = 300.0
"""Seconds after which it is asked again about one that goes on."""
ORDER_IGNORED = 15.0
"""Seconds after which a hang-up that no process has taken is done at the carrier."""


@dataclass(slots=True)
class Reconciled:
    """What a run of ``reconcile`` has found: attempts to be given to ``dial`` again, found out, or given up."""

    to_dial: list[UUID] = field(default_factory=list)
    settled: int = 0
    lost: int = 0


def reconcile(*, carrier: Carrier | None = None) -> Reconciled:
    """
    Ask the carrier about everything of which nothing was heard for too long.

    Any number of processes may run it; each attempt is asked after by one at a time.
    """
    now = timezone.now()
    found = Reconciled()
    waiting = DialAttempt.objects.select_related("call__agent").filter(ended_at=None).order_by("created_at")
    found.to_dial = list(
        waiting.filter(_long_ago("created_at", FORGOTTEN, now), requested_at=None).values_list("pk", flat=True)
    )
    _keep_slots(waiting, now)
    try:
        carrier = carrier or get_carrier()
    except CarrierError as error:
        logger.error("Nothing can be found out: %s", error)
        return found
    _enforce(carrier, now)
    live = set(Lease.objects.filter(stream__gt=0, expires_at__gt=now).values_list("call_id", flat=True))
    failures = 0
    for attempt in waiting.filter(requested_at__isnull=False):
        try:
            if attempt.sid is None:
                _look_for(attempt, carrier, now, found)
            elif attempt.status == Status.QUEUED and _is_too_late(attempt, carrier, now):
                found.settled += 1
            elif _is_silent(attempt, now, live) and _asks(attempt, now):
                seen = carrier.fetch_call(attempt.sid)
                found.settled += apply_news(attempt, seen) if seen else _vanished(attempt, now)
        except CarrierError as error:
            logger.warning("The carrier cannot be asked what became of call %s: %s", attempt.call_id, error)
            failures += 1
            if failures == ENOUGH:
                break
    return found


def _long_ago(name: str, seconds: float, now: datetime) -> Q:
    """More than so long ago, or in a future that a clock has left again."""
    return Q(**{f"{name}__lt": now - timedelta(seconds=seconds)}) | Q(**{f"{name}__gt": now + timedelta(seconds=60)})


def _keep_slots(waiting: QuerySet[DialAttempt], now: datetime) -> None:
    """A call that rings, or still waits at the carrier, keeps its slot until somebody could have answered."""
    until = now + timedelta(seconds=ANSWERING)
    unanswered = waiting.filter(status__in=UNANSWERED).order_by().values("call")
    Lease.objects.filter(call__in=unanswered, stream=0, expires_at__lt=until).update(expires_at=until)


def _is_too_late(attempt: DialAttempt, carrier: Carrier, now: datetime) -> bool:
    """The carrier has not dialled it yet, and the calling hours have ended: it is taken back until they begin again."""
    closed = outside_hours(attempt.call, now)
    if closed is None or closed.until is None or not carrier.hang_up(attempt.sid or "", ringing=True):
        return False
    return move_attempt(attempt, Status.CANCELED, at=now, error_code=NOT_SENT, error=closed.why, retry_at=closed.until)


def _asks(attempt: DialAttempt, now: datetime) -> bool:
    """Be the one who asks about this attempt now."""
    as_seen = DialAttempt.objects.filter(pk=attempt.pk, sid=attempt.sid, checked_at=attempt.checked_at, ended_at=None)
    return bool(as_seen.update(checked_at=now))


def _is_silent(attempt: DialAttempt, now: datetime, live: Collection[UUID]) -> bool:
    if attempt.status == Status.IN_PROGRESS:
        # Without a stream that renews its lease it is over, or was transferred.
        patience = LONG_CALL if attempt.call_id in live else SILENT
    else:
        patience = attempt.call.agent.ring_timeout + SILENT
    heard = filter(None, (attempt.requested_at, attempt.answered_at, attempt.checked_at))
    return (now - max(heard, default=attempt.created_at)).total_seconds() > patience


def _look_for(attempt: DialAttempt, carrier: Carrier, now: datetime, found: Reconciled) -> None:
    """The request of this attempt was not answered: has the carrier a call that nothing else explains?"""
    requested = attempt.requested_at
    if requested is None or abs((now - requested).total_seconds()) < UNANSWERED_REQUEST or not _asks(attempt, now):
        return
    seen = carrier.find_calls(to_number=attempt.to_number, from_number=attempt.from_number, since=requested)
    sids = [one.sid for one in seen]
    ours = {*DialAttempt.objects.filter(sid__in=sids).values_list("sid", flat=True)}
    ours |= {*Call.objects.filter(sid__in=sids).values_list("sid", flat=True)}
    for stray in seen:
        # There can be one only: one request, and one live attempt per number.
        if stray.sid not in ours and stray.direction == "outbound-api" and adopt(attempt, stray.sid, guessed=True):
            fact_id = fact_id_of("found", str(attempt.pk))
            write_event(fact_id, attempt.call_id, "found-at-carrier", now, {"sid": stray.sid})
            apply_news(attempt, stray)
            found.settled += 1
            return
    if abs((now - requested).total_seconds()) > NEVER_ARRIVED and move_attempt(
        attempt,
        Status.FAILED,
        at=now,
        error_code=NOT_SENT,
        error="the request did not arrive",
        retry_at=now,
        if_unheard=True,
    ):
        logger.warning("The carrier never got %s of call %s", attempt, attempt.call_id)
        found.lost += 1


def _vanished(attempt: DialAttempt, now: datetime) -> bool:
    """It may be another account's by now: nobody knows what became of it, and it is not tried again."""
    text = "the carrier does not know this call any more"
    return move_attempt(attempt, Status.FAILED, at=now, error=text, permanent=True)


def _enforce(carrier: Carrier, now: datetime) -> None:
    """Hang up at the carrier where a hang-up or a cancellation has not had its effect."""
    ago = now - timedelta(seconds=ORDER_IGNORED)
    canceled = DialAttempt.objects.select_related("call__agent").filter(
        ended_at=None, sid__isnull=False, call__canceled_at__lt=ago
    )
    for attempt in canceled[:MOST_AT_ONCE]:
        try:
            end_attempt(attempt, carrier)
        except CallsError as error:
            logger.warning("Call %s: %s", attempt.call_id, error)
    ignored = CallOrder.objects.select_related("call").filter(
        taken_at=None, kind=CallOrder.Kind.HANG_UP, created_at__lt=ago
    )
    for order in ignored[:MOST_AT_ONCE]:
        try:
            if order.call.status not in TERMINAL:
                hang_up_at_carrier(order.call, carrier)
        except CallsError as error:
            logger.warning("Call %s: %s", order.call_id, error)
        else:
            # Afterwards: whoever dies in between leaves it to the next.
            CallOrder.objects.filter(pk=order.pk, taken_at=None).update(taken_at=now)
