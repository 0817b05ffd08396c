"""Places a call for an operator: from a form, or again from the data of an earlier call."""

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils import timezone

from calls.errors import CallsError
from calls.models import Agent, Call
from calls.numbers import LONGEST, number_in
from calls.services import placing


class PlaceForm(forms.Form):
    """The form for a new call. The service that places the call checks it, and its errors are shown at the fields."""

    to = forms.CharField(label="Number", max_length=LONGEST, help_text="The full number, such as +1 202 555 0123.")
    agent = forms.ModelChoiceField(Agent.objects.filter(active=True), to_field_name="name")
    scheduled_for = forms.DateTimeField(
        required=False,
        label="Not before",
        widget=forms.DateTimeInput({"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
    )
    variables = forms.JSONField(
        required=False,
        widget=forms.Textarea({"rows": 3, "cols": 60, "placeholder": '{"name": "Anna"}'}),
        help_text="Values for {{ name }} and the like in the agent's prompt and lines.",
    )
    token = forms.UUIDField(widget=forms.HiddenInput)
    """Made when the form is shown. It is the idempotency key, so that a form that is sent twice places one call."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["scheduled_for"].help_text = f"In the time zone {timezone.get_current_timezone_name()}. Empty: now."

    def clean_variables(self) -> dict[str, object]:
        variables = self.cleaned_data["variables"] or {}
        if not isinstance(variables, dict):
            raise ValidationError('Write a JSON object, such as {"name": "Anna"}.')
        return variables

    def place(self) -> Call | None:
        """Place the call and return it. If it cannot be placed, add the error to the form and return ``None``."""
        data = self.cleaned_data
        wanted = placing.NewCall(
            to=data["to"], agent=data["agent"].name, scheduled_for=data["scheduled_for"], variables=data["variables"]
        )
        try:
            return placing.place_call(wanted, idempotency_key=f"admin:{data['token']}")[0]
        except CallsError as error:
            self.add_error(error.field if error.field in self.fields else None, str(error))
            return None


def place_again(call: Call, token: str = "") -> Call:
    """
    Place a new call with the data of ``call``. If that was inbound, call its caller back.

    Calls that are placed with the same ``token`` are one call.
    """
    outbound = call.direction == Call.Direction.OUTBOUND
    wanted = placing.NewCall(
        to=number_in(call.far_number) or call.far_number,
        agent=call.agent.name,
        from_number=call.from_number if outbound else "",
        variables=call.variables,
        metadata=call.metadata,
        max_duration=call.max_duration,
        machine_detection=call.machine_detection,
        record=call.record,
        timezone=call.timezone,
    )
    return placing.place_call(wanted, idempotency_key=f"admin:{token}" if token else "")[0]
