"""The tasks that the workers of test_celery.py run: they log a word."""

import logging
import time

from celery import shared_task

logger = logging.getLogger(__name__)


@shared_task
def log_word(word: str) -> None:
    logger.warning("said %s", word)


@shared_task
def log_word_late(word: str) -> None:
    """Log at the beginning, and a second later."""
    logger.warning("begins with %s", word)
    time.sleep(1.0)
    logger.warning("said %s", word)
