"""Wakes the workers. The database is the truth: a wake-up that is lost only makes something a second later."""

import logging

from celery import current_app
from django.db import transaction

logger = logging.getLogger(__name__)

_EXPIRES = 10.0  # seconds: by then beat has woken somebody


def wake(task: str, *arguments: str) -> None:
    """Run ``calls.tasks.<task>`` soon after the present transaction, wherever a worker is free."""
    transaction.on_commit(lambda: _send(task, arguments))


def _send(task: str, arguments: tuple[str, ...]) -> None:
    try:
        current_app.send_task(f"calls.tasks.{task}", args=arguments, expires=_EXPIRES, retry=False)
    except Exception as error:  # the broker's library has no common base for what can go wrong there
        logger.warning("Nobody could be woken for %s (the next beat will): %s", task, error)
