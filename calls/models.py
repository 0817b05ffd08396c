"""
The tables: agents, calls and what belongs to them.

All writes go through ``calls.services``, except for agents, which the admin writes.
"""

import re
import uuid
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.utils import timezone

from calls import costs, rates
from calls.dialler_models import DialAttempt as DialAttempt
from calls.dialler_models import DialPace as DialPace
from calls.dialler_models import DialPause as DialPause
from calls.dialler_models import DoNotCall as DoNotCall
from calls.dialler_models import is_number
from calls.keyterms import are_keyterms
from calls.languages import LANGUAGE, are_voices_of_languages, judge_language, problems_of_others
from calls.numbers import E164
from calls.process_models import Heartbeat as Heartbeat
from calls.status import Status
from calls.variables import misspelt


def fits(text: str, model: type[models.Model], field: str) -> bool:
    """Whether ``text`` is short enough for this field of the model."""
    column = model._meta.get_field(field)
    limit = column.max_length if isinstance(column, models.Field) else None
    return limit is None or len(text) <= limit


def are_transfer_targets(value: Any) -> None:
    """Check that ``value`` is an object of names and numbers, such as ``{"sales": "+15551234567"}``."""
    if not isinstance(value, dict) or not all(
        re.fullmatch(r"[a-z0-9-]{1,40}", name) and isinstance(number, str) and E164.fullmatch(number)
        for name, number in value.items()
    ):
        raise ValidationError('Write names in lower case and numbers in full, as {"sales": "+15551234567"}.')


class MachineDetection(models.TextChoices):
    """The behaviour of an outbound call when an answering machine answers."""

    OFF = "off", "off: end the call if the agent itself recognises a machine"
    TALK = "talk", "talk: record what answered, and talk"
    HANG_UP = "hang-up", "hang-up: end the call"
    MESSAGE = "message", "message: leave the voicemail message after the beep"


