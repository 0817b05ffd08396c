"""The bodies of calls, of orders to live calls, and of what happens during a call."""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core import signing
from django.utils import timezone
from django.utils.functional import cached_property
from drf_spectacular.utils import extend_schema_field, extend_schema_serializer
from rest_framework import serializers

from calls.api.fields import (
    Amounts,
    JSONObject,
    NumberText,
    StrictBoolean,
    StrictChoice,
    StrictInteger,
    StrictText,
    Timestamp,
    Variables,
    ZoneText,
)
from calls.api.serializers.shared import Named, Strict
from calls.models import Agent, Call, CallEvent, CallOrder, DialAttempt, MachineDetection, Turn
from calls.numbers import LONGEST
from calls.services.orders import LONGEST_TEXT
from calls.services.pauses import NOTHING_PAUSED, Pauses, read_pauses, why_waiting
from calls.services.placing import LONGEST_CALL, NewCall

MAX_BATCH_CALLS = 1000
"""Calls in one batch. A thousand rows are checked and written in some seconds."""
RECORDING_SALT = "calls.api.recording"
"""Keeps what is signed for another purpose from being accepted as a link to a recording."""


class NewCallSerializer(Named, Strict):
    """A call to place."""

    to = NumberText(help_text="The number to call, in international form, such as +15551234567.")
    agent = StrictText(max_length=50, help_text="The name of the agent that talks.")
    from_ = NumberText(
        source="from_number",
        required=False,
        allow_null=True,
        help_text="The number to call from. Default: the agent's number, or TWILIO_PHONE_NUMBER.",
    )
    scheduled_for = Timestamp(
        required=False, allow_null=True, help_text="The call is not dialled before this time. Default: now."
    )
    timezone = ZoneText(
        required=False,
        allow_null=True,
        help_text="The person's time zone, such as Europe/Berlin. Default: each that the number may be in.",
    )
    variables = Variables(
        required=False,
        allow_null=True,
        help_text="Values for {{ name }} and the like in the agent's texts. 4 kB as JSON at most.",
    )
    metadata = JSONObject(
        required=False,
        allow_null=True,
        help_text="Data of your own, which is stored and returned. 4 kB as JSON at most.",
    )
    max_duration = StrictInteger(
        required=False,
        allow_null=True,
        min_value=10,
        max_value=LONGEST_CALL,
        help_text="The longest duration, in seconds. Default: as the agent's.",
    )
    machine_detection = StrictChoice(
        required=False, allow_null=True, choices=MachineDetection.choices,
        help_text="What to do about answering machines. Default: as the agent.",
    )  # fmt: skip
    record = StrictBoolean(
        required=False, allow_null=True, help_text="Whether to record the call. Default: as the agent."
    )

    def to_new_call(self) -> NewCall:
        """Return what the services take. Requires that ``is_valid`` was called."""
        return NewCall(**{name: value for name, value in self.validated_data.items() if value is not None})


class Cost(serializers.Serializer[Any]):
    """An estimated cost."""

    amount = serializers.FloatField(read_only=True)
    currency = serializers.CharField(read_only=True, help_text="As ENGINE_CURRENCY says.")


class CallSerializer(Named, serializers.ModelSerializer[Call]):
    """A call, as lists show it."""

    agent: serializers.SlugRelatedField[Agent] = serializers.SlugRelatedField(slug_field="name", read_only=True)
    from_ = serializers.CharField(source="from_number", read_only=True)
    to = serializers.CharField(source="to_number", read_only=True)
    metadata = JSONObject(read_only=True)
    variables = Variables(read_only=True)
    machine_detection = StrictChoice(choices=MachineDetection.choices, read_only=True, allow_null=True)
    held_because = serializers.SerializerMethodField(
        help_text="Why the call is not dialled although it is due: what is paused of it, or that nothing is dialled at "
        "all, and the reason. Else empty."
    )
    has_recording = serializers.SerializerMethodField()
    usage = Amounts(
        read_only=True,
        help_text="What the call used at engines that bill, known when its streams have ended: amounts by kind of "
        "engine, name and unit.",
    )
    estimated_cost = serializers.SerializerMethodField(
        help_text="What that costs by ENGINE_PRICES; null if nothing was used or a price is missing."
    )

    class Meta:
        model = Call
        fields = read_only_fields = [
            "id", "sid", "direction", "status", "from_", "to", "agent", "created_at", "scheduled_for", "due_at",
            "held_because", "attempts_made", "answered_at", "answered_by", "language", "ended_at", "duration",
            "end_reason", "transfer_to",
            "max_duration", "machine_detection", "record", "timezone", "variables", "metadata", "has_recording",
            "usage", "estimated_cost",
        ]  # fmt: skip

    def get_held_because(self, call: Call) -> str:
        return "" if call.due_at is None else why_waiting(call, self._paused)

    @cached_property
    def _paused(self) -> Pauses:
        """What is paused, read once for all calls of a list."""
        return self.context.get("paused") or read_pauses(timezone.now())

    def get_has_recording(self, call: Call) -> bool:
        # Not call.recording: that makes a file object, which and the call refer to each other, and each row of a list
        # would be left to the garbage collector.
        return bool(call.__dict__["recording"])

    @extend_schema_field(Cost(allow_null=True))
    def get_estimated_cost(self, call: Call) -> dict[str, Any] | None:
        cost = call.estimated_cost
        return None if cost is None else {"amount": cost, "currency": settings.ENGINE_CURRENCY}


