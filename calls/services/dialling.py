"""
Dialling: claim each call once it is due and may be dialled, and send its one request.

The database is the truth. A call that waits has a ``due_at``; a dispatcher claims it by one compare-and-set
``UPDATE``, which any number of them may try on any database. The claim makes an attempt row; ``requested_at`` on that
row is set by one process alone, right before the one request that the carrier ever gets for it. Where the answer is
lost, the carrier is asked what it has (``reconciling``): nothing is ever sent a second time on suspicion.
"""

import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils import timezone

from calls import numbers, schedule
from calls.carrier import Carrier, CarrierCall, CarrierError, Kind, get_carrier
from calls.models import Call, DialAttempt, DialPace, DoNotCall, Lease, MachineDetection
from calls.services import attempts
from calls.services.admission import take_slot
from calls.services.attempts import NOT_SENT, adopt, apply_news, move_attempt
from calls.services.placing import end_attempt
from calls.services.records import CallsError, fact_id_of, move, write_event
from calls.services.reports import ANSWERING
from calls.status import Status

logger = logging.getLogger(__name__)

MOST_AT_ONCE = 200
"""Calls that one run looks at, so that it ends: the next one goes on."""
NUMBER_BUSY = 15.0
"""Seconds after which a call whose number is on the line already is looked at again."""
ACCOUNT_PAUSE = 300.0
"""Seconds for which dialling stops where the carrier refuses the account."""
CAPACITY_PAUSE = 10.0
"""Seconds at least for which it stops where the carrier has too many calls at once."""
LIMIT_GROWS = 60.0
"""Seconds after which one more call at once is tried than the carrier has stood."""


# --- Claiming ----------------------------------------------------------------------------------------------


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
    pace = _pace(now)
    if pace.paused_until is not None and now < pace.paused_until:
        return claimed
    room = min(wanted, _room(pace, now))
    looked_at = 0
    while room > 0 and looked_at < MOST_AT_ONCE:
        due = Call.objects.select_related("agent").filter(status=Status.QUEUED, due_at__lte=now)
        batch = list(due.order_by("due_at", "created_at")[: min(MOST_AT_ONCE - looked_at, 50)])
        if not batch:
            break
        looked_at += len(batch)
        known = _Known(batch, now)
        ready = [call for call in batch if not _obstacle(call, known, now, claimed)]
        # Places are taken only for what may really be dialled: one that is not used is lost.
        places = _take_places(min(room, len(ready)), now) if ready else 0
        for call in ready[:places]:
            attempt_id = _claim(call, now)
            if attempt_id is not None:
                claimed.attempts.append(attempt_id)
                room -= 1
        if places < len(ready):
            break
    return claimed


class _Known:
    """What the rules need of all the numbers of a batch, in three queries."""

    def __init__(self, batch: Sequence[Call], now: datetime) -> None:
        wanted = {call.to_number for call in batch}
        self.do_not_call = set(DoNotCall.objects.filter(number__in=wanted).values_list("number", flat=True))
        self.on_the_line = set(
            Lease.objects.filter(
                call__from_number__in=wanted, call__direction=Call.Direction.INBOUND, expires_at__gt=now
            ).values_list("call__from_number", flat=True)
        )
        self.starts: dict[str, list[datetime]] = {}
        recent = DialAttempt.objects.filter(to_number__in=wanted, created_at__gt=now - timedelta(days=1))
        for number, start, end, code in recent.values_list("to_number", "created_at", "ended_at", "error_code"):
            if end is None:
                self.on_the_line.add(number)
            if code not in attempts.UNCOUNTED:
                self.starts.setdefault(number, []).append(start)


def _obstacle(call: Call, known: _Known, now: datetime, claimed: Claimed) -> bool:
    """Whether something is in the way of dialling this call now; it is then put off, or over."""
    if call.to_number in known.do_not_call:
        claimed.ended += _close(call, Status.CANCELED, "do-not-call", now)
        return True
    opens = next_allowed(call, now)
    if opens is None:
        claimed.ended += _close(call, Status.FAILED, "no-calling-hours", now)
        return True
    if opens > now:
        claimed.put_off += _put_off(call, opens, "calling-hours", now)
        return True
    per_day = settings.ATTEMPTS_PER_NUMBER_AND_DAY
    free = schedule.day_is_full(known.starts.get(call.to_number, ()), now=now, per_day=per_day)
    if free is not None:
        claimed.put_off += _put_off(call, free, "attempts-per-day", now)
        return True
    if call.to_number in known.on_the_line:
        claimed.put_off += _put_off(call, now + timedelta(seconds=NUMBER_BUSY), "number-busy", now)
        return True
    known.on_the_line.add(call.to_number)
    return False


