"""The project's settings for the workers of tests, which ask the carrier about lost calls every second."""

from clientcaller.settings import *  # noqa: F403
from clientcaller.settings import CELERY_BEAT_SCHEDULE

CELERY_BEAT_SCHEDULE["reconcile"] |= {"schedule": 1.0, "options": {"expires": 1.0}}
