"""
Delivering webhooks: each event is sent until its endpoint accepts it, or the attempts are used up.

A delivery is a POST that is signed as the Standard Webhooks specification says. It is sent at least once: if a process
dies before it has stored the answer, the event is sent again under the same ``webhook-id``. The order of events is not
guaranteed.

No endpoint delays another one. Each has a lane. A lane begins with one delivery at a time, gets more with each success
and is back at one after a failure. So endpoints that do not answer take few slots, and some are always kept from them.
"""

import asyncio
import logging
import random
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import F, QuerySet, Window
from django.db.models.functions import RowNumber
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
"""Deliveries to one endpoint at a time, at most: receivers are often small servers."""
SLOTS = 400
"""Deliveries of a process at a time. Each has a socket, and a process may open 1024 files by default on Linux."""
UNPROVEN_SLOTS = 300
"""Those of them that endpoints may take whose last delivery has not succeeded. The others always have the rest."""
PAGE = 20
"""Deliveries to one endpoint that are looked up at a time."""
PAGES = 1000
"""Deliveries that are looked up at a time, the oldest of each endpoint first. Only their ids are kept meanwhile."""
RECALL = 3600.0
"""Seconds: an endpoint that accepted an event of that time counts as proven in a process that has just started."""
LOOKING = 0.2
"""The part of its time that a run spends on look-ups while deliveries are under way: each sorts all that is due."""
CLAIMS = 10
"""Deliveries that are claimed before those that are being sent get their turn. A claim takes a millisecond or two."""
BREAKS_AFTER = 5
"""Consecutive failures after which nothing is sent to an endpoint for ``BREAK`` seconds. Then one delivery tries it."""
BREAK = 60.0
"""Seconds: long enough for a restart of the receiver, and short against the waits of ``BACKOFF``."""
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


@dataclass(slots=True)
class _Lane:
    """The deliveries to one endpoint."""

    waiting: deque[tuple[UUID, datetime | None]] = field(default_factory=deque)
    """The ids of those that are due and not claimed yet, with the time they are due; the oldest first."""
    has_more: bool = False
    """Whether more may be due than the last look-up has read."""
    in_flight: int = 0
    """Those that are being sent."""
    width: int = 1
    """Those that may be sent at a time."""
    is_proven: bool = False
    """Whether the last delivery succeeded."""
    failures: int = 0
    """Consecutive failures."""
    started_at: float = 0.0
    """The monotonic time at which the last delivery began."""

    @property
    def order(self) -> tuple[bool, int, float]:
        """Lanes with a smaller one go first: those that work, then new ones, then failing ones; each kind in turn."""
        return not self.is_proven, self.failures, self.started_at

    @property
    def is_ready(self) -> bool:
        return bool(self.waiting) and self.in_flight < self.width

    def succeeded(self) -> None:
        self.is_proven, self.failures = True, 0
        self.width = min(self.width + 1, CONCURRENT)

    def failed(self) -> None:
        self.is_proven, self.width = False, 1
        self.failures += 1


def deliver_due(*, post: Post | None = None) -> Delivered:
    """
    Send the deliveries that are due, until there are none. Any number of processes may run this.

    Do not call this where an event loop runs. It has an event loop of its own, which stands still during queries.
    """
    return Deliverer(post).run()


