"""Names who has the right to speak."""

from __future__ import annotations

from enum import Enum, auto


class Floor(Enum):
    """The side that has the right to speak."""

    IDLE = auto()
    """Neither side: the agent has finished and the caller has not begun."""
    CALLER = auto()
    """The caller, who is speaking or has paused."""
    AGENT = auto()
    """The agent, which is speaking or about to."""
    OVERLAP = auto()
    """The agent, but the caller's voice has begun, and it is not yet clear why."""
    BRIDGED = auto()
    """The caller, who has finished, but their words are not known yet, and the agent says a filler."""
    HELD = auto()
    """The agent, whose sound was stopped provisionally because the caller speaks."""
    CLOSING = auto()
    """The last words are out, and their mark is awaited."""
    ENDED = auto()
    """The call is over."""
