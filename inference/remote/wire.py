"""
The messages between a client and the workers that serve its engines, through a channel layer. Pure.

There are three envelopes. A ``Placement`` goes to the one channel of an engine, where exactly one of its workers takes
it. A worker sends an ``Announcement`` to all clients several times a second. A ``Packet`` goes from one process to
another and carries the messages of all sessions between the two, in order and numbered: the layer delivers at most
once, so a missing number is the only sign of a loss (``delivery.py``).

A session is named by a random number. ``request`` distinguishes the requests of an utterance and the turns of a voice;
0 stands for the session as a whole.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
import numpy as np
from msgspec import Meta, Struct

from inference.requests import ToolRequests
from inference.types import (
    ContextTooLarge,
    EngineError,
    EngineFull,
    EngineLoading,
    EngineTimeout,
    NoWorker,
    Pcm,
    QuotaExhausted,
    Role,
)

VERSION = 4
"""Raised with every change that processes of the version before would misunderstand, so that the two refuse each other
with a clear reason. A new field at the end of a message, with a default, is none."""
MAX_MESSAGE_BYTES = 1 << 20
"""Limit of one message: a conversation of a million letters, far beyond the context of any model."""
MAX_BYTES = 4 * MAX_MESSAGE_BYTES
"""Limit of one envelope: half of the 8 MB that Redis buffers for a slow subscriber before it disconnects it."""
MAX_SOUND_BYTES = 256 << 10
"""Limit of the sound in one message: more than 5 s of speech. Longer sound is split."""
WINDOW = 32
"""
The number of pieces of a reply that may be on their way before a worker waits for credit. At 80 ms each they are
2.5 s of speech: far more than a network delays, and little for the memory of Redis.
"""
MAX_WORKERS = 200
"""Limit of the workers that one placement names. The others take it without a deadline."""
MAX_LANGUAGES = 1000
"""Languages in the facts of an engine: eSpeak NG has 120."""
MAX_KEYTERMS = 200
"""Limit of the words to expect in one utterance. An agent has at most 100."""
MAX_VOICES = 1000
"""Limit of the voices that a worker lists; one with more lists none, and an unknown voice fails when it is used."""

Channel = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_.!\-]{1,100}\Z")]
SessionId = Annotated[int, Meta(gt=0, le=(1 << 63) - 1)]
Count = Annotated[int, Meta(ge=0, lt=1 << 40)]
Rate = Annotated[int, Meta(ge=0, le=192_000)]
Name = Annotated[str, Meta(max_length=200)]
Text = Annotated[str, Meta(max_length=MAX_MESSAGE_BYTES)]
Sound = Annotated[bytes, Meta(max_length=MAX_SOUND_BYTES)]
"""16-bit little-endian samples, mono. Their rate was agreed on when the session was opened."""
Usage = dict[Name, dict[Name, dict[Name, Annotated[float, Meta(ge=0)]]]]
"""The amounts of ``inference.usage``."""


class InvalidEnvelope(ValueError):
    """A message that was received is not an envelope of this protocol; the error says why."""


class OtherVersion(InvalidEnvelope):
    """It is one of another version of this protocol."""


class SessionLost(EngineError):
    """The worker, or the connection to it, is gone, and the session with it. The client may ask another worker."""


class _Message(Struct, frozen=True, array_like=True, tag=True):
    session: SessionId


# From the client


class OpenTranscription(_Message, frozen=True):
    """Open a session for one utterance. The worker sends partial transcripts if ``partials`` is true."""

    rate_hz: Rate
    language: Name
    hint: Text
    partials: bool
    others: Annotated[list[Name], Meta(max_length=MAX_LANGUAGES)] = []
    """Workers of earlier versions ignore it, and ``keyterms``."""
    keyterms: Annotated[list[Name], Meta(max_length=MAX_KEYTERMS)] = []
    call: Name = ""
    """The id of the call, for the log of the worker. Workers of earlier versions ignore it."""


class OpenReply(_Message, frozen=True):
    """
    Open a session for one reply to ``messages``, which are pairs of role and content.

    With ``warm`` the worker only prepares for such a request and sends no text.
    """

    messages: list[tuple[Role, Text]]
    speculative: bool
    warm: bool
    transfer_targets: list[Name]
    opt_out: bool
    may_wait: bool = False
    finished: bool = False
    """
    Whether the caller has finished, in place of a last message of that role: workers of earlier versions would refuse
    the role. They ignore this field and ``may_wait``, so their language model never waits.
    """
    broken_off: bool = False
    """Whether the last message of the assistant was broken off and is to be finished, in place of a message of that
    role. Workers of earlier versions begin again."""
    call: Name = ""
    """The id of the call, for the log of the worker. Workers of earlier versions ignore it."""


class OpenSpeech(_Message, frozen=True):
    """Open a session for the voice of one call."""

    rate_hz: Rate
    voice: Name
    language: Name
    call: Name = ""
    """The id of the call, for the log of the worker. Workers of earlier versions ignore it."""


class Push(_Message, frozen=True):
    """The next sound of the utterance."""

    sound: Sound
    hurried: bool = True
    """Whether partials are wanted soon; true from clients of earlier versions, and ignored by such workers."""


class Ask(_Message, frozen=True):
    """Ask for the words so far; ``final`` ends the utterance."""

    request: Count
    final: bool


class Speak(_Message, frozen=True):
    """Begin a turn, which the following messages name by its ``request``."""

    request: Count


class Clause(_Message, frozen=True):
    """The next text to be said in the turn."""

    request: Count
    text: Text


class NoMoreText(_Message, frozen=True):
    """The text of the turn is complete."""

    request: Count


class Stop(_Message, frozen=True):
    """Stop the turn: the client does not want the rest of it."""

    request: Count


class Heard(_Message, frozen=True):
    """The caller heard only this many samples of the turn."""

    request: Count
    samples: Count


class CallerSaid(_Message, frozen=True):
    """A turn of the caller, for a voice that answers to it."""

    text: Text
    sound: Sound
    rate_hz: Rate


class AgentSaid(_Message, frozen=True):
    """
    What the agent has said in this call with the voice of another worker, for a voice that remembers it.

    Only workers whose facts say so take it: those of earlier versions do not know it.
    """

    text: Text
    sound: Sound
    rate_hz: Rate


class Credit(_Message, frozen=True):
    """Allow this many more pieces to be sent."""

    request: Count
    pieces: Annotated[int, Meta(ge=1, le=WINDOW)]


class Close(_Message, frozen=True):
    """Close the session, or decline an offer for it."""


# From the worker


class Offer(_Message, frozen=True):
    """A slot is reserved for the session until it is opened or closed; or the session was opened directly."""


class Words(_Message, frozen=True):
    """The answer to a request. Request 0 is a partial transcript, which is sent without being asked for."""

    request: Count
    text: Text
    samples: Count
    confidence: float
    language: Text = ""
    """Empty from workers of earlier versions."""
    stop_counts: bool = True
    """True from workers of earlier versions."""
    language_probability: float = 0.0
    """0 from workers of earlier versions."""
    settled: bool = False
    usage: Usage = {}
    """What the session has used at an engine that bills, since the worker said so last. Empty from earlier versions."""


class Delta(_Message, frozen=True):
    """The next piece of a reply."""

    text: Text
    requests: ToolRequests | None
    """None in nearly all of them: a reply requests something once, if at all."""
    is_cut: bool


class Piece(_Message, frozen=True):
    """The next sound of a turn, with the meaning of ``AudioChunk``."""

    request: Count
    sound: Sound
    text_end: Count
    exact: bool


class Done(_Message, frozen=True):
    """A reply or a turn is complete."""

    request: Count
    usage: Usage = {}
    """As in ``Words``."""


ErrorKind: TypeAlias = Literal["error", "loading", "full", "timeout", "no-worker", "too-large", "lost"]
_ERRORS: dict[ErrorKind, type[EngineError]] = {
    "error": EngineError,
    "loading": EngineLoading,
    "full": EngineFull,
    "timeout": EngineTimeout,
    "no-worker": NoWorker,
    "too-large": ContextTooLarge,
    "lost": SessionLost,
}


class Failed(_Message, frozen=True):
    """A request has failed; with request 0 the session has, and is closed."""

    request: Count
    kind: ErrorKind
    text: Text
    permanent: bool
    retry_after: float = 1.0
    """That of a full engine; 1 from workers of earlier versions."""
    quota_exhausted: bool = False
    """Beside the kind ``error``: clients of earlier versions would refuse a kind of its own."""
    usage: Usage = {}
    """As in ``Words``."""

    @classmethod
    def from_error(cls, session: int, request: int, error: EngineError) -> Failed:
        kind = next(kind for kind, known in reversed(_ERRORS.items()) if isinstance(error, known))
        retry_after = error.retry_after if isinstance(error, EngineFull) else 1.0
        quota_exhausted = isinstance(error, QuotaExhausted)
        return cls(session, request, kind, str(error)[:2000], error.permanent, retry_after, quota_exhausted)

    @property
    def error(self) -> EngineError:
        if self.quota_exhausted:
            return QuotaExhausted(self.text, permanent=self.permanent)
        if self.kind == "full":
            return EngineFull(self.text, permanent=self.permanent, retry_after=self.retry_after)
        return _ERRORS[self.kind](self.text, permanent=self.permanent)


ToWorker: TypeAlias = (
    OpenTranscription
    | OpenReply
    | OpenSpeech
    | Push
    | Ask
    | Speak
    | Clause
    | NoMoreText
    | Stop
    | Heard
    | CallerSaid
    | AgentSaid
    | Credit
    | Close
)
ToClient: TypeAlias = Offer | Words | Delta | Piece | Done | Failed
Message: TypeAlias = ToWorker | ToClient


# Envelopes


class Packet(Struct, frozen=True, array_like=True, tag=True):
    """
    The messages of all sessions from one process to another.

    ``number`` counts from 0 within a ``link``. When the sender starts a new link, which has a larger number, it has
    forgotten all sessions that it named on the link before. A packet without messages says only that the sender is
    alive, and by its number what it has sent.

    Processes of earlier versions ignore the other fields, and do not send them.
    """

    sender: Channel
    link: Count
    number: Count
    messages: list[Message]
    counted: bool = True
    """Whether the packet takes its number. If not, the next one has the same."""
    oldest: Count = 0
    """The first number on this link that was not confirmed."""
    confirmed: tuple[Count, Count] | None = None
    """What the sender has received itself: the link, and the number up to which nothing on it is missing. None from
    processes that confirm nothing."""
    missing: bool = False
    """The sender has received a packet behind the confirmed ones, and asks for those between."""


class Facts(Struct, frozen=True):
    """The facts about an engine that clients need. ``voices`` is None where the engine does not list them."""

    rate_hz: Rate = 0
    gives_partials: bool = False
    may_speculate: bool = False
    hears_caller: bool = False
    voices: Annotated[list[Name], Meta(max_length=MAX_VOICES)] | None = None
    languages: Annotated[list[Name], Meta(max_length=MAX_LANGUAGES)] | None = None
    """None if the engine does not know them, or the worker has an earlier version."""
    weights: Name = ""
    device: Name = ""
    remembers: bool = False
    """Whether the voice takes what was said in the call with another worker."""


WorkerState: TypeAlias = Literal["loading", "ready", "draining", "gone"]


class Announcement(Struct, frozen=True, array_like=True, tag=True):
    """The state of a worker. ``facts`` is None while its engine loads."""

    sender: Channel
    state: WorkerState
    slots: Count
    """Sessions that the worker serves at once; 0 while it loads and the engine sets the limit."""
    free: Count
    """Slots without a session."""
    at: float
    """The time on the worker's own clock, which starts anywhere; ``Placement`` says what it is for."""
    facts: Facts | None


