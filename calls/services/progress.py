"""Lists what has happened on a call so far, as lines of text."""

from dataclasses import dataclass
from datetime import datetime

from calls.models import Call


@dataclass(frozen=True, slots=True)
class ProgressLine:
    """A turn or an event of a call."""

    id: str
    """Never changes, so that a line that was shown already is recognised."""
    at: datetime
    speaker: str
    """``caller`` or ``agent``; empty for an event."""
    text: str


def list_progress(call: Call) -> list[ProgressLine]:
    """Return the turns and events of the call in order."""
    turns = [
        ProgressLine(f"turn-{turn.pk}", turn.started_at, turn.speaker, turn.heard or turn.said)
        for turn in call.turns.all()
    ]
    events = [
        ProgressLine(f"event-{event.pk}", event.at, "", _describe(event.kind, event.data))
        for event in call.events.all()
    ]
    return sorted([*turns, *events], key=lambda line: line.at)


def _describe(kind: str, data: dict[str, object]) -> str:
    details = ", ".join(f"{name} {data[name]}" for name in _SHOWN if data.get(name) not in (None, ""))
    return kind.replace("status-", "").replace("-", " ") + (f" ({details})" if details else "")


_SHOWN = ("why", "until", "was", "at", "to", "target", "reason", "tool", "how", "AnsweredBy", "error")
"""The data of an event that is shown."""
