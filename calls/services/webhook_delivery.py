"""
Outgoing webhooks: events of calls, written down with what caused them, then delivered until they are taken.

Each delivery is a POST signed by the Standard Webhooks specification. It comes at least once: a process that dies
between the answer and its note of it makes it come again, under the same ``webhook-id``. Order is not promised.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import logging
import random
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import aiohttp
from django.db.models import F
from django.utils import timezone

from calls.errors import CallsError
from calls.models import WebhookDelivery, WebhookEndpoint
from calls.services.webhooks import secret_bytes
from calls.waking import wake

logger = logging.getLogger(__name__)

TIMEOUT = 10.0
"""Seconds that one delivery may take altogether."""
LEASE = 60.0
"""Seconds for which a delivery belongs to whoever sends it; well above ``TIMEOUT``."""
BACKOFF = (5.0, 30.0, 120.0, 600.0, 3600.0, 3 * 3600.0, 8 * 3600.0, 8 * 3600.0)
"""Seconds from one try to the next; after the last one it has failed."""
ABREAST = 4
"""Deliveries on their way to one endpoint at a time: one that is slow holds up nobody else."""
BREAKS_AFTER = 5
"""Failures in a row after which an endpoint is left alone for ``BREAK`` seconds."""
BREAK = 60.0
RUN = 20.0
"""Seconds after which a run begins nothing new: the next one goes on."""
KEPT = timedelta(days=30)
"""How long the log of deliveries reaches back."""


Post = Callable[[str, bytes, Mapping[str, str]], Awaitable[int]]
"""Sends a body with headers to a URL and returns the status; raises ``OSError`` or ``aiohttp.ClientError``."""


@dataclass(slots=True)
class Delivered:
    """What one run has done: taken, given up, and to be tried again."""

    delivered: int = 0
    failed: int = 0
    retried: int = 0


_in_hand: set[int] = set()
_in_hand_lock = threading.Lock()


def deliver_due(*, limit: int = 100, post: Post | None = None) -> Delivered:
    """
    Send what is due, every endpoint at its own pace. Any number of processes may run this.

    It must not be called where an event loop runs: it has one of its own, which rests while the database is asked.
    """
    due = WebhookDelivery.objects.filter(
        status=WebhookDelivery.Status.WAITING, due_at__lte=timezone.now(), endpoint__active=True
    )
    endpoints = set(due.order_by().values_list("endpoint", flat=True).distinct())
    # One run at a time for each endpoint of a process: a slow one then occupies one worker, and not all of them.
    with _in_hand_lock:
        endpoints -= _in_hand
        _in_hand.update(endpoints)
    try:
        if not endpoints:
            return Delivered()
        share = max(1, limit // len(endpoints))
        lanes = [
            _Lane(list(due.filter(endpoint=pk).order_by("due_at").select_related("endpoint")[:share]))
            for pk in endpoints
        ]
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            delivered = _drive(lanes, runner.get_loop(), post)
    finally:
        with _in_hand_lock:
            _in_hand.difference_update(endpoints)
    if delivered.delivered and due.exists():
        wake("deliver_webhooks")
    return delivered


class _Lane:
    """The deliveries to one endpoint, in one run."""

    def __init__(self, waiting: list[WebhookDelivery]) -> None:
        self.waiting = waiting
        self.on_their_way = 0
        self.failures = 0
        """In a row."""

    def next(self) -> WebhookDelivery | None:
        """The next delivery that is ours to send, if there is room for one more."""
        while self.waiting and self.on_their_way < ABREAST:
            delivery = self.waiting.pop(0)
            if _claim(delivery):
                self.on_their_way += 1
                return delivery
        return None

    def back_off(self, endpoint: WebhookEndpoint) -> None:
        """The endpoint fails: what waits for it goes on waiting, as the tries that it has are better spent later."""
        self.waiting.clear()
        now = timezone.now()
        rest = endpoint.deliveries.filter(status=WebhookDelivery.Status.WAITING, due_at__lte=now)
        rest.update(due_at=now + timedelta(seconds=BREAK * _jitter()))


def _drive(lanes: list[_Lane], loop: asyncio.AbstractEventLoop, post: Post | None) -> Delivered:
    """Tasks post; everything that touches the database happens between two steps of the loop."""
    done_so_far = Delivered()
    client = None if post else loop.run_until_complete(_client())
    send = post or _poster(client)
    tasks: dict[asyncio.Task[tuple[int | str, float]], tuple[_Lane, WebhookDelivery]] = {}
    ends_at = time.monotonic() + RUN
    try:
        while True:
            for lane in lanes if time.monotonic() < ends_at else ():
                while (delivery := lane.next()) is not None:
                    tasks[loop.create_task(_try(send, delivery))] = lane, delivery
            if not tasks:
                return done_so_far
            done, _ = loop.run_until_complete(asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED))
            for task in [task for task in tasks if task in done]:  # in the order in which they were sent
                lane, delivery = tasks.pop(task)
                lane.on_their_way -= 1
                _settle(lane, delivery, *task.result(), done_so_far)
    finally:
        for task in tasks:
            task.cancel()
        if client is not None:
            loop.run_until_complete(client.close())


def _claim(delivery: WebhookDelivery) -> bool:
    """Take a delivery for as long as ``LEASE``. From here on the try counts, whatever becomes of this process."""
    lease = timezone.now() + timedelta(seconds=LEASE)
    mine = WebhookDelivery.objects.filter(
        pk=delivery.pk, status=WebhookDelivery.Status.WAITING, due_at=delivery.due_at, endpoint__active=True
    )
    if not mine.update(due_at=lease, attempts=F("attempts") + 1):
        return False
    delivery.due_at = lease
    delivery.attempts += 1
    return True


async def _try(send: Post, delivery: WebhookDelivery) -> tuple[int | str, float]:
    """The answer's status, or what went wrong; and the milliseconds that it took."""
    body = json.dumps(delivery.payload, ensure_ascii=False, separators=(",", ":")).encode()
    headers = {"Content-Type": "application/json", "User-Agent": "client-caller"}
    headers |= sign(delivery.endpoint.secret, str(delivery.pk), int(time.time()), body)
    began = time.monotonic()
    outcome: int | str
    try:
        async with asyncio.timeout(TIMEOUT):
            outcome = await send(delivery.endpoint.url, body, headers)
    except TimeoutError:
        outcome = f"no answer within {TIMEOUT:g} s"
    except (OSError, ValueError, aiohttp.ClientError) as error:  # ValueError: an address that is none
        outcome = (str(error) or type(error).__name__)[:200]
    return outcome, (time.monotonic() - began) * 1000


