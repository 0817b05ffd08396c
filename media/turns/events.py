"""
The events of a call. Each is passed to ``Conversation.receive`` with the ``now`` at which it was noticed.

Positions are samples (8 kHz) into the caller's stream.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from inference.requests import NO_REQUESTS, ToolRequests


class Revision(NamedTuple):
    """
    One attempt at saying something.

    Everything that is started for an attempt carries its revision, so that what arrives late from one that was given up
    is recognised and dropped.
    """

    turn: int
    """The agent's turn that it is for."""
    number: int
    """Never repeats in a conversation."""


@dataclass(frozen=True, slots=True)
class CallStarted:
    """The stream is open. It comes first, and once."""

    resumed: bool = False
    """The stream replaces one that was lost during the call."""
    disclosed: bool = False
    """The caller has heard the disclosure in an earlier stream of this call."""


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
    """Voice activity has judged the stream up to here. It is due when ``Conversation.wake_position`` has passed."""

    position: int


@dataclass(frozen=True, slots=True)
class TranscriptPartial:
    """The words of an utterance so far have changed."""

    utterance: int
    text: str
    stop_counts: bool = True
    """Whether a full stop at the end of the text means that the sentence is over."""
    settled: bool = False
    """Recognition has found these words twice, and no others behind them."""


@dataclass(frozen=True, slots=True)
class TranscriptReady:
    """The answer to ``TakeSnapshot``."""

    utterance: int
    snapshot: int
    text: str
    stop_counts: bool = True
    """As in ``TranscriptPartial``."""
    language: str = ""
    """The code of the language that recognition found in the sound, if it looked for one."""
    language_probability: float = 0.0


@dataclass(frozen=True, slots=True)
class TranscriptDelayed:
    """Recognition cannot be reached for the moment. It has the caller's sound, or will get it, and will answer."""

    utterance: int
    snapshot: int


@dataclass(frozen=True, slots=True)
class TranscriptFailed:
    """Recognition has failed to answer ``TakeSnapshot``."""

    utterance: int
    snapshot: int


@dataclass(frozen=True, slots=True)
class TurnScored:
    """The answer to ``ScoreTurn``."""

    utterance: int
    score: int
    probability: float
    """From 0 to 1: that the caller has finished."""


@dataclass(frozen=True, slots=True)
class ReplyToken:
    """The language model's first token for this revision has come."""

    revision: Revision


@dataclass(frozen=True, slots=True)
class ReplyText:
    """A piece of text was given to the voice. The pieces of one revision together are the text that is said."""

    revision: Revision
    text: str


@dataclass(frozen=True, slots=True)
class ReplyAudio:
    """Speech for this revision."""

    revision: Revision
    audio: bytes
    """Mu-law at 8 kHz."""
    text_end: int
    """The number of characters of the revision's text that are said by the end of it."""
    again_from: int | None = None
    """The voice goes on elsewhere with this character: the sound before it says no more than that, as far as it was not
    sent. There is no audio then."""


@dataclass(frozen=True, slots=True)
class ReplyEnded:
    """All audio of this revision has been handed over."""

    revision: Revision
    requests: ToolRequests = NO_REQUESTS
    """The requests of the language model; they count once the caller has heard the words."""
    unsaid: str = ""
    """The rest of a reply that was too long, or "..." if the language model could not finish it."""
    unspeakable: bool = False
    """They were fixed words, and the voice can speak none of them."""


@dataclass(frozen=True, slots=True)
class ReplyFailed:
    """An engine has failed, and no more comes for this revision."""

    revision: Revision
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ReplyRefused:
    """The process is too busy for a reply that was to begin before the caller has paused. It was not begun."""

    revision: Revision


@dataclass(frozen=True, slots=True)
class MarkReached:
    """The carrier has sent a mark back: play-out got there, or a ``clear`` dropped it."""

    name: str


@dataclass(frozen=True, slots=True)
class KeyPressed:
    """The caller has pressed a key of their telephone: one of ``0-9 * # A-D``."""

    digit: str


@dataclass(frozen=True, slots=True)
class SayRequested:
    """The operator or the API wants the agent to say this as soon as it may."""

    text: str


@dataclass(frozen=True, slots=True)
class EndRequested:
    """The operator or the API wants the call to end. The agent says goodbye first."""

    reason: str
    """Why; it goes on record."""


@dataclass(frozen=True, slots=True)
class TransferRequested:
    """
    The operator or the API wants the call transferred. The agent announces it first; the number is on record already.
    """


@dataclass(frozen=True, slots=True)
class VoicemailReached:
    """A machine has answered the call, and records what is said now."""

    message: str = ""
    """The message to leave on it. Empty: the call just ends."""


@dataclass(frozen=True, slots=True)
class CallerHungUp:
    """The stream is over, and nothing can be sent any more."""

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
    | TranscriptDelayed
    | TranscriptFailed
    | TurnScored
    | ReplyToken
    | ReplyText
    | ReplyAudio
    | ReplyEnded
    | ReplyFailed
    | ReplyRefused
    | MarkReached
    | KeyPressed
    | SayRequested
    | EndRequested
    | TransferRequested
    | VoicemailReached
    | CallerHungUp
    | TimerFired
)
