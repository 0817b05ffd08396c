"""The Django application of the media side."""

from django.apps import AppConfig


class MediaConfig(AppConfig):
    """The application that carries the sound of calls."""

    name = "media"
