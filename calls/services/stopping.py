"""
Stopping calls: cancel those that are not answered yet, and hang up those that are.

A call that is canceled gets ``canceled_at`` first: from then on no attempt begins, whatever this process still manages
to do. ``reconciling`` repeats at the carrier what failed there.
"""

from uuid import UUID

from django.db import transaction
from django.utils import timezone

from calls.carrier import Carrier, get_carrier
from calls.errors import CallsError, CarrierError
from calls.models import Call, CallOrder, DialAttempt
from calls.services import orders
from calls.services.attempts import NOT_SENT, Outcome, apply_carrier_state, move_attempt
from calls.services.records import get_call, move
from calls.services.slots import is_live
from calls.status import TERMINAL, UNANSWERED, Status


def cancel_call(*, call_id: UUID | str, carrier: Carrier | None = None) -> Call:
    """
    Do not dial this call, or stop dialling it. It ends at once, or as soon as the carrier has stopped.

    Idempotent. Raises ``CallsError`` (``call-answered``, ``call-over``) if there is nothing left to cancel.
    """
    call = get_call(call_id)
    if call.status == Status.CANCELED:
        return call
    if call.status in TERMINAL:
        raise CallsError(f"The call has ended already, as {call.status}, so it cannot be canceled.", code="call-over")
    if call.status not in UNANSWERED:
        text = "The call has been answered, so it cannot be canceled. Hang it up instead."
        raise CallsError(text, code="call-answered")
    _cancel_unanswered(call, carrier)
    call.refresh_from_db()
    return call


def hang_up(*, call_id: UUID | str, carrier: Carrier | None = None) -> Call:
    """
    End this call whatever its state. If its agent is talking, the agent says goodbye; otherwise the carrier ends it.

    Idempotent. Does nothing for a call that has ended.
    """
    call = get_call(call_id)
    if call.status in TERMINAL:
        return call
    if call.status in UNANSWERED and call.direction == Call.Direction.OUTBOUND:
        _cancel_unanswered(call, carrier)
    elif is_live(call):
        orders.send_order(call, CallOrder.Kind.HANG_UP, {"reason": "operator"})
    else:
        hang_up_at_carrier(call, carrier)
    call.refresh_from_db()
    return call


def _cancel_unanswered(call: Call, carrier: Carrier | None) -> None:
    """Begin no more attempts, and end the one that has begun as soon as possible."""
    now = timezone.now()
    with transaction.atomic():
        Call.objects.filter(pk=call.pk, canceled_at=None).update(canceled_at=now)
        # A claim clears due_at as well, so either the claim or this cancellation succeeds.
        if Call.objects.filter(pk=call.pk, status=Status.QUEUED, due_at__isnull=False).update(due_at=None):
            call.refresh_from_db()
            move(call, Status.CANCELED, at=now, reason="canceled")
            return
    for attempt in call.attempts.select_related("call__agent").filter(ended_at=None):
        if DialAttempt.objects.filter(pk=attempt.pk, requested_at=None).update(requested_at=now):
            move_attempt(attempt, Outcome(Status.CANCELED, at=now, error_code=NOT_SENT))
        elif attempt.sid:
            end_attempt(attempt, carrier)
        # Otherwise its request is under way. `dial` ends it when the carrier's answer brings the sid.


def end_attempt(attempt: DialAttempt, carrier: Carrier | None = None) -> None:
    """End an attempt that the carrier has already. Raises ``CallsError`` if the carrier fails."""
    ringing = attempt.status in UNANSWERED
    try:
        carrier = carrier or get_carrier()
        was_on = carrier.hang_up(attempt.sid or "", ringing=ringing)
        # The carrier sends no callback for a call that it still had in its queue.
        seen = carrier.fetch_call(attempt.sid or "") if was_on and ringing else None
    except CarrierError as error:
        raise CallsError(
            f"The carrier could not end the call; this will be repeated. {error}",
            permanent=False,
            code="carrier-failed",
        ) from error
    if seen is not None:
        apply_carrier_state(attempt, seen)


def hang_up_at_carrier(call: Call, carrier: Carrier | None = None) -> None:
    """End an answered call at the carrier, without its agent. Raises ``CallsError`` if the carrier fails."""
    if not call.sid:
        return
    try:
        (carrier or get_carrier()).hang_up(call.sid, ringing=False)
    except CarrierError as error:
        text = f"The carrier could not end the call. {error}"
        raise CallsError(text, permanent=False, code="carrier-failed") from error
    Call.objects.filter(pk=call.pk, end_reason="").update(end_reason="operator")
