from importlib.util import find_spec

VERSION = "0.1.0"
"""That of pyproject.toml."""

# Loaded with the package, so that the tasks of ``calls.tasks`` belong to this app in every process that enqueues one.
# A GPU worker (``clientcaller.pod``) has neither tasks nor Celery.
if find_spec("celery"):
    from clientcaller.celery import app as celery_app

    __all__ = ["VERSION", "celery_app"]
