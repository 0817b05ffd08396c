"""Records that the beat and the workers are at work, for whoever asks whether they live (``manage.py doctor``)."""

import os
import socket
from datetime import datetime, timedelta

from django.db import IntegrityError, transaction
from django.utils import timezone

from calls.models import Heartbeat

INTERVAL = 15.0
"""Seconds between two heartbeats of the workers, which one of them writes; the beat writes its own more often."""
FORGET_AFTER = timedelta(days=2)
"""A process that ended is kept for so long, so that one can see when it was last at work."""

Kind = Heartbeat.Kind


def process_name() -> str:
    """The machine and the number of this process."""
    return f"{socket.gethostname()[:100]}:{os.getpid()}"


def note_heartbeat(kind: Kind, *, process: str = "") -> None:
    """Record that this process, or the one of this name, is at work."""
    process, now = process or process_name(), timezone.now()
    mine = Heartbeat.objects.filter(kind=kind, process=process)
    if not mine.update(at=now):
        try:
            with transaction.atomic():
                Heartbeat.objects.create(kind=kind, process=process, started_at=now, at=now)
        except IntegrityError:  # another thread of the process was faster
            mine.update(at=now)


def last_heartbeat(kind: Kind) -> Heartbeat | None:
    """The process of this kind that was at work last."""
    return Heartbeat.objects.filter(kind=kind).order_by("-at").first()


def beating(kind: Kind, *, since: datetime) -> int:
    """How many processes of this kind were at work since then."""
    return Heartbeat.objects.filter(kind=kind, at__gte=since).count()


def forget_ended(now: datetime) -> None:
    """Remove the processes that ended long ago."""
    Heartbeat.objects.filter(at__lt=now - FORGET_AFTER).delete()
