"""Records Twilio's reports about calls and streams, however late, repeated and out of order."""

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone

from calls.models import Call, CallEvent, CallOrder, DialAttempt, Lease, MachineDetection
from calls.plain_text import storable
from calls.services import attempts, orders
from calls.services.records import fact_id_of, find_call, move, twilio_time, write_event
from calls.services.slots import ANSWERING
from calls.status import MOVES, TERMINAL, UNANSWERED, Status
from calls.variables import fill

logger = logging.getLogger(__name__)


def record_status(
    *,
    sid: str,
    status: str,
    sequence: str = "",
    timestamp: str = "",
    duration: str = "",
    attempt_id: str = "",
    params: Mapping[str, str] | None = None,
) -> Call | None:
    """
    Record a status callback. Its fields are as Twilio wrote them. None if the call is not ours.

    A callback is written once per ``SequenceNumber``. The table of moves is enough to put callbacks in order: one that
    was overtaken would move the call back, and no such move exists.
    """
    params = params or {}
    attempt = attempts.find_attempt(attempt_id=attempt_id, sid=sid)
    if attempt is not None and not attempts.adopt_sid(attempt, sid):
        return None
    call = attempt.call if attempt is not None else find_call(sid=sid)
    if call is None:
        logger.warning("Ignored status %r of call %s: unknown call", status, sid)
        return None
    at = twilio_time(timestamp)
    with transaction.atomic():
        # The move comes first. Otherwise two reports at once lock each other's rows (PostgreSQL: deadlock detected).
        moved = False
        if status in MOVES:
            moved = _move_attempt(attempt, Status(status), at, params) if attempt else move(call, Status(status), at=at)
        else:
            logger.warning("Ignored the status of call %s: %r is unknown", sid, status)
        write_event(fact_id_of("status", sid, sequence or status), call.pk, f"status-{status}"[:64], at, params)
        if status in TERMINAL and duration.isdecimal():
            # Also if the call was closed before: Twilio's own count is more exact.
            Call.objects.filter(pk=call.pk, status=status).update(duration=float(duration[:9]))
    logger.log(logging.INFO if moved else logging.DEBUG, "Call %s: %s%s", sid, status, "" if moved else " (no change)")
    return call


def _move_attempt(attempt: DialAttempt, status: Status, at: datetime, params: Mapping[str, str]) -> bool:
    if status in UNANSWERED:
        # The phone may ring later than expected, so the slot is held longer.
        until = timezone.now() + timedelta(seconds=attempt.call.agent.ring_timeout + ANSWERING)
        Lease.objects.filter(call_id=attempt.call_id, stream=0, expires_at__lt=until).update(expires_at=until)
    sip_code = params.get("SipResponseCode", "")
    outcome = attempts.Outcome(
        status,
        at=at,
        sip_code=int(sip_code) if sip_code.isdecimal() and len(sip_code) == 3 else None,
        error_code=params.get("ErrorCode", ""),
        error=params.get("ErrorMessage", ""),
        reason="voicemail" if attempt.answered_by.startswith("machine") and status in TERMINAL else "",
    )
    return attempts.move_attempt(attempt, outcome)


def record_verdict(
    *, sid: str, answered_by: str, attempt_id: str = "", params: Mapping[str, str] | None = None
) -> bool:
    """
    Record what machine detection found. Twilio reports it once, sometimes twice, and sometimes after the call's end.

    Returns whether it is new. The call, or else its agent, says what follows: nothing, a message, or the call's end.
    """
    answered_by = storable(answered_by)[:32]
    attempt = attempts.find_attempt(attempt_id=attempt_id, sid=sid)
    if attempt is None or not attempts.adopt_sid(attempt, sid):
        logger.warning("Ignored the answering machine verdict %r about call %s: unknown call", answered_by, sid)
        return False
    call, now = attempt.call, timezone.now()
    with transaction.atomic():
        if not write_event(fact_id_of("amd", sid), call.pk, "answered-by", now, params or {})[1]:
            return False
        DialAttempt.objects.filter(pk=attempt.pk).update(answered_by=answered_by)
        Call.objects.filter(pk=call.pk, attempts_made=attempt.number).update(answered_by=answered_by)
        call.refresh_from_db()
        wanted = call.detection
        if call.attempts_made != attempt.number or call.status in TERMINAL or not _ends_call(answered_by, wanted):
            return True
        if call.events.filter(kind="transfer").exists():
            # The agent spoke with a person. The order would hang up on them when the transfer is not answered.
            return True
        message = call.agent.voicemail_message if wanted is MachineDetection.MESSAGE and answered_by != "fax" else ""
        orders.send_order(call, CallOrder.Kind.VOICEMAIL, {"message": fill(message, call.variables)})
    return True


def _ends_call(answered_by: str, wanted: MachineDetection) -> bool:
    """Whether the call does not go on as a conversation. An answer of ``unknown`` counts as a person."""
    if answered_by == "fax":
        return True
    return answered_by.startswith("machine") and wanted in (MachineDetection.HANG_UP, MachineDetection.MESSAGE)


def record_stream_event(
    *,
    sid: str,
    stream_sid: str,
    event: str,
    error: str = "",
    timestamp: str = "",
    params: Mapping[str, str] | None = None,
) -> CallEvent | None:
    """Record a stream's status callback as an event only, since it may come before or after the stream itself."""
    call = find_call(sid=sid)
    if call is None:
        logger.warning("Ignored stream event %r of call %s: unknown call", event, sid)
        return None
    if error:
        logger.warning("Call %s: Twilio reports %s: %s", sid, event, error)
    fact_id = fact_id_of("stream", stream_sid, event, timestamp)
    return write_event(fact_id, call.pk, f"twilio-{event}"[:64], twilio_time(timestamp), params or {})[0]
