"""
Delivering webhooks: each event is sent until its endpoint accepts it, or the attempts are used up.

A delivery is a POST that is signed as the Standard Webhooks specification says. It is sent at least once: if a process
dies before it has stored the answer, the event is sent again under the same ``webhook-id``. The order of events is not
guaranteed.

No endpoint delays another one. Each has a lane. A lane begins with one delivery at a time, gets more with each success
and is back at one after a failure. So endpoints that do not answer take few slots, and some are always kept from them.
"""

import json
import logging
import random
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from queue import Empty, SimpleQueue
from uuid import UUID

from django.db import InterfaceError, InternalError, OperationalError, connection
from django.db.models import F, Q, QuerySet, Window
from django.db.models.functions import Coalesce, RowNumber
from django.utils import timezone

from calls import metrics
from calls.errors import CallsError
from calls.models import WebhookDelivery, WebhookEndpoint
from calls.services.webhook_posting import Post, Sending, open_sender
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
FAILING_SLOTS = 200
"""Those of them that endpoints may take whose last delivery has failed: the first event of a new one finds a slot."""
PAGE = 20
"""Deliveries to one endpoint that are looked up at a time."""
PAGES = 1000
"""Deliveries that are looked up at a time, the oldest of each endpoint first. Only their ids are kept meanwhile."""
RECALL = 3600.0
"""Seconds: an endpoint that accepted an event of that time counts as proven in a process that has just started."""
LOOKING = 0.2
"""The part of its time that a run spends on look-ups while deliveries are under way: each sorts all that is due."""
CLAIMS = 10
"""Deliveries that are claimed before the results of others are stored. A claim takes a millisecond or two."""
BREAKS_AFTER = 5
"""Consecutive failures after which nothing is sent to an endpoint for ``BREAK`` seconds. Then one delivery tries it."""
BREAK = 60.0
"""Seconds: long enough for a restart of the receiver, and short against the waits of ``BACKOFF``."""
DATABASE_FAULTS = OperationalError, InterfaceError, InternalError
"""What the database raises while it is away, locked, or read-only because another server takes over."""
RETRY = 1.0
"""Seconds between two attempts to use a database that fails while something is being sent or has to be stored."""
PATIENCE = 30.0
"""Seconds for which a run tries that: well below ``LEASE``, after which others send again what is not stored."""
GIVEN_UP = timedelta(hours=25)
"""
The age at which a delivery has failed even with attempts left, counted anew from a redelivery. All attempts take 24.3
hours at most, but of the events for an endpoint that keeps failing only one a minute is tried.
"""
KEPT = timedelta(days=30)
"""The age at which a delivery is deleted, unless it waits because it was redelivered."""


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
    is_failing: bool = False
    """Whether it failed. Neither is true of a new endpoint."""
    failures: int = 0
    """Consecutive failures of this process."""
    started_at: float = 0.0
    """The monotonic time at which the last delivery began."""

    @property
    def order(self) -> tuple[bool, bool, int, float]:
        """Lanes with a smaller one go first: those that work, then new ones, then failing ones; each kind in turn."""
        return not self.is_proven, self.is_failing, self.failures, self.started_at

    @property
    def is_ready(self) -> bool:
        return bool(self.waiting) and self.in_flight < self.width

    def succeeded(self) -> None:
        self.is_proven, self.is_failing, self.failures = True, False, 0
        self.width = min(self.width + 1, CONCURRENT)

    def failed(self) -> None:
        self.is_proven, self.is_failing, self.width = False, True, 1
        self.failures += 1


@dataclass(frozen=True, slots=True)
class _Result:
    """What has to be stored of an attempt. Storing it twice changes nothing more."""

    delivery: WebhookDelivery
    changes: dict[str, object]
    is_gone: bool
    """Whether the endpoint wants no more events."""
    breaks: bool
    """Whether the endpoint keeps failing, so that what waits for it is postponed."""


@dataclass(slots=True)
class _Trouble:
    """A database that fails while something is being sent or has to be stored."""

    error: Exception
    """The first one, which the run raises in the end."""
    until: float
    """The monotonic time at which the run gives up."""