class Placement(Struct, frozen=True, array_like=True, tag=True):
    """
    A client asks for a session with any worker of the engine.

    ``until`` says when the client gives up, on the clock of each worker that it has heard: the wall clocks of two
    machines may differ by more than a client waits.
    """

    sender: Channel
    session: SessionId
    until: Annotated[dict[Channel, float], Meta(max_length=MAX_WORKERS)]


Envelope: TypeAlias = Packet | Announcement | Placement

LayerMessage: TypeAlias = dict[str, Any]
"""The form of a message that a channel layer transports."""

_TYPE = "inference"
_encode = msgspec.msgpack.Encoder().encode
_decode: Callable[[bytes], Envelope] = msgspec.msgpack.Decoder(Envelope).decode
_check = msgspec.msgpack.Decoder(Message).decode


class EncodedPacket(Struct, array_like=True, tag="Packet"):
    """A ``Packet`` whose messages are encoded already."""

    sender: str
    link: int
    number: int
    messages: list[msgspec.Raw]
    counted: bool
    oldest: int
    confirmed: tuple[int, int]
    missing: bool


def encode(message: Message) -> bytes:
    """
    Encode a message for a packet.

    What the other side would refuse is refused here, where it costs one session only: raises ``ContextTooLarge`` for a
    message that is too large, and a permanent ``EngineError`` for one that is invalid.
    """
    try:
        encoded = _encode(message)
        if len(encoded) > MAX_MESSAGE_BYTES:
            raise ContextTooLarge(f"the request has {len(encoded):,} bytes; a worker takes {MAX_MESSAGE_BYTES:,}")
        _check(encoded)
    except (msgspec.MsgspecError, UnicodeError, TypeError, OverflowError) as error:
        kind = type(message).__name__
        raise EngineError(f"cannot send this {kind} to a worker: {error}", permanent=True) from error
    return encoded


