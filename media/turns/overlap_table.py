"""
The consequences of the caller's words, by what they do and by what the agent is doing: ``RESPONSES``.

Politeness never undoes what was promised, a presence check never cancels a reply that is being made, and a noise never
costs the caller the rest of a reply.
"""

from __future__ import annotations

from enum import Enum, auto

from media.turns.labels import Label


class Situation(Enum):
    """The agent's situation when the caller's words come."""

    PENDING = auto()
    """It has the turn, and nothing of it has been sent."""
    SPEAKING = auto()
    HELD = auto()
    """Its sound was stopped provisionally, because the caller speaks."""
    PROTECTED = auto()
    """It says something that the caller cannot interrupt."""
    PROMISED = auto()
    """It says words that come with a request, which is carried out after them: a transfer, or the end of the call."""
    CLOSING = auto()
    """It has said goodbye and is about to hang up."""
    CONNECTING = auto()
    """It has announced a transfer, which is about to be made."""
    GIVING_UP = auto()
    """It is hanging up because the caller says nothing."""


class Response(Enum):
    """The consequences of the caller's words."""

    CARRY_ON = auto()
    """The agent goes on with what it is doing. The words need no answer."""
    BRIDGE = auto()
    """The agent says a filler at once and goes on making its reply, which is the answer."""
    ANSWER_LATER = auto()
    """The agent goes on, and answers the words when it has finished."""
    YIELD_IF_LONG = auto()
    """The agent stops for the words if there is more than a moment of voice; shorter ones are answered later."""
    YIELD = auto()
    """The agent stops for the words, however short they are, and answers them."""
    TAKE_BACK = auto()
    """Nothing of the reply has sounded: it is taken back, and the caller's turn goes on."""


_CARRY_ON, _LATER, _YIELD = Response.CARRY_ON, Response.ANSWER_LATER, Response.YIELD
_BACK, _LONG, _BRIDGE = Response.TAKE_BACK, Response.YIELD_IF_LONG, Response.BRIDGE

_COLUMNS = tuple(Situation)
_ROWS = {
    #                     PENDING    SPEAKING   HELD       PROTECTED  PROMISED   CLOSING    CONNECTING GIVING_UP
    Label.NOISE:          (_CARRY_ON, _CARRY_ON, _CARRY_ON, _CARRY_ON, _CARRY_ON, _CARRY_ON, _CARRY_ON, _CARRY_ON),
    Label.ECHO:           (_CARRY_ON, _CARRY_ON, _CARRY_ON, _CARRY_ON, _CARRY_ON, _CARRY_ON, _CARRY_ON, _CARRY_ON),
    Label.MURMUR:         (_BACK,     _CARRY_ON, _CARRY_ON, _CARRY_ON, _CARRY_ON, _CARRY_ON, _CARRY_ON, _YIELD),
    Label.AGREEMENT:      (_BACK,     _CARRY_ON, _CARRY_ON, _CARRY_ON, _CARRY_ON, _CARRY_ON, _CARRY_ON, _YIELD),
    Label.THANKS:         (_CARRY_ON, _CARRY_ON, _CARRY_ON, _CARRY_ON, _CARRY_ON, _CARRY_ON, _CARRY_ON, _YIELD),
    Label.PRESENCE_CHECK: (_BRIDGE,   _CARRY_ON, _CARRY_ON, _CARRY_ON, _CARRY_ON, _YIELD,    _CARRY_ON, _YIELD),
    Label.FAREWELL:       (_BACK,     _YIELD,    _YIELD,    _LATER,    _CARRY_ON, _CARRY_ON, _CARRY_ON, _YIELD),
    Label.REFUSAL:        (_BACK,     _YIELD,    _YIELD,    _LATER,    _YIELD,    _CARRY_ON, _YIELD,    _YIELD),
    Label.OBJECTION:      (_BACK,     _YIELD,    _YIELD,    _LATER,    _YIELD,    _YIELD,    _YIELD,    _YIELD),
    Label.HOLD_REQUEST:   (_BACK,     _YIELD,    _YIELD,    _LATER,    _YIELD,    _YIELD,    _YIELD,    _YIELD),
    Label.CORRECTION:     (_BACK,     _YIELD,    _YIELD,    _LATER,    _YIELD,    _YIELD,    _YIELD,    _YIELD),
    Label.QUESTION:       (_BACK,     _LONG,     _YIELD,    _LATER,    _LONG,     _YIELD,    _YIELD,    _YIELD),
    Label.ANSWER:         (_BACK,     _LONG,     _YIELD,    _LATER,    _CARRY_ON, _YIELD,    _CARRY_ON, _YIELD),
    Label.TAKES_TURN:     (_BACK,     _LONG,     _YIELD,    _LATER,    _LONG,     _YIELD,    _YIELD,    _YIELD),
}  # fmt: skip

RESPONSES = {
    (situation, label): response
    for label, row in _ROWS.items()
    for situation, response in zip(_COLUMNS, row, strict=True)
}
"""The response to each label in each situation."""
