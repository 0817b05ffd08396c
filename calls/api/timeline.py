"""
Lists what has happened to a call so far, as items in order, with a cursor for the client's position.

``manage.py call`` reads turns and events as well (``calls.services.progress``), but as lines of text, and by the time
at which a turn began. A client of the API gets a turn when it has ended, among attempts and statuses, so the two are
not one list.
"""

import heapq
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils import timezone

from calls.api.serializers.calls import AttemptSerializer, EventSerializer, TurnSerializer
from calls.models import Call, DialAttempt, Turn
from calls.status import TERMINAL

SETTLE_TIME = 30.0
"""
Seconds after the end of a call until its timeline ends in any case.

A live call writes its facts with some delay, or never, if its process was killed.
"""
_CURSOR = re.compile(r"e(\d{1,18})\.t(\d{1,18})\.a(\d{1,5})-([a-z-]*)\.s(\d{1,5})-([a-z-]*)(\.end)?")
"""A cursor as text. The limits on digits are those of the columns."""


@dataclass(frozen=True, slots=True)
class Item:
    """Something that happened to a call: an event, a turn, an attempt or status as it is now, or the end."""

    id: str
    """The same whenever the item is read."""
    type: str
    at: datetime
    data: Mapping[str, object]
    """The fields of the row, as the API shows them."""
    rank: tuple[int, str]
    """The number of the row among those of its type, and the status in which the row is, where it has one."""

    def as_dict(self) -> dict[str, object]:
        return {"id": self.id, "type": self.type, "at": self.at, "data": self.data}


@dataclass(slots=True)
class Cursor:
    """The position up to which a client has read. It is the id of each message, from which the client can go on."""

    event: int = 0
    """The highest number of an event that the client has read."""
    turn: int = 0
    """The highest number of a turn that the client has read."""
    attempt: tuple[int, str] = (0, "")
    """The number and the status of the attempt that the client read last."""
    status: tuple[int, str] = (0, "")
    """The number of attempts and the status of the call that the client read last."""
    over: bool = False
    """Whether the client has read the end."""

    @classmethod
    def read(cls, text: str) -> "Cursor":
        """Read a ``Last-Event-ID``. An invalid one is a cursor at the beginning."""
        if (match := _CURSOR.fullmatch(text)) is None:
            return cls()
        event, turn, attempt, attempt_status, attempts, status, end = match.groups()
        return cls(int(event), int(turn), (int(attempt), attempt_status), (int(attempts), status), end is not None)

    def __str__(self) -> str:
        attempt, status = (f"{number}-{word}" for number, word in (self.attempt, self.status))
        return f"e{self.event}.t{self.turn}.a{attempt}.s{status}{'.end' if self.over else ''}"

    def includes(self, item: Item) -> bool:
        """Whether the client has read the item."""
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

    def advance(self, item: Item) -> None:
        """Note that the client reads the item."""
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
    """Return what has happened to the call so far, in order, and whether nothing will be added."""
    events, turns, attempts = list(call.events.order_by("pk")), list(call.turns.order_by("pk")), call.attempts.all()
    rows: list[list[Item]] = [
        [_attempt_item(attempt) for attempt in attempts],
        [_item("event", event.pk, event.at, EventSerializer(event).data, event.pk) for event in events],
        [_turn_item(turn) for turn in turns],
        [_status_item(call)],
    ]  # fmt: skip
    # A merge keeps the rows of each type in the order of their numbers, by which the cursor counts.
    items = list(heapq.merge(*rows, key=lambda item: item.at))
    over = _is_complete(call, [event.kind for event in events])
    if over:
        end = {"status": call.status, "end_reason": call.end_reason, "duration": call.duration}
        items.append(_item("end", call.pk, call.ended_at or timezone.now(), end, 0))
    return items, over


def _item(kind: str, name: object, at: datetime, data: Mapping[str, object], number: int, word: str = "") -> Item:
    return Item(f"{kind}-{name}", kind, at, data, (number, word))


def _turn_item(turn: Turn) -> Item:
    return _item("turn", turn.pk, turn.ended_at or turn.started_at, TurnSerializer(turn).data, turn.pk)


def _attempt_item(attempt: DialAttempt) -> Item:
    at = attempt.ended_at or attempt.answered_at or attempt.requested_at or attempt.created_at
    name = f"{attempt.number}-{attempt.status}"
    return _item("attempt", name, at, AttemptSerializer(attempt).data, attempt.number, attempt.status)


def _status_item(call: Call) -> Item:
    at = call.ended_at or call.answered_at or call.created_at
    data = {"status": call.status, "attempts_made": call.attempts_made, "due_at": call.due_at}
    return _item("status", f"{call.attempts_made}-{call.status}", at, data, call.attempts_made, call.status)


def _is_complete(call: Call, kinds: Iterable[str]) -> bool:
    """Whether the call has ended and the facts of its streams, which are written behind the call, have all arrived."""
    if call.status not in TERMINAL:
        return False
    kinds = list(kinds)
    recorded = bool(call.recording) or not call.is_recorded
    if kinds.count("stream-ended") >= call.streams and (recorded or not call.streams):
        return True
    return call.ended_at is None or timezone.now() - call.ended_at > timedelta(seconds=SETTLE_TIME)
