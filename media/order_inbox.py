"""
Orders from outside to the live calls of this process: taken from the database, passed to their sessions.

Without Redis the database is polled a few times a second while there are calls. With Redis each order also comes with
a notification, on a channel whose name is recorded with the call, and the database is polled only now and then. While
Redis is away, it is polled a few times a second again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Protocol
from uuid import UUID

from calls.services import Order, about_call
from inference.chat.inert import inert
from media.session import Session
from media.turns import events as ev

logger = logging.getLogger(__name__)

POLL_INTERVAL = 0.25
"""Seconds between polls without notifications: an operator does not notice such a delay, and it is one cheap query."""
NOTIFIED_POLL_INTERVAL = 5.0
"""Seconds between polls with notifications, for an order whose notification was lost."""
LISTEN_AGAIN_AFTER = 1.0
"""Seconds until a channel layer that failed is listened to again."""
KEEP_SECONDS = 15.0
"""Seconds for which an order waits for a session that is about to start: its stream was claimed and is not open yet."""

_EVENTS: dict[str, Callable[[Mapping[str, Any]], ev.Event]] = {
    "say": lambda data: ev.SayRequested(data["text"]),
    "hang-up": lambda data: ev.EndRequested(data.get("reason") or "operator"),
    "transfer": lambda data: ev.TransferRequested(),
    # Values of the call's variables are in it.
    "voicemail": lambda data: ev.VoicemailReached(inert(data.get("message") or "")),
}
"""The event that each kind of order becomes."""


class ChannelLayer(Protocol):
    """The part of a channel layer that is used here."""

    async def new_channel(self, prefix: str) -> str: ...
    async def send(self, channel: str, message: dict[str, Any]) -> None: ...
    async def receive(self, channel: str) -> dict[str, Any]: ...


class OrderInbox:
    """
    Passes orders to the sessions of this process.

    ``take_orders`` takes the new orders from the database, each once; ``sessions`` are those of this process, by call.
    Run ``poll``, and with a channel layer ``listen`` beside it.
    """

    def __init__(self, take_orders: Callable[[], Awaitable[list[Order]]], sessions: Mapping[UUID, Session]) -> None:
        self._take_orders = take_orders
        self._sessions = sessions
        self.channel = ""
        """The channel on which this process is notified of orders; empty until there is one."""
        self._notifications_arrive = False
        """A notification has arrived and the channel layer has not failed since."""
        self._poll_now = asyncio.Event()
        self._waiting: list[tuple[Order, float]] = []
        """Orders without a session, and the times of the loop's clock at which they are dropped."""
        self._is_failing = False
        """The last poll failed, and that was logged."""

    def check(self) -> None:
        """Poll at once: there may be an order."""
        self._poll_now.set()

    async def poll(self) -> None:
        """Take orders and pass them on, until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(NOTIFIED_POLL_INTERVAL if self._notifications_arrive else POLL_INTERVAL):
                    await self._poll_now.wait()
            self._poll_now.clear()
            if self._sessions:
                await self._poll_once()

    async def listen(self, layer: ChannelLayer) -> None:
        """Receive notifications, until cancelled. A layer that fails is tried again."""
        was_reported = False
        while True:
            try:
                self.channel = self.channel or await layer.new_channel("calls")
                # A notification to ourselves proves that they arrive.
                await layer.send(self.channel, {"type": "orders"})
                while True:
                    await layer.receive(self.channel)
                    self._notifications_arrive, was_reported = True, False
                    self.check()
            except Exception as error:
                self._notifications_arrive = False
                self.check()
                if not was_reported:
                    logger.warning("Order notifications are unavailable, polling the database instead: %s", error)
                    was_reported = True
            await asyncio.sleep(LISTEN_AGAIN_AFTER)

    async def _poll_once(self) -> None:
        now = asyncio.get_running_loop().time()
        try:
            taken = await self._take_orders()
        except Exception as error:
            # Usually the database is away and comes back. No other error may stop the polling either.
            if not self._is_failing:
                logger.error("Could not take the orders to live calls, trying again: %s", error)
            self._is_failing = True
            return
        self._is_failing = False
        orders = [*self._waiting, *((order, now + KEEP_SECONDS) for order in taken)]
        self._waiting.clear()
        for order, drop_at in orders:
            if session := self._sessions.get(order.call_id):
                with about_call(order.call_id):
                    _pass_on(order, session)
            elif now < drop_at:
                self._waiting.append((order, drop_at))
            else:
                with about_call(order.call_id):
                    logger.warning("Call %s: dropped order %d (%s), the call has no session here", *_named(order))


def _pass_on(order: Order, session: Session) -> None:
    try:
        event = _EVENTS[order.kind](order.data)
    except (LookupError, TypeError, AttributeError):
        logger.exception("Call %s: dropped order %d (%s), it is invalid", *_named(order))
        return
    logger.info("Call %s: received order %d (%s)", *_named(order))
    session.receive(event)


def _named(order: Order) -> tuple[UUID, int, str]:
    return order.call_id, order.id, order.kind
