"""
What has happened to a call so far, as items in order, and how far a client has read them.

``manage.py call`` reads turns and events as well (``calls.services.progress``), but as lines of text, and by the time
at which a turn began. A client of the API gets a turn when it has ended, among attempts and statuses, so the two are
not one list.
"""

import heapq
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from calls.api.serializers.calls import AttemptSerializer, EventSerializer, TurnSerializer
from calls.models import Call, DialAttempt
from calls.status import TERMINAL

SETTLING = 30.0
"""Seconds after its end by which everything of a call is surely written."""
_CURSOR = re.compile(r"e(\d{1,18})\.t(\d{1,18})\.a(\d{1,5})-([a-z-]*)\.s(\d{1,5})-([a-z-]*)(\.end)?")


@dataclass(frozen=True, slots=True)
class Item:
    """Something that happened. ``id`` stays the same however often it is read."""

    id: str
    type: str
    at: datetime
    data: dict[str, Any]
    rank: tuple[int, str]
    """Its place among those of its type: the row's number; and what may change of the row."""

    def as_dict(self) -> dict[str, Any]:
        return {"id": self.id, "type": self.type, "at": self.at, "data": self.data}


@dataclass(slots=True)
class Cursor:
    """How far a client has heard; written into every message's id, so that it can go on from there."""

    event: int = 0
    turn: int = 0
    attempt: tuple[int, str] = (0, "")
    status: tuple[int, str] = (0, "")
    over: bool = False

    @classmethod
    def read(cls, text: str) -> "Cursor":
        """From a ``Last-Event-ID``; from the beginning if it is none of ours."""
        if (match := _CURSOR.fullmatch(text)) is None:
            return cls()
        event, turn, attempt, attempt_status, attempts, status, end = match.groups()
        return cls(int(event), int(turn), (int(attempt), attempt_status), (int(attempts), status), end is not None)

    def __str__(self) -> str:
        attempt, status = (f"{number}-{word}" for number, word in (self.attempt, self.status))
        return f"e{self.event}.t{self.turn}.a{attempt}.s{status}{'.end' if self.over else ''}"

    def has(self, item: Item) -> bool:
        number = item.rank[0]
        match item.type:
            case "event":
                return number <= self.event
            case "turn":
                return number <= self.turn
            case "attempt":
                return number < self.attempt[0] or item.rank == self.attempt
            case "status":
                return item.rank == self.status
        return self.over

    def pass_by(self, item: Item) -> None:
        match item.type:
            case "event":
                self.event = max(self.event, item.rank[0])
            case "turn":
                self.turn = max(self.turn, item.rank[0])
            case "attempt":
                self.attempt = item.rank
            case "status":
                self.status = item.rank
            case "end":
                self.over = True


def timeline(call: Call) -> tuple[list[Item], bool]:
    """All that has happened in a call so far, in order, and whether nothing will be added any more."""
    events, turns, attempts = list(call.events.order_by("pk")), list(call.turns.order_by("pk")), call.attempts.all()
    rows: list[list[Item]] = [
        [_attempt(one) for one in attempts],
        [_item("event", one.pk, one.at, EventSerializer(one).data, one.pk) for one in events],
        [_item("turn", one.pk, one.ended_at or one.started_at, TurnSerializer(one).data, one.pk) for one in turns],
        [_status_of(call)],
    ]  # fmt: skip
    # Each kind in the order in which it was written, which is what the cursor counts by.
    items = list(heapq.merge(*rows, key=lambda item: item.at))
    over = _is_complete(call, [one.kind for one in events])
    if over:
        end = {"status": call.status, "end_reason": call.end_reason, "duration": call.duration}
        items.append(_item("end", call.pk, call.ended_at or timezone.now(), end, 0))
    return items, over


def _item(kind: str, name: Any, at: datetime, data: dict[str, Any], number: int, word: str = "") -> Item:
    return Item(f"{kind}-{name}", kind, at, data, (number, word))


def _attempt(one: DialAttempt) -> Item:
    at = one.ended_at or one.answered_at or one.requested_at or one.created_at
    return _item("attempt", f"{one.number}-{one.status}", at, AttemptSerializer(one).data, one.number, one.status)


def _status_of(call: Call) -> Item:
    at = call.ended_at or call.answered_at or call.created_at
    data = {"status": call.status, "attempts_made": call.attempts_made, "due_at": call.due_at}
    return _item("status", f"{call.attempts_made}-{call.status}", at, data, call.attempts_made, call.status)


def _is_complete(call: Call, kinds: Iterable[str]) -> bool:
    """The call is over, and what its streams have left was written: facts come behind the call."""
    if call.status not in TERMINAL:
        return False
    kinds = list(kinds)
    recorded = bool(call.recording) or not call.is_recorded
    if kinds.count("stream-ended") >= call.streams and (recorded or not call.streams):
        return True
    return call.ended_at is None or timezone.now() - call.ended_at > timedelta(seconds=SETTLING)
