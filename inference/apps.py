from django.apps import AppConfig


class InferenceConfig(AppConfig):
    """The engines, the commands that try them, and the worker that serves them to other processes."""

    name = "inference"
