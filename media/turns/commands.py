"""The commands to the session. It carries out those of one event in the order given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from media.turns.events import Revision

Speaker = Literal["caller", "agent"]
OptOutHow = Literal["asked", "key", "agent"]
"""The caller asked for it in words, pressed the key, or the language model understood that they want it."""


class Spoken(NamedTuple):
    """What the language model is told of the language of a line of the caller's. Empty: nothing, it is as before."""

    said_in: str = ""
    answer_in: str = ""


AS_BEFORE = Spoken()


@dataclass(frozen=True, slots=True)
class Line:
    """The words of one side, as far as the other side heard them. The language model reads these lines."""

    speaker: Speaker
    text: str
    unsaid: str = ""
    """The words that would have come next, had the agent not been interrupted or the reply not been too long."""
    spoken: Spoken = AS_BEFORE
    """The language of the caller's words, if the language model must be told of it."""


@dataclass(frozen=True, slots=True)
class OpenUtterance:
    """Begin to recognise an utterance."""

    utterance: int
    position: int
    """The first voiced sample. Recognition gets a little of the sound before it as well."""
    hint: str = ""
    """The last words of the agent, which the utterance may be an answer to."""


@dataclass(frozen=True, slots=True)
class TakeSnapshot:
    """Ask recognition for the words so far; it goes on. ``TranscriptReady`` or ``TranscriptFailed`` answers."""

    utterance: int
    snapshot: int


@dataclass(frozen=True, slots=True)
class ScoreTurn:
    """Have the turn model judge the sound of this utterance up to now. ``TurnScored`` answers, or nothing does."""

    utterance: int
    score: int
    """Counts the scores of this conversation from 1. A later one replaces it."""
    begin: int
    """The position of the first sample that it hears: a little before the voice."""


@dataclass(frozen=True, slots=True)
class CloseUtterance:
    """Stop recognising this utterance."""

    utterance: int


@dataclass(frozen=True, slots=True)
class Warm:
    """
    Let the language model read ``history`` ahead, so that its next reply starts sooner.

    A later ``Warm`` replaces it, and a later ``StartReply`` makes it needless.
    """

    history: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class StartReply:
    """Let the language model answer ``history`` and the voice say it. The audio is handed over as it is made."""

    revision: Revision
    history: tuple[Line, ...]
    speculative: bool
    """The caller may still go on, so the reply may not be needed."""
    finished: bool = False
    """The language model is told that the caller has finished, so that it does not answer with the request to wait."""
    early: bool = False
    """The caller has not even paused. ``ReplyRefused`` answers where there is no room for such a reply."""


@dataclass(frozen=True, slots=True)
class SayLine:
    """Let the voice say exactly this."""

    revision: Revision
    text: str


@dataclass(frozen=True, slots=True)
class StopReply:
    """Cancel what is being made for this revision."""

    revision: Revision
    heard_samples: int = 0
    """The number of its samples that the caller has heard, at 8 kHz."""


@dataclass(frozen=True, slots=True)
class ChangeLanguage:
    """Hear and speak this language from now on."""

    language: str


@dataclass(frozen=True, slots=True)
class SendAudio:
    """Send audio to the caller now: mu-law at 8 kHz."""

    audio: bytes
    goes_on: bool = False
    """It begins in the middle of a sound, where that was stopped. It is faded in, or the caller would hear a click."""


@dataclass(frozen=True, slots=True)
class SendMark:
    """Send a mark behind the audio sent so far. ``MarkReached`` tells when it comes back."""

    name: str


@dataclass(frozen=True, slots=True)
class ClearPlayout:
    """Drop the audio that is queued, here and at the carrier."""


@dataclass(frozen=True, slots=True)
class StartRecording:
    """Record both sides of the call from now on. Nothing may be recorded before; emitted once at most."""


@dataclass(frozen=True, slots=True)
class Played:
    """The caller has heard this audio: it belongs in the recording."""

    audio: bytes
    at: float
    """The time at which it began to sound; session clock, as sent."""


@dataclass(frozen=True, slots=True)
class TurnEnded:
    """A turn is over and goes on record. Times are seconds on the session clock."""

    number: int
    """Counts the turns of this conversation from 1."""
    speaker: Speaker
    said: str
    heard: str
    """The part of ``said`` that was heard. All that a caller says is."""
    started: float
    ended: float
    interrupted: bool = False
    """The caller took the turn before the agent had finished."""
    fallback: bool = False
    """An engine was slow or failed, and the agent bridged that with fixed words."""
    stages: Mapping[str, float] = field(default_factory=dict)
    """
    The seconds of each stage of the response, and of the whole; see ``media.turns.timing``. A caller's turn has none.
    """
    wait: float | None = None
    """Seconds of silence that endpointing waited for. None for every other turn."""
    speculations: int = 0
    """The number of replies that were started before it was certain that the turn was over, if endpointing ended it."""
    speculation_hit: bool = False
    """Whether the last of these replies is the one that is said."""


@dataclass(frozen=True, slots=True)
class Noted:
    """Write this to the call's event log."""

    kind: str
    at: float
    """Session clock."""
    data: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OptOut:
    """Never call this number again. Emitted once a call at most."""

    how: OptOutHow
    words: str = ""
    """The words of the caller, if they said any."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """Transfer the call to this target; ``HangUp`` follows at once."""

    target: str
    """The name of the target. Empty: the number that is on record already."""


@dataclass(frozen=True, slots=True)
class HangUp:
    """End the stream now."""

    reason: str
    """Why; it goes on record."""


Command = (
    OpenUtterance
    | TakeSnapshot
    | ScoreTurn
    | CloseUtterance
    | Warm
    | StartReply
    | SayLine
    | StopReply
    | ChangeLanguage
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
