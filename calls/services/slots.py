"""
Slots: which calls hold one of the ``MAX_LIVE_CALLS`` slots, and until when.

A lease is a slot with a deadline. The process that holds a call's stream renews it, so that the slot of a dead process
becomes free by itself.
"""

import random
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from calls.models import Call, Lease

LEASE = 30.0
"""Seconds for which a live call holds its slot without renewal. Renew it every 10: two renewals may then fail."""
ANSWERING = 60.0
"""Seconds after its ringing for which a dialled call holds its slot, until its stream is open."""
LONGEST_LEASE = timedelta(minutes=15)
"""Longer than any lease is given for. One that ends later was given before the clock stepped back."""
_CONNECTING = 60.0
"""Seconds after the expiry of its token for which an admitted call without a stream holds its slot."""
_NO_STREAM = 0
"""The ``stream`` of a lease whose call has no open stream."""


def take_slot(call: Call, now: datetime, *, until: datetime | None = None, below: int | None = None) -> bool:
    """
    Give this call a slot, or keep the one that it has. False if none is free.

    The call must open its stream by ``until`` (default: while its token is valid). Outbound calls take only slots with
    numbers ``below`` a limit, so that this limit holds too; inbound calls take those last. The unique ``slot`` decides
    between two calls that take one at once, so that the limits hold without locks. A call whose slot another one is
    taking waits for that one's transaction. Each therefore begins with a random slot: when all began with the highest
    number, eight calls that came at once took slots fifty times more slowly than one after another.
    """
    # All leases in one query. They are few, and this query is a third of what claiming a call costs.
    leases = Lease.objects.values_list("call_id", "slot", "expires_at")
    held = list(leases)
    if any(not now < expires <= now + LONGEST_LEASE for call_id, _, expires in held if call_id != call.pk):
        dead_leases(now).exclude(call=call).delete()
        held = list(leases.all())
    if any(call_id == call.pk for call_id, *_ in held):
        # A repeated request must not change the lease of a stream that is open.
        Lease.objects.filter(call=call, stream=_NO_STREAM).update(expires_at=until or _connect_by(now))
        return True
    limit = settings.MAX_LIVE_CALLS if below is None else min(below, settings.MAX_LIVE_CALLS)
    for slot in _in_order({*range(limit)} - {slot for _, slot, _ in held}, inbound=below is None):
        try:
            with transaction.atomic():
                Lease.objects.create(call=call, slot=slot, stream=_NO_STREAM, expires_at=until or _connect_by(now))
        except IntegrityError:
            if Lease.objects.filter(call=call).exists():
                return True
        else:
            return True
    return False


def _in_order(free: set[int], *, inbound: bool) -> list[int]:
    """The free slots at random; for inbound calls, those that outbound calls may take come last."""
    slots = random.sample([*free], len(free))
    return sorted(slots, key=lambda slot: slot < settings.OUTBOUND_MAX_CALLS) if inbound else slots


def occupy_slot(call: Call, now: datetime, *, stream: int, process: str) -> None:
    """The call's stream has opened, so its process renews the lease from now on."""
    Lease.objects.filter(call=call).update(stream=stream, process=process, expires_at=now + timedelta(seconds=LEASE))


def hold_slot_for_stream(call: Call, now: datetime) -> None:
    """The call's stream was lost, so its slot is held until the next stream can have opened."""
    Lease.objects.filter(call=call).update(stream=_NO_STREAM, expires_at=_connect_by(now))


def renew_lease(*, call_id: UUID | str, stream: int) -> bool:
    """Keep the slot of an open stream. False if a later stream of the call, or another call after a stall, has it."""
    until = timezone.now() + timedelta(seconds=LEASE)
    return bool(Lease.objects.filter(call_id=call_id, stream=stream).update(expires_at=until))


def release_lease(*, call_id: UUID | str, stream: int) -> bool:
    """Free the slot. Does nothing and returns False if a later stream of the call has it."""
    return bool(Lease.objects.filter(call_id=call_id, stream=stream).delete()[0])


def is_live(call: Call) -> bool:
    """Whether a stream of this call is open and its process is alive, as far as the database knows."""
    return Lease.objects.filter(call=call, stream__gt=0, expires_at__gt=timezone.now()).exists()


def live_calls() -> int:
    """Return the number of calls that hold a slot."""
    return Lease.objects.filter(expires_at__gt=timezone.now()).count()


def dead_leases(now: datetime) -> QuerySet[Lease]:
    """Leases that ran out, and those that were given before the clock stepped back."""
    return Lease.objects.filter(Q(expires_at__lte=now) | Q(expires_at__gt=now + LONGEST_LEASE))


def _connect_by(now: datetime) -> datetime:
    return now + timedelta(seconds=settings.STREAM_TOKEN_TTL + _CONNECTING)
