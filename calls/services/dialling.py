"""
Dialling: claim each call once it is due and may be dialled, and send its one request.

The database is the truth. A call that waits has a ``due_at``; a dispatcher claims it by one compare-and-set
``UPDATE``, which any number of them may try on any database. The claim makes an attempt row; ``requested_at`` on that
row is set by one process alone, right before the one request that the carrier ever gets for it. Where the answer is
lost, the carrier is asked what it has (``reconciling``): nothing is ever sent a second time on suspicion.
"""

import logging
import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from time import monotonic
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Count, F, Q
from django.utils import timezone

from calls import numbers, schedule
from calls.carrier import Carrier, CarrierCall, CarrierError, Kind, get_carrier
from calls.models import Call, CallEvent, DialAttempt, DialPace, DoNotCall, Lease, MachineDetection
from calls.services import attempts
from calls.services.admission import take_slot
from calls.services.attempts import NOT_SENT, adopt, apply_news, move_attempt
from calls.services.placing import LONGEST_CALL, end_attempt
from calls.services.records import CallsError, clean, fact_id_of, move, write_event
from calls.services.reports import ANSWERING
from calls.status import Status
from calls.waking import wake

logger = logging.getLogger(__name__)

MOST_AT_ONCE = 1000
"""Calls that one run looks at, so that it ends: it wakes the next one."""
BATCH = 100
"""Calls that are looked at together."""
INACTIVE = 300.0
"""Seconds after which a call whose agent is switched off is looked at again."""
NUMBER_BUSY = 15.0
"""Seconds after which a call whose number is on the line already is looked at again."""
STALLED = 10.0
"""Seconds between the decision to send a request and its sending, after which it is not sent any more."""
ACCOUNT_PAUSE = 300.0
"""Seconds for which dialling stops where the carrier refuses the account."""
CAPACITY_PAUSE = 10.0
"""Seconds at least for which it stops where the carrier has too many calls at once."""
LONGEST_PAUSE = timedelta(hours=2)
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
    if _paused(pace, now):
        return claimed
    limit = _limit(pace, now)
    room = min(wanted, limit - DialAttempt.objects.filter(ended_at=None).count())
    looked_at = 0
    while room > 0 and looked_at < MOST_AT_ONCE:
        due = Call.objects.select_related("agent").filter(status=Status.QUEUED, due_at__lte=now)
        batch = list(due.order_by("due_at", "created_at")[:BATCH])
        if not batch:
            return claimed
        looked_at += len(batch)
        known = _Known(batch, now)
        obstacles = {call: _obstacle(call, known, now) for call in batch}
        _clear_away(obstacles, now, claimed)
        ready = [call for call, obstacle in obstacles.items() if obstacle is None]
        # Places are taken only for what may really be dialled: one that is not used is lost.
        places = _take_places(min(room, len(ready)), now) if ready else 0
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
        recent = DialAttempt.objects.filter(
            Q(created_at__gt=now - timedelta(days=1)) | Q(ended_at=None), to_number__in=wanted
        )
        for number, start, end, code in recent.values_list("to_number", "created_at", "ended_at", "error_code"):
            if end is None:
                self.on_the_line.add(number)
            if code not in attempts.UNCOUNTED:
                self.starts.setdefault(number, []).append(start)


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why a call is not dialled now: it is put off ``until`` then, or over as ``status``."""

    why: str
    until: datetime | None = None
    status: Status | None = None


def _obstacle(call: Call, known: _Known, now: datetime) -> Obstacle | None:
    if ban := _ban(call, known.do_not_call):
        return ban
    if not call.agent.active:
        return Obstacle("agent-inactive", until=now + timedelta(seconds=INACTIVE))
    if closed := outside_hours(call, now):
        return closed
    per_day = settings.ATTEMPTS_PER_NUMBER_AND_DAY
    free = schedule.day_is_full(known.starts.get(call.to_number, ()), now=now, per_day=per_day)
    if free is not None:
        return Obstacle("attempts-per-day", until=free)
    if call.to_number in known.on_the_line:
        return Obstacle("number-busy", until=now + timedelta(seconds=NUMBER_BUSY))
    known.on_the_line.add(call.to_number)
    return None


def _ban(call: Call, do_not_call: Collection[str]) -> Obstacle | None:
    """Somebody does not want this call."""
    if call.canceled_at is not None:
        return Obstacle("canceled", status=Status.CANCELED)
    if call.to_number in do_not_call:
        return Obstacle("do-not-call", status=Status.CANCELED)
    return None


def outside_hours(call: Call, now: datetime) -> Obstacle | None:
    """It is not the time of day for this call, in one of the time zones that its number may be in."""
    try:
        zones = (call.timezone,) if call.timezone else numbers.zones_of(call.to_number)
        hours = _calling_hours(tuple(settings.CALLING_HOURS.items())).of(numbers.region_of(call.to_number))
        opens = schedule.next_allowed(now, zones=zones, hours=hours)
    except ValueError as error:  # a zone or a number that this machine's tables do not know any more
        logger.error("Call %s cannot be dialled: %s", call.pk, error)
        return Obstacle("unknown-hours", status=Status.FAILED)
    if opens is None:
        return Obstacle("no-calling-hours", status=Status.FAILED)
    return Obstacle("calling-hours", until=opens) if opens > now else None


@lru_cache(maxsize=8)
def _calling_hours(table: tuple[tuple[str, str], ...]) -> schedule.CallingHours:
    return schedule.CallingHours.parse(dict(table))


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
        obstacle = Obstacle("number-busy", until=now + timedelta(seconds=NUMBER_BUSY))
        _clear_away({call: obstacle}, now, Claimed())
        return None
    return attempt.pk


class _Full(Exception):
    """No slot is free after all."""


def _close(call: Call, status: Status, reason: str, now: datetime) -> bool:
    with transaction.atomic():
        mine = Call.objects.filter(pk=call.pk, status=Status.QUEUED, due_at=call.due_at)
        return bool(mine.update(due_at=None)) and move(call, status, at=now, reason=reason)


# --- Pace --------------------------------------------------------------------------------------------------


def _pace(now: datetime) -> DialPace:
    return DialPace.objects.get_or_create(pk=1, defaults={"next_at": now})[0]


def _paused(pace: DialPace, now: datetime) -> bool:
    """A pause that ends later than any is made for was left by a clock that has stepped back."""
    return pace.paused_until is not None and now < pace.paused_until <= now + LONGEST_PAUSE


def _limit(pace: DialPace, now: datetime) -> int:
    """How many calls of ours may be out at once: by our own limit, and by what the carrier has stood."""
    limit = min(settings.OUTBOUND_MAX_CALLS, settings.MAX_LIVE_CALLS)
    if pace.limit is not None and pace.limit_at is not None:
        grown = int(max(0.0, (now - pace.limit_at).total_seconds()) / LIMIT_GROWS)
        limit = min(limit, pace.limit + grown)
    return limit


def _take_places(wanted: int, now: datetime) -> int:
    """Take up to ``wanted`` places in the calls per second, shared with every other dispatcher."""
    rate = schedule.Pace(calls_per_second=settings.CALLS_PER_SECOND, burst=max(1, round(settings.CALLS_PER_SECOND)))
    while True:
        pace = _pace(now)
        granted, next_at = schedule.reserve(rate, next_at=pace.next_at, now=now, wanted=wanted)
        if granted == 0 or DialPace.objects.filter(pk=1, next_at=pace.next_at).update(next_at=next_at):
            return granted


def _pause(reason: str, now: datetime, *, at_least: float = 0.0) -> datetime:
    """
    Dial nothing for a while, longer with each failure in a row; returns until when.

    Requests that were under way together fail together: that is one failure.
    """
    pace = _pace(now)
    until = now + timedelta(seconds=at_least)
    if _paused(pace, now):
        DialPace.objects.filter(pk=1, paused_until__lt=until).update(paused_until=until, reason=clean(reason)[:255])
        return max(until, pace.paused_until)
    until = max(until, now + timedelta(seconds=schedule.backoff(pace.failures + 1, jitter=random.random())))
    mine = DialPace.objects.filter(pk=1, failures=pace.failures, paused_until=pace.paused_until)
    if mine.update(paused_until=until, reason=clean(reason)[:255], failures=F("failures") + 1):
        return until
    return _pause(reason, now, at_least=at_least)


@dataclass(frozen=True, slots=True)
class Outlook:
    """What the dialler is doing, for whoever watches it. ``pause`` is the pace while it is paused."""

    pace: DialPace | None
    pause: DialPace | None
    out: int
    due: int
    later: int


def outlook() -> Outlook:
    now = timezone.now()
    pace = DialPace.objects.filter(pk=1).first()
    waiting = Call.objects.filter(due_at__isnull=False).aggregate(
        due=Count("pk", filter=Q(due_at__lte=now)), later=Count("pk", filter=Q(due_at__gt=now))
    )
    pause = pace if pace is not None and _paused(pace, now) else None
    return Outlook(pace, pause, DialAttempt.objects.filter(ended_at=None).count(), waiting["due"], waiting["later"])


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
    now, started = timezone.now(), monotonic()
    if not DialAttempt.objects.filter(pk=attempt.pk, requested_at=None, ended_at=None).update(requested_at=now):
        return False
    attempt.requested_at = now
    # The claim may be old: what stands in the way now counts.
    if obstacle := _late_obstacle(attempt, now):
        move_attempt(
            attempt,
            obstacle.status or Status.FAILED,
            at=now,
            error_code=NOT_SENT,
            error=obstacle.why,
            permanent=obstacle.status is not None,
            reason=obstacle.why if obstacle.status else "",
            retry_at=obstacle.until,
        )
        return False
    try:
        carrier = carrier or get_carrier()
        if monotonic() - started > STALLED:
            # Others may be about to conclude that the request was lost.
            move_attempt(attempt, Status.FAILED, at=timezone.now(), error_code=NOT_SENT, retry_at=timezone.now())
            return False
        created = carrier.create_call(**_request(attempt))
    except CarrierError as error:
        logger.warning("Call %s, %s: %s", attempt.call_id, attempt, error)
        _refused(attempt, error)
        return True
    _dialled(attempt, created, carrier)
    return True


def _late_obstacle(attempt: DialAttempt, now: datetime) -> Obstacle | None:
    """What has come in between since the claim; None if the request may be sent."""
    call = Call.objects.select_related("agent").get(pk=attempt.call_id)
    listed = DoNotCall.objects.filter(number=call.to_number).values_list("number", flat=True)
    if obstacle := _ban(call, listed) or outside_hours(call, now):
        return obstacle
    pace = _pace(now)
    return Obstacle("dialling is paused", until=pace.paused_until) if _paused(pace, now) else None


def _request(attempt: DialAttempt) -> dict[str, Any]:
    call = attempt.call
    base, query = settings.PUBLIC_BASE_URL, f"?attempt={attempt.pk}"
    return {
        "to_number": attempt.to_number,
        "from_number": attempt.from_number,
        "voice_url": f"{base}/twilio/voice/{query}",
        "status_url": f"{base}/twilio/status/{query}",
        "amd_url": f"{base}/twilio/amd/{query}",
        "machine_detection": _DETECTION[call.detection],
        "ring_timeout": call.agent.ring_timeout,
        # The agent says goodbye by itself; this is for the case that it cannot.
        "time_limit": min(call.longest + settings.TRANSFER_TIME_LIMIT + 60, LONGEST_CALL),
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
    # Not while a pause lasts: this request may be older than it.
    DialPace.objects.filter(pk=1, failures__gt=0).exclude(paused_until__gt=now).update(
        failures=0, paused_until=None, reason=""
    )
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
            # Also a carrier that cannot be reached at all, which has no code for it.
            wait, code = error.retry_after or 0.0, str(error.code or NOT_SENT)
            if error.kind is Kind.CAPACITY:
                wait = max(wait, CAPACITY_PAUSE)
                out = DialAttempt.objects.filter(ended_at=None, requested_at__isnull=False).count()
                standing = max(1, out - 1)
                DialPace.objects.filter(pk=1).update(limit=standing, limit_at=now)
            retry_at = _pause(text, now, at_least=wait)
            move_attempt(attempt, Status.FAILED, at=now, error_code=code, error=text, retry_at=retry_at)
        case Kind.ACCOUNT:
            logger.critical("Dialling is paused for %.0f s: the carrier refuses the account: %s", ACCOUNT_PAUSE, text)
            retry_at = _pause(text, now, at_least=ACCOUNT_PAUSE)
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
