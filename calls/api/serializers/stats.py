"""The statistics of the calls of a period of time."""

from typing import Any

from rest_framework import serializers

from calls.api.serializers.dialling import PauseSerializer
from calls.api.serializers.shared import Named


class PercentilesSerializer(serializers.Serializer[dict[str, Any]]):
    """Percentiles in seconds, and the number of values."""

    count = serializers.IntegerField()
    p50 = serializers.FloatField()
    p90 = serializers.FloatField()
    p95 = serializers.FloatField()
    p99 = serializers.FloatField()


class FiguresSerializer(serializers.Serializer[dict[str, Any]]):
    calls = serializers.IntegerField()
    by_status = serializers.DictField(child=serializers.IntegerField())
    answer_rate = serializers.FloatField(
        allow_null=True, help_text="The share of answered calls among those that were answered or have ended."
    )
    average_duration = serializers.FloatField(allow_null=True, help_text="Seconds.")
    latency = serializers.DictField(
        child=PercentilesSerializer(), help_text="Percentiles of response_latency and of each of its stages."
    )


class PeriodSerializer(FiguresSerializer):
    start = serializers.DateTimeField()


class CurrentSerializer(serializers.Serializer[dict[str, Any]]):
    live_calls = serializers.IntegerField()
    free_slots = serializers.IntegerField()
    waiting_calls = serializers.IntegerField(help_text="Calls that are due now or later.")
    due_calls = serializers.IntegerField(help_text="Calls that are due now, without those that a pause holds.")
    held_calls = serializers.IntegerField(help_text="Due calls that a pause of their caller id or country holds.")
    dialling_paused_until = serializers.DateTimeField(
        allow_null=True, help_text="Nothing at all is dialled until then. Then one call is, or all are."
    )
    dialling_paused_because = serializers.CharField(help_text="Why nothing at all is dialled.")
    pauses = PauseSerializer(many=True, help_text="What is not dialled, and why.")


class StatsSerializer(Named, serializers.Serializer[dict[str, Any]]):
    from_ = serializers.DateTimeField()
    to = serializers.DateTimeField()
    period = serializers.ChoiceField(choices=["hour", "day"])
    total = FiguresSerializer()
    periods = PeriodSerializer(many=True)
    current = CurrentSerializer()
