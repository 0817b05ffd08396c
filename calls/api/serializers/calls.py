"""What goes in and out. Field names are the API's; ``from`` is written ``from_`` here, since Python has the word."""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core import signing
from django.utils import timezone
from drf_spectacular.utils import extend_schema_field, extend_schema_serializer
from rest_framework import serializers

from calls.api.fields import Anything, Choice, Moment, Text, Truth, Variables, Whole
from calls.models import (
    Agent,
    Call,
    CallEvent,
    CallOrder,
    DialAttempt,
    DoNotCall,
    MachineDetection,
    Turn,
    WebhookDelivery,
    WebhookEndpoint,
)
from calls.services.orders import LONGEST_TEXT
from calls.services.placing import LONGEST_CALL, NewCall
from calls.services.webhooks import EVENTS

MOST_CALLS = 1000
"""Calls of one batch."""
RECORDING_SALT = "calls.api.recording"


class _Named:
    """Fields may end in ``_``, which the API does not show."""

    def get_fields(self) -> dict[str, serializers.Field]:
        return {name.rstrip("_"): field for name, field in super().get_fields().items()}  # type: ignore[misc]


class Strict(serializers.Serializer):
    """A field that nobody knows is a typing error, which must not pass for an omission."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict) and (unknown := [name for name in data if name not in self.fields]):
            raise serializers.ValidationError(
                {name: serializers.ErrorDetail("There is no such field.", code="unknown-field") for name in unknown}
            )
        return super().to_internal_value(data)


# --- Calls -------------------------------------------------------------------------------------------------


class NewCallSerializer(_Named, Strict):
    """A call to be placed."""

    to = Text(max_length=40, help_text="Whom to call, in international form: +15551234567.")
    agent = Text(max_length=50, help_text="The name of the agent who talks.")
    from_ = Text(
        source="from_number", required=False, allow_null=True, max_length=20,
        help_text="The number to call from. Left out: the agent's, or TWILIO_PHONE_NUMBER.",
    )  # fmt: skip
    scheduled_for = Moment(required=False, allow_null=True, help_text="Not to be dialled before. Left out: now.")
    timezone = Text(
        required=False, allow_null=True, max_length=64,
        help_text="Where the person is, such as Europe/Berlin. Left out: wherever the number may be.",
    )  # fmt: skip
    variables = Variables(required=False, allow_null=True, help_text="Fill {{ name }} in the agent's texts. 4 kB.")
    metadata = Anything(required=False, allow_null=True, help_text="Yours; kept and given back. 4 kB as JSON.")
    max_duration = Whole(
        required=False,
        allow_null=True,
        min_value=10,
        max_value=LONGEST_CALL,
        help_text="Seconds. Left out: the agent's.",
    )
    machine_detection = Choice(
        required=False, allow_null=True, choices=MachineDetection.choices,
        help_text="What to do about answering machines. Left out: as the agent does.",
    )  # fmt: skip
    record = Truth(required=False, allow_null=True, help_text="Keep a recording. Left out: as the agent does.")

    def wanted(self) -> NewCall:
        return NewCall(**{name: value for name, value in self.validated_data.items() if value is not None})


class CallSerializer(_Named, serializers.ModelSerializer):
    """A call, as in lists."""

    agent = serializers.SlugRelatedField(slug_field="name", read_only=True)
    from_ = serializers.CharField(source="from_number", read_only=True)
    to = serializers.CharField(source="to_number", read_only=True)
    metadata = Anything(read_only=True)
    variables = Variables(read_only=True)
    machine_detection = Choice(choices=MachineDetection.choices, read_only=True, allow_null=True)
    has_recording = serializers.SerializerMethodField()

    class Meta:
        model = Call
        fields = read_only_fields = [
            "id", "sid", "direction", "status", "from_", "to", "agent", "created_at", "scheduled_for", "due_at",
            "attempts_made", "answered_at", "answered_by", "ended_at", "duration", "end_reason", "transfer_to",
            "max_duration", "machine_detection", "record", "timezone", "variables", "metadata", "has_recording",
        ]  # fmt: skip

    def get_has_recording(self, call: Call) -> bool:
        return bool(call.recording)


def as_accepted(call: Call) -> dict[str, Any]:
    """
    The call as it was when it was accepted, whatever has become of it since.

    A repeated request gets the same answer as the first one, from the same row.
    """
    start = Call(
        **{
            name: getattr(call, name)
            for name in (
                "id direction from_number to_number agent created_at scheduled_for variables metadata max_duration "
                "machine_detection record timezone"
            ).split()
        },
        due_at=max(call.created_at, call.scheduled_for or call.created_at),
    )
    return CallSerializer(start).data


@extend_schema_serializer(deprecate_fields=["who"])
class TurnSerializer(serializers.ModelSerializer):
    """What one side said. ``heard`` is what of it reached the other side."""

    who = serializers.ChoiceField(
        Turn.Speaker.choices,
        source="speaker",
        read_only=True,
        help_text="Deprecated: the former name of `speaker`. The next release removes it.",
    )
    stages = serializers.DictField(
        child=serializers.FloatField(allow_null=True), read_only=True, help_text="Seconds by stage of the response."
    )

    class Meta:
        model = Turn
        fields = read_only_fields = [
            "number", "speaker", "who", "said", "heard", "interrupted", "fallback", "started_at", "ended_at",
            "response_latency", "stages",
        ]  # fmt: skip


class EventSerializer(serializers.ModelSerializer):
    data = Anything(read_only=True)

    class Meta:
        model = CallEvent
        fields = read_only_fields = ["kind", "at", "data"]


class AttemptSerializer(_Named, serializers.ModelSerializer):
    """One try at dialling."""

    from_ = serializers.CharField(source="from_number", read_only=True)
    to = serializers.CharField(source="to_number", read_only=True)

    class Meta:
        model = DialAttempt
        fields = read_only_fields = [
            "id", "number", "sid", "status", "from_", "to", "created_at", "requested_at", "answered_at", "ended_at",
            "answered_by", "sip_code", "error_code", "error",
        ]  # fmt: skip


class RecordingSerializer(serializers.Serializer):
    """Where to hear the call, without a key, until the link expires."""

    url = serializers.URLField()
    expires_at = serializers.DateTimeField()


class CallDetailSerializer(CallSerializer):
    """A call with everything that is known of it."""

    transcript = serializers.SerializerMethodField(help_text="A line for each turn, of what was heard.")
    turns = TurnSerializer(many=True, read_only=True)
    events = EventSerializer(many=True, read_only=True)
    attempts = AttemptSerializer(many=True, read_only=True)
    recording = serializers.SerializerMethodField()

    class Meta(CallSerializer.Meta):
        fields = read_only_fields = [
            *CallSerializer.Meta.fields, "transcript", "turns", "events", "attempts", "recording",
        ]  # fmt: skip

    def get_transcript(self, call: Call) -> list[str]:
        return [f"{turn.speaker}: {turn.heard}" for turn in call.turns.all() if turn.heard]

    @extend_schema_field(RecordingSerializer(allow_null=True))
    def get_recording(self, call: Call) -> dict[str, Any] | None:
        if not call.recording:
            return None
        token = signing.dumps(str(call.pk), salt=RECORDING_SALT)
        return RecordingSerializer(
            {
                "url": f"{settings.PUBLIC_BASE_URL}/api/recordings/{token}/",
                "expires_at": timezone.now() + timedelta(seconds=settings.RECORDING_LINK_TTL),
            }
        ).data


class BatchSerializer(Strict):
    """Calls to be placed: all, or, if one cannot be, none."""

    calls = serializers.ListField(child=NewCallSerializer(), min_length=1, max_length=MOST_CALLS)


class BatchAcceptedSerializer(serializers.Serializer):
    count = serializers.IntegerField()
    calls = CallSerializer(many=True)


class SaySerializer(Strict):
    """Something for the agent to say."""

    text = Text(max_length=LONGEST_TEXT, help_text="Said as soon as the agent may speak.")


class TransferSerializer(Strict):
    """Where a call goes."""

    to = Text(max_length=40, help_text="A number, or the name of one of the agent's transfer targets.")


class OrderSerializer(serializers.ModelSerializer):
    """An order on its way to the live call."""

    call = serializers.UUIDField(source="call_id", read_only=True)
    data = Anything(read_only=True)

    class Meta:
        model = CallOrder
        fields = read_only_fields = ["id", "call", "kind", "data", "created_at"]


class TimelineItemSerializer(serializers.Serializer):
    """Something of a call's course. ``id`` stays the same; ``data`` is as in the call, by ``type``."""

    id = serializers.CharField()
    type = serializers.ChoiceField(choices=["status", "attempt", "event", "turn", "end"])
    at = serializers.DateTimeField()
    data = Anything()