def next_allowed(call: Call, now: datetime) -> datetime | None:
    """When the call's number may be dialled next: now, or later in every time zone that it may be in, or never."""
    zones = (call.timezone,) if call.timezone else numbers.zones_of(call.to_number)
    hours = _calling_hours(tuple(settings.CALLING_HOURS.items()))
    return schedule.next_allowed(now, zones=zones, hours=hours.of(numbers.region_of(call.to_number)))


@lru_cache(maxsize=8)
def _calling_hours(table: tuple[tuple[str, str], ...]) -> schedule.CallingHours:
    return schedule.CallingHours.parse(dict(table))


def _claim(call: Call, now: datetime) -> UUID | None:
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
            if not take_slot(call, now, until=now + timedelta(seconds=call.agent.ring_timeout + ANSWERING)):
                raise _Full
    except (IntegrityError, _Full):
        return None
    return attempt.pk


class _Full(Exception):
    """No slot is free after all."""


def _put_off(call: Call, until: datetime, why: str, now: datetime) -> bool:
    """Look at the call again at ``until``; its events tell why, once for each reason."""
    mine = Call.objects.filter(pk=call.pk, status=Status.QUEUED, due_at=call.due_at)
    if not mine.update(due_at=until):
        return False
    fact_id = fact_id_of("put-off", str(call.pk), str(call.attempts_made), why, until.date().isoformat())
    write_event(fact_id, call.pk, "put-off", now, {"why": why, "until": until.isoformat()})
    return True


def _close(call: Call, status: Status, reason: str, now: datetime) -> bool:
    return move(call, status, at=now, reason=reason)


# --- Pace --------------------------------------------------------------------------------------------------


def _pace(now: datetime) -> DialPace:
    return DialPace.objects.get_or_create(pk=1, defaults={"next_at": now})[0]


def _room(pace: DialPace, now: datetime) -> int:
    """How many more calls may be out at once: by our own limits, the carrier's, and the free slots."""
    out = DialAttempt.objects.filter(ended_at=None).count()
    limit = settings.OUTBOUND_MAX_CALLS
    if pace.limit is not None and pace.limit_at is not None:
        limit = min(limit, pace.limit + int((now - pace.limit_at).total_seconds() / LIMIT_GROWS))
    free = settings.MAX_LIVE_CALLS - Lease.objects.filter(expires_at__gt=now).count()
    return min(limit - out, free)


def _take_places(wanted: int, now: datetime) -> int:
    """Take up to ``wanted`` places in the calls per second, shared with every other dispatcher."""
    rate = schedule.Pace(calls_per_second=settings.CALLS_PER_SECOND, burst=max(1, round(settings.CALLS_PER_SECOND)))
    while True:
        pace = _pace(now)
        granted, next_at = schedule.reserve(rate, next_at=pace.next_at, now=now, wanted=wanted)
        if granted == 0 or DialPace.objects.filter(pk=1, next_at=pace.next_at).update(next_at=next_at):
            return granted


def _pause(seconds: float, reason: str, now: datetime) -> None:
    until = now + timedelta(seconds=seconds)
    DialPace.objects.filter(pk=1).update(paused_until=until, reason=reason[:255], failures=F("failures") + 1)


def resume() -> None:
    """Go on dialling, whatever the carrier has refused."""
    DialPace.objects.update(paused_until=None, reason="", failures=0, limit=None, limit_at=None)


# --- Dialling ----------------------------------------------------------------------------------------------


def dial(attempt_id: UUID | str, *, carrier: Carrier | None = None) -> bool:
    """
    Send the one request of this attempt, unless something has come in between. Returns whether it was sent.

    Safe to run twice, and for an attempt that somebody else is dialling.
    """
    attempt = attempts.find_attempt(attempt_id=str(attempt_id))
    if attempt is None or attempt.requested_at is not None or attempt.ended_at is not None:
        return False
    now = timezone.now()
    call = attempt.call
    opens = next_allowed(call, now)
    banned = DoNotCall.objects.filter(number=call.to_number).exists()
    if not DialAttempt.objects.filter(pk=attempt.pk, requested_at=None, ended_at=None).update(requested_at=now):
        return False
    attempt.requested_at = now
    # The claim may be old: what forbids the call now forbids it.
    if banned:
        move_attempt(attempt, Status.CANCELED, at=now, error_code=NOT_SENT, permanent=True, reason="do-not-call")
        return False
    if opens is None or opens > now:
        move_attempt(attempt, Status.FAILED, at=now, error_code=NOT_SENT, error="outside calling hours", retry_at=opens)
        return False
    if Call.objects.filter(pk=call.pk, canceled_at__isnull=False).exists():
        move_attempt(attempt, Status.CANCELED, at=now, error_code=NOT_SENT)
        return False
    try:
        carrier = carrier or get_carrier()
        created = carrier.create_call(**_request(attempt))
    except CarrierError as error:
        logger.warning("Call %s, %s: %s", call.pk, attempt, error)
        _refused(attempt, error)
        return True
    _dialled(attempt, created, carrier)
    return True


