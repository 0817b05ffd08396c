"""Closing calls that were left open."""

import logging
from datetime import timedelta

from django.utils import timezone

from calls.models import Call, StreamToken
from calls.services import heartbeats, pauses
from calls.services.records import move
from calls.services.slots import dead_leases
from calls.status import Status

logger = logging.getLogger(__name__)

LONGEST_TRANSFER = timedelta(hours=5)
"""After this time a transferred call has ended: Twilio ends every call after four hours."""


def clean_up() -> int:
    """
    Close the calls that would stay open for ever: those of a killed process whose last callback was lost.

    Returns how many calls were closed. Runs at the start of a process and then regularly.
    """
    now = timezone.now()
    StreamToken.objects.filter(expires_at__lt=now - timedelta(days=1)).delete()
    dead_leases(now).delete()
    pauses.delete_ended(now)
    heartbeats.forget_ended(now)
    # A phone may ring for ten minutes. A call that waits to be dialled is not abandoned. ``reconciling.reconcile`` asks
    # the carrier about outbound calls, and a transferred call goes on without a stream.
    abandoned = Call.objects.filter(
        status__in=(Status.RINGING, Status.IN_PROGRESS), lease=None, created_at__lt=now - timedelta(minutes=15)
    ).exclude(attempts__ended_at=None, attempts__isnull=False)
    closed = 0
    for call in abandoned.exclude(end_reason="transferred", created_at__gt=now - LONGEST_TRANSFER):
        Call.objects.filter(pk=call.pk, end_reason="").update(end_reason="stream-lost")
        closed += move(call, Status.COMPLETED, at=now)
    return closed
