"""Asking the carrier what became of attempts about which nothing was heard for too long."""

import logging
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import Q, QuerySet
from django.utils import timezone

from calls.call_context import about_call
from calls.carrier import Carrier, get_carrier
from calls.errors import CallsError, CarrierError
from calls.models import Call, CallOrder, DialAttempt, Lease
from calls.services.attempts import NOT_SENT, Outcome, adopt_sid, apply_carrier_state, move_attempt
from calls.services.obstacles import outside_hours
from calls.services.records import fact_id_of, write_event
from calls.services.slots import ANSWERING
from calls.services.stopping import end_attempt, hang_up_at_carrier
from calls.status import TERMINAL, UNANSWERED, Status

logger = logging.getLogger(__name__)

MOST_AT_ONCE = 200
"""Hang-ups that one run carries out, so that it ends. The next run goes on."""
ENOUGH_FAILURES = 5
"""Failed requests after which this run stops asking the carrier, which is most likely unavailable."""
ABANDONED_CLAIM = 15.0
"""Seconds after which a claimed attempt whose request was not sent is given to another worker."""
UNANSWERED_REQUEST = 30.0
"""Seconds after which a request without an answer is looked for at the carrier. No request takes longer."""
NEVER_ARRIVED = 300.0
"""
Seconds after which a request that the carrier does not know certainly never arrived.

This allows for clocks that differ, and for the time that the carrier needs to list a call.
"""
SILENT = 60.0
"""Seconds without news, beyond the ringing of an attempt, after which the carrier is asked about it."""
LONG_CALL = 300.0
"""Seconds between two questions about a call whose stream is open."""
ORDER_IGNORED = 15.0
"""Seconds after which a hang-up that no process has taken, or a cancellation, is carried out at the carrier."""


@dataclass(slots=True)
class Reconciled:
    """The result of one run of ``reconcile``."""

    to_dial: list[UUID] = field(default_factory=list)
    """Attempts that must be passed to ``dial`` again."""
    settled: int = 0
    """Attempts whose state the carrier reported."""
    lost: int = 0
    """Attempts whose requests never arrived."""


def reconcile(*, carrier: Carrier | None = None) -> Reconciled:
    """
    Ask the carrier about every attempt about which nothing was heard for too long.

    Any number of processes may run this. Only one of them asks about an attempt at a time.
    """
    now = timezone.now()
    found = Reconciled()
    open_attempts = DialAttempt.objects.select_related("call__agent").filter(ended_at=None).order_by("created_at")
    abandoned = open_attempts.filter(_long_ago("created_at", ABANDONED_CLAIM, now), requested_at=None)
    found.to_dial = list(abandoned.values_list("pk", flat=True))
    _keep_slots(open_attempts, now)
    try:
        carrier = carrier or get_carrier()
    except CarrierError as error:
        logger.error("The carrier cannot be asked about %d open attempts: %s", open_attempts.count(), error)
        return found
    _hang_up_overdue(carrier, now)
    live = set(Lease.objects.filter(stream__gt=0, expires_at__gt=now).values_list("call_id", flat=True))
    failures = 0
    for attempt in open_attempts.filter(requested_at__isnull=False):
        with about_call(attempt.call_id):
            failures += not _settle(attempt, carrier, now, live, found)
        if failures == ENOUGH_FAILURES:
            break
    return found


def _settle(attempt: DialAttempt, carrier: Carrier, now: datetime, live: Collection[UUID], found: Reconciled) -> bool:
    """Find out about one attempt, if it is time. False if the carrier could not be asked."""
    try:
        if attempt.sid is None:
            _look_for(attempt, carrier, now, found)
        elif attempt.status == Status.QUEUED and _take_back_after_hours(attempt, carrier, now):
            found.settled += 1
        elif _is_silent(attempt, now, live) and _reserve_question(attempt, now):
            seen = carrier.fetch_call(attempt.sid)
            found.settled += apply_carrier_state(attempt, seen) if seen else _end_unknown(attempt, now)
    except CarrierError as error:
        logger.warning("Could not ask the carrier about call %s; repeated later: %s", attempt.call_id, error)
        return False
    return True


def _long_ago(name: str, seconds: float, now: datetime) -> Q:
    """Rows whose time ``name`` is more than ``seconds`` ago, or lies in the future because the clock stepped back."""
    return Q(**{f"{name}__lt": now - timedelta(seconds=seconds)}) | Q(**{f"{name}__gt": now + timedelta(seconds=60)})


def _keep_slots(open_attempts: QuerySet[DialAttempt], now: datetime) -> None:
    """Keep the slot of a call that rings, or still waits at the carrier, until it could have been answered."""
    until = now + timedelta(seconds=ANSWERING)
    unanswered = open_attempts.filter(status__in=UNANSWERED).order_by().values("call")
    Lease.objects.filter(call__in=unanswered, stream=0, expires_at__lt=until).update(expires_at=until)


