"""The tables of the dialler: attempts, pace, pauses, and the do-not-call list. Import them from ``calls.models``."""

import uuid

from django.core.validators import RegexValidator
from django.db import models
from django.utils import timezone

from calls.status import Status

is_number = RegexValidator(r"^\+[1-9][0-9]{6,14}$", "Write it as +15551234567.")


class DialAttempt(models.Model):
    """
    One attempt to dial a call.

    The row exists before its request is sent, and its id is part of the address of every callback. The process that
    sets ``requested_at`` (compare-and-set) sends the request. It is never sent again.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    call = models.ForeignKey("calls.Call", on_delete=models.CASCADE, related_name="attempts")
    number = models.PositiveSmallIntegerField(help_text="Counts the attempts of the call.")
    sid = models.CharField("CallSid", max_length=64, unique=True, null=True)
    status = models.CharField(
        max_length=11, choices=[(status.value, status.value) for status in Status], default=Status.QUEUED.value
    )
    to_number = models.CharField(max_length=20)
    from_number = models.CharField(max_length=20)
    created_at = models.DateTimeField(default=timezone.now)
    requested_at = models.DateTimeField(
        null=True, help_text="When the request was sent to the carrier. Empty if it was not sent yet."
    )
    checked_at = models.DateTimeField(null=True, help_text="When the carrier was last asked about the attempt.")
    answered_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    answered_by = models.CharField(max_length=32, blank=True)
    sip_code = models.PositiveSmallIntegerField(null=True)
    error_code = models.CharField(
        max_length=32, blank=True, help_text="The carrier's error number, or a word such as not-sent."
    )
    error = models.TextField(blank=True)

    class Meta:
        ordering = ["number"]
        constraints = [
            models.UniqueConstraint(fields=["call", "number"], name="one_attempt_per_claim"),
            models.UniqueConstraint(
                fields=["to_number"], condition=models.Q(ended_at=None), name="one_live_attempt_per_number"
            ),
        ]
        indexes = [
            models.Index(fields=["to_number", "created_at"], name="attempt_number_day"),
            models.Index(fields=["created_at"], condition=models.Q(ended_at=None), name="attempt_open"),
        ]

    def __str__(self) -> str:
        return f"attempt {self.number} of {self.call_id}"


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


class DoNotCall(models.Model):
    """A number that is never dialled."""

    class Source(models.TextChoices):
        CALLER = "caller", "said by the caller"
        KEY = "key", "key pressed by the caller"
        AGENT = "agent", "understood by the agent"
        API = "api", "REST API"
        OPERATOR = "operator", "operator"

    number = models.CharField(max_length=20, unique=True, validators=[is_number])
    reason = models.CharField(max_length=255, blank=True)
    source = models.CharField(max_length=8, choices=Source, default=Source.OPERATOR)
    call = models.ForeignKey("calls.Call", on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-created_at", "-id"]
        verbose_name = "do-not-call entry"
        verbose_name_plural = "do-not-call list"

    def __str__(self) -> str:
        return self.number
