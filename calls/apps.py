import django_stubs_ext
from django.apps import AppConfig
from django.db.models.signals import post_delete, post_migrate

# Django's generic classes (ModelAdmin, ListFilter, ...) then accept type arguments at run time. This module is imported
# before those that subclass them.
django_stubs_ext.monkeypatch()


class CallsConfig(AppConfig):
    """Calls: their records, the services that write them, and the requests that lead there."""

    name = "calls"

    def ready(self) -> None:
        from calls import checks  # noqa: F401  (registers them)
        from calls.models import Call
        from calls.recordings import delete_recording
        from calls.services.bootstrap import make_first_agent

        post_delete.connect(delete_recording, sender=Call)
        post_migrate.connect(make_first_agent, sender=self)
