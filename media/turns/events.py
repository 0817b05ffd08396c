"""
What happened on a call. Each event is told to ``Conversation.receive`` with the ``now`` at which it was noticed.

Positions are samples (8 kHz) into the caller's stream; times are seconds on the session's own monotonic clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from inference.requests import NO_REQUESTS, ToolRequests


class Revision(NamedTuple):
    """
    Names one attempt at saying something: the agent's turn, and a number that never repeats in a call.

    Everything that is started for it carries it, so what arrives late from a dead one is known at the door.
    """

    turn: int
    number: int


@dataclass(frozen=True, slots=True)
class CallStarted:
    """
    The stream is open. ``resumed`` when it replaces one that was lost in mid-call.

    ``disclosed``: the caller has heard the disclosure in an earlier stream of this call.
    """

    resumed: bool = False
    disclosed: bool = False


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """The caller's voice began; ``position`` is its first sample."""

    position: int


@dataclass(frozen=True, slots=True)
class SpeechStopped:
    """The caller's voice paused; ``position`` is its last voiced sample."""

    position: int


@dataclass(frozen=True, slots=True)
class PositionReached:
    """Voice activity has judged the stream up to here. Sent once ``Conversation.wake_position`` has passed."""

    position: int


@dataclass(frozen=True, slots=True)
class TranscriptPartial:
    """The words of an utterance so far have changed."""

    utterance: int
    text: str


@dataclass(frozen=True, slots=True)
class TranscriptReady:
    """The answer to ``TakeSnapshot``."""

    utterance: int
    snapshot: int
    text: str


@dataclass(frozen=True, slots=True)
class TranscriptFailed:
    """No answer to ``TakeSnapshot``: recognition failed."""

    utterance: int
    snapshot: int


@dataclass(frozen=True, slots=True)
class ReplyToken:
    """The language model's first token for this revision has come."""

    revision: Revision


@dataclass(frozen=True, slots=True)
class ReplyText:
    """A piece of text was given to the voice; pieces of one revision join to the text that is said."""

    revision: Revision
    text: str


@dataclass(frozen=True, slots=True)
class ReplyAudio:
    """
    Speech for this revision: ``audio`` is mu-law at 8 kHz.

    ``text_end`` is how many characters of the revision's text are said by the end of it.
    """

    revision: Revision
    audio: bytes
    text_end: int


@dataclass(frozen=True, slots=True)
class ReplyEnded:
    """All audio of this revision has been handed over; ``requests`` is what the model requests once it was heard."""

    revision: Revision
    requests: ToolRequests = NO_REQUESTS


@dataclass(frozen=True, slots=True)
class ReplyFailed:
    """The engines could not go on with this revision."""

    revision: Revision
    reason: str = ""


@dataclass(frozen=True, slots=True)
class MarkReached:
    """The carrier echoed a mark: play-out got there, or a ``clear`` dropped it."""

    name: str


@dataclass(frozen=True, slots=True)
class KeyPressed:
    """A key on the caller's telephone: one of ``0-9 * # A-D``."""

    digit: str


@dataclass(frozen=True, slots=True)
class SayRequested:
    """Somebody outside asks the agent to say this as soon as it may."""

    text: str


@dataclass(frozen=True, slots=True)
class EndRequested:
    """Somebody outside asks for the call to end, politely."""

    reason: str


@dataclass(frozen=True, slots=True)
class TransferRequested:
    """Somebody outside hands the call on, politely; where to is on record already."""


@dataclass(frozen=True, slots=True)
class VoicemailReached:
    """A machine has answered, and listens now. It is left ``message``; without one the call just ends."""

    message: str = ""


@dataclass(frozen=True, slots=True)
class CallerHungUp:
    """The stream is over; nothing can be sent any more."""

    reason: str = "caller-hung-up"


@dataclass(frozen=True, slots=True)
class TimerFired:
    """``Conversation.deadline`` has come."""


Event = (
    CallStarted
    | SpeechStarted
    | SpeechStopped
    | PositionReached
    | TranscriptPartial
    | TranscriptReady
    | TranscriptFailed
    | ReplyToken
    | ReplyText
    | ReplyAudio
    | ReplyEnded
    | ReplyFailed
    | MarkReached
    | KeyPressed
    | SayRequested
    | EndRequested
    | TransferRequested
    | VoicemailReached
    | CallerHungUp
    | TimerFired
)
