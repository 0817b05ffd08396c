"""What is known of agents and calls. Every write goes through ``calls.services``, but for agents (the admin)."""

import re
import uuid
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.utils import timezone

from calls import rates
from calls.status import Status

E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_is_number = RegexValidator(r"^\+[1-9][0-9]{6,14}$", "Write it as +15551234567.")


def fits(text: str, model: type[models.Model], field: str) -> bool:
    """Whether ``text`` is short enough for this field of the model."""
    column = model._meta.get_field(field)
    limit = column.max_length if isinstance(column, models.Field) else None
    return limit is None or len(text) <= limit


def are_transfer_targets(value: Any) -> None:
    """An object of names and numbers, such as ``{"sales": "+15551234567"}``."""
    if not isinstance(value, dict) or not all(
        re.fullmatch(r"[a-z0-9-]{1,40}", name) and isinstance(number, str) and E164.fullmatch(number)
        for name, number in value.items()
    ):
        raise ValidationError('Write names in small letters and numbers in full, as {"sales": "+15551234567"}.')


class MachineDetection(models.TextChoices):
    """What an outbound call does about answering machines."""

    OFF = "off", "off: talk to whoever answers"
    TALK = "talk", "talk: note what answered, and talk"
    HANG_UP = "hang-up", "hang-up: end the call"
    MESSAGE = "message", "message: leave the voicemail message after the beep"


class Agent(models.Model):
    """Who talks: what it is told, how it greets, how it sounds, and how it dials."""

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
        validators=[_is_number],
        help_text="The number that this agent answers and calls from, as +15551234567. Empty: it answers every number "
        "without an agent of its own, and calls from TWILIO_PHONE_NUMBER.",
    )
    disclosure = models.TextField(
        blank=True,
        help_text="Said first and to its end, before anything is recorded, such as: This is an automated assistant, "
        "and this call is recorded.",
    )
    opt_out_key = models.CharField(
        max_length=1,
        blank=True,
        validators=[RegexValidator(r"^[0-9*#]$", "One key: 0 to 9, * or #.")],
        help_text="The key with which callers get on the do-not-call list at any moment. Empty: none.",
    )
    transfer_targets = models.JSONField(
        default=dict,
        blank=True,
        validators=[are_transfer_targets],
        help_text='Whom the agent may transfer a call to, such as {"sales": "+15551234567"}.',
    )
    ring_timeout = models.PositiveSmallIntegerField(
        default=25,
        validators=[MinValueValidator(5), MaxValueValidator(120)],
        help_text="Seconds that an outbound call rings. More than 25 reaches mostly voicemail.",
    )
    machine_detection = models.CharField(max_length=8, choices=MachineDetection, default=MachineDetection.OFF)
    voicemail_message = models.TextField(blank=True, help_text="Left after the beep, where machine detection says so.")
    max_attempts = models.PositiveSmallIntegerField(
        default=1,
        validators=[MinValueValidator(1), MaxValueValidator(20)],
        help_text="How often an outbound call is tried at most. 1: no retries.",
    )
    retry_busy_after = models.PositiveIntegerField(default=600, help_text="Seconds to the next attempt, if busy.")
    retry_no_answer_after = models.PositiveIntegerField(default=7200, help_text="Seconds, if nobody answers.")
    retry_failed_after = models.PositiveIntegerField(default=1800, help_text="Seconds, if the call fails.")
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

    def clean(self) -> None:
        if self.machine_detection == MachineDetection.MESSAGE and not self.voicemail_message:
            raise ValidationError({"voicemail_message": "Without it there is no message to leave."})


class ApiKey(models.Model):
    """A key to the REST API. Only its digest is kept."""

    class Scope(models.TextChoices):
        READ = "read"
        DIAL = "dial"
        CONTROL = "control"

    name = models.CharField(max_length=100, unique=True, help_text="Who uses it.")
    prefix = models.CharField(max_length=12, editable=False, help_text="The beginning of the key, to know it again.")
    digest = models.CharField(max_length=64, unique=True, editable=False)
    scopes = models.JSONField(default=list, help_text='What it may do: any of ["read", "dial", "control"].')
    rate = models.CharField(
        max_length=20,
        blank=True,
        validators=[RegexValidator(rates.PATTERN, "Write it as 600/minute.")],
        help_text="Requests allowed, such as 600/minute. Empty: API_RATE.",
    )
    active = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        ordering = ["name"]
        verbose_name = "API key"

    def __str__(self) -> str:
        return self.name


