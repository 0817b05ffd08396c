"""The state of the dialler: what is not dialled for the moment, and why."""

from typing import Any

from rest_framework import serializers

from calls.api.fields import StrictInteger
from calls.api.serializers.shared import Strict
from calls.models import DialPause

LARGEST_ID = 2**63 - 1
"""The largest number that the column of an id holds."""


class PauseSerializer(serializers.Serializer[dict[str, Any]]):
    """Something that is not dialled for the moment, and why."""

    id = serializers.IntegerField()
    scope = serializers.ChoiceField(choices=DialPause.Scope.values)
    subject = serializers.CharField(
        help_text="The caller id, the country or the error code that it concerns, or the process with those engines."
    )
    cause = serializers.ChoiceField(choices=DialPause.Cause.values)
    code = serializers.CharField(help_text="The carrier's error number.")
    reason = serializers.CharField()
    since = serializers.DateTimeField()
    until = serializers.DateTimeField(
        allow_null=True, help_text="When it ends by itself. Null: when a trial succeeds, or an operator resumes."
    )
    try_at = serializers.DateTimeField(
        allow_null=True, help_text="When one call is dialled to find out whether it may end."
    )
    held_calls = serializers.IntegerField(help_text="Calls that are due and wait for its end.")


class DiallingSerializer(serializers.Serializer[dict[str, Any]]):
    """The dialler at this moment."""

    paused_until = serializers.DateTimeField(
        allow_null=True, help_text="Nothing at all is dialled until then. Then one call is, or all are."
    )
    paused_because = serializers.CharField(help_text="Why nothing at all is dialled.")
    most_calls = serializers.IntegerField(
        allow_null=True, help_text="The calls at once that the carrier has accepted. Null: no limit was met."
    )
    due_calls = serializers.IntegerField(help_text="Calls that are due now, without those that a pause holds.")
    held_calls = serializers.IntegerField(help_text="Due calls that a pause of their caller id or country holds.")
    later_calls = serializers.IntegerField(help_text="Calls that wait for a later time.")
    pauses = PauseSerializer(many=True, help_text="What is not dialled, and why.")


class ResumeSerializer(Strict):
    """What is to be dialled again."""

    pause = StrictInteger(
        required=False,
        allow_null=True,
        min_value=1,
        max_value=LARGEST_ID,
        help_text="The `id` of the pause to end. Default: all pauses, and the learned limit of calls at once.",
    )


class ResumedSerializer(DiallingSerializer):
    """The dialler after it was resumed."""

    resumed = serializers.IntegerField(help_text="The pauses that were ended. 0: they had ended already.")