class TimelineSerializer(serializers.Serializer):
    results = TimelineItemSerializer(many=True)
    over = serializers.BooleanField(help_text="Nothing will be added any more.")


# --- Everything else ---------------------------------------------------------------------------------------


class AgentSerializer(serializers.ModelSerializer):
    """Who talks. Agents are changed in the admin."""

    transfer_targets = serializers.DictField(child=serializers.CharField(), read_only=True)

    class Meta:
        model = Agent
        fields = read_only_fields = [
            "name", "active", "phone_number", "prompt", "greeting", "greeting_interruptible", "disclosure", "voice",
            "language", "max_duration", "record", "opt_out_key", "transfer_targets", "ring_timeout",
            "machine_detection", "voicemail_message", "max_attempts", "retry_busy_after", "retry_no_answer_after",
            "retry_failed_after", "created_at", "updated_at",
        ]  # fmt: skip


class NewDoNotCallSerializer(Strict):
    """A number that is never to be dialled again."""

    number = Text(max_length=40, help_text="In international form: +15551234567.")
    reason = Text(required=False, allow_blank=True, max_length=255)


class DoNotCallSerializer(serializers.ModelSerializer):
    """A number that is never dialled."""

    call = serializers.UUIDField(source="call_id", read_only=True, allow_null=True)

    class Meta:
        model = DoNotCall
        fields = read_only_fields = ["number", "reason", "source", "call", "created_at"]


