"""Who holds one of the slots, and until when."""

from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from calls.models import Call, Lease

LEASE = 30.0
"""Seconds for which a live call holds its slot without renewal; renew every 10."""
_SETTING_UP = 60.0
"""Seconds beyond its token's life for which a call that is admitted but not connected holds its slot."""

LONGEST_LEASE = timedelta(minutes=15)
"""More than any lease is ever made for."""
_NOT_CONNECTED = 0
ANSWERING = 60.0
"""Seconds beyond the ringing for which a dialled call holds its slot until its stream is open."""


def renew_lease(*, call_id: UUID | str, stream: int) -> bool:
    """Keep the slot of a live stream. False if it is lost, to a later stream of the call or in a long stall."""
    until = timezone.now() + timedelta(seconds=LEASE)
    return bool(Lease.objects.filter(call_id=call_id, stream=stream).update(expires_at=until))


def release_lease(*, call_id: UUID | str, stream: int) -> bool:
    """Give the slot back; a no-op if a later stream has taken the call over."""
    return bool(Lease.objects.filter(call_id=call_id, stream=stream).delete()[0])


def live_calls() -> int:
    return Lease.objects.filter(expires_at__gt=timezone.now()).count()


def is_live(call: Call) -> bool:
    """Somebody's stream is open and its process alive, as far as the database knows."""
    return Lease.objects.filter(call=call, stream__gt=0, expires_at__gt=timezone.now()).exists()


def take_slot(call: Call, now: datetime, *, until: datetime | None = None, below: int | None = None) -> bool:
    """
    Hold one of ``MAX_LIVE_CALLS`` slots for this call, ``until`` its stream must be open; the slot that it has, if any.

    Calls that come in take them from the top, those that we place only from ``below`` a limit: so that holds as well.

    The unique ``slot`` decides between two who try at once, so that the limit holds without locks.
    """
    # One look at them all, who are few: this is a third of what claiming a call costs.
    leases = Lease.objects.values_list("call_id", "slot", "expires_at")
    held = list(leases)
    if any(not now < expires <= now + LONGEST_LEASE for call_id, _, expires in held if call_id != call.pk):
        dead_leases(now).exclude(call=call).delete()
        held = list(leases.all())
    if any(call_id == call.pk for call_id, *_ in held):
        # A repeated request must not touch the lease of a stream that runs.
        Lease.objects.filter(call=call, stream=_NOT_CONNECTED).update(expires_at=until or _set_up_by(now))
        return True
    limit = settings.MAX_LIVE_CALLS if below is None else min(below, settings.MAX_LIVE_CALLS)
    free = set(range(limit)) - {slot for _, slot, _ in held}
    for slot in sorted(free, reverse=below is None):
        try:
            with transaction.atomic():
                Lease.objects.create(call=call, slot=slot, stream=_NOT_CONNECTED, expires_at=until or _set_up_by(now))
        except IntegrityError:
            if Lease.objects.filter(call=call).exists():
                return True
        else:
            return True
    return False


def occupy_slot(call: Call, now: datetime, *, stream: int, process: str) -> None:
    """The call's stream has opened: it renews the lease of its slot from now on."""
    Lease.objects.filter(call=call).update(stream=stream, process=process, expires_at=now + timedelta(seconds=LEASE))


def hold_slot_for_stream(call: Call, now: datetime) -> None:
    """The call's stream was lost: keep its slot until another one can have opened."""
    Lease.objects.filter(call=call).update(stream=_NOT_CONNECTED, expires_at=_set_up_by(now))


def dead_leases(now: datetime) -> QuerySet[Lease]:
    """Those that ran out, and those of a future that a clock has left again."""
    return Lease.objects.filter(Q(expires_at__lte=now) | Q(expires_at__gt=now + LONGEST_LEASE))


def _set_up_by(now: datetime) -> datetime:
    return now + timedelta(seconds=settings.STREAM_TOKEN_TTL + _SETTING_UP)
