"""What Twilio reports of calls and streams, however late, often and out of order."""

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone

from calls.models import Call, CallEvent, CallOrder, DialAttempt, Lease, MachineDetection
from calls.services import attempts, orders
from calls.services.records import clean, clean_values, fact_id_of, find_call, move, twilio_time, write_event
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
    A status callback, its fields as Twilio wrote them; ``None`` if the call is not ours.

    Written once per ``SequenceNumber``. Order needs no bookkeeping beyond the table of moves: a callback that
    was overtaken would move the call back, and no such move exists. The end is final.
    """
    params = clean_values(params or {})
    attempt = attempts.find_attempt(attempt_id=attempt_id, sid=sid)
    if attempt is not None and not attempts.adopt_sid(attempt, sid):
        return None
    call = attempt.call if attempt is not None else find_call(sid=sid)
    if call is None:
        logger.warning("Status %r for an unknown call %s", status, sid)
        return None
    at = twilio_time(timestamp)
    with transaction.atomic():
        # First the move: two reports at once would otherwise hold each other's rows (PostgreSQL: deadlock detected).
        moved = False
        if status in MOVES:
            moved = _follow(attempt, Status(status), at, params) if attempt else move(call, Status(status), at=at)
        else:
            logger.warning("Call %s reports a status that we do not know: %r", sid, status)
        write_event(fact_id_of("status", sid, sequence or status), call.pk, f"status-{status}"[:64], at, params)
        if status in TERMINAL and duration.isdecimal():
            # Also where the books were closed before: Twilio's own count is the better one.
            Call.objects.filter(pk=call.pk, status=status).update(duration=float(duration[:9]))
    logger.log(logging.INFO if moved else logging.DEBUG, "Call %s: %s%s", sid, status, "" if moved else " (no change)")
    return call


def _follow(attempt: DialAttempt, status: Status, at: datetime, params: Mapping[str, str]) -> bool:
    """What the carrier says of an attempt."""
    if status in UNANSWERED:
        # It rings later than thought, perhaps: the slot is held a while longer.
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
    Machine detection's verdict on who answered. It comes once, perhaps twice, perhaps when the call is over.

    Returns whether it is news. What follows is as the call says, or its agent: nothing, a message, or the end.
    """
    answered_by = clean(answered_by)[:32]
    attempt = attempts.find_attempt(attempt_id=attempt_id, sid=sid)
    if attempt is None or not attempts.adopt_sid(attempt, sid):
        logger.warning("Machine detection's verdict %r on an unknown call %s", answered_by, sid)
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
        message = call.agent.voicemail_message if wanted is MachineDetection.MESSAGE and answered_by != "fax" else ""
        orders.send_order(call, CallOrder.Kind.VOICEMAIL, {"message": fill(message, call.variables)})
    return True


def _ends_call(answered_by: str, wanted: MachineDetection) -> bool:
    """``unknown`` is treated as a person."""
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
    """A stream's status callback. It comes before, between or after the stream's own messages, so it only informs."""
    call = find_call(sid=sid)
    if call is None:
        logger.warning("Stream event %r for an unknown call %s", event, sid)
        return None
    if error:
        logger.warning("Call %s: %s: %s", sid, event, error)
    fact_id = fact_id_of("stream", stream_sid, event, timestamp)
    return write_event(fact_id, call.pk, f"twilio-{event}"[:64], twilio_time(timestamp), params or {})[0]
