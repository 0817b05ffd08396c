"""The tables of the dialler's state: its pace and its pauses. Import them from ``calls.models``."""

from django.db import models
from django.utils import timezone


class DialPace(models.Model):
    """
    The speed of the dialler.

    There is one row. Any number of dispatchers share it and change it by compare-and-set.
    """

    next_at = models.DateTimeField(help_text="When the next call may start, by the calls per second.")
    limit = models.PositiveIntegerField(
        null=True, help_text="The calls at once that the carrier has accepted. Empty if no limit was met."
    )
    limit_at = models.DateTimeField(null=True, help_text="When the carrier refused a call beyond that limit.")

    class Meta:
        verbose_name = verbose_name_plural = "dialling"

    def __str__(self) -> str:
        return "pace"


class DialPause(models.Model):
    """
    Something that is not dialled for the moment, and why.

    Each cause has a row of its own, so that none overwrites or ends the pause of another. A pause ends at ``until``.
    One without it ends when a trial succeeds or an operator resumes. A trial is one call, dialled at ``try_at``.
    """

    class Scope(models.TextChoices):
        EVERYTHING = "everything", "everything"
        CALLER_ID = "caller-id", "caller id"
        COUNTRY = "country", "country"
        CALLS = "calls", "calls refused with error"

    class Cause(models.TextChoices):
        CARRIER = "carrier", "the carrier asks to wait"
        ACCOUNT = "account", "the carrier refuses the account"
        SETTINGS = "settings", "the carrier refuses our settings"
        CALLER_ID = "caller-id", "the carrier refuses the caller id"
        COUNTRY = "country", "the carrier does not let us call this country"
        CALL = "call", "the carrier refuses these calls one by one"
        ENGINES = "engines", "the engines of a process cannot serve calls"

    scope = models.CharField(max_length=10, choices=Scope)
    subject = models.CharField(
        max_length=128,
        blank=True,
        help_text="The caller id, the country or the error code that it concerns, or the process with those engines.",
    )
    cause = models.CharField(max_length=10, choices=Cause)
    code = models.CharField(max_length=32, blank=True, help_text="The carrier's error number.")
    reason = models.CharField(max_length=255, blank=True)
    since = models.DateTimeField(default=timezone.now)
    until = models.DateTimeField(
        null=True, help_text="When it ends by itself. Empty if a trial or an operator ends it."
    )
    try_at = models.DateTimeField(null=True, help_text="When one call is dialled to find out whether it may end.")
    trial = models.UUIDField(null=True, help_text="The attempt that is the trial.")
    failures = models.PositiveIntegerField(default=1, help_text="They decide how long it lasts until the next trial.")

    class Meta:
        ordering = ["since", "id"]
        constraints = [models.UniqueConstraint(fields=["scope", "subject", "cause"], name="one_pause_per_cause")]

    def __str__(self) -> str:
        return f"{self.get_scope_display()} {self.subject}".strip()
