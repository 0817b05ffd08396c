"""What happened on a call so far, in order and in words."""

from dataclasses import dataclass
from datetime import datetime

from calls.models import Call


@dataclass(frozen=True, slots=True)
class Line:
    """Something that happened; ``id`` stays the same. ``speaker`` is empty for an event, which is not a turn."""

    id: str
    at: datetime
    speaker: str
    text: str


def news_of(call: Call) -> list[Line]:
    """Turns and events of the call, in order."""
    turns = [
        Line(f"turn-{turn.pk}", turn.started_at, turn.speaker, turn.heard or turn.said) for turn in call.turns.all()
    ]
    events = [Line(f"event-{event.pk}", event.at, "", _in_words(event.kind, event.data)) for event in call.events.all()]
    return sorted([*turns, *events], key=lambda line: line.at)


def _in_words(kind: str, data: dict[str, object]) -> str:
    details = ", ".join(f"{name} {data[name]}" for name in _TELLING if data.get(name) not in (None, ""))
    return kind.replace("status-", "").replace("-", " ") + (f" ({details})" if details else "")


_TELLING = ("why", "until", "was", "at", "to", "target", "reason", "tool", "how", "AnsweredBy", "error")
"""What of an event's data is worth a word."""