def pack(envelope: Envelope | EncodedPacket) -> LayerMessage:
    """Make a message for a channel layer."""
    return {"type": _TYPE, "version": VERSION, "body": _encode(envelope)}


def unpack(message: object) -> Envelope:
    """Raises ``InvalidEnvelope``."""
    if not isinstance(message, dict) or message.get("type") != _TYPE:
        raise InvalidEnvelope("it does not belong to the protocol of remote engines")
    if (version := message.get("version")) != VERSION:
        raise OtherVersion(
            f"it has protocol version {str(version)[:20]} and this process has {VERSION}; update the older one"
        )
    body = message.get("body")
    if not isinstance(body, bytes) or len(body) > MAX_BYTES:
        raise InvalidEnvelope("its body is missing or too large")
    try:
        return _decode(body)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InvalidEnvelope(str(error)[:200]) from error


def split_sound(sound: bytes, size: int = MAX_SOUND_BYTES) -> list[bytes]:
    """Split what is too long for one message; ``size`` must be even. Returns at least one piece."""
    return [sound[start : start + size] for start in range(0, len(sound), size)] or [sound]


def encode_sound(pcm: Pcm) -> bytes:
    """Turn samples into ``Sound``."""
    return pcm.astype("<i2", copy=False).tobytes()


def decode_sound(sound: bytes) -> Pcm:
    """Turn ``Sound`` into samples. They are a copy, because an engine may write into them."""
    return np.frombuffer(sound, "<i2").astype(np.int16)
