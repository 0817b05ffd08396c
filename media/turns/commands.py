"""What the session is to do, in the order given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from media.turns.events import Revision

Speaker = Literal["caller", "agent"]
OptOutHow = Literal["asked", "key", "agent"]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the conversation as it was heard: what the language model may know of it."""

    speaker: Speaker
    text: str


@dataclass(frozen=True, slots=True)
class OpenUtterance:
    """Begin to recognise, from a little before ``position`` on; ``hint`` is what the agent said last."""

    utterance: int
    position: int
    hint: str = ""


@dataclass(frozen=True, slots=True)
class TakeSnapshot:
    """Ask for the words so far; recognition goes on. ``TranscriptReady`` or ``TranscriptFailed`` answers."""

    utterance: int
    snapshot: int


@dataclass(frozen=True, slots=True)
class CloseUtterance:
    """No more words are wanted of this utterance."""

    utterance: int


@dataclass(frozen=True, slots=True)
class Warm:
    """
    Let the language model read ``history`` ahead, so that its next reply starts sooner.

    It replaces an earlier ``Warm``; a later ``StartReply`` makes it needless.
    """

    history: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class StartReply:
    """Let the agent answer ``history``; the audio is to be handed over as it comes, whether released or not."""

    revision: Revision
    history: tuple[Line, ...]
    speculative: bool


@dataclass(frozen=True, slots=True)
class SayLine:
    """Let the agent say exactly this."""

    revision: Revision
    text: str


@dataclass(frozen=True, slots=True)
class StopReply:
    """Cancel whatever is being made for this revision; ``heard_samples`` (8 kHz) is what the caller heard of it."""

    revision: Revision
    heard_samples: int = 0


@dataclass(frozen=True, slots=True)
class SendAudio:
    """Send mu-law audio to the caller now."""

    audio: bytes


@dataclass(frozen=True, slots=True)
class SendMark:
    """Send a mark behind the audio sent so far."""

    name: str


@dataclass(frozen=True, slots=True)
class ClearPlayout:
    """Drop what the carrier has queued."""


@dataclass(frozen=True, slots=True)
class StartRecording:
    """From here on the call may be recorded, both sides; at most once, and nothing before."""


@dataclass(frozen=True, slots=True)
class Played:
    """The caller has heard this audio, beginning at ``at`` (session clock, as sent). For the recording."""

    audio: bytes
    at: float


@dataclass(frozen=True, slots=True)
class TurnEnded:
    """A turn is over and goes on record. Times are seconds on the session clock."""

    number: int
    """Counts the turns of this conversation from 1."""
    speaker: Speaker
    said: str
    heard: str
    """What of ``said`` was heard; of the caller's turns, all of it."""
    started: float
    ended: float
    interrupted: bool = False
    """The caller took the turn before the agent had finished."""
    fallback: bool = False
    """An engine was slow or failed, and the agent bridged that with fixed words."""
    stages: Mapping[str, float] = field(default_factory=dict)
    """
    Of an agent's turn: the seconds of each stage of the response. Those of the waterfall add up to
    ``response_latency``; see ``media.turns.timing``.
    """
    wait: float | None = None
    """Of a caller's turn that endpointing ended: how many seconds of silence it waited for."""
    speculations: int = 0
    """Of such a turn: how many replies to it were started while the caller might have gone on."""
    speculation_hit: bool = False
    """Of such a turn: the last of these replies is the one that is said."""


@dataclass(frozen=True, slots=True)
class Noted:
    """Something worth a line in the call's event log."""

    kind: str
    at: float
    data: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OptOut:
    """
    Never call this number again; at most once a call.

    ``how``: the caller ``asked`` in these ``words``, pressed the ``key``, or was so understood by the ``agent``.
    """

    how: OptOutHow
    words: str = ""


@dataclass(frozen=True, slots=True)
class Transfer:
    """Hand the call on when it is hung up next; ``""`` is the number that is on record already."""

    target: str


@dataclass(frozen=True, slots=True)
class HangUp:
    """End the call now; ``reason`` goes on record."""

    reason: str


Command = (
    OpenUtterance
    | TakeSnapshot
    | CloseUtterance
    | Warm
    | StartReply
    | SayLine
    | StopReply
    | SendAudio
    | SendMark
    | ClearPlayout
    | StartRecording
    | Played
    | TurnEnded
    | Noted
    | OptOut
    | Transfer
    | HangUp
)
