"""Waking the workers. The database is the truth: if a wake-up is lost, the work is done by the next beat."""

import logging
from time import perf_counter

from celery import current_app
from django.db import transaction

from calls import metrics

logger = logging.getLogger(__name__)

_EXPIRES = 10.0
"""Seconds after which a wake-up that no worker has taken is dropped. The beat has woken a worker by then."""


def wake(task: str, *arguments: str) -> None:
    """Run ``calls.tasks.<task>`` in a free worker, soon after the present transaction is committed."""
    transaction.on_commit(lambda: _send(task, arguments))


def _send(task: str, arguments: tuple[str, ...]) -> None:
    begun = perf_counter()
    try:
        current_app.send_task(f"calls.tasks.{task}", args=arguments, expires=_EXPIRES, retry=False)
    except Exception as error:  # the broker's library has no common base class for its errors
        metrics.ENQUEUE_FAILED.inc()
        logger.warning("Could not enqueue %s; the next beat retries: %s", task, error)
    else:
        metrics.ENQUEUE_SECONDS.observe(perf_counter() - begun)
