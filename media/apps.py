from django.apps import AppConfig


class MediaConfig(AppConfig):
    """The sound of a call."""

    name = "media"
