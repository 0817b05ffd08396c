"""The Django application of the media side."""

from django.apps import AppConfig


class MediaConfig(AppConfig):
    """The application that carries the sound of calls."""

    name = "media"

    def ready(self) -> None:
        from calls import services
        from media.languages import judge_changes, judge_language

        services.add_language_judge(judge_language, changes=judge_changes)
