"""The Celery application: a worker and a scheduler that start tasks for what is due in the database."""

import logging
import os
from typing import Any

from celery import Celery
from celery.signals import celeryd_init, setup_logging, worker_init, worker_ready
from kombu.transport import TRANSPORT_ALIASES

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "clientcaller.settings")

# Named and not imported: a process that sends no message need not load them.
TRANSPORT_ALIASES["files"] = "clientcaller.file_broker:Transport"
TRANSPORT_ALIASES["redis"] = TRANSPORT_ALIASES["rediss"] = "clientcaller.redis_broker:Transport"

app = Celery("clientcaller")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@celeryd_init.connect
def _log_only_json(instance: Any, **_: Any) -> None:
    """Celery prints a banner of many lines, and a warning if it runs as root. Neither is JSON."""
    from django.conf import settings

    if settings.LOG_FORMAT == "json":
        instance.quiet = True
        logging.captureWarnings(True)


@worker_init.connect
def _expose_metrics(**_: Any) -> None:
    """As early as possible: a worker that cannot reach its broker is worth watching."""
    from clientcaller import metrics

    metrics.expose("celery")


@worker_ready.connect
def _watch_the_fleet(**_: Any) -> None:
    from django.conf import settings

    from calls.services.fleet import FleetWatch

    if settings.METRICS["port"]:
        FleetWatch().start()


@setup_logging.connect
def _keep_the_logging_of_the_settings(**_: Any) -> None:
    """Celery sets up its own handlers and levels unless this signal has a receiver. Django has set up ours already."""
