"""
Decides in which slot of the server a request is computed, so that a call finds its conversation there.

A slot keeps what was computed last. A request that begins with the same turns is computed only from where it differs.
Nobody says which call a request is of, so a call is known by its words: requests of one call begin with everything that
the slot holds, but perhaps for the last exchange, which the caller or the transcript may have changed. Two calls of one
agent have only the system message and the greeting in common. A slot that holds more than that of another call is left
to it as long as there is another one: otherwise two calls by turns would take it from each other in every turn.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from inference.chat.prompt import GOES_ON, PICKS_UP

LAST_EXCHANGE = 2
"""Turns at the end of what a slot holds that the next request of the same call may have changed."""
FORGOTTEN = 60.0
"""After so many seconds without a request the call of a slot has most likely ended. While a call goes on, the model is
asked something in every turn."""

Turn = tuple[str, str]
"""Role and content."""


@dataclass(slots=True, eq=False)
class Place:
    """One slot of the server."""

    number: int
    held: tuple[Turn, ...] = ()
    """The turns that were computed in it last."""
    used_at: float = -math.inf
    """When it was taken last."""
    busy: bool = False

    def release(self, turns: Sequence[Turn], said: str = "") -> None:
        """
        The request of these turns has ended, or has been cancelled: the server begins the next one when it can.

        ``said`` is what was made of the reply. The turn that stands for words that are not known yet does not count.
        """
        held = tuple(turn for turn in turns if turn != ("user", GOES_ON))
        self.busy, self.held = False, (*held, ("assistant", said)) if said else held


class Places:
    """All slots of a server."""

    def __init__(self, number: int) -> None:
        self._places = [Place(each) for each in range(number)]

    def forget(self) -> None:
        """No call has used the server yet, only its own start."""
        for place in self._places:
            place.held, place.used_at = (), -math.inf

    def take(self, turns: Sequence[Turn], *, now: float, warm: bool = False) -> Place:
        """
        Return the best idle place for a request of these turns. There must be one.

        ``warm``: the request prepares a call. Before the caller has said anything, such a call gets a place of its own.
        """
        begins = warm and not any(role == "user" and text not in (PICKS_UP, GOES_ON) for role, text in turns)
        idle = [place for place in self._places if not place.busy]
        place = max(idle, key=lambda place: _fitness(place, turns, now=now, begins=begins))
        place.busy, place.used_at = True, now
        return place


def turns_of(messages: Sequence[Mapping[str, str]]) -> tuple[Turn, ...]:
    return tuple((message["role"], message["content"]) for message in messages)


def _fitness(place: Place, turns: Sequence[Turn], *, now: float, begins: bool) -> tuple[float, ...]:
    """
    How well a place suits a request; more is better.

    A call that begins is best where its own beginning is held, or else in a place that no call uses. Any other request
    is best where its conversation goes on, then in a place that no call uses. Among such places the most turns in
    common count, then the fewest others, then how alike the first different ones are, then the longest time unused.
    """
    common, length = _common(place.held, turns), len(place.held)
    unused = now - place.used_at > FORGOTTEN
    grows = 0 < length == common < sum(text != GOES_ON for _, text in turns)
    goes_on = _goes_on(place.held, turns, common)
    likeness = (0, 0, 0)
    if goes_on or unused:
        likeness = (common, common - length, _alike(place.held, turns, common))
    return begins and grows, begins and unused, goes_on, unused, *likeness, -place.used_at


def _goes_on(held: Sequence[Turn], turns: Sequence[Turn], common: int) -> bool:
    """Whether the request continues what the place holds. ``common``: how many turns are the same at the beginning."""
    if common and common >= len(held) - LAST_EXCHANGE:
        return True
    # The oldest turns were left out to make room: the conversation goes on from its middle.
    spoken = [turn for turn in turns if turn[0] != "system"][:2]
    return len(spoken) == 2 and common <= 1 and any([*pair] == spoken for pair in pairwise(held))


def _common(held: Sequence[object], turns: Sequence[object]) -> int:
    """How many turns, or characters of a turn, are the same at the beginning of both."""
    pairs = zip(held, turns, strict=False)
    return next((at for at, (ours, theirs) in enumerate(pairs) if ours != theirs), min(len(held), len(turns)))


def _alike(held: Sequence[Turn], turns: Sequence[Turn], common: int) -> int:
    """How many characters the first turns that differ have in common at their beginning."""
    return 0 if common in (len(held), len(turns)) else _common(held[common][1], turns[common][1])
