"""The Celery tasks. Each calls one service. The beat wakes them; a wake-up too many finds nothing to do."""

import logging
from collections.abc import Callable
from functools import wraps
from time import perf_counter, time
from typing import Any, ParamSpec

from celery import shared_task
from celery.signals import before_task_publish, task_prerun, worker_shutting_down
from django.db import InterfaceError, OperationalError

from calls import metrics
from calls.call_context import about_call
from calls.services import claiming, dialling, heartbeats, privacy, reconciling, upkeep, webhook_sender
from calls.waking import wake

logger = logging.getLogger(__name__)

Arguments = ParamSpec("Arguments")
SENT_AT = "sent_at"
"""The header of a message with the wall-clock time at which it was sent."""


def task(function: Callable[Arguments, None]) -> Callable[Arguments, None]:
    """Make a Celery task that only logs if the database is unavailable. The next wake-up finds the same work."""

    seconds = metrics.TASK_SECONDS.labels(function.__name__)
    postponed = metrics.TASKS_POSTPONED.labels(function.__name__)

    @shared_task
    @wraps(function)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        begun = perf_counter()
        try:
            with about_call():
                function(*args, **kwargs)
        except (OperationalError, InterfaceError) as error:
            reason = str(error).strip().partition("\n")[0]
            logger.warning("Postponed %s: the database is unavailable: %s", function.__name__, reason)
            postponed.inc()
        finally:
            seconds.observe(perf_counter() - begun)

    return run


@before_task_publish.connect
def _note_when_sent(headers: dict[str, Any], **_: Any) -> None:
    headers[SENT_AT] = time()


@task_prerun.connect
def _count_wait(task: Any, **_: Any) -> None:
    sent_at = task.request.get(SENT_AT)  # None from a process of the version before
    if task.name.startswith(__name__) and sent_at is not None:
        metrics.TASK_WAIT.labels(task.name.rpartition(".")[2]).observe(max(0.0, time() - sent_at))


@task
def dial_due() -> None:
    """Claim the calls that are due, and have each dialled by the next free worker."""
    for attempt_id in claiming.claim_due().attempts:
        wake("dial", str(attempt_id))


@task
def dial(attempt_id: str) -> None:
    dialling.dial(attempt_id)


@task
def reconcile() -> None:
    """Ask the carrier about silent attempts, and dial those that were claimed and not dialled."""
    for attempt_id in reconciling.reconcile().to_dial:
        wake("dial", str(attempt_id))
    # Here and not in a task of its own, which workers of the version before would not know.
    heartbeats.note_heartbeat(heartbeats.Kind.WORKER)


@task
def deliver_webhooks() -> None:
    webhook_sender.sender.wake()


@worker_shutting_down.connect
def _stop_sending_webhooks(**_: Any) -> None:
    """The process ends when the deliveries that have begun have ended."""
    webhook_sender.sender.stop()


@task
def tidy() -> None:
    """Close calls that were left open, and delete what has reached its retention age."""
    upkeep.clean_up()
    privacy.apply_retention()
