"""The Celery tasks. Each calls one service. The beat wakes them; a wake-up too many finds nothing to do."""

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec

from celery import shared_task
from celery.signals import worker_shutting_down
from django.db import InterfaceError, OperationalError

from calls.services import claiming, dialling, heartbeats, privacy, reconciling, upkeep, webhook_sender
from calls.waking import wake

logger = logging.getLogger(__name__)

Arguments = ParamSpec("Arguments")


def task(function: Callable[Arguments, None]) -> Callable[Arguments, None]:
    """Make a Celery task that only logs if the database is unavailable. The next wake-up finds the same work."""

    @shared_task
    @wraps(function)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        try:
            function(*args, **kwargs)
        except (OperationalError, InterfaceError) as error:
            reason = str(error).strip().partition("\n")[0]
            logger.warning("Postponed %s: the database is unavailable: %s", function.__name__, reason)

    return run


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
