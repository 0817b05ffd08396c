"""
Orders to a live call, for whichever process holds its stream: say something, hang up, transfer.

They are rows, which that process takes. With Redis it also hears a doorbell; without, it looks a few times a second.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from calls.errors import CallsError
from calls.models import Call, CallOrder, DoNotCall
from calls.services.dialable import dialable
from calls.services.records import clean, get_call
from calls.services.slots import is_live

logger = logging.getLogger(__name__)

LONGEST_TEXT = 2000


class NotLive(CallsError):
    """The call has no live stream."""

    def __init__(self, call: Call) -> None:
        super().__init__(
            f"Call {call.pk} is {call.status}; this needs a call with somebody on the line.", code="call-not-live"
        )


@dataclass(frozen=True, slots=True)
class Order:
    """An order as the process that holds the stream gets it. ``data`` by ``kind``: text, reason, to or message."""

    id: int
    call_id: UUID
    kind: str
    data: dict[str, Any]


def say(*, call_id: UUID | str, text: str) -> CallOrder:
    """Have the agent say ``text`` as soon as it may."""
    text = clean(text).strip()
    if not text or len(text) > LONGEST_TEXT:
        raise CallsError(f"Give the agent 1 to {LONGEST_TEXT} characters to say.", field="text")
    return give(_live(call_id), CallOrder.Kind.SAY, {"text": text})


def transfer(*, call_id: UUID | str, to: str) -> CallOrder:
    """Hand the caller over to ``to``: a number that may be dialled, or the name of one of the agent's targets."""
    call = _live(call_id)
    number = call.agent.transfer_targets.get(to) or dialable(to, field="to")
    if DoNotCall.objects.filter(number=number).exists():
        raise CallsError("This number is on the do-not-call list.", code="do-not-call", field="to")
    with transaction.atomic():
        Call.objects.filter(pk=call.pk).update(transfer_to=number)
        return give(call, CallOrder.Kind.TRANSFER, {"to": number})


def give(call: Call, kind: CallOrder.Kind, data: Mapping[str, Any]) -> CallOrder:
    """Leave an order for the call's process. One for a call whose stream is not open yet waits for it."""
    order = CallOrder.objects.create(call=call, kind=kind, data=dict(data))
    if settings.REDIS_URL and call.channel:
        transaction.on_commit(lambda: _ring(call.channel))
    return order


def take_orders(*, process: str) -> list[Order]:
    """Every order for the calls whose streams ``process`` holds, each given out once."""
    taken = []
    waiting = CallOrder.objects.filter(taken_at=None, call__process=process, call__lease__stream__gt=0)
    for order in waiting.order_by("id"):
        if CallOrder.objects.filter(pk=order.pk, taken_at=None).update(taken_at=timezone.now()):
            taken.append(Order(order.pk, order.call_id, order.kind, order.data))
    return taken


def _live(call_id: UUID | str) -> Call:
    call = get_call(call_id)
    if not is_live(call):
        raise NotLive(call)
    return call


def _ring(channel: str) -> None:
    try:
        async_to_sync(get_channel_layer().send)(channel, {"type": "orders"})
    except Exception as error:  # the doorbell is a convenience: the process looks by itself as well
        logger.warning("The doorbell of %s is out of order: %s", channel, error)
