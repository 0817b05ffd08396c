"""What is known of agents and calls. Every write goes through ``calls.services``, but for agents (the admin)."""

import uuid
from typing import Any

from django.apps import apps as installed
from django.core.validators import MinValueValidator, RegexValidator
from django.db import models, transaction
from django.db.models.signals import post_delete
from django.dispatch import receiver
from django.utils import timezone

from calls.status import Status


class Agent(models.Model):
    """Who answers: what it is told, how it greets, and how it sounds."""

    name = models.SlugField(unique=True, help_text="Short and unique, such as front-desk.")
    prompt = models.TextField(blank=True, help_text="What the language model is told before the call.")
    greeting = models.TextField(blank=True, help_text="Said first. Empty: the caller speaks first.")
    greeting_interruptible = models.BooleanField(default=True, help_text="May the caller talk over the greeting?")
    voice = models.CharField(max_length=100, blank=True, help_text="A voice of the engine in use; empty: its default.")
    language = models.CharField(max_length=16, default="en")
    max_duration = models.PositiveIntegerField(
        default=600,
        validators=[MinValueValidator(10)],
        help_text="Seconds after which the agent says goodbye.",
    )
    record = models.BooleanField(default=True, help_text="Keep a stereo recording. Tell callers where the law asks it.")
    phone_number = models.CharField(
        max_length=20,
        blank=True,
        validators=[RegexValidator(r"^\+[1-9]\d{6,14}$", "Write it as +15551234567.")],
        help_text="The number that this agent answers, as +15551234567. Empty: every number without its own agent.",
    )
    active = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(
                fields=["phone_number"],
                condition=models.Q(active=True) & ~models.Q(phone_number=""),
                name="one_active_agent_per_number",
                violation_error_message="Another active agent answers this number.",
            )
        ]

    def __str__(self) -> str:
        return self.name


class Call(models.Model):
    """One phone call, whoever dialled it."""

    class Direction(models.TextChoices):
        INBOUND = "inbound"
        OUTBOUND = "outbound"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    sid = models.CharField("CallSid", max_length=64, unique=True, null=True)
    direction = models.CharField(max_length=8, choices=Direction)
    status = models.CharField(
        max_length=11, choices=[(status.value, status.value) for status in Status], default=Status.QUEUED.value
    )
    from_number = models.CharField(max_length=128, blank=True, help_text="Or client:name, a SIP address, anonymous.")
    to_number = models.CharField(max_length=128, blank=True)
    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="calls")
    streams = models.PositiveSmallIntegerField(default=0, help_text="Media streams opened so far; over 1: reconnected.")
    stream_sid = models.CharField(max_length=64, blank=True)
    process = models.CharField(max_length=128, blank=True, help_text="The process that held the last stream.")
    created_at = models.DateTimeField(default=timezone.now, db_index=True)
    answered_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    duration = models.FloatField(null=True, help_text="Seconds.")
    end_reason = models.CharField(max_length=32, blank=True)
    metadata = models.JSONField(default=dict, blank=True)
    recording = models.FileField(max_length=255, blank=True)

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return self.sid or str(self.id)


class Turn(models.Model):
    """What one side said while it had the turn, and how long the answer took."""

    class Who(models.TextChoices):
        CALLER = "caller"
        AGENT = "agent"

    call = models.ForeignKey(Call, on_delete=models.CASCADE, related_name="turns")
    number = models.PositiveIntegerField(help_text="Counts over the whole call, reconnects included.")
    who = models.CharField(max_length=6, choices=Who)
    said = models.TextField(blank=True)
    heard = models.TextField(blank=True, help_text="What of it reached the other side.")
    interrupted = models.BooleanField(default=False)
    fallback = models.BooleanField(default=False, help_text="A filler or another engine had to help.")
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    start_position = models.BigIntegerField(null=True, help_text="Samples into the stream, at 8000 Hz.")
    end_position = models.BigIntegerField(null=True)
    stages = models.JSONField(default=dict, blank=True, help_text="Seconds by stage.")
    response_latency = models.FloatField(null=True, db_index=True, help_text="Seconds.")
    speculation_hits = models.PositiveIntegerField(default=0)
    speculation_waste = models.PositiveIntegerField(default=0)
    fact_id = models.CharField(max_length=64, unique=True)

    class Meta:
        ordering = ["number", "started_at", "id"]

    def __str__(self) -> str:
        return f"{self.number}. {self.who}"


class CallEvent(models.Model):
    """Something that happened to a call and is not a turn."""

    call = models.ForeignKey(Call, on_delete=models.CASCADE, related_name="events")
    kind = models.CharField(max_length=64)
    at = models.DateTimeField()
    data = models.JSONField(default=dict, blank=True)
    fact_id = models.CharField(max_length=64, unique=True)

    class Meta:
        ordering = ["at", "id"]

    def __str__(self) -> str:
        return self.kind


class StreamToken(models.Model):
    """
    The right to open stream number ``stream`` of a call, once and soon. Only the digest is kept.

    The number is what makes duplicates harmless: every answer to a repeated webhook carries a token of its
    own for the same stream, and the first one used (``Call.streams``, compare-and-set) turns away the others.
    """

    digest = models.CharField(max_length=64, unique=True)
    call = models.ForeignKey(Call, on_delete=models.CASCADE, related_name="tokens")
    stream = models.PositiveSmallIntegerField()
    expires_at = models.DateTimeField(db_index=True)
    used_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"stream {self.stream} of {self.call_id}"


class Lease(models.Model):
    """
    A live call's place among ``MAX_LIVE_CALLS``, renewed while it lives.

    The unique slot holds the limit on every database, whatever two admissions see of each other.
    """

    call = models.OneToOneField(Call, on_delete=models.CASCADE, primary_key=True, related_name="lease")
    slot = models.PositiveIntegerField(unique=True)
    stream = models.PositiveSmallIntegerField(default=0, help_text="The stream that holds it; 0 until one is open.")
    process = models.CharField(max_length=128, blank=True)
    expires_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return f"slot {self.slot}"


@receiver(post_delete, sender=Call)
def delete_recording(instance: Call, **_: Any) -> None:
    """Whoever deletes a call means its sound as well."""
    if instance.recording:
        name, storage = instance.recording.name, instance.recording.storage
        transaction.on_commit(lambda: storage.delete(name))


def make_first_agent(*, apps: Any = installed, using: str = "default", **_: Any) -> None:
    """After a migration: where there is no agent at all, make the one of the demonstration."""
    try:
        agents = apps.get_model("calls", "Agent").objects.using(using)
    except LookupError:  # migrated back to nothing
        return
    if not agents.exists():
        agents.create(
            name="front-desk",
            greeting="Hello, this is the front desk of Harper Hall. How can I help you?",
            prompt=(
                "You are the front desk of Harper Hall, a demonstration of an automated telephone agent, and you "
                "are talking on the phone. Answer in one to three short spoken sentences. Never use lists, markdown "
                "or emoji. Ask one question at a time. If you do not know something, say so. When the caller says "
                "goodbye, say goodbye and end the call."
            ),
        )