class Agent(models.Model):
    """One kind of conversation: its prompt, greeting and voice, and how its calls are dialled."""

    name = models.SlugField(unique=True, help_text="A short, unique name such as front-desk.")
    prompt = models.TextField(blank=True, help_text="The instructions for the language model.")
    greeting = models.TextField(
        blank=True, help_text="The first sentence of the agent. If it is empty, the caller speaks first."
    )
    greeting_interruptible = models.BooleanField(
        default=True, help_text="Whether the caller can interrupt the greeting."
    )
    voice = models.CharField(
        max_length=100, blank=True, help_text="A voice of the speech engine. Empty: the engine's default."
    )
    language = models.CharField(max_length=16, default="en")
    other_languages = models.JSONField(
        default=dict,
        blank=True,
        validators=[are_voices_of_languages],
        help_text="The languages to which the agent changes if the caller speaks one of them for two turns. Each has a "
        'voice; an empty one is the usual voice of the language: {"de": "", "es": ""}.',
    )
    keyterms = models.TextField(
        "words to expect",
        blank=True,
        validators=[are_keyterms],
        help_text="Names and words that callers say and that recognition should expect, one on each line or separated "
        "by commas, the most important first. Variables of the call may stand in them. Not every engine heeds them.",
    )
    max_duration = models.PositiveIntegerField(
        default=600, validators=[MinValueValidator(10)], help_text="Seconds after which the agent says goodbye."
    )
    record = models.BooleanField(
        default=True, help_text="Keep a stereo recording. Where the law requires it, say so in the disclosure."
    )
    redact_numbers = models.BooleanField(
        "take out numbers",
        null=True,
        blank=True,
        choices=[(None, "As REDACT_NUMBERS says"), (True, "Yes"), (False, "No")],
        help_text="Whether numbers of cards, bank accounts and social security are taken out of what is stored, and "
        "muted in recordings.",
    )
    phone_number = models.CharField(
        max_length=20,
        blank=True,
        validators=[is_number],
        help_text="The number that this agent answers and calls from, as +15551234567. If it is empty, the agent "
        "answers every number without an agent of its own, and calls from TWILIO_PHONE_NUMBER.",
    )
    disclosure = models.TextField(
        blank=True,
        help_text="Said to its end before anything else and before anything is recorded, for example: This is an "
        "automated assistant, and this call is recorded.",
    )
    opt_out_key = models.CharField(
        max_length=1,
        blank=True,
        validators=[RegexValidator(r"^[0-9*#]$", "One key: 0 to 9, * or #.")],
        help_text="The key that puts a caller on the do-not-call list at any time. If it is empty, no key does.",
    )
    transfer_targets = models.JSONField(
        default=dict,
        blank=True,
        validators=[are_transfer_targets],
        help_text='The numbers to which the agent may transfer a call, such as {"sales": "+15551234567"}.',
    )
    ring_timeout = models.PositiveSmallIntegerField(
        default=25,
        validators=[MinValueValidator(5), MaxValueValidator(120)],
        help_text="Seconds that an outbound call rings. After 25 seconds, voicemail mostly answers.",
    )
    machine_detection = models.CharField(max_length=8, choices=MachineDetection, default=MachineDetection.OFF)
    voicemail_message = models.TextField(
        blank=True, help_text="What the agent says after the beep, if machine detection is set to message."
    )
    max_attempts = models.PositiveSmallIntegerField(
        default=1,
        validators=[MinValueValidator(1), MaxValueValidator(20)],
        help_text="The number of attempts for an outbound call, the first one included.",
    )
    retry_busy_after = models.PositiveIntegerField(
        default=600, help_text="Seconds until the next attempt after a busy signal."
    )
    retry_no_answer_after = models.PositiveIntegerField(
        default=7200, help_text="Seconds until the next attempt if the call is not answered."
    )
    retry_failed_after = models.PositiveIntegerField(
        default=1800, help_text="Seconds until the next attempt if the call fails."
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

    def clean(self) -> None:
        errors: dict[str, str | list[str]] = {}
        if self.machine_detection == MachineDetection.MESSAGE and not self.voicemail_message:
            errors["voicemail_message"] = "Machine detection is set to message, so write the message."
        if not LANGUAGE.fullmatch(self.language):
            errors["language"] = "Write a language code such as en, de or pt-BR."
        elif self.active and (problems := judge_language(self.language).problems):
            errors["language"] = list(problems)
        if others := problems_of_others(self.language, self.other_languages, active=self.active):
            errors["other_languages"] = others
        for field in ("prompt", "greeting", "disclosure", "voicemail_message", "keyterms"):
            if wrong := misspelt(getattr(self, field), spoken=field != "prompt"):
                errors[field] = (
                    f"{wrong[0]} is no variable. Write variables as {{{{ name }}}}, in lower-case letters, digits and "
                    "underscores."
                )
        if errors:
            raise ValidationError(errors)


class ApiKey(models.Model):
    """A key to the REST API. Only its digest is stored."""

    class Scope(models.TextChoices):
        READ = "read"
        DIAL = "dial"
        CONTROL = "control"

    name = models.CharField(max_length=100, unique=True, help_text="Who or what uses this key.")
    prefix = models.CharField(
        max_length=12, editable=False, help_text="The beginning of the key, by which it is recognised."
    )
    digest = models.CharField(max_length=64, unique=True, editable=False)
    scopes = models.JSONField(default=list, help_text='What the key allows, from ["read", "dial", "control"].')
    rate = models.CharField(
        max_length=20,
        blank=True,
        validators=[RegexValidator(rates.PATTERN, "Write it as 600/minute.")],
        help_text="The requests allowed, such as 600/minute. If it is empty, API_RATE.",
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
    One phone call, inbound or outbound.

    An outbound call is dialled in one or more attempts. Its ``sid``, ``status`` and times are those of the latest one.
    While it waits for an attempt, its status is ``queued``, and ``due_at`` says when the dialler looks at it next.
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
    from_number = models.CharField(
        max_length=128, blank=True, help_text="A number, client:name, a SIP address, or anonymous."
    )
    to_number = models.CharField(max_length=128, blank=True)
    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="calls")
    streams = models.PositiveSmallIntegerField(
        default=0, help_text="The media streams opened so far. More than 1 means that the call was reconnected."
    )
    stream_sid = models.CharField(max_length=64, blank=True)
    process = models.CharField(max_length=128, blank=True, help_text="The process that held the last stream.")
    channel = models.CharField(
        max_length=128, blank=True, help_text="The channel on which that process is notified of orders to the call."
    )
    created_at = models.DateTimeField(default=timezone.now)
    answered_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    duration = models.FloatField(null=True, help_text="Seconds.")
    end_reason = models.CharField(max_length=32, blank=True)
    metadata = models.JSONField(default=dict, blank=True)
    recording = models.FileField(max_length=255, blank=True)
    usage = models.JSONField(
        default=dict,
        db_default=models.Value({}, models.JSONField()),
        blank=True,
        help_text="What the call used at engines that bill: amounts by kind of engine, name and unit.",
    )

    # Only outbound calls have these.
    scheduled_for = models.DateTimeField(null=True, blank=True, help_text="The call is not dialled before this time.")
    due_at = models.DateTimeField(
        null=True, help_text="When the dialler looks at the call next. Empty if the call does not wait to be dialled."
    )
    held_by = models.ForeignKey(
        DialPause,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        db_index=False,
        related_name="held_calls",
        help_text="The pause that keeps the call from being dialled although it is due.",
    )
    attempts_made = models.PositiveSmallIntegerField(default=0)
    canceled_at = models.DateTimeField(
        null=True, help_text="When the call was canceled. The status changes once the carrier has stopped."
    )
    variables = models.JSONField(default=dict, blank=True, help_text="The values for {{ name }} in the agent's texts.")
    max_duration = models.PositiveIntegerField(null=True, help_text="Seconds. If it is empty, the agent's limit.")
    record = models.BooleanField(null=True, help_text="If it is empty, the agent's setting.")
    machine_detection = models.CharField(max_length=8, choices=MachineDetection, blank=True)
    timezone = models.CharField(max_length=64, blank=True, help_text="The person's time zone, such as Europe/Berlin.")
    answered_by = models.CharField(max_length=32, blank=True, help_text="The result of machine detection.")
    # The defaults of the database are for processes of an earlier version, which go on while a later one is installed.
    language = models.CharField(
        max_length=16,
        default="",
        db_default="",
        blank=True,
        help_text="The language to which the caller has changed. Empty: they have not.",
    )
    transfer_to = models.CharField(
        max_length=20, blank=True, help_text="The number to which the call is transferred after its stream."
    )
    api_key = models.ForeignKey(ApiKey, on_delete=models.SET_NULL, null=True, blank=True, related_name="calls")
    idempotency_key = models.CharField(max_length=255, null=True, blank=True)
    request_digest = models.CharField(max_length=64, blank=True)

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(fields=["api_key", "idempotency_key"], name="one_call_per_idempotency_key"),
            # In SQL two absent keys are different, so calls without an API key need a constraint of their own.
            models.UniqueConstraint(
                fields=["idempotency_key"],
                condition=models.Q(api_key=None),
                name="one_call_per_keyless_idempotency_key",
            ),
        ]
        indexes = [
            # A dispatcher reads the first one each second, so the calls that a pause holds are not in it.
            models.Index(
                fields=["due_at", "created_at"],
                condition=models.Q(due_at__isnull=False, held_by__isnull=True),
                name="call_due_now",
            ),
            models.Index(
                fields=["held_by", "attempts_made", "due_at"],
                condition=models.Q(held_by__isnull=False),
                name="call_held",
            ),
            # The history is read newest first, as a whole or filtered by one of these. The id makes the order total.
            models.Index(fields=["-created_at", "-id"], name="call_newest"),
            models.Index(fields=["status", "-created_at", "-id"], name="call_status_newest"),
            models.Index(fields=["direction", "-created_at", "-id"], name="call_direction_newest"),
            models.Index(fields=["agent", "-created_at", "-id"], name="call_agent_newest"),
            models.Index(fields=["to_number", "-created_at", "-id"], name="call_to_newest"),
            models.Index(fields=["from_number", "-created_at", "-id"], name="call_from_newest"),
            # Few calls have these, so the indexes contain only those few.
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
    def estimated_cost(self) -> float | None:
        """What the call cost at engines that bill, by ``ENGINE_PRICES``; None if a price is missing."""
        return costs.estimate_cost(self.usage, settings.ENGINE_PRICES)

    @property
    def detection(self) -> MachineDetection:
        """The call's behaviour with answering machines: its own setting, else its agent's."""
        return MachineDetection(self.machine_detection or self.agent.machine_detection)

    @property
    def far_number(self) -> str:
        """The number of the person on the line, whoever dialled."""
        return self.to_number if self.direction == self.Direction.OUTBOUND else self.from_number


class CallOrder(models.Model):
    """A message to a live call, which the process that holds its stream takes."""

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
    """An address of another system, which receives the events of calls."""

    url = models.URLField(max_length=500, help_text="Receives a POST with JSON for each event.")
    secret = models.CharField(max_length=100, help_text="Signs every delivery, as standardwebhooks.com describes.")
    old_secret = models.CharField(
        max_length=400, blank=True, default="", db_default="", help_text="Replaced secrets, with spaces between them."
    )
    old_secret_until = models.DateTimeField(
        "old secret valid until", null=True, help_text="Until then each delivery has a signature by the old secret too."
    )
    events = models.JSONField(
        default=list, blank=True, help_text='Names such as ["call.completed"]. If the list is empty, all events.'
    )
    active = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return self.url


class WebhookDelivery(models.Model):
    """One event for one endpoint, and how its delivery went."""

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
    redelivered_at = models.DateTimeField(null=True, help_text="When somebody last had it delivered again.")
    response_status = models.PositiveSmallIntegerField(null=True, help_text="The HTTP status of the last attempt.")
    log = models.JSONField(default=list, help_text="One entry per attempt: its time, its result, and how long it took.")

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
    """A turn: the words of one side while it had the floor, and the time that the response took."""

    class Speaker(models.TextChoices):
        CALLER = "caller"
        AGENT = "agent"

    call = models.ForeignKey(Call, on_delete=models.CASCADE, related_name="turns")
    number = models.PositiveIntegerField(help_text="Counts the turns of the whole call, over all its streams.")
    speaker = models.CharField(max_length=6, choices=Speaker)
    said = models.TextField(blank=True)
    heard = models.TextField(blank=True, help_text="The part of it that the other side heard.")
    interrupted = models.BooleanField(default=False)
    fallback = models.BooleanField(default=False, help_text="A filler or a fallback engine was needed.")
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    start_position = models.BigIntegerField(
        null=True, help_text="Samples from the beginning of the stream, at 8000 Hz."
    )
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
    """Something that happened to a call, other than a turn."""

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
    The right to open stream number ``stream`` of a call, once and soon. Only the token's digest is stored.

    The number makes duplicates harmless. Every answer to a repeated callback contains its own token for the same
    stream. The first token that is used (``Call.streams``, compare-and-set) makes the others worthless.
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
    The slot of a live call among ``MAX_LIVE_CALLS``, which is renewed while the call lives.

    The slot is unique. This keeps the limit on every database, even for two calls that are admitted at once.
    """

    call = models.OneToOneField(Call, on_delete=models.CASCADE, primary_key=True, related_name="lease")
    slot = models.PositiveIntegerField(unique=True)
    stream = models.PositiveSmallIntegerField(
        default=0, help_text="The stream that holds the slot; 0 until one is open."
    )
    process = models.CharField(max_length=128, blank=True)
    expires_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return f"slot {self.slot}"
