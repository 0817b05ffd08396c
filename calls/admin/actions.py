"""The actions on a call: cancel it, hang it up, or place it again."""

from dataclasses import dataclass

from django.utils.html import format_html

from calls.admin.placing import place_again
from calls.admin.shared import link_to
from calls.models import Call
from calls.numbers import number_in
from calls.services import stopping
from calls.status import TERMINAL, UNANSWERED


@dataclass(frozen=True)
class CallAction:
    label: str
    """On the button, and in the list's menu of actions."""
    done: str
    """The end of the sentence "The call was ...", which reports the action."""


CALL_ACTIONS = {
    "cancel": CallAction("Cancel", "canceled"),
    "hang-up": CallAction("Hang up", "told to end"),
    "again": CallAction("Dial again", "placed again"),
}
"""The actions by their names in addresses."""


def applicable_actions(call: Call) -> list[str]:
    """The actions that make sense in the call's present state. The services check it again when one is carried out."""
    if call.status in TERMINAL:
        return ["again"] if number_in(call.far_number) else []
    if call.direction == Call.Direction.OUTBOUND and call.status in UNANSWERED:
        return ["cancel"] if call.canceled_at is None else []
    return ["hang-up"]


def carry_out(name: str, call: Call, *, token: str = "") -> str:
    """
    Carry out the action, and return the sentence that reports it to the operator, as HTML. Raises ``CallsError``.

    A button that is pressed twice sends the same ``token`` twice, and then one call is placed.
    """
    match name:
        case "cancel":
            after = stopping.cancel_call(call_id=call.pk)
        case "hang-up":
            after = stopping.hang_up(call_id=call.pk)
        case _:
            after = place_again(call, token)
    subject = link_to("call", after, text=f"The call with {after.far_number}")
    if name == "again" or after.status in TERMINAL:
        return format_html("{} was {}.", subject, CALL_ACTIONS[name].done)
    return format_html("{} was {}. Its status is still {}.", subject, CALL_ACTIONS[name].done, after.status)
