"""Agents, the do-not-call list, and outgoing webhooks."""

from rest_framework import serializers

from calls.api.fields import Anything, Choice, Text, Truth
from calls.api.serializers.shared import Strict
from calls.models import Agent, DoNotCall, WebhookDelivery, WebhookEndpoint
from calls.services.webhooks import EVENTS


class AgentSerializer(serializers.ModelSerializer[Agent]):
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


class DoNotCallSerializer(serializers.ModelSerializer[DoNotCall]):
    """A number that is never dialled."""

    call = serializers.UUIDField(source="call_id", read_only=True, allow_null=True)

    class Meta:
        model = DoNotCall
        fields = read_only_fields = ["number", "reason", "source", "call", "created_at"]


class WebhookSerializer(serializers.ModelSerializer[WebhookEndpoint]):
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


class DeliverySerializer(serializers.ModelSerializer[WebhookDelivery]):
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
