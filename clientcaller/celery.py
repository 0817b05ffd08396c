"""Celery: the worker and the beat that wake whoever has work waiting in the database. ``celery -A clientcaller``."""

import os
from typing import Any

from celery import Celery
from celery.signals import setup_logging
from kombu.transport import TRANSPORT_ALIASES

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "clientcaller.settings")

# By name: a process that sends nothing need not load them.
TRANSPORT_ALIASES["files"] = "clientcaller.file_broker:Transport"
TRANSPORT_ALIASES["redis"] = TRANSPORT_ALIASES["rediss"] = "clientcaller.redis_broker:Transport"

app = Celery("clientcaller")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@setup_logging.connect
def _leave_logging_to_the_settings(**_: Any) -> None:
    """Celery sets up handlers and levels of its own unless somebody else takes it on; Django has done so already."""
