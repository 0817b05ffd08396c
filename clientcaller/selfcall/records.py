"""Finds the records of a call to ourselves in the database, which the server may still be writing."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime

from calls.models import Call, Turn
from calls.status import TERMINAL

PATIENCE = 15.0
"""Seconds after the end of a call in which its records are complete."""
LOOK_EVERY = 0.2


@dataclass(frozen=True, slots=True)
class Words:
    """What the records say was said."""

    heard: tuple[str, ...]
    """By the caller, as it was recognised."""
    replies: tuple[str, ...]
    """By the agent, as far as it was heard."""


def find_words(*, sid: str = "", number: str = "", since: datetime | None = None) -> Words | None:
    """
    Wait until the records of a call are complete, and read its words. None if there is no such call.

    The call is the one with this CallSid, or the newest one from a number to itself since then.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        calls = (
            Call.objects.filter(sid=sid)
            if sid
            else Call.objects.filter(direction=Call.Direction.INBOUND, to_number=number, created_at__gte=since)
        )
        call = calls.order_by("-created_at").first()
        if (call is not None and call.status in TERMINAL) or time.monotonic() > deadline:
            break
        time.sleep(LOOK_EVERY)
    if call is None:
        return None
    turns = list(call.turns.order_by("number"))
    return Words(
        heard=tuple(turn.said for turn in turns if turn.speaker == Turn.Speaker.CALLER),
        replies=tuple(turn.heard for turn in turns if turn.speaker == Turn.Speaker.AGENT),
    )
