"""
Dialling: claim each call once it is due and may be dialled, and send its one request.

The database is the truth. A call that waits has a ``due_at``; a dispatcher claims it by one compare-and-set
``UPDATE``, which any number of them may try on any database. The claim makes an attempt row; ``requested_at`` on that
row is set by one process alone, right before the one request that the carrier ever gets for it. Where the answer is
lost, the carrier is asked what it has (``reconciling``): nothing is ever sent a second time on suspicion.
"""

import logging
from time import monotonic
from typing import Any
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from calls.carrier import Carrier, CarrierCall, CarrierError, Kind, get_carrier
from calls.errors import CallsError
from calls.models import Call, DialAttempt, DialPace, MachineDetection
from calls.services import attempts, pacing
from calls.services.attempts import NOT_SENT, adopt, apply_news, move_attempt
from calls.services.obstacles import find_late_obstacle
from calls.services.placing import LONGEST_CALL
from calls.services.records import fact_id_of, write_event
from calls.services.stopping import end_attempt
from calls.status import Status

logger = logging.getLogger(__name__)

STALLED = 10.0
"""Seconds between the decision to send a request and its sending, after which it is not sent any more."""
ACCOUNT_PAUSE = 300.0
"""Seconds for which dialling stops where the carrier refuses the account."""
CAPACITY_PAUSE = 10.0
"""Seconds at least for which it stops where the carrier has too many calls at once."""


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
    if obstacle := find_late_obstacle(attempt, now):
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
            retry_at = pacing.pause_dialling(text, now, at_least=wait)
            move_attempt(attempt, Status.FAILED, at=now, error_code=code, error=text, retry_at=retry_at)
        case Kind.ACCOUNT:
            logger.critical("Dialling is paused for %.0f s: the carrier refuses the account: %s", ACCOUNT_PAUSE, text)
            retry_at = pacing.pause_dialling(text, now, at_least=ACCOUNT_PAUSE)
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
