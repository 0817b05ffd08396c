"""
Looks at what all processes share, for the metrics: slots, queues, pauses, and who was at work.

One thread of each Celery worker looks every few seconds. So an answer to Prometheus never waits for the database.
"""

import logging
import threading
from dataclasses import dataclass, field
from datetime import datetime
from math import nan

from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection
from django.db.models import Count, Min, Q
from django.utils import timezone
from prometheus_client import REGISTRY

from calls import metrics
from calls.models import Call, DialAttempt, DialPause, Heartbeat, Lease, WebhookDelivery
from calls.services import heartbeats, pauses

logger = logging.getLogger(__name__)

INTERVAL = 10.0
"""Seconds between two looks, of some milliseconds each. Prometheus asks about as often."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """What the processes of one database share at a moment."""

    slots_used: int
    slots_free: int
    dial_queue: dict[str, int]
    """Calls by what they wait for: a free line (``due``), the end of a pause (``held``), their time (``later``)."""
    dial_late: float
    """Seconds by which the call is late that is due longest."""
    dial_out: int
    """Attempts that have not ended."""
    webhook_queue: dict[str, int]
    """Deliveries that wait: for their first attempt (``new``) or for another one (``repeated``)."""
    webhook_late: float
    paused: dict[str, int] = field(default_factory=dict)
    """Pauses of dialling by cause."""
    heartbeats: dict[str, float] = field(default_factory=dict)
    """When a process of each kind was last at work, in seconds since the epoch."""


def look(now: datetime | None = None) -> Fleet:
    now = now or timezone.now()
    used = Lease.objects.filter(expires_at__gt=now).count()
    free_to_dial = Q(held_by__isnull=True)
    due = free_to_dial & Q(due_at__lte=now)
    calls = Call.objects.filter(due_at__isnull=False).aggregate(
        due=Count("pk", filter=due),
        held=Count("pk", filter=~free_to_dial),
        later=Count("pk", filter=free_to_dial & Q(due_at__gt=now)),
        oldest=Min("due_at", filter=due),
    )
    first = Q(attempts=0)
    webhooks = WebhookDelivery.objects.filter(
        status=WebhookDelivery.Status.WAITING, endpoint__active=True, due_at__isnull=False
    ).aggregate(
        new=Count("pk", filter=first),
        repeated=Count("pk", filter=~first),
        oldest=Min("due_at", filter=Q(due_at__lte=now)),
    )
    causes = [pause.cause for pause in pauses.read_pauses(now).rows]
    last = {kind: heartbeats.last_heartbeat(kind) for kind in Heartbeat.Kind}
    return Fleet(
        slots_used=used,
        slots_free=max(0, settings.MAX_LIVE_CALLS - used),
        dial_queue={state: calls[state] for state in metrics.DIAL_QUEUE},
        dial_late=_seconds_since(calls["oldest"], now),
        dial_out=DialAttempt.objects.filter(ended_at=None).count(),
        webhook_queue={state: webhooks[state] for state in metrics.WEBHOOK_QUEUE},
        webhook_late=_seconds_since(webhooks["oldest"], now),
        paused={cause: causes.count(cause) for cause in DialPause.Cause.values},
        heartbeats={kind: beat.at.timestamp() if beat else 0.0 for kind, beat in last.items()},
    )


def _seconds_since(moment: datetime | None, now: datetime) -> float:
    return max(0.0, (now - moment).total_seconds()) if moment else 0.0


def show(fleet: Fleet) -> None:
    """Set the metrics to what was seen."""
    metrics.SLOTS["used"].set(fleet.slots_used)
    metrics.SLOTS["free"].set(fleet.slots_free)
    for gauges, values in (
        (metrics.DIAL_QUEUE, fleet.dial_queue),
        (metrics.WEBHOOK_QUEUE, fleet.webhook_queue),
        (metrics.DIALLING_PAUSED, fleet.paused),
        (metrics.HEARTBEATS, fleet.heartbeats),
    ):
        for label, value in values.items():
            gauges[label].set(value)
    metrics.DIAL_LATE.set(fleet.dial_late)
    metrics.DIAL_OUT.set(fleet.dial_out)
    metrics.WEBHOOK_LATE.set(fleet.webhook_late)


def show_nothing() -> None:
    """The database could not be asked: what was seen before is not true any more."""
    for gauge in metrics.OF_THE_FLEET:
        gauge.set(nan)


class FleetWatch:
    """Looks again and again, in a thread that ends with the process."""

    def __init__(self) -> None:
        self._stopping = threading.Event()

    def start(self) -> threading.Thread:
        REGISTRY.register(metrics.FLEET)
        thread = threading.Thread(target=self._watch, name="fleet", daemon=True)
        thread.start()
        return thread

    def stop(self) -> None:
        self._stopping.set()

    def _watch(self) -> None:
        while not self._stopping.is_set():
            connection.close_if_unusable_or_obsolete()
            self.look_once()
            self._stopping.wait(INTERVAL)
        connection.close()
        REGISTRY.unregister(metrics.FLEET)

    def look_once(self) -> None:
        try:
            show(look())
        except DatabaseError:
            logger.debug("Could not look at slots and queues for the metrics", exc_info=True)
            show_nothing()
