"""How an operator places a call: the form, and the same call once more."""

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils import timezone

from calls.errors import CallsError
from calls.models import Agent, Call
from calls.services import placing


class PlaceForm(forms.Form):
    """A call to be placed. What is wrong with it, the service says."""

    to = forms.CharField(label="Number", max_length=40, help_text="In full, such as +1 202 555 0123.")
    agent = forms.ModelChoiceField(Agent.objects.filter(active=True), to_field_name="name")
    scheduled_for = forms.DateTimeField(
        required=False,
        label="Not before",
        widget=forms.DateTimeInput({"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
    )
    variables = forms.JSONField(
        required=False,
        widget=forms.Textarea({"rows": 3, "cols": 60, "placeholder": '{"name": "Anna"}'}),
        help_text="Fill {{ name }} in the agent's prompt and lines.",
    )
    token = forms.UUIDField(widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["scheduled_for"].help_text = f"Time in {timezone.get_current_timezone_name()}; empty: now."

    def clean_variables(self) -> dict[str, Any]:
        variables = self.cleaned_data["variables"] or {}
        if not isinstance(variables, dict):
            raise ValidationError('Write an object, such as {"name": "Anna"}.')
        return variables

    def place(self) -> Call | None:
        """The call; None, with the errors on the form, if it cannot be placed. A form sent twice places one call."""
        data = self.cleaned_data
        wanted = placing.NewCall(
            to=data["to"],
            agent=data["agent"].name,
            scheduled_for=data["scheduled_for"],
            variables=data["variables"],
        )
        try:
            return placing.place_call(wanted, idempotency_key=f"admin:{data['token']}")[0]
        except CallsError as error:
            self.add_error(error.field if error.field in self.fields else None, str(error))
            return None


def place_again(call: Call, token: str = "") -> Call:
    """The same call once more; one that came in is called back."""
    outbound = call.direction == Call.Direction.OUTBOUND
    wanted = placing.NewCall(
        to=call.far_number,
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
