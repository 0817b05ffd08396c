"""Calls, what is ordered of them, and what happens to them."""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core import signing
from django.utils import timezone
from drf_spectacular.utils import extend_schema_field, extend_schema_serializer
from rest_framework import serializers

from calls.api.fields import Anything, Choice, Moment, Text, Truth, Variables, Whole
from calls.api.serializers.shared import Named, Strict
from calls.models import Agent, Call, CallEvent, CallOrder, DialAttempt, MachineDetection, Turn
from calls.services.orders import LONGEST_TEXT
from calls.services.placing import LONGEST_CALL, NewCall

MOST_CALLS = 1000
"""Calls of one batch."""
RECORDING_SALT = "calls.api.recording"


class NewCallSerializer(Named, Strict):
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


class CallSerializer(Named, serializers.ModelSerializer[Call]):
    """A call, as in lists."""

    agent: serializers.SlugRelatedField[Agent] = serializers.SlugRelatedField(slug_field="name", read_only=True)
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
class TurnSerializer(serializers.ModelSerializer[Turn]):
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


class EventSerializer(Named, serializers.ModelSerializer[CallEvent]):
    """Something that happened to the call and is not a turn."""

    data_ = Anything(read_only=True)

    class Meta:
        model = CallEvent
        fields = read_only_fields = ["kind", "at", "data_"]


class AttemptSerializer(Named, serializers.ModelSerializer[DialAttempt]):
    """One try at dialling."""

    from_ = serializers.CharField(source="from_number", read_only=True)
    to = serializers.CharField(source="to_number", read_only=True)

    class Meta:
        model = DialAttempt
        fields = read_only_fields = [
            "id", "number", "sid", "status", "from_", "to", "created_at", "requested_at", "answered_at", "ended_at",
            "answered_by", "sip_code", "error_code", "error",
        ]  # fmt: skip


class RecordingSerializer(serializers.Serializer[dict[str, Any]]):
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


class BatchAcceptedSerializer(serializers.Serializer[dict[str, Any]]):
    count = serializers.IntegerField()
    calls = CallSerializer(many=True)


class SaySerializer(Strict):
    """Something for the agent to say."""

    text = Text(max_length=LONGEST_TEXT, help_text="Said as soon as the agent may speak.")


class TransferSerializer(Strict):
    """Where a call goes."""

    to = Text(max_length=40, help_text="A number, or the name of one of the agent's transfer targets.")


class OrderSerializer(Named, serializers.ModelSerializer[CallOrder]):
    """An order on its way to the live call."""

    call = serializers.UUIDField(source="call_id", read_only=True)
    data_ = Anything(read_only=True)

    class Meta:
        model = CallOrder
        fields = read_only_fields = ["id", "call", "kind", "data_", "created_at"]


class TimelineItemSerializer(Named, serializers.Serializer[dict[str, Any]]):
    """Something of a call's course. ``id`` stays the same; ``data`` is as in the call, by ``type``."""

    id = serializers.CharField()
    type = serializers.ChoiceField(choices=["status", "attempt", "event", "turn", "end"])
    at = serializers.DateTimeField()
    data_ = Anything()


class TimelineSerializer(serializers.Serializer[dict[str, Any]]):
    results = TimelineItemSerializer(many=True)
    over = serializers.BooleanField(help_text="Nothing will be added any more.")
