"""The table of processes that show that they are at work. Import it from ``calls.models``."""

from django.db import models
from django.utils import timezone


class Heartbeat(models.Model):
    """When a background process was last at work. Each process writes its own row."""

    class Kind(models.TextChoices):
        BEAT = "beat", "the beat, which sends the messages of the periodic tasks"
        WORKER = "worker", "a worker, which carries them out"

    kind = models.CharField(max_length=8, choices=Kind)
    process = models.CharField(max_length=128, help_text="Its machine and its number there.")
    started_at = models.DateTimeField(default=timezone.now, help_text="When it was first at work.")
    at = models.DateTimeField(default=timezone.now, help_text="When it was last at work.")

    class Meta:
        ordering = ["kind", "-at"]
        constraints = [models.UniqueConstraint(fields=["kind", "process"], name="one_heartbeat_per_process")]

    def __str__(self) -> str:
        return f"{self.kind} {self.process}"
