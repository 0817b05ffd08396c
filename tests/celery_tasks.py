"""What the workers of test_celery.py are given to do: they say that they did it."""

import logging

from celery import shared_task

logger = logging.getLogger(__name__)


@shared_task
def say(word: str) -> None:
    logger.warning("said %s", word)