def _take_back_after_hours(attempt: DialAttempt, carrier: Carrier, now: datetime) -> bool:
    """End an attempt that the carrier has not dialled yet if calling hours have ended. It is due when they begin."""
    closed = outside_hours(attempt.call, now)
    if closed is None or closed.until is None or not carrier.hang_up(attempt.sid or "", ringing=True):
        return False
    outcome = Outcome(Status.CANCELED, at=now, error_code=NOT_SENT, error=closed.why, retry_at=closed.until)
    return move_attempt(attempt, outcome)


def _reserve_question(attempt: DialAttempt, now: datetime) -> bool:
    """Become the only process that asks about this attempt now."""
    as_seen = DialAttempt.objects.filter(pk=attempt.pk, sid=attempt.sid, checked_at=attempt.checked_at, ended_at=None)
    return bool(as_seen.update(checked_at=now))


def _is_silent(attempt: DialAttempt, now: datetime, live: Collection[UUID]) -> bool:
    if attempt.status == Status.IN_PROGRESS:
        # Without a stream that renews its lease, the call has ended or was transferred.
        patience = LONG_CALL if attempt.call_id in live else SILENT
    else:
        patience = attempt.call.agent.ring_timeout + SILENT
    news = filter(None, (attempt.requested_at, attempt.answered_at, attempt.checked_at))
    return (now - max(news, default=attempt.created_at)).total_seconds() > patience


def _look_for(attempt: DialAttempt, carrier: Carrier, now: datetime, found: Reconciled) -> None:
    """The request of this attempt got no answer. Look for a call at the carrier that nothing else explains."""
    requested = attempt.requested_at
    if requested is None or abs((now - requested).total_seconds()) < UNANSWERED_REQUEST:
        return
    if not _reserve_question(attempt, now):
        return
    seen = carrier.find_calls(to_number=attempt.to_number, from_number=attempt.from_number, since=requested)
    sids = [call.sid for call in seen]
    known = {*DialAttempt.objects.filter(sid__in=sids).values_list("sid", flat=True)}
    known |= {*Call.objects.filter(sid__in=sids).values_list("sid", flat=True)}
    for stray in seen:
        # There can be only one: an attempt sends one request, and a number has one live attempt.
        if stray.sid not in known and stray.direction == "outbound-api" and adopt_sid(attempt, stray.sid, guessed=True):
            fact_id = fact_id_of("found", str(attempt.pk))
            write_event(fact_id, attempt.call_id, "found-at-carrier", now, {"sid": stray.sid})
            apply_carrier_state(attempt, stray)
            found.settled += 1
            return
    if abs((now - requested).total_seconds()) > NEVER_ARRIVED:
        text = "the request did not arrive"
        outcome = Outcome(Status.FAILED, at=now, error_code=NOT_SENT, error=text, retry_at=now)
        if move_attempt(attempt, outcome, only_without_sid=True):
            logger.warning("The carrier never received %s; the call is dialled again", attempt)
            found.lost += 1


def _end_unknown(attempt: DialAttempt, now: datetime) -> bool:
    """End an attempt whose call the carrier no longer knows. What became of it is unknown, so it is not repeated."""
    text = "the carrier no longer knows this call"
    return move_attempt(attempt, Outcome(Status.FAILED, at=now, error=text, permanent=True))


def _hang_up_overdue(carrier: Carrier, now: datetime) -> None:
    """Carry out at the carrier the hang-ups and cancellations that have had no effect so far."""
    overdue = now - timedelta(seconds=ORDER_IGNORED)
    canceled = DialAttempt.objects.select_related("call__agent").filter(
        ended_at=None, sid__isnull=False, call__canceled_at__lt=overdue
    )
    for attempt in canceled[:MOST_AT_ONCE]:
        with about_call(attempt.call_id):
            try:
                end_attempt(attempt, carrier)
            except CallsError as error:
                logger.warning("Call %s could not be canceled: %s", attempt.call_id, error)
    ignored = CallOrder.objects.select_related("call").filter(
        taken_at=None, kind=CallOrder.Kind.HANG_UP, created_at__lt=overdue
    )
    for order in ignored[:MOST_AT_ONCE]:
        with about_call(order.call_id):
            try:
                if order.call.status not in TERMINAL:
                    hang_up_at_carrier(order.call, carrier)
            except CallsError as error:
                logger.warning("Call %s could not be hung up: %s", order.call_id, error)
            else:
                # Only afterwards: if this process dies in between, the next run repeats it.
                CallOrder.objects.filter(pk=order.pk, taken_at=None).update(taken_at=now)
