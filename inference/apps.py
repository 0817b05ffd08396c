from django.apps import AppConfig


class InferenceConfig(AppConfig):
    """The engines: commands around them, and the worker that serves them to processes elsewhere."""

    name = "inference"