def deliver_due(*, post: Post | None = None) -> Delivered:
    """
    Send the deliveries that are due, until there are none. Any number of processes may run this.

    Do not call this where an event loop runs.
    """
    return Deliverer(post).run()


class Deliverer:
    """Sends what is due, and remembers from one run to the next which endpoints work."""

    def __init__(self, post: Post | None = None) -> None:
        """``post`` replaces the HTTP client."""
        self._post = post
        self._lanes: dict[int, _Lane] = {}
        self._news: SimpleQueue[Sending | None] = SimpleQueue()
        """Deliveries that have ended; None: something else has to be done."""
        self._sending: dict[Sending, tuple[_Lane, WebhookDelivery]] = {}
        self._results: deque[_Result] = deque()
        """Those that have to be stored. A run that gives up leaves them to the next one."""
        self._look_wanted = False
        self._look_at = 0.0
        """The monotonic time of the next look-up, if one is wanted."""
        self._is_stopping = False

    # These may be called from other threads, and from a handler of a signal.

    def look_again(self) -> None:
        """More deliveries may be due than the run knows."""
        self._look_wanted = True
        self._news.put(None)

    def stop(self) -> None:
        """Begin no more deliveries, in this run and later ones, and end when those that have begun have ended."""
        self._is_stopping = True
        self._news.put(None)

    # The run. All queries are made here, in the caller's thread.

    def run(self) -> Delivered:
        """
        Send what is due, until nothing is due or being sent.

        If the database fails, what has begun ends and is stored as soon as it works again. If it does not for
        ``PATIENCE``, or nothing is left to be stored, its error is raised.
        """
        totals = Delivered()
        self._look_wanted = True
        try:
            with open_sender(self._post) as begin:
                self._send_all(begin, totals)
        finally:
            self._sending.clear()
            self._news = SimpleQueue()  # without what was given up
            self._forget()
            for lane in self._lanes.values():
                lane.in_flight = 0
        return totals

    def _send_all(self, begin: Callable[[WebhookDelivery], Sending], totals: Delivered) -> None:
        trouble: _Trouble | None = None
        while True:
            try:
                began = self._step(begin)
            except DATABASE_FAULTS as error:
                trouble = trouble or _Trouble(error, time.monotonic() + PATIENCE)
                self._look_wanted = True  # what was not claimed is not known any more
                if not self._sending and (not self._results or time.monotonic() >= trouble.until):
                    raise trouble.error from None
                pause: float | None = RETRY
            else:
                trouble = None
                if not self._sending and not self._must_look():
                    return
                pause = self._longest_pause(began)
            self._wait(pause, totals)
            if trouble is not None and not connection.in_atomic_block:
                connection.close_if_unusable_or_obsolete()  # the next query opens a new one

    def _step(self, begin: Callable[[WebhookDelivery], Sending]) -> int:
        """Store what has ended, and begin what is due. Returns how many deliveries have begun."""
        while self._results:
            self._store(self._results[0])
            self._results.popleft()
        if self._is_stopping:
            self._forget()
        elif self._must_look() and (not self._sending or time.monotonic() >= self._look_at):
            self._look()
        return self._begin(begin)

    def _store(self, result: _Result) -> None:
        try:
            _store_result(result)
        except DATABASE_FAULTS:
            raise
        except Exception:
            logger.exception("Could not store how delivery %s of a webhook went; it is repeated", result.delivery.pk)

    def _must_look(self) -> bool:
        dry = (lane.has_more and not lane.waiting for lane in self._lanes.values())
        return not self._is_stopping and (self._look_wanted or any(dry))

    def _longest_pause(self, began: int) -> float | None:
        """The seconds until there may be something to do even if no delivery ends; None: there will be nothing."""
        if began == CLAIMS or not self._sending:
            return 0.0
        return max(0.0, self._look_at - time.monotonic()) if self._must_look() else None

    def _wait(self, seconds: float | None, totals: Delivered) -> None:
        """Wait until something has to be done, for so many seconds at most. Note what has ended."""
        with suppress(Empty):
            news = self._news.get(timeout=seconds)
            while True:
                if news is not None:
                    lane, delivery = self._sending.pop(news)
                    lane.in_flight -= 1
                    self._results.append(_judge(lane, delivery, *news.result(), totals))
                news = self._news.get_nowait()

    def _forget(self) -> None:
        """Forget what waits."""
        for lane in self._lanes.values():
            lane.waiting.clear()
            lane.has_more = False

    def _look(self) -> None:
        """Look up what is due at endpoints of which no deliveries are known to be due."""
        began = time.monotonic()
        self._look_wanted = _give_up() == PAGES
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
        """Make the lanes of endpoints, with what is known of earlier deliveries."""
        if not endpoints:
            return
        lately = timezone.now() - timedelta(seconds=RECALL)
        theirs = WebhookDelivery.objects.filter(endpoint__in=endpoints).order_by()
        accepted = theirs.filter(created_at__gte=lately, status=WebhookDelivery.Status.DELIVERED)
        repeated = theirs.filter(status=WebhookDelivery.Status.WAITING, attempts__gt=0)
        proven, failing = (
            set(found.values_list("endpoint_id", flat=True).distinct()) for found in (accepted, repeated)
        )
        for endpoint in endpoints:
            self._lanes[endpoint] = _Lane(is_proven=endpoint in proven, is_failing=endpoint in failing - proven)

    def _begin(self, begin: Callable[[WebhookDelivery], Sending]) -> int:
        """Claim and begin to send deliveries, ``CLAIMS`` at most. Returns how many."""
        began = 0
        while began < CLAIMS and (lane := self._next_lane()) is not None:
            if (delivery := _claim(*lane.waiting.popleft())) is None:
                continue
            began += 1
            lane.in_flight += 1
            lane.started_at = time.monotonic()
            sending = begin(delivery)
            self._sending[sending] = lane, delivery
            sending.add_done_callback(self._news.put)
        return began

    def _next_lane(self) -> _Lane | None:
        if len(self._sending) >= SLOTS:
            return None
        lanes = self._lanes.values()
        unproven = sum(lane.in_flight for lane in lanes if not lane.is_proven)
        failing = sum(lane.in_flight for lane in lanes if lane.is_failing)
        for_new, for_failing = unproven < UNPROVEN_SLOTS, unproven < UNPROVEN_SLOTS and failing < FAILING_SLOTS
        ready = (lane for lane in lanes if lane.is_ready)
        open_ones = (lane for lane in ready if lane.is_proven or (for_failing if lane.is_failing else for_new))
        return min(open_ones, key=lambda lane: lane.order, default=None)