class Call(models.Model):
    """
    One phone call, whoever dialled it.

    An outbound one is dialled in one or more attempts; ``sid``, ``status`` and the times are those of the latest. While
    it waits for one, its status is ``queued`` and ``due_at`` says when the dialler looks at it next.
    """

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
    channel = models.CharField(max_length=128, blank=True, help_text="Where that process hears of orders to the call.")
    created_at = models.DateTimeField(default=timezone.now)
    answered_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    duration = models.FloatField(null=True, help_text="Seconds.")
    end_reason = models.CharField(max_length=32, blank=True)
    metadata = models.JSONField(default=dict, blank=True)
    recording = models.FileField(max_length=255, blank=True)

    # Only what we dialled has these.
    scheduled_for = models.DateTimeField(null=True, blank=True, help_text="Not to be dialled before.")
    due_at = models.DateTimeField(null=True, help_text="When the dialler looks at it next; empty: it does not wait.")
    attempts_made = models.PositiveSmallIntegerField(default=0)
    canceled_at = models.DateTimeField(null=True, help_text="When somebody asked for it not to go on.")
    variables = models.JSONField(default=dict, blank=True, help_text="Fill {{ name }} in the agent's prompt and lines.")
    max_duration = models.PositiveIntegerField(null=True, help_text="Seconds; empty: the agent's.")
    record = models.BooleanField(null=True, help_text="Empty: as the agent does.")
    machine_detection = models.CharField(max_length=8, choices=MachineDetection, blank=True)
    timezone = models.CharField(max_length=64, blank=True, help_text="Where the person is, such as Europe/Berlin.")
    answered_by = models.CharField(max_length=32, blank=True, help_text="What machine detection found.")
    transfer_to = models.CharField(max_length=20, blank=True, help_text="Where the call goes after its stream.")
    api_key = models.ForeignKey(ApiKey, on_delete=models.SET_NULL, null=True, blank=True, related_name="calls")
    idempotency_key = models.CharField(max_length=255, null=True, blank=True)
    request_digest = models.CharField(max_length=64, blank=True)

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(fields=["api_key", "idempotency_key"], name="one_call_per_idempotency_key"),
            # Two absent keys are different in SQL.
            models.UniqueConstraint(
                fields=["idempotency_key"],
                condition=models.Q(api_key=None),
                name="one_call_per_keyless_idempotency_key",
            ),
        ]
        indexes = [
            models.Index(fields=["due_at", "created_at"], condition=models.Q(due_at__isnull=False), name="call_due"),
            # The history is read newest first, whole or filtered by one of these; the id makes the order total.
            models.Index(fields=["-created_at", "-id"], name="call_newest"),
            models.Index(fields=["status", "-created_at", "-id"], name="call_status_newest"),
            models.Index(fields=["direction", "-created_at", "-id"], name="call_direction_newest"),
            models.Index(fields=["agent", "-created_at", "-id"], name="call_agent_newest"),
            models.Index(fields=["to_number", "-created_at", "-id"], name="call_to_newest"),
            models.Index(fields=["from_number", "-created_at", "-id"], name="call_from_newest"),
            # Few calls have these, and lists of those few are asked for as well.
            models.Index(
                fields=["answered_by", "-created_at", "-id"],
                condition=~models.Q(answered_by=""),
                name="call_answerer_newest",
            ),
            models.Index(
                fields=["end_reason", "-created_at", "-id"], condition=~models.Q(end_reason=""), name="call_end_newest"
            ),
            models.Index(
                fields=["scheduled_for"], condition=models.Q(scheduled_for__isnull=False), name="call_scheduled"
            ),
        ]

    def __str__(self) -> str:
        return self.sid or str(self.id)

    @property
    def duration_limit(self) -> int:
        """The seconds that the call may last: its own limit, else its agent's."""
        return self.max_duration or self.agent.max_duration

    @property
    def is_recorded(self) -> bool:
        """Whether the call is recorded: its own setting, else its agent's."""
        return self.agent.record if self.record is None else self.record

    @property
    def detection(self) -> MachineDetection:
        """What the call does about answering machines: its own setting, else its agent's."""
        return MachineDetection(self.machine_detection or self.agent.machine_detection)

    @property
    def far_number(self) -> str:
        """The number of the person on the line."""
        return self.to_number if self.direction == self.Direction.OUTBOUND else self.from_number


