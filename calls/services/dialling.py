"""
Dialling: send the one request of each claimed attempt.

``requested_at`` of an attempt is set by one process alone, right before the only request that the carrier ever gets for
it. If the answer is lost, ``reconciling`` asks the carrier whether it has the call. Nothing is sent a second time on
suspicion.
"""

import logging
from datetime import datetime, timedelta
from time import monotonic
from typing import Literal
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from calls import metrics
from calls.carrier import Carrier, CarrierCall, get_carrier
from calls.carrier_errors import REFUSALS
from calls.errors import PAUSING, CallsError, CarrierError, FailureKind
from calls.models import Call, DialAttempt, DialPause, MachineDetection
from calls.services import attempts, pacing, pauses
from calls.services.attempts import (
    ACCOUNT_REFUSED,
    NOT_SENT,
    REFUSED,
    REFUSED_CODES,
    Outcome,
    adopt_sid,
    apply_carrier_state,
    move_attempt,
)
from calls.services.obstacles import Obstacle, find_late_obstacle
from calls.services.placing import LONGEST_CALL
from calls.services.records import fact_id_of, write_event
from calls.services.stopping import end_attempt
from calls.status import Status

logger = logging.getLogger(__name__)

STALLED = 10.0
"""
Seconds between taking an attempt and sending its request, after which it is not sent any more.

It is less than ``reconciling.UNANSWERED_REQUEST``, after which another process looks for the request at the carrier.
"""
CAPACITY_PAUSE = 10.0
"""Seconds for which dialling stops at least when the carrier has too many live calls: one of them must end first."""


def dial(attempt_id: UUID | str, *, carrier: Carrier | None = None) -> bool:
    """
    Send the one request of this attempt unless something now stands against it. Returns whether it was sent.

    Safe to run twice, and for an attempt that another process is dialling.
    """
    started = monotonic()
    attempt = _take(attempt_id)
    if attempt is None or attempt.requested_at is None:
        return False
    # The claim may be old: the rules are asked again.
    if obstacle := find_late_obstacle(attempt, attempt.requested_at):
        pauses.end_trial(attempt, attempt.requested_at, wait=0.0)
        move_attempt(attempt, _outcome_of_obstacle(obstacle, attempt.requested_at))
        return False
    try:
        carrier = carrier or get_carrier()
        if monotonic() - started > STALLED:
            # Another process may be about to conclude that the request was lost.
            now = timezone.now()
            pauses.end_trial(attempt, now, wait=0.0)
            move_attempt(attempt, Outcome(Status.FAILED, at=now, error_code=NOT_SENT, retry_at=now))
            return False
        created = _request_call(attempt, carrier)
    except CarrierError as error:
        logger.warning("The carrier did not take %s: %s", attempt, error)
        metrics.DIAL_REQUESTS[error.kind].inc()
        _note_refusal(attempt, error, timezone.now())
        return True
    metrics.DIAL_REQUESTS["created"].inc()
    _note_created(attempt, created, carrier)
    return True


def _take(attempt_id: UUID | str) -> DialAttempt | None:
    """Become the only process that sends this attempt's request; None if another one has, or the attempt has ended."""
    attempt = attempts.find_attempt(attempt_id=str(attempt_id))
    if attempt is None or attempt.requested_at is not None or attempt.ended_at is not None:
        return None
    now = timezone.now()
    if not DialAttempt.objects.filter(pk=attempt.pk, requested_at=None, ended_at=None).update(requested_at=now):
        return None
    attempt.requested_at = now
    return attempt


def _outcome_of_obstacle(obstacle: Obstacle, now: datetime) -> Outcome:
    """The attempt was not sent. Its call is put off until the obstacle is gone, or ends with it."""
    if obstacle.status is not None:
        return Outcome(
            obstacle.status, at=now, error_code=NOT_SENT, error=obstacle.why, permanent=True, reason=obstacle.why
        )
    return Outcome(Status.FAILED, at=now, error_code=NOT_SENT, error=obstacle.why, retry_at=obstacle.until)


_DETECTION: dict[MachineDetection, Literal["", "Enable", "DetectMessageEnd"]] = {
    MachineDetection.OFF: "",
    MachineDetection.TALK: "Enable",
    MachineDetection.HANG_UP: "Enable",
    # Only this mode waits for the beep.
    MachineDetection.MESSAGE: "DetectMessageEnd",
}


