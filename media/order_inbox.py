"""
Orders from outside to the live calls of this process: taken from the database, told to their sessions.

Without Redis the database is asked a few times a second while there are calls. With it a doorbell rings, on a channel
whose name stands with each call, and the database is asked seldom; when Redis is away, again a few times a second.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Protocol
from uuid import UUID

from calls import services
from media.turns import events as ev

logger = logging.getLogger(__name__)

LOOK_EVERY = 0.25
LOOK_EVERY_BEHIND_BELL = 5.0
RETRY_BELL_AFTER = 1.0
KEPT = 15.0
"""Seconds for which an order waits for a session that is about to start: its stream is claimed, but not open yet."""

_EVENTS: dict[str, Callable[[Mapping[str, Any]], ev.Event]] = {
    "say": lambda data: ev.SayRequested(data["text"]),
    "hang-up": lambda data: ev.EndRequested(data.get("reason") or "operator"),
    "transfer": lambda data: ev.TransferRequested(),
    "voicemail": lambda data: ev.VoicemailReached(data.get("message") or ""),
}


class Listener(Protocol):
    """A session."""

    def receive(self, event: ev.Event) -> None: ...


class Layer(Protocol):
    """What is used of a channel layer."""

    async def new_channel(self, prefix: str) -> str: ...
    async def send(self, channel: str, message: dict[str, Any]) -> None: ...
    async def receive(self, channel: str) -> dict[str, Any]: ...


class Orders:
    """``take`` gets what is new for the calls of this process; ``sessions`` holds these by call."""

    def __init__(self, take: Callable[[], Awaitable[list[services.Order]]], sessions: Mapping[UUID, Listener]) -> None:
        self._take = take
        self._sessions = sessions
        self.channel = ""
        """Where the doorbell is; ``""`` while there is none."""
        self._hears_bell = False
        self._rung = asyncio.Event()
        self._waiting: list[tuple[services.Order, float]] = []
        self._failing = False

    def look(self) -> None:
        """There may be something: do not wait for the next round."""
        self._rung.set()

    async def watch(self) -> None:
        """Take and hand out orders; for ever."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_BEHIND_BELL if self._hears_bell else LOOK_EVERY):
                    await self._rung.wait()
            self._rung.clear()
            if self._sessions:
                await self._look()

    async def listen(self, layer: Layer) -> None:
        """Hear the doorbell; for ever. A layer that fails is tried again."""
        complained = False
        while True:
            try:
                self.channel = self.channel or await layer.new_channel("calls")
                # It is trusted once it was heard.
                await layer.send(self.channel, {"type": "orders"})
                while True:
                    await layer.receive(self.channel)
                    self._hears_bell, complained = True, False
                    self.look()
            except Exception as error:
                self._hears_bell = False
                self.look()
                if not complained:
                    logger.warning("The doorbell for orders is out of order; they are looked for instead: %s", error)
                    complained = True
            await asyncio.sleep(RETRY_BELL_AFTER)

    async def _look(self) -> None:
        now = asyncio.get_running_loop().time()
        try:
            taken = await self._take()
        except Exception as error:
            # Mostly the database, which comes back; a call must not lose its ear to anything else either.
            if not self._failing:
                logger.error("Orders to live calls cannot be looked for: %s", error)
            self._failing = True
            return
        self._failing = False
        orders = [*self._waiting, *((order, now + KEPT) for order in taken)]
        self._waiting.clear()
        for order, until in orders:
            if session := self._sessions.get(order.call_id):
                self._hand_out(order, session)
            elif now < until:
                self._waiting.append((order, until))
            else:
                logger.warning("Call %s: nobody is there any more for order %d (%s)", *_named(order))

    def _hand_out(self, order: services.Order, session: Listener) -> None:
        try:
            event = _EVENTS[order.kind](order.data)
        except (LookupError, TypeError, AttributeError):
            logger.exception("Call %s: order %d (%s) makes no sense", *_named(order))
            return
        logger.info("Call %s: order %d (%s)", *_named(order))
        session.receive(event)


def _named(order: services.Order) -> tuple[UUID, int, str]:
    return order.call_id, order.id, order.kind