def _due() -> QuerySet[WebhookDelivery]:
    return WebhookDelivery.objects.filter(
        status=WebhookDelivery.Status.WAITING, due_at__lte=timezone.now(), endpoint__active=True
    )


def _give_up() -> int:
    """
    End deliveries that are due and too old, or whose attempts are used up because processes died or could not store
    the results. Takes ``PAGES`` at most, and returns how many it found.
    """
    now = timezone.now()
    since = Coalesce("redelivered_at", "created_at")
    due = WebhookDelivery.objects.filter(status=WebhookDelivery.Status.WAITING, due_at__lte=now).order_by()
    hopeless = due.alias(since=since).filter(Q(since__lt=now - GIVEN_UP) | Q(attempts__gt=len(BACKOFF) + 1))
    found = list(hopeless.values_list("pk", "endpoint_id", "log")[:PAGES])
    by_log = defaultdict(list)  # most have never been tried, so that one query ends them all
    for pk, _, log in found:
        by_log[json.dumps(log)].append(pk)
    entry = {"at": now.isoformat(timespec="seconds"), "result": "given up: too old, or too many attempts", "ms": 0}
    for log, pks in by_log.items():  # not those that another process has claimed meanwhile
        due.filter(pk__in=pks).update(status=WebhookDelivery.Status.FAILED, due_at=None, log=[*json.loads(log), entry])
    for endpoint, count in Counter(endpoint for _, endpoint, _ in found).items():
        metrics.WEBHOOKS["failed"].inc(count)
        logger.warning("Gave up %d deliveries to webhook endpoint %d: too old, or too many attempts", count, endpoint)
    return len(found)


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