def _request(attempt: DialAttempt) -> dict[str, Any]:
    call = attempt.call
    base, query = settings.PUBLIC_BASE_URL, f"?attempt={attempt.pk}"
    detection = MachineDetection(call.machine_detection or call.agent.machine_detection)
    return {
        "to_number": attempt.to_number,
        "from_number": attempt.from_number,
        "voice_url": f"{base}/twilio/voice/{query}",
        "status_url": f"{base}/twilio/status/{query}",
        "amd_url": f"{base}/twilio/amd/{query}",
        "machine_detection": _DETECTION[detection],
        "ring_timeout": call.agent.ring_timeout,
        # The agent says goodbye by itself; this is for the case that it cannot.
        "time_limit": (call.max_duration or call.agent.max_duration) + settings.TRANSFER_TIME_LIMIT + 60,
    }


_DETECTION = {
    MachineDetection.OFF: "",
    MachineDetection.TALK: "Enable",
    MachineDetection.HANG_UP: "Enable",
    # Only this mode waits for the beep.
    MachineDetection.MESSAGE: "DetectMessageEnd",
}


def _dialled(attempt: DialAttempt, created: CarrierCall, carrier: Carrier) -> None:
    """The carrier has the call. Its callbacks may have told us before."""
    now = timezone.now()
    if not adopt(attempt, created.sid):
        _hang_up_stray(created, carrier)
        return
    DialPace.objects.filter(pk=1, failures__gt=0).update(failures=0, paused_until=None, reason="")
    data = {"sid": created.sid, "attempt": attempt.number}
    write_event(fact_id_of("dialled", str(attempt.pk)), attempt.call_id, "dialled", now, data)
    apply_news(attempt, created)
    if Call.objects.filter(pk=attempt.call_id, canceled_at__isnull=False).exists():
        try:
            end_attempt(attempt, carrier)
        except CallsError as error:
            logger.warning("Call %s was canceled while it was dialled: %s", attempt.call_id, error)


def _refused(attempt: DialAttempt, error: CarrierError) -> None:
    """The carrier did not take the call, or it is not known whether it did."""
    now = timezone.now()
    code, text = str(error.code or error.status or ""), str(error)
    match error.kind:
        case Kind.UNKNOWN:
            # Left open: callbacks or `reconcile` will tell. Whatever is done now could be done twice.
            data = {"attempt": attempt.number, "error": text}
            write_event(fact_id_of("unknown", str(attempt.pk)), attempt.call_id, "outcome-unknown", now, data)
        case Kind.LATER | Kind.CAPACITY:
            pace = _pace(now)
            wait = error.retry_after or schedule.backoff(pace.failures + 1, jitter=random.random())
            if error.kind is Kind.CAPACITY:
                wait = max(wait, CAPACITY_PAUSE)
                standing = max(1, DialAttempt.objects.filter(ended_at=None).count() - 1)
                DialPace.objects.filter(pk=1).update(limit=standing, limit_at=now)
            _pause(wait, text, now)
            code = "10004" if error.kind is Kind.CAPACITY else "20429"
            retry_at = now + timedelta(seconds=wait)
            move_attempt(attempt, Status.FAILED, at=now, error_code=code, error=text, retry_at=retry_at)
        case Kind.ACCOUNT:
            logger.critical("Dialling is paused for %.0f s: the carrier refuses the account: %s", ACCOUNT_PAUSE, text)
            _pause(ACCOUNT_PAUSE, text, now)
            retry_at = now + timedelta(seconds=ACCOUNT_PAUSE)
            move_attempt(attempt, Status.FAILED, at=now, error_code="account", error=text, retry_at=retry_at)
        case Kind.NUMBER | Kind.SETTINGS:
            reason = "number-refused" if error.kind is Kind.NUMBER else "settings-refused"
            if error.kind is Kind.SETTINGS:
                logger.error("The carrier refuses how we call %s: %s", attempt.to_number, text)
            move_attempt(attempt, Status.FAILED, at=now, error_code=code, error=text, permanent=True, reason=reason)


def _hang_up_stray(created: CarrierCall, carrier: Carrier) -> None:
    """A second call for one attempt must not be; if it is, it ends before it rings."""
    logger.error("The carrier made call %s for an attempt that has a call already: ending it", created.sid)
    try:
        carrier.hang_up(created.sid, ringing=True)
    except CarrierError as error:
        logger.error("Call %s could not be ended: %s", created.sid, error)
