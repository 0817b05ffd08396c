"""The bodies of agents, of the do-not-call list, and of webhooks."""

from typing import Any

from django.conf import settings
from rest_framework import serializers

from calls.api.fields import JSONObject, NumberText, ShortList, StrictBoolean, StrictChoice, StrictText
from calls.api.serializers.shared import Strict
from calls.keyterms import parse_keyterms
from calls.models import Agent, DoNotCall, WebhookDelivery, WebhookEndpoint
from calls.services.do_not_call import warn_of
from calls.services.webhooks import EVENTS


class AgentSerializer(serializers.ModelSerializer[Agent]):
    """An agent: what it says, how it sounds and how it dials. Agents are changed in the admin."""

    other_languages = serializers.DictField(
        child=serializers.CharField(),
        read_only=True,
        help_text="The languages to which the agent changes if the caller does, each with its voice.",
    )
    keyterms = serializers.SerializerMethodField(help_text="Names and words that recognition should expect.")
    transfer_targets = serializers.DictField(child=serializers.CharField(), read_only=True)
    redact_numbers = serializers.BooleanField(
        read_only=True,
        allow_null=True,
        help_text="Whether numbers of cards and accounts are taken out of what is stored. Null: as the setting says.",
    )

    def get_keyterms(self, agent: Agent) -> list[str]:
        return list(parse_keyterms(agent.keyterms))

    class Meta:
        model = Agent
        fields = read_only_fields = [
            "name", "active", "phone_number", "prompt", "greeting", "greeting_interruptible", "disclosure", "voice",
            "language", "other_languages", "keyterms", "max_duration", "record", "redact_numbers", "opt_out_key",
            "transfer_targets", "ring_timeout", "machine_detection", "voicemail_message", "max_attempts",
            "retry_busy_after", "retry_no_answer_after", "retry_failed_after", "created_at", "updated_at",
        ]  # fmt: skip


class NewDoNotCallSerializer(Strict):
    """A number that must not be dialled again."""

    number = NumberText(help_text="The number in international form, such as +15551234567.")
    reason = StrictText(required=False, allow_blank=True, max_length=255)


class DoNotCallSerializer(serializers.ModelSerializer[DoNotCall]):
    """A number that is never dialled."""

    call = serializers.UUIDField(source="call_id", read_only=True, allow_null=True)
    warning = serializers.SerializerMethodField(help_text="Why the entry stops no call; empty if it does.")

    class Meta:
        model = DoNotCall
        fields = read_only_fields = ["number", "reason", "source", "call", "created_at", "warning"]

    def get_warning(self, entry: DoNotCall) -> str:
        return warn_of(entry.number)


class WebhookSerializer(serializers.ModelSerializer[WebhookEndpoint]):
    """An address that events of calls are sent to."""

    events = serializers.ListField(child=serializers.CharField(), help_text="The events that are sent. Empty: all.")

    class Meta:
        model = WebhookEndpoint
        fields = read_only_fields = ["id", "url", "events", "active", "created_at", "old_secret_until"]


class WebhookAddress(StrictText):
    """The address of an endpoint, which the services check. In production, events are sent over TLS only."""

    def __init__(self, **options: Any) -> None:
        schemes = "http or https" if settings.DEBUG else "https"
        text = f"An {schemes} address, to which each event is sent with POST, as JSON."
        super().__init__(max_length=500, help_text=text, **options)


class NewWebhookSerializer(Strict):
    """An address to send events of calls to."""

    url = WebhookAddress()
    events = ShortList(
        child=StrictChoice(choices=EVENTS),
        required=False,
        max_length=len(EVENTS),
        help_text="The events that are sent. Empty: all.",
    )
    active = StrictBoolean(required=False)


class WebhookWithSecretSerializer(WebhookSerializer):
    """A webhook with the new secret that signs its deliveries. The secret is shown only once."""

    class Meta(WebhookSerializer.Meta):
        fields = read_only_fields = [*WebhookSerializer.Meta.fields, "secret"]


class DeliverySerializer(serializers.ModelSerializer[WebhookDelivery]):
    """The delivery of one event to one webhook, and its result."""

    call = serializers.UUIDField(source="call_id", read_only=True)
    payload = JSONObject(read_only=True)
    log = serializers.ListField(child=JSONObject(), read_only=True, help_text="One entry for each attempt.")

    class Meta:
        model = WebhookDelivery
        fields = read_only_fields = [
            "id", "call", "event", "status", "attempts", "created_at", "due_at", "delivered_at", "response_status",
            "payload", "log",
        ]  # fmt: skip
