"""Finding out at the carrier what became of the attempts of which nothing was heard for too long."""

import logging
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from django.utils import timezone

from calls.carrier import Carrier, CarrierError, get_carrier
from calls.models import CallOrder, DialAttempt, Lease
from calls.services.attempts import NOT_SENT, adopt, apply_news, move_attempt
from calls.services.placing import end_attempt, hang_up_at_carrier
from calls.services.records import CallsError, fact_id_of, write_event
from calls.status import TERMINAL, Status

logger = logging.getLogger(__name__)

MOST_AT_ONCE = 200
"""Attempts that one run asks about, so that it ends: the next one goes on."""
FORGOTTEN = 15.0
"""Seconds after which an attempt that was claimed and not requested is taken up by somebody else."""
UNANSWERED_REQUEST = 15.0
"""Seconds after which a request without an answer is looked for at the carrier; it lasts 10 at most."""
NEVER_ARRIVED = 90.0
"""Seconds after which a request of which the carrier knows nothing has surely not arrived."""
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
    ago = {seconds: now - timedelta(seconds=seconds) for seconds in (FORGOTTEN, UNANSWERED_REQUEST)}
    waiting = DialAttempt.objects.select_related("call__agent").filter(ended_at=None).order_by("created_at")
    forgotten = waiting.filter(requested_at=None, created_at__lt=ago[FORGOTTEN])
    found.to_dial = list(forgotten.values_list("pk", flat=True)[:MOST_AT_ONCE])
    try:
        carrier = carrier or get_carrier()
        for attempt in waiting.filter(sid=None, requested_at__lt=ago[UNANSWERED_REQUEST])[:MOST_AT_ONCE]:
            _look_for(attempt, carrier, now, found)
        live = set(Lease.objects.filter(stream__gt=0, expires_at__gt=now).values_list("call_id", flat=True))
        for attempt in waiting.exclude(sid=None):
            if _is_silent(attempt, now, live) and _asks(attempt, now):
                seen = carrier.fetch_call(attempt.sid or "")
                found.settled += apply_news(attempt, seen) if seen else _vanished(attempt, now)
        _enforce(carrier, now)
    except CarrierError as error:
        logger.warning("The carrier cannot be asked what became of the calls: %s", error)
    return found


def _asks(attempt: DialAttempt, now: datetime) -> bool:
    """Be the one who asks about this attempt now."""
    return bool(
        DialAttempt.objects.filter(pk=attempt.pk, checked_at=attempt.checked_at, ended_at=None).update(checked_at=now)
    )


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
    if not _asks(attempt, now) or attempt.requested_at is None:
        return
    since = attempt.requested_at - timedelta(seconds=5)
    seen = carrier.find_calls(to_number=attempt.to_number, from_number=attempt.from_number, since=since)
    ours = set(DialAttempt.objects.filter(sid__in=[one.sid for one in seen]).values_list("sid", flat=True))
    strays = [one for one in seen if one.sid not in ours and one.direction == "outbound-api"]
    if strays:
        # There can be one only: one request, and one live attempt per number.
        if adopt(attempt, strays[0].sid):
            write_event(
                fact_id_of("found", str(attempt.pk)), attempt.call_id, "found-at-carrier", now, {"sid": strays[0].sid}
            )
            apply_news(attempt, strays[0])
            found.settled += 1
    elif (now - attempt.requested_at).total_seconds() > NEVER_ARRIVED:
        logger.warning("The carrier never got %s of call %s", attempt, attempt.call_id)
        move_attempt(
            attempt,
            Status.FAILED,
            at=now,
            error_code=NOT_SENT,
            error="the request did not arrive",
            retry_at=now,
        )
        found.lost += 1


def _vanished(attempt: DialAttempt, now: datetime) -> bool:
    return move_attempt(attempt, Status.FAILED, at=now, error="the carrier does not know this call any more")


def _enforce(carrier: Carrier, now: datetime) -> None:
    """Hang up at the carrier where a hang-up or a cancellation has not had its effect."""
    canceled = DialAttempt.objects.select_related("call__agent").filter(
        ended_at=None, sid__isnull=False, call__canceled_at__lt=now - timedelta(seconds=ORDER_IGNORED)
    )
    for attempt in canceled[:MOST_AT_ONCE]:
        try:
            end_attempt(attempt, carrier)
        except CallsError as error:
            logger.warning("Call %s: %s", attempt.call_id, error)
    ignored = CallOrder.objects.select_related("call").filter(
        taken_at=None, kind=CallOrder.Kind.HANG_UP, created_at__lt=now - timedelta(seconds=ORDER_IGNORED)
    )
    for order in ignored[:MOST_AT_ONCE]:
        mine = CallOrder.objects.filter(pk=order.pk, taken_at=None).update(taken_at=now)
        if mine and order.call.status not in TERMINAL:
            hang_up_at_carrier(order.call, carrier)
