"""
The settings of a GPU worker: ``DJANGO_SETTINGS_MODULE=clientcaller.pod``.

Those of the project without what only a web process needs: no database, no pages, no API. With them a pod installs
``requirements/stt.txt`` or ``requirements/tts.txt`` and nothing else. The environment is read as ever: it wants
``REDIS_URL``, ``ENGINES_PROFILE`` (on a GPU ``gpu``) and what the engines take.
"""

from clientcaller.settings import *  # noqa: F403

INSTALLED_APPS = ["inference", "channels"]
MIDDLEWARE = []
TEMPLATES = []
DATABASES = {}
CACHES = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
AUTH_PASSWORD_VALIDATORS = []
ROOT_URLCONF = ASGI_APPLICATION = ""