class DialAttempt(models.Model):
    """
    One try at dialling a call.

    The row is there before the carrier hears of it, and its id is in every address that the carrier calls back. Who
    sets ``requested_at`` (compare-and-set) sends the request, and nobody ever sends it again.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    call = models.ForeignKey(Call, on_delete=models.CASCADE, related_name="attempts")
    number = models.PositiveSmallIntegerField(help_text="Counts within the call.")
    sid = models.CharField("CallSid", max_length=64, unique=True, null=True)
    status = models.CharField(
        max_length=11, choices=[(status.value, status.value) for status in Status], default=Status.QUEUED.value
    )
    to_number = models.CharField(max_length=20)
    from_number = models.CharField(max_length=20)
    created_at = models.DateTimeField(default=timezone.now)
    requested_at = models.DateTimeField(null=True, help_text="When the carrier was asked; empty: not yet.")
    checked_at = models.DateTimeField(null=True, help_text="When the carrier was last asked what became of it.")
    answered_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    answered_by = models.CharField(max_length=32, blank=True)
    sip_code = models.PositiveSmallIntegerField(null=True)
    error_code = models.CharField(max_length=32, blank=True, help_text="The carrier's number, or a word of ours.")
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


class DoNotCall(models.Model):
    """A number that is never dialled."""

    class Source(models.TextChoices):
        CALLER = "caller", "said on the phone"
        KEY = "key", "pressed on the phone"
        AGENT = "agent", "understood by the agent"
        API = "api", "REST API"
        OPERATOR = "operator", "operator"

    number = models.CharField(max_length=20, unique=True, validators=[_is_number])
    reason = models.CharField(max_length=255, blank=True)
    source = models.CharField(max_length=8, choices=Source, default=Source.OPERATOR)
    call = models.ForeignKey(Call, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-created_at", "-id"]
        verbose_name = "do-not-call entry"
        verbose_name_plural = "do-not-call list"

    def __str__(self) -> str:
        return self.number


class DialPace(models.Model):
    """How fast the dialler may go: one row, moved by compare-and-set, so that any number of dispatchers share it."""

    next_at = models.DateTimeField(help_text="When the next place in the calls per second begins.")
    paused_until = models.DateTimeField(null=True)
    reason = models.CharField(max_length=255, blank=True, help_text="Why it is paused.")
    failures = models.PositiveIntegerField(default=0, help_text="In a row; they set how long it pauses.")
    limit = models.PositiveIntegerField(null=True, help_text="Calls at once that the carrier stands, as it seems.")
    limit_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = verbose_name_plural = "dialling"

    def __str__(self) -> str:
        return self.reason or "going"


class CallOrder(models.Model):
    """A message to a live call, for whichever process holds its stream."""

    class Kind(models.TextChoices):
        SAY = "say"
        HANG_UP = "hang-up"
        TRANSFER = "transfer"
        VOICEMAIL = "voicemail"

    call = models.ForeignKey(Call, on_delete=models.CASCADE, related_name="orders")
    kind = models.CharField(max_length=10, choices=Kind)
    data = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    taken_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["id"]
        indexes = [models.Index(fields=["call"], condition=models.Q(taken_at=None), name="order_waiting")]

    def __str__(self) -> str:
        return f"{self.kind} for {self.call_id}"


class WebhookEndpoint(models.Model):
    """An address that wants to hear of calls."""

    url = models.URLField(max_length=500, help_text="Gets a POST with JSON for each event.")
    secret = models.CharField(max_length=100, help_text="Signs every delivery, as standardwebhooks.com describes.")
    events = models.JSONField(default=list, blank=True, help_text='Names such as ["call.completed"]. Empty: all.')
    active = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return self.url


class WebhookDelivery(models.Model):
    """One event on its way to one endpoint, and what became of it."""

    class Status(models.TextChoices):
        WAITING = "waiting"
        DELIVERED = "delivered"
        FAILED = "failed"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    endpoint = models.ForeignKey(WebhookEndpoint, on_delete=models.CASCADE, related_name="deliveries")
    call = models.ForeignKey(Call, on_delete=models.CASCADE, related_name="deliveries")
    event = models.CharField(max_length=64)
    payload = models.JSONField()
    status = models.CharField(max_length=9, choices=Status, default=Status.WAITING)
    attempts = models.PositiveSmallIntegerField(default=0)
    created_at = models.DateTimeField(default=timezone.now)
    due_at = models.DateTimeField(null=True, default=timezone.now)
    delivered_at = models.DateTimeField(null=True)
    response_status = models.PositiveSmallIntegerField(null=True, help_text="Of the last attempt.")
    log = models.JSONField(default=list, help_text="One entry per attempt: when, what came back, how long it took.")

    class Meta:
        ordering = ["-created_at"]
        verbose_name_plural = "webhook deliveries"
        indexes = [
            models.Index(fields=["due_at"], condition=models.Q(due_at__isnull=False), name="delivery_due"),
            models.Index(fields=["endpoint", "-created_at", "-id"], name="delivery_newest"),
        ]

    def __str__(self) -> str:
        return f"{self.event} to {self.endpoint_id}"


class Turn(models.Model):
    """What one side said while it had the turn, and how long the answer took."""

    class Speaker(models.TextChoices):
        CALLER = "caller"
        AGENT = "agent"

    call = models.ForeignKey(Call, on_delete=models.CASCADE, related_name="turns")
    number = models.PositiveIntegerField(help_text="Counts over the whole call, reconnects included.")
    speaker = models.CharField(max_length=6, choices=Speaker)
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
        return f"{self.number}. {self.speaker}"


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