def as_accepted(call: Call) -> dict[str, Any]:
    """
    Show the call as it was when it was accepted, whatever has happened to it since.

    So a repeated request gets the same answer as the first one, from the same row.
    """
    accepted = Call(
        **{
            name: getattr(call, name)
            for name in (
                "id direction from_number to_number agent created_at scheduled_for variables metadata max_duration "
                "machine_detection record timezone"
            ).split()
        },
        due_at=max(call.created_at, call.scheduled_for or call.created_at),
    )
    return CallSerializer(accepted, context={"paused": NOTHING_PAUSED}).data


@extend_schema_serializer(deprecate_fields=["who"])
class TurnSerializer(serializers.ModelSerializer[Turn]):
    """The words of one side in its turn. `heard` is the part that the other side heard."""

    who = serializers.ChoiceField(
        Turn.Speaker.choices,
        source="speaker",
        read_only=True,
        help_text="Deprecated: the former name of `speaker`. The next release removes it.",
    )
    stages = serializers.DictField(
        child=serializers.FloatField(allow_null=True),
        read_only=True,
        help_text="Seconds for each stage of the response.",
    )

    class Meta:
        model = Turn
        fields = read_only_fields = [
            "number", "speaker", "who", "said", "heard", "interrupted", "fallback", "started_at", "ended_at",
            "response_latency", "stages",
        ]  # fmt: skip


class EventSerializer(Named, serializers.ModelSerializer[CallEvent]):
    """Something that happened to the call and is not a turn."""

    data_ = JSONObject(read_only=True)

    class Meta:
        model = CallEvent
        fields = read_only_fields = ["kind", "at", "data_"]


class AttemptSerializer(Named, serializers.ModelSerializer[DialAttempt]):
    """One attempt to dial a call."""

    from_ = serializers.CharField(source="from_number", read_only=True)
    to = serializers.CharField(source="to_number", read_only=True)

    class Meta:
        model = DialAttempt
        fields = read_only_fields = [
            "id", "number", "sid", "status", "from_", "to", "created_at", "requested_at", "answered_at", "ended_at",
            "answered_by", "sip_code", "error_code", "error",
        ]  # fmt: skip


class RecordingSerializer(serializers.Serializer[dict[str, Any]]):
    """A link to the recording. It needs no API key, and expires."""

    url = serializers.URLField()
    expires_at = serializers.DateTimeField()


class CallDetailSerializer(CallSerializer):
    """A call with its transcript, turns, events, attempts and recording."""

    transcript = serializers.SerializerMethodField(help_text="What was heard, with a line for each turn.")
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
    def get_recording(self, call: Call) -> dict[str, str] | None:
        if not call.recording:
            return None
        token = signing.dumps(str(call.pk), salt=RECORDING_SALT)
        return RecordingSerializer(
            {
                "url": f"{settings.PUBLIC_BASE_URL}/api/recordings/{token}/",
                "expires_at": timezone.now() + timedelta(seconds=settings.RECORDING_LINK_TTL),
            }
        ).data


class BatchOptionsSerializer(Strict):
    """What a batch has beside its calls."""

    allow_duplicates = StrictBoolean(
        required=False,
        allow_null=True,
        help_text="Whether a number may stand in several rows, and is then called for each of them. Default: false.",
    )


class BatchSerializer(BatchOptionsSerializer):
    """Calls to place. If one of them cannot be placed, none is."""

    calls = serializers.ListField(child=NewCallSerializer(), min_length=1, max_length=MAX_BATCH_CALLS)


class BatchAcceptedSerializer(serializers.Serializer[dict[str, Any]]):
    count = serializers.IntegerField()
    calls = CallSerializer(many=True)


class SaySerializer(Strict):
    """A text for the agent to say."""

    text = StrictText(max_length=LONGEST_TEXT, help_text="The agent says it as soon as it may speak.")


class TransferSerializer(Strict):
    """The destination of a transfer."""

    to = StrictText(max_length=LONGEST, help_text="A number, or the name of one of the agent's transfer targets.")


class OrderSerializer(Named, serializers.ModelSerializer[CallOrder]):
    """An order to a live call."""

    call = serializers.UUIDField(source="call_id", read_only=True)
    data_ = JSONObject(read_only=True)

    class Meta:
        model = CallOrder
        fields = read_only_fields = ["id", "call", "kind", "data_", "created_at"]


class TimelineItemSerializer(Named, serializers.Serializer[dict[str, Any]]):
    """Something that happened during a call. `id` never changes. `data` has the fields of its `type`."""

    id = serializers.CharField()
    type = serializers.ChoiceField(choices=["status", "attempt", "event", "turn", "end"])
    at = serializers.DateTimeField()
    data_ = JSONObject()


class TimelineSerializer(serializers.Serializer[dict[str, Any]]):
    results = TimelineItemSerializer(many=True)
    over = serializers.BooleanField(help_text="Whether the call has ended and nothing will be added.")
