"""The project's settings, with a schedule that only says that it is kept."""

from clientcaller.settings import *  # noqa: F403

CELERY_BEAT_SCHEDULE = {
    "tick": {"task": "tests.celery_tasks.say", "args": ("tick",), "schedule": 0.2, "options": {"expires": 0.2}}
}