def sign(secret: str, delivery_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers by which the receiver knows us (Standard Webhooks 1.0)."""
    digest = hmac.new(secret_bytes(secret), f"{delivery_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return {
        "webhook-id": delivery_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


async def _client() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False)


def _poster(client: aiohttp.ClientSession | None) -> Post:
    assert client is not None

    async def post(url: str, body: bytes, headers: Mapping[str, str]) -> int:
        # A redirect would carry the event to an address that nobody has approved.
        async with client.post(url, data=body, headers=headers, allow_redirects=False) as response:
            # Enough to use the connection again; of a longer answer nobody wants to know.
            await response.content.read(1024)
            return response.status

    return post


def _settle(lane: _Lane, delivery: WebhookDelivery, outcome: int | str, ms: float, so_far: Delivered) -> None:
    now = timezone.now()
    status = outcome if isinstance(outcome, int) else None
    news: dict[str, Any] = {
        "response_status": status,
        "log": [*delivery.log, {"at": now.isoformat(timespec="seconds"), "result": outcome, "ms": round(ms)}],
    }
    if status is not None and 200 <= status < 300:
        lane.failures = 0
        so_far.delivered += 1
        news |= {"status": WebhookDelivery.Status.DELIVERED, "due_at": None, "delivered_at": now}
    else:
        lane.failures += 1
        if status == 410 or delivery.attempts > len(BACKOFF):
            so_far.failed += 1
            news |= {"status": WebhookDelivery.Status.FAILED, "due_at": None}
        else:
            so_far.retried += 1
            news["due_at"] = now + timedelta(seconds=BACKOFF[delivery.attempts - 1] * _jitter())
    # Not if it was given to somebody else meanwhile, as after a stall longer than the lease, or was asked for again.
    mine = WebhookDelivery.objects.filter(pk=delivery.pk, status=WebhookDelivery.Status.WAITING, due_at=delivery.due_at)
    mine.update(**news)
    if status == 410:
        logger.warning("Endpoint %d is gone, and hears of nothing more", delivery.endpoint_id)
        WebhookEndpoint.objects.filter(pk=delivery.endpoint_id).update(active=False)
        lane.waiting.clear()
    elif lane.failures >= BREAKS_AFTER:
        if lane.failures == BREAKS_AFTER:
            logger.warning("Endpoint %d fails (%s): what waits for it waits longer", delivery.endpoint_id, outcome)
        lane.back_off(delivery.endpoint)


def _jitter() -> float:
    return random.uniform(1.0, 1.2)


# --- Afterwards --------------------------------------------------------------------------------------------


def redeliver(delivery_id: UUID | str) -> WebhookDelivery:
    """Send a delivery once more, whatever became of it, with as many tries as a new one."""
    again = WebhookDelivery.objects.filter(pk=delivery_id)
    if not again.update(status=WebhookDelivery.Status.WAITING, due_at=timezone.now(), attempts=0, delivered_at=None):
        raise CallsError(f"There is no delivery {delivery_id}.", field="delivery", code="unknown-delivery")
    wake("deliver_webhooks")
    return again.get()


def forget_old(*, now: datetime | None = None, batch: int = 1000) -> int:
    """Delete deliveries that are older than ``KEPT``; returns how many there were. Nothing waits as long as that."""
    gone = 0
    old = WebhookDelivery.objects.filter(created_at__lt=(now or timezone.now()) - KEPT).order_by()
    while page := list(old.values_list("pk", flat=True)[:batch]):
        gone += WebhookDelivery.objects.filter(pk__in=page).delete()[0]
    return gone
