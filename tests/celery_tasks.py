"""The task that the workers of test_celery.py run: it logs a word."""

import logging

from celery import shared_task

logger = logging.getLogger(__name__)


@shared_task
def log_word(word: str) -> None:
    logger.warning("said %s", word)
