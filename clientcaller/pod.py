"""
The settings of a GPU worker: ``DJANGO_SETTINGS_MODULE=clientcaller.pod``.

They are those of the project without what only a web process needs (a database, pages, the API), so that a GPU worker
runs on ``requirements/stt.txt`` or ``requirements/tts.txt`` alone. It reads the same environment: ``REDIS_URL``,
``ENGINES_PROFILE`` (``gpu`` on a GPU) and the settings of its engines.
"""

from clientcaller.settings import *  # noqa: F403

INSTALLED_APPS = ["inference", "channels"]
MIDDLEWARE = []
TEMPLATES = []
DATABASES = {}
CACHES = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
AUTHENTICATION_BACKENDS = []
AUTH_PASSWORD_VALIDATORS = []
ROOT_URLCONF = ASGI_APPLICATION = ""
