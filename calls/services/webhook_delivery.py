"""
Delivering webhooks: each event is sent until its endpoint accepts it, or the attempts are used up.

A delivery is a POST that is signed as the Standard Webhooks specification says. It is sent at least once: if a process
dies before it has stored the answer, the event is sent again under the same ``webhook-id``. The order of events is not
guaranteed.
"""

import asyncio
import logging
import random
import threading
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import F
from django.utils import timezone

from calls.errors import CallsError
from calls.models import WebhookDelivery, WebhookEndpoint
from calls.services.webhook_posting import Client, Post, send
from calls.waking import wake

logger = logging.getLogger(__name__)

LEASE = 60.0
"""Seconds for which a delivery belongs to the process that sends it; well above ``webhook_posting.TIMEOUT``."""
BACKOFF = (5.0, 30.0, 120.0, 600.0, 3600.0, 3 * 3600.0, 8 * 3600.0, 8 * 3600.0)
"""Seconds from one attempt to the next: 20 hours in all. After the last attempt the delivery has failed."""
CONCURRENT = 4
"""Deliveries to one endpoint at a time, so that a slow endpoint does not delay the others."""
BREAKS_AFTER = 5
"""Consecutive failures after which nothing is sent to an endpoint for ``BREAK`` seconds."""
BREAK = 60.0
"""Seconds: long enough for a restart of the receiver, and short against the waits of ``BACKOFF``."""
RUN = 20.0
"""Seconds after which a run starts no more deliveries, so that its worker becomes free. The next run goes on."""
KEPT = timedelta(days=30)
"""The age at which a delivery is deleted. No delivery waits that long."""


@dataclass(slots=True)
class Delivered:
    """The result of one run."""

    delivered: int = 0
    failed: int = 0
    """Deliveries that will not be repeated."""
    retried: int = 0
    """Deliveries that failed and will be repeated."""


_busy: set[int] = set()
"""The ids of the endpoints that a run of this process is sending to; guarded by ``_busy_lock``."""
_busy_lock = threading.Lock()


def deliver_due(*, limit: int = 100, post: Post | None = None) -> Delivered:
    """
    Send the deliveries that are due, to every endpoint at its own pace. Any number of processes may run this.

    Do not call this where an event loop runs. It has an event loop of its own, which stands still during queries.
    """
    due = WebhookDelivery.objects.filter(
        status=WebhookDelivery.Status.WAITING, due_at__lte=timezone.now(), endpoint__active=True
    )
    endpoints = set(due.order_by().values_list("endpoint", flat=True).distinct())
    # In one process, one run at a time sends to an endpoint: a slow endpoint then occupies one worker, not all of them.
    with _busy_lock:
        endpoints -= _busy
        _busy.update(endpoints)
    try:
        if not endpoints:
            return Delivered()
        share = max(1, limit // len(endpoints))
        lanes = [
            _Lane(list(due.filter(endpoint=pk).order_by("due_at").select_related("endpoint")[:share]))
            for pk in endpoints
        ]
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            totals = _send_all(lanes, runner.get_loop(), post)
    finally:
        with _busy_lock:
            _busy.difference_update(endpoints)
    if totals.delivered and due.exists():
        wake("deliver_webhooks")
    return totals


class _Lane:
    """The deliveries to one endpoint, in one run."""

    def __init__(self, waiting: list[WebhookDelivery]) -> None:
        self.waiting = waiting
        """Those that this run has not claimed yet, the oldest first."""
        self.in_flight = 0
        """Those that are being sent."""
        self.failures = 0
        """Consecutive failures."""

    def claim_next(self) -> WebhookDelivery | None:
        """Claim the next delivery; None if none is left, or enough are in flight."""
        while self.waiting and self.in_flight < CONCURRENT:
            delivery = self.waiting.pop(0)
            if _claim(delivery):
                self.in_flight += 1
                return delivery
        return None

    def back_off(self, endpoint: WebhookEndpoint) -> None:
        """Postpone everything that waits for a failing endpoint, so that its attempts are not used up at once."""
        self.waiting.clear()
        now = timezone.now()
        rest = endpoint.deliveries.filter(status=WebhookDelivery.Status.WAITING, due_at__lte=now)
        rest.update(due_at=now + timedelta(seconds=BREAK * _jitter()))


def _send_all(lanes: list[_Lane], loop: asyncio.AbstractEventLoop, post: Post | None) -> Delivered:
    """Send the deliveries in tasks. All queries are made here, between two steps of the event loop."""
    totals = Delivered()
    client = None if post else loop.run_until_complete(_make_client())
    post = post or (client.post if client else None)
    assert post is not None
    tasks: dict[asyncio.Task[tuple[int | str, float]], tuple[_Lane, WebhookDelivery]] = {}
    ends_at = time.monotonic() + RUN
    try:
        while True:
            for lane in lanes if time.monotonic() < ends_at else ():
                while (delivery := lane.claim_next()) is not None:
                    tasks[loop.create_task(send(post, delivery))] = lane, delivery
            if not tasks:
                return totals
            done, _ = loop.run_until_complete(asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED))
            for task in [task for task in tasks if task in done]:  # in the order of sending
                lane, delivery = tasks.pop(task)
                lane.in_flight -= 1
                _record_result(lane, delivery, *task.result(), totals)
    finally:
        for task in tasks:
            task.cancel()
        if client is not None:
            loop.run_until_complete(client.close())


