"""
Orders to a live call: say something, hang up, transfer.

An order is a row in the database, which the process that holds the call's stream takes. With Redis that process is
notified; without it, it polls the database a few times a second.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from calls.errors import CallsError
from calls.models import Call, CallOrder
from calls.plain_text import storable
from calls.services.dialable import dialable, refuse_listed
from calls.services.records import get_call
from calls.services.slots import is_live

logger = logging.getLogger(__name__)

LONGEST_TEXT = 2000
"""Characters that ``say`` accepts: more than two minutes of speech, which no caller listens to."""


@dataclass(frozen=True, slots=True)
class Order:
    """An order as the process that holds the stream receives it."""

    id: int
    call_id: UUID
    kind: str
    """One of ``CallOrder.Kind``."""
    data: dict[str, str]
    """By kind: ``text`` to say, ``reason`` of a hang-up, ``to`` of a transfer, ``message`` for voicemail."""


def say(*, call_id: UUID | str, text: str) -> CallOrder:
    """Have the agent say ``text`` as soon as it has the turn."""
    text = storable(text).strip()
    if not text or len(text) > LONGEST_TEXT:
        raise CallsError(f"The text must have 1 to {LONGEST_TEXT} characters.", field="text")
    return send_order(_get_live_call(call_id), CallOrder.Kind.SAY, {"text": text})


def transfer(*, call_id: UUID | str, to: str) -> CallOrder:
    """Transfer the call to ``to``: a number that may be dialled, or the name of one of the agent's targets."""
    call = _get_live_call(call_id)
    number = call.agent.transfer_targets.get(to) or dialable(to, field="to")
    refuse_listed(number, field="to")
    with transaction.atomic():
        Call.objects.filter(pk=call.pk).update(transfer_to=number)
        return send_order(call, CallOrder.Kind.TRANSFER, {"to": number})


def send_order(call: Call, kind: CallOrder.Kind, data: Mapping[str, str]) -> CallOrder:
    """Write an order and notify the call's process. If the call's stream is not open yet, the order waits for it."""
    order = CallOrder.objects.create(call=call, kind=kind, data=dict(data))
    if settings.REDIS_URL and call.channel:
        transaction.on_commit(lambda: _notify(call.channel))
    return order


def take_orders(*, process: str) -> list[Order]:
    """Take every order for the calls whose streams ``process`` holds. Each order is returned once."""
    taken = []
    waiting = CallOrder.objects.filter(taken_at=None, call__process=process, call__lease__stream__gt=0)
    for order in waiting.order_by("id"):
        if CallOrder.objects.filter(pk=order.pk, taken_at=None).update(taken_at=timezone.now()):
            taken.append(Order(order.pk, order.call_id, order.kind, order.data))
    return taken


def _get_live_call(call_id: UUID | str) -> Call:
    call = get_call(call_id)
    if not is_live(call):
        text = f"No agent is talking on this call, which is {call.status}. Send orders while the call is in progress."
        raise CallsError(text, code="call-not-live")
    return call


def _notify(channel: str) -> None:
    layer = get_channel_layer()
    if layer is None:
        return
    try:
        async_to_sync(layer.send)(channel, {"type": "orders"})
    except Exception as error:  # the notification only saves time: the process polls the database as well
        logger.warning("Could not notify %s of an order; it polls the database instead: %s", channel, error)
