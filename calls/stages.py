"""
The stages of a response, from the caller's last voiced sample to the agent's first audible one, and why streams end.

This module imports the standard library alone, so that ``media.turns`` may use it.
"""

from __future__ import annotations

from typing import NamedTuple


class Stage(NamedTuple):
    """One stage, which lasts from the end of the stage before it."""

    name: str
    """Its key in the stages of a turn, in the API and in the database."""
    heading: str
    """One short word for the head of a table."""
    meaning: str
    """The work that is done in it."""


STAGES = (
    Stage("endpointing", "pause", "The caller has paused, until recognition is asked for the words so far."),
    Stage("transcript", "words", "Recognition works, until it delivers the words."),
    Stage("first_token", "token", "The language model works, until its first token comes."),
    Stage("first_clause", "clause", "The language model goes on, until there is a clause that can be spoken."),
    Stage("first_speech", "speech", "The voice works, until the first audio of that clause is ready."),
    Stage("release", "wait", "The audio is held, until endpointing decides that the caller's turn is over."),
    Stage("send", "send", "The audio waits for its turn, until its first audible sample is sent."),
)
"""
In the order of the work. Their seconds add up to the response latency: a stage that was over before the one in front of
it counts zero.
"""
STAGE_NAMES = tuple(stage.name for stage in STAGES)

END_REASONS = frozenset(
    "caller-hung-up agent-ended silence max-duration engines-failed stream-lost refused drain "
    "operator transferred opted-out voicemail menu".split()
)
"""Why a stream ended. A call that never had a stream ends with a reason of the dialler, such as ``busy``."""