def _claim(delivery: WebhookDelivery) -> bool:
    """Reserve a delivery for ``LEASE`` seconds. The attempt counts from here on, even if this process dies."""
    lease = timezone.now() + timedelta(seconds=LEASE)
    as_seen = WebhookDelivery.objects.filter(
        pk=delivery.pk, status=WebhookDelivery.Status.WAITING, due_at=delivery.due_at, endpoint__active=True
    )
    if not as_seen.update(due_at=lease, attempts=F("attempts") + 1):
        return False
    delivery.due_at = lease
    delivery.attempts += 1
    return True


async def _make_client() -> Client:
    return Client()


def _record_result(lane: _Lane, delivery: WebhookDelivery, outcome: int | str, ms: float, totals: Delivered) -> None:
    now = timezone.now()
    status = outcome if isinstance(outcome, int) else None
    changes: dict[str, object] = {
        "response_status": status,
        "log": [*delivery.log, {"at": now.isoformat(timespec="seconds"), "result": outcome, "ms": round(ms)}],
    }
    if status is not None and 200 <= status < 300:
        lane.failures = 0
        totals.delivered += 1
        changes |= {"status": WebhookDelivery.Status.DELIVERED, "due_at": None, "delivered_at": now}
    else:
        lane.failures += 1
        if status == 410 or delivery.attempts > len(BACKOFF):
            totals.failed += 1
            changes |= {"status": WebhookDelivery.Status.FAILED, "due_at": None}
        else:
            totals.retried += 1
            changes["due_at"] = now + timedelta(seconds=BACKOFF[delivery.attempts - 1] * _jitter())
    # Not if another process has the delivery meanwhile, after a stall longer than the lease, or if it was redelivered.
    as_seen = WebhookDelivery.objects.filter(
        pk=delivery.pk, status=WebhookDelivery.Status.WAITING, due_at=delivery.due_at
    )
    as_seen.update(**changes)
    if status == 410:
        logger.warning("Webhook endpoint %d answered 410 (gone); it was switched off", delivery.endpoint_id)
        WebhookEndpoint.objects.filter(pk=delivery.endpoint_id).update(active=False)
        lane.waiting.clear()
    elif lane.failures >= BREAKS_AFTER:
        if lane.failures == BREAKS_AFTER:
            logger.warning(
                "Webhook endpoint %d keeps failing (%s); its deliveries are postponed", delivery.endpoint_id, outcome
            )
        lane.back_off(delivery.endpoint)


def _jitter() -> float:
    return random.uniform(1.0, 1.2)


# --- Redelivery and clean-up --------------------------------------------------------------------------------


def redeliver(delivery_id: UUID | str) -> WebhookDelivery:
    """Send a delivery once more, whatever its state, with as many attempts as a new one."""
    delivery = WebhookDelivery.objects.filter(pk=delivery_id)
    if not delivery.update(status=WebhookDelivery.Status.WAITING, due_at=timezone.now(), attempts=0, delivered_at=None):
        raise CallsError(f"There is no delivery {delivery_id}.", field="delivery", code="unknown-delivery")
    wake("deliver_webhooks")
    return delivery.get()


def delete_old_deliveries(*, now: datetime | None = None, batch: int = 1000) -> int:
    """Delete deliveries that are older than ``KEPT``. Returns how many there were."""
    deleted = 0
    old = WebhookDelivery.objects.filter(created_at__lt=(now or timezone.now()) - KEPT).order_by()
    while page := list(old.values_list("pk", flat=True)[:batch]):
        deleted += WebhookDelivery.objects.filter(pk__in=page).delete()[0]
    return deleted
