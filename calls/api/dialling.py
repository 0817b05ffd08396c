"""Shows the state of the dialler to the views."""

from calls.services.pacing import DiallerState
from calls.services.pauses import PauseState


def describe_dialler(state: DiallerState) -> dict[str, object]:
    """Return the fields of ``DiallingSerializer``."""
    stopped = state.stopped
    return {
        "paused_until": stopped[0].ends_at if stopped else None,
        "paused_because": "; ".join(one.pause.reason for one in stopped),
        "most_calls": state.pace.limit if state.pace else None,
        "due_calls": state.due,
        "held_calls": state.held,
        "later_calls": state.later,
        "pauses": list(map(_describe_pause, state.pauses)),
    }


def _describe_pause(state: PauseState) -> dict[str, object]:
    names = ("id", "scope", "subject", "cause", "code", "reason", "since", "until", "try_at")
    return {**{name: getattr(state.pause, name) for name in names}, "held_calls": state.held}
