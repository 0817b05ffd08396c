"""Stopping calls: those that are not answered yet, and those that are."""

from uuid import UUID

from django.db import transaction
from django.utils import timezone

from calls.carrier import Carrier, CarrierError, get_carrier
from calls.errors import CallsError
from calls.models import Call, CallOrder, DialAttempt
from calls.services import orders
from calls.services.attempts import NOT_SENT, apply_news, move_attempt
from calls.services.records import get_call, move
from calls.services.slots import is_live
from calls.status import TERMINAL, UNANSWERED, Status


def cancel_call(*, call_id: UUID | str, carrier: Carrier | None = None) -> Call:
    """
    Do not dial this call, or stop dialling it; it is over at once, or as soon as the carrier has stopped.

    Idempotent. Raises ``CallsError`` (``call-answered``, ``call-over``) where there is nothing left to cancel.
    """
    call = get_call(call_id)
    if call.status == Status.CANCELED:
        return call
    if call.status in TERMINAL:
        raise CallsError(f"The call is over: {call.status}.", code="call-over")
    if call.status not in UNANSWERED:
        raise CallsError("Somebody has answered; hang up instead.", code="call-answered")
    _give_up(call, carrier)
    call.refresh_from_db()
    return call


def hang_up(*, call_id: UUID | str, carrier: Carrier | None = None) -> Call:
    """
    End this call, whatever it is doing: politely where its agent talks, at the carrier otherwise.

    Idempotent; for a call that is over a no-op.
    """
    call = get_call(call_id)
    if call.status in TERMINAL:
        return call
    if call.status in UNANSWERED and call.direction == Call.Direction.OUTBOUND:
        _give_up(call, carrier)
    elif is_live(call):
        orders.give(call, CallOrder.Kind.HANG_UP, {"reason": "operator"})
    else:
        hang_up_at_carrier(call, carrier)
    call.refresh_from_db()
    return call


def _give_up(call: Call, carrier: Carrier | None) -> None:
    """From now on no attempt begins, and one that has begun is ended as soon as it can be."""
    now = timezone.now()
    with transaction.atomic():
        Call.objects.filter(pk=call.pk, canceled_at=None).update(canceled_at=now)
        # The claim sets due_at to nothing; whoever is first here decides.
        if Call.objects.filter(pk=call.pk, status=Status.QUEUED, due_at__isnull=False).update(due_at=None):
            call.refresh_from_db()
            move(call, Status.CANCELED, at=now, reason="canceled")
            return
    for attempt in call.attempts.select_related("call__agent").filter(ended_at=None):
        if DialAttempt.objects.filter(pk=attempt.pk, requested_at=None).update(requested_at=now):
            move_attempt(attempt, Status.CANCELED, at=now, error_code=NOT_SENT)
        elif attempt.sid:
            end_attempt(attempt, carrier)
        # Else its request is under way: it is ended when the carrier's answer tells its name.


def end_attempt(attempt: DialAttempt, carrier: Carrier | None = None) -> None:
    """End an attempt at the carrier, which has it already. Raises ``CallsError`` if the carrier cannot."""
    ringing = attempt.status in UNANSWERED
    try:
        carrier = carrier or get_carrier()
        was_on = carrier.hang_up(attempt.sid or "", ringing=ringing)
        # A call that the carrier had still queued ends without a callback.
        seen = carrier.fetch_call(attempt.sid or "") if was_on and ringing else None
    except CarrierError as error:
        raise CallsError(
            f"The carrier could not end the call ({error}). It is tried again.", permanent=False, code="carrier-failed"
        ) from error
    if seen is not None:
        apply_news(attempt, seen)


def hang_up_at_carrier(call: Call, carrier: Carrier | None = None) -> None:
    """End a call that has been answered without asking its agent. Raises ``CallsError`` if the carrier cannot."""
    if not call.sid:
        return
    try:
        (carrier or get_carrier()).hang_up(call.sid, ringing=False)
    except CarrierError as error:
        text = f"The carrier could not end the call: {error}"
        raise CallsError(text, permanent=False, code="carrier-failed") from error
    Call.objects.filter(pk=call.pk, end_reason="").update(end_reason="operator")