class Deliverer:
    """Sends what is due, and remembers from one run to the next which endpoints work."""

    def __init__(self, post: Post | None = None) -> None:
        """``post`` replaces the HTTP client."""
        self._post = post
        self._lanes: dict[int, _Lane] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed = asyncio.Event()
        """Set whenever something has to be done: a delivery has ended, more may be due, or it shall stop."""
        self._ended: list[asyncio.Task[tuple[int | str, float]]] = []
        self._tasks: dict[asyncio.Task[tuple[int | str, float]], tuple[_Lane, WebhookDelivery]] = {}
        self._look_wanted = False
        self._look_at = 0.0
        """The monotonic time of the next look-up, if one is wanted."""
        self._is_stopping = False

    # These may be called from other threads, and from a handler of a signal.

    def look_again(self) -> None:
        """More deliveries may be due than the run knows."""
        self._look_wanted = True
        self._wake_up()

    def stop(self) -> None:
        """Begin no more deliveries, in this run and later ones, and end when those that have begun have ended."""
        self._is_stopping = True
        self._wake_up()

    def _wake_up(self) -> None:
        if (loop := self._loop) is not None:
            with suppress(RuntimeError):  # the run has just ended
                loop.call_soon_threadsafe(self._changed.set)

    # The run. All queries are made here, between two steps of the event loop.

    def run(self) -> Delivered:
        """Send what is due, until nothing is due or being sent."""
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            if self._post is not None:
                return self._run(runner.get_loop(), self._post)
            client = runner.run(_make_client())
            try:
                return self._run(runner.get_loop(), client.post)
            finally:
                runner.run(client.close())

    def _run(self, loop: asyncio.AbstractEventLoop, post: Post) -> Delivered:
        totals = Delivered()
        self._loop, self._changed, self._look_wanted = loop, asyncio.Event(), True
        try:
            self._send_all(loop, post, totals)
        finally:
            self._loop = None
            for task in self._tasks:
                task.cancel()
            self._tasks.clear()
            self._ended.clear()
            self._forget()
            for lane in self._lanes.values():
                lane.in_flight = 0
        return totals

    def _send_all(self, loop: asyncio.AbstractEventLoop, post: Post, totals: Delivered) -> None:
        while True:
            if self._is_stopping:
                self._forget()
            elif self._must_look() and (not self._tasks or time.monotonic() >= self._look_at):
                self._look()
            began = self._begin(loop, post)
            if not self._tasks and not self._must_look():
                return
            loop.run_until_complete(self._wait(self._longest_pause(began)))
            for task in self._ended:
                lane, delivery = self._tasks.pop(task)
                lane.in_flight -= 1
                _record_result(lane, delivery, *task.result(), totals)
            self._ended.clear()

    def _must_look(self) -> bool:
        dry = (lane.has_more and not lane.waiting for lane in self._lanes.values())
        return not self._is_stopping and (self._look_wanted or any(dry))

    def _longest_pause(self, began: int) -> float | None:
        """The seconds until there may be something to do even if no delivery ends; None: there will be nothing."""
        if began == CLAIMS or not self._tasks:
            return 0.0
        return max(0.0, self._look_at - time.monotonic()) if self._must_look() else None

    async def _wait(self, seconds: float | None) -> None:
        """Wait until something has to be done, for so many seconds at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        self._changed.clear()

    def _forget(self) -> None:
        """Forget what waits."""
        for lane in self._lanes.values():
            lane.waiting.clear()
            lane.has_more = False

    def _look(self) -> None:
        """Look up what is due at endpoints of which no deliveries are known to be due."""
        began = time.monotonic()
        self._look_wanted = False
        for lane in self._lanes.values():
            lane.has_more = bool(lane.waiting)  # this look-up leaves these out
        known = [pk for pk, lane in self._lanes.items() if lane.waiting]
        place = Window(RowNumber(), partition_by="endpoint_id", order_by="due_at")
        due = _due().exclude(endpoint__in=known).annotate(place=place).filter(place__lte=PAGE)
        found = list(due.order_by("place", "due_at").values_list("endpoint_id", "pk", "due_at", "place")[:PAGES])
        self._recall({endpoint for endpoint, *_ in found} - self._lanes.keys())
        for endpoint, pk, due_at, number in found:
            lane = self._lanes[endpoint]
            lane.waiting.append((pk, due_at))
            lane.has_more = number == PAGE
        self._look_wanted = self._look_wanted or len(found) == PAGES
        ended = time.monotonic()
        self._look_at = ended + (ended - began) * (1 / LOOKING - 1)

    def _recall(self, endpoints: set[int]) -> None:
        """Make the lanes of endpoints. Those that have accepted a delivery lately work, as far as anybody knows."""
        lately = timezone.now() - timedelta(seconds=RECALL)
        accepted = WebhookDelivery.objects.filter(
            endpoint__in=endpoints, created_at__gte=lately, status=WebhookDelivery.Status.DELIVERED
        )
        proven = set(accepted.order_by().values_list("endpoint_id", flat=True).distinct()) if endpoints else set()
        for endpoint in endpoints:
            self._lanes[endpoint] = _Lane(is_proven=endpoint in proven)

    def _begin(self, loop: asyncio.AbstractEventLoop, post: Post) -> int:
        """Claim and begin to send deliveries, ``CLAIMS`` at most. Returns how many."""
        began = 0
        while began < CLAIMS and (lane := self._next_lane()) is not None:
            pk, due_at = lane.waiting.popleft()
            if (delivery := _claim(pk, due_at)) is None:
                continue
            began += 1
            lane.in_flight += 1
            lane.started_at = time.monotonic()
            task = loop.create_task(send(post, delivery))
            task.add_done_callback(self._note_end)
            self._tasks[task] = lane, delivery
        return began

    def _next_lane(self) -> _Lane | None:
        if len(self._tasks) >= SLOTS:
            return None
        unproven = sum(lane.in_flight for lane in self._lanes.values() if not lane.is_proven)
        ready = (lane for lane in self._lanes.values() if lane.is_ready)
        open_ones = (lane for lane in ready if lane.is_proven or unproven < UNPROVEN_SLOTS)
        return min(open_ones, key=lambda lane: lane.order, default=None)

    def _note_end(self, task: asyncio.Task[tuple[int | str, float]]) -> None:
        self._ended.append(task)
        self._changed.set()


def _due() -> QuerySet[WebhookDelivery]:
    return WebhookDelivery.objects.filter(
        status=WebhookDelivery.Status.WAITING, due_at__lte=timezone.now(), endpoint__active=True
    )


def _claim(pk: UUID, due_at: datetime | None) -> WebhookDelivery | None:
    """
    Reserve a delivery for ``LEASE`` seconds; None if another process has it or it is not due any more.

    The attempt counts from here on, even if this process dies.
    """
    lease = timezone.now() + timedelta(seconds=LEASE)
    as_seen = WebhookDelivery.objects.filter(
        pk=pk, status=WebhookDelivery.Status.WAITING, due_at=due_at, endpoint__active=True
    )
    if not as_seen.update(due_at=lease, attempts=F("attempts") + 1):
        return None
    return WebhookDelivery.objects.select_related("endpoint").filter(pk=pk, due_at=lease).first()


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
        lane.succeeded()
        totals.delivered += 1
        changes |= {"status": WebhookDelivery.Status.DELIVERED, "due_at": None, "delivered_at": now}
    else:
        lane.failed()
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
        _back_off(lane, delivery.endpoint)


def _back_off(lane: _Lane, endpoint: WebhookEndpoint) -> None:
    """Postpone everything that waits for a failing endpoint, so that its attempts are not used up at once."""
    lane.waiting.clear()
    lane.has_more = False
    now = timezone.now()
    rest = endpoint.deliveries.filter(status=WebhookDelivery.Status.WAITING, due_at__lte=now)
    rest.update(due_at=now + timedelta(seconds=BREAK * _jitter()))


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
