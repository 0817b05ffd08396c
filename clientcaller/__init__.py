# ``calls.tasks`` knows no app: its tasks belong to the one that exists by then, in whichever process.
from clientcaller.celery import app as celery_app

__all__ = ["celery_app"]
