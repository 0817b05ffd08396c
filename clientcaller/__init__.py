from importlib.util import find_spec

# ``calls.tasks`` knows no app: its tasks belong to the one that exists by then, in whichever process. A GPU worker
# (``clientcaller.pod``) has no tasks, and no Celery in its environment.
if find_spec("celery"):
    from clientcaller.celery import app as celery_app

    __all__ = ["celery_app"]