def _request_call(attempt: DialAttempt, carrier: Carrier) -> CarrierCall:
    call = attempt.call
    base, query = settings.PUBLIC_BASE_URL, f"?attempt={attempt.pk}"
    return carrier.create_call(
        to_number=attempt.to_number,
        from_number=attempt.from_number,
        voice_url=f"{base}/twilio/voice/{query}",
        status_url=f"{base}/twilio/status/{query}",
        amd_url=f"{base}/twilio/amd/{query}",
        machine_detection=_DETECTION[call.detection],
        ring_timeout=call.agent.ring_timeout,
        # The agent says goodbye by itself; this limit holds if it cannot.
        time_limit=min(call.duration_limit + settings.TRANSFER_TIME_LIMIT + 60, LONGEST_CALL),
    )


def _note_created(attempt: DialAttempt, created: CarrierCall, carrier: Carrier) -> None:
    """Record that the carrier has the call. Its callbacks may have come before this answer."""
    now = timezone.now()
    if not adopt_sid(attempt, created.sid):
        _hang_up_stray(created, carrier)
        return
    pauses.note_success(attempt, now)
    data = {"sid": created.sid, "attempt": attempt.number}
    write_event(fact_id_of("dialled", str(attempt.pk)), attempt.call_id, "dialled", now, data)
    apply_carrier_state(attempt, created)
    if Call.objects.filter(pk=attempt.call_id, canceled_at__isnull=False).exists():
        try:
            end_attempt(attempt, carrier)
        except CallsError as error:
            logger.warning("Call %s was canceled while it was being dialled: %s", attempt.call_id, error)


def _note_refusal(attempt: DialAttempt, error: CarrierError, now: datetime) -> None:
    """Record that the request failed, and pause what it concerns."""
    if error.kind is FailureKind.UNKNOWN:
        # A callback or `reconcile` will tell. Whatever is done now could be done twice.
        data = {"attempt": attempt.number, "error": str(error)}
        write_event(fact_id_of("unknown", str(attempt.pk)), attempt.call_id, "outcome-unknown", now, data)
        return
    if error.kind not in PAUSING:
        move_attempt(attempt, _outcome_of_refusal(error, now))
        pauses.end_trial(attempt, now, wait=pauses.TRY_ANOTHER)
        return
    # The first time the call is due at once: it keeps its place until the pause ends. If it is refused again although
    # the pause had ended, something is wrong with this call alone, which must not stop the others again soon.
    refusals = attempt.call.attempts.filter(error_code__in=REFUSED_CODES).count()
    retry_at = now + timedelta(seconds=pauses.wait_after(refusals))
    pause = pauses.pause_for(attempt, error, now)
    pauses.end_trial(attempt, now, wait=pauses.TRY_ANOTHER)  # of other pauses
    outcome = Outcome(Status.FAILED, at=now, error_code=_code_of(error), error=str(error), retry_at=retry_at)
    if move_attempt(attempt, outcome) and pause.scope != DialPause.Scope.EVERYTHING:
        pauses.hold_calls(pause, [attempt.call_id])


def _outcome_of_refusal(error: CarrierError, now: datetime) -> Outcome:
    """Return the outcome of a request that failed because of the carrier's load or because of the number."""
    text = str(error)
    if error.kind is FailureKind.NUMBER:
        code = str(error.twilio_code or error.status or "")
        return Outcome(Status.FAILED, at=now, error_code=code, error=text, permanent=True, reason="number-refused")
    pause = error.retry_after or 0.0
    if error.kind is FailureKind.CAPACITY:
        pause = max(pause, CAPACITY_PAUSE)
        pacing.learn_call_limit(now)
    # A carrier that cannot be reached at all gives no code: then the request was surely not sent.
    code = str(error.twilio_code or NOT_SENT)
    retry_at = pauses.slow_down(text, now, at_least=pause)
    return Outcome(Status.FAILED, at=now, error_code=code, error=text, retry_at=retry_at)


def _code_of(error: CarrierError) -> str:
    """The error code of an attempt whose call waits: the carrier's number if it is known, else a word."""
    if error.kind is FailureKind.ACCOUNT:
        return ACCOUNT_REFUSED
    return str(error.twilio_code) if error.twilio_code in REFUSALS else REFUSED


def _hang_up_stray(created: CarrierCall, carrier: Carrier) -> None:
    """End a second call that the carrier made for one attempt, before it rings."""
    logger.error("The carrier made call %s for an attempt that has a call already; ending it", created.sid)
    try:
        carrier.hang_up(created.sid, ringing=True)
    except CarrierError as error:
        logger.error("Call %s could not be ended: %s", created.sid, error)
