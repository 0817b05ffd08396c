"""The settings of the project with a schedule of one task, whose log lines show that the schedule is kept."""

from clientcaller.settings import *  # noqa: F403

CELERY_BEAT_SCHEDULE = {
    "tick": {"task": "tests.celery_tasks.log_word", "args": ("tick",), "schedule": 0.2, "options": {"expires": 0.2}}
}