class WebhookSerializer(serializers.ModelSerializer):
    """An address that hears of calls."""

    events = serializers.ListField(child=serializers.CharField(), help_text="Empty: all.")

    class Meta:
        model = WebhookEndpoint
        fields = read_only_fields = ["id", "url", "events", "active", "created_at"]


class NewWebhookSerializer(Strict):
    """An address that wants to hear of calls."""

    url = Text(max_length=500, help_text="http:// or https://; gets a POST with JSON for each event.")
    events = serializers.ListField(
        child=Choice(choices=EVENTS), required=False, max_length=len(EVENTS), help_text="Empty: all."
    )
    active = Truth(required=False)


class WebhookWithSecretSerializer(WebhookSerializer):
    """A new one, with the secret that signs what it gets. It is shown this once."""

    class Meta(WebhookSerializer.Meta):
        fields = read_only_fields = [*WebhookSerializer.Meta.fields, "secret"]


class DeliverySerializer(serializers.ModelSerializer):
    """One event on its way to one endpoint, and what became of it."""

    call = serializers.UUIDField(source="call_id", read_only=True)
    payload = Anything(read_only=True)
    log = serializers.ListField(child=Anything(), read_only=True, help_text="One entry per attempt.")

    class Meta:
        model = WebhookDelivery
        fields = read_only_fields = [
            "id", "call", "event", "status", "attempts", "created_at", "due_at", "delivered_at", "response_status",
            "payload", "log",
        ]  # fmt: skip


class ProblemEntrySerializer(serializers.Serializer):
    """One thing that is wrong. ``row`` only in batches: the call's place, from 0."""

    field = serializers.CharField()
    code = serializers.CharField()
    detail = serializers.CharField()
    row = serializers.IntegerField(required=False)


class ProblemSerializer(serializers.Serializer):
    """What went wrong (RFC 9457). ``code`` stays the same; ``detail`` is for people."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    code = serializers.CharField()
    detail = serializers.CharField()
    errors = ProblemEntrySerializer(many=True, required=False)


class PercentilesSerializer(serializers.Serializer):
    """Seconds."""

    count = serializers.IntegerField()
    p50 = serializers.FloatField()
    p90 = serializers.FloatField()
    p95 = serializers.FloatField()
    p99 = serializers.FloatField()


class FiguresSerializer(serializers.Serializer):
    calls = serializers.IntegerField()
    by_status = serializers.DictField(child=serializers.IntegerField())
    answer_rate = serializers.FloatField(allow_null=True, help_text="Of those that do not wait or ring any more.")
    average_duration = serializers.FloatField(allow_null=True, help_text="Seconds.")
    latency = serializers.DictField(
        child=PercentilesSerializer(), help_text="By measure: response_latency, and each stage of it."
    )


class PeriodSerializer(FiguresSerializer):
    start = serializers.DateTimeField()


class CurrentSerializer(serializers.Serializer):
    live_calls = serializers.IntegerField()
    free_slots = serializers.IntegerField()
    waiting_calls = serializers.IntegerField(help_text="To be dialled, now or later.")
    due_calls = serializers.IntegerField(help_text="To be dialled now.")
    dialling_paused_until = serializers.DateTimeField(allow_null=True)
    dialling_paused_because = serializers.CharField()


class StatsSerializer(_Named, serializers.Serializer):
    from_ = serializers.DateTimeField()
    to = serializers.DateTimeField()
    period = serializers.ChoiceField(choices=["hour", "day"])
    total = FiguresSerializer()
    periods = PeriodSerializer(many=True)
    current = CurrentSerializer()