def _judge(lane: _Lane, delivery: WebhookDelivery, outcome: int | str, ms: float, totals: Delivered) -> _Result:
    """Decide what becomes of a delivery whose attempt has ended, and of the lane."""
    metrics.WEBHOOK_SECONDS.observe(ms / 1000)
    now = timezone.now()
    status = outcome if isinstance(outcome, int) else None
    changes: dict[str, object] = {
        "response_status": status,
        "log": [*delivery.log, {"at": now.isoformat(timespec="seconds"), "result": outcome, "ms": round(ms)}],
    }
    if status is not None and 200 <= status < 300:
        lane.succeeded()
        totals.delivered += 1
        metrics.WEBHOOKS["delivered"].inc()
        changes |= {"status": WebhookDelivery.Status.DELIVERED, "due_at": None, "delivered_at": now}
    else:
        lane.failed()
        if status == 410 or delivery.attempts > len(BACKOFF):
            totals.failed += 1
            metrics.WEBHOOKS["failed"].inc()
            changes |= {"status": WebhookDelivery.Status.FAILED, "due_at": None}
        else:
            totals.retried += 1
            metrics.WEBHOOKS["retried"].inc()
            changes["due_at"] = now + timedelta(seconds=BACKOFF[delivery.attempts - 1] * _jitter())
    breaks = status != 410 and lane.failures >= BREAKS_AFTER
    if status == 410:
        logger.warning("Webhook endpoint %d answered 410 (gone); it is switched off", delivery.endpoint_id)
    elif lane.failures == BREAKS_AFTER:
        logger.warning(
            "Webhook endpoint %d keeps failing (%s); its deliveries are postponed", delivery.endpoint_id, outcome
        )
    if status == 410 or breaks:
        lane.waiting.clear()
        lane.has_more = False
    return _Result(delivery, changes, is_gone=status == 410, breaks=breaks)


def _store_result(result: _Result) -> None:
    delivery = result.delivery
    # Not if another process has the delivery meanwhile, after a stall longer than the lease, or if it was redelivered.
    as_seen = WebhookDelivery.objects.filter(
        pk=delivery.pk, status=WebhookDelivery.Status.WAITING, due_at=delivery.due_at
    )
    as_seen.update(**result.changes)
    if result.is_gone:
        WebhookEndpoint.objects.filter(pk=delivery.endpoint_id).update(active=False)
    elif result.breaks:
        _postpone(delivery.endpoint)


def _postpone(endpoint: WebhookEndpoint) -> None:
    """Postpone everything that waits for a failing endpoint, so that its attempts are not used up at once."""
    now = timezone.now()
    rest = endpoint.deliveries.filter(status=WebhookDelivery.Status.WAITING, due_at__lte=now)
    rest.update(due_at=now + timedelta(seconds=BREAK * _jitter()))


def _jitter() -> float:
    return random.uniform(1.0, 1.2)


# --- Redelivery and clean-up --------------------------------------------------------------------------------


def redeliver(delivery_id: UUID | str) -> WebhookDelivery:
    """Send a delivery once more, whatever its state, with as many attempts as a new one."""
    delivery = WebhookDelivery.objects.filter(pk=delivery_id)
    now = timezone.now()
    waiting = {"status": WebhookDelivery.Status.WAITING, "due_at": now, "redelivered_at": now}
    if not delivery.update(**waiting, attempts=0, delivered_at=None):
        raise CallsError(f"There is no delivery {delivery_id}.", field="delivery", code="unknown-delivery")
    wake("deliver_webhooks")
    return delivery.get()


def delete_old_deliveries(*, now: datetime | None = None, batch: int = 1000) -> int:
    """Delete deliveries that are older than ``KEPT``. Returns how many there were."""
    deleted = 0
    limit = (now or timezone.now()) - KEPT
    old = WebhookDelivery.objects.filter(created_at__lt=limit).order_by()
    old = old.exclude(status=WebhookDelivery.Status.WAITING, redelivered_at__gte=limit)
    while page := list(old.values_list("pk", flat=True)[:batch]):
        deleted += WebhookDelivery.objects.filter(pk__in=page).delete()[0]
    return deleted
