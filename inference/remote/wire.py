"""
What engines and those who use them elsewhere say to each other through a channel layer. Pure.

Three envelopes. A ``Placement`` goes to the one channel of an engine, where exactly one of its workers takes it. An
``Announcement`` goes from a worker to everybody, several times a second. A ``Packet`` goes from one process to another
and carries the messages of all sessions between the two, in order and numbered: the layer delivers at most once, so a
number that is missing is the only sign of a loss.

A session is named by a random number. ``request`` tells the questions of an utterance and the turns of a voice apart;
0 is the session as a whole.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
import numpy as np
from msgspec import Meta, Struct

from inference.requests import ToolRequests
from inference.types import ContextTooLarge, EngineError, EngineFull, EngineLoading, EngineTimeout, NoWorker, Pcm

VERSION = 1
MAX_MESSAGE_BYTES = 1 << 20
"""Of one message: a conversation of a million letters, far beyond the context of any model."""
MAX_BYTES = 4 * MAX_MESSAGE_BYTES
"""Of an envelope; Redis keeps 8 MB for a listener that is slow."""
MAX_SOUND_BYTES = 256 << 10
"""Of one message with sound: more than 5 s of speech. Longer pieces are cut."""
WINDOW = 32
"""
Pieces of a reply that may be on their way: a worker waits for credit before it sends more. At 80 ms each 2.5 s of
speech, far more than a network is ever long, and little for the memory of Redis.
"""

MOST_WORKERS = 200
MOST_VOICES = 1000

Channel = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_.!\-]{1,100}\Z")]
Session = Annotated[int, Meta(gt=0, le=(1 << 63) - 1)]
Count = Annotated[int, Meta(ge=0, lt=1 << 40)]
Rate = Annotated[int, Meta(ge=0, le=192_000)]
Name = Annotated[str, Meta(max_length=200)]
Text = Annotated[str, Meta(max_length=MAX_MESSAGE_BYTES)]
Sound = Annotated[bytes, Meta(max_length=MAX_SOUND_BYTES)]
"""16-bit little-endian samples, mono. The rate was settled when the session was opened."""


class Garbage(ValueError):
    """Something that is not an envelope of this protocol; the message says why."""


class Lost(EngineError):
    """The worker or the way to it is gone, and the session with it. Another worker may be asked."""


class _Message(Struct, frozen=True, array_like=True, tag=True):
    session: Session


# From the client


class OpenUtterance(_Message, frozen=True):
    rate_hz: Rate
    language: Name
    hint: Text
    partials: bool


class OpenReply(_Message, frozen=True):
    """``lines`` are pairs of role and content. With ``warm`` nothing is said, only prepared."""

    lines: list[tuple[Literal["system", "user", "assistant"], Text]]
    speculative: bool
    warm: bool
    transfer_targets: list[Name]
    opt_out: bool


class OpenVoice(_Message, frozen=True):
    rate_hz: Rate
    voice: Name
    language: Name


class Push(_Message, frozen=True):
    sound: Sound


class Ask(_Message, frozen=True):
    """For the words so far; ``final`` ends the utterance."""

    request: Count
    final: bool


class Speak(_Message, frozen=True):
    """A turn begins."""

    request: Count


class Clause(_Message, frozen=True):
    request: Count
    text: Text


class NoMoreText(_Message, frozen=True):
    request: Count


class Stop(_Message, frozen=True):
    """Nobody listens to the turn any more."""

    request: Count


class Heard(_Message, frozen=True):
    request: Count
    samples: Count


class CallerSaid(_Message, frozen=True):
    """For a voice that hears the caller."""

    text: Text
    sound: Sound
    rate_hz: Rate


class Credit(_Message, frozen=True):
    """So many pieces more may be sent."""

    request: Count
    pieces: Annotated[int, Meta(ge=1, le=WINDOW)]


class Close(_Message, frozen=True):
    """The session is over, or was never wanted."""


# From the worker


class Offer(_Message, frozen=True):
    """A place is kept for the session until it is opened or closed; or it was opened without one."""


class Words(_Message, frozen=True):
    """The answer to a request; request 0 is a partial, which nobody asked for."""

    request: Count
    text: Text
    samples: Count
    confidence: float


class Delta(_Message, frozen=True):
    text: Text
    requests: ToolRequests | None
    """None in nearly all of them: a reply requests something once, if at all."""


class Piece(_Message, frozen=True):
    request: Count
    sound: Sound
    text_end: Count
    exact: bool


class Done(_Message, frozen=True):
    """A reply or a turn has come to its end."""

    request: Count


ErrorKind: TypeAlias = Literal["error", "loading", "full", "timeout", "no-worker", "too-large", "lost"]
_ERRORS: dict[ErrorKind, type[EngineError]] = {
    "error": EngineError,
    "loading": EngineLoading,
    "full": EngineFull,
    "timeout": EngineTimeout,
    "no-worker": NoWorker,
    "too-large": ContextTooLarge,
    "lost": Lost,
}


class Failed(_Message, frozen=True):
    """A request, or with request 0 the session, which is then over."""

    request: Count
    kind: ErrorKind
    text: Text
    permanent: bool

    @classmethod
    def of(cls, session: int, request: int, error: EngineError) -> Failed:
        kind = next(kind for kind, known in reversed(_ERRORS.items()) if isinstance(error, known))
        return cls(session, request, kind, str(error)[:2000], error.permanent)

    @property
    def error(self) -> EngineError:
        return _ERRORS[self.kind](self.text, permanent=self.permanent)


ToWorker: TypeAlias = (
    OpenUtterance
    | OpenReply
    | OpenVoice
    | Push
    | Ask
    | Speak
    | Clause
    | NoMoreText
    | Stop
    | Heard
    | CallerSaid
    | Credit
    | Close
)
ToClient: TypeAlias = Offer | Words | Delta | Piece | Done | Failed
Message: TypeAlias = ToWorker | ToClient


# Envelopes


class Packet(Struct, frozen=True, array_like=True, tag=True):
    """
    ``number`` counts from 0 within a ``link``. With a later link, which has a larger number, the sender has forgotten
    all sessions that it spoke of on the one before. Without messages a packet says only that the sender is alive, and
    what it has sent.
    """

    sender: Channel
    link: Count
    number: Count
    messages: list[Message]


class Facts(Struct, frozen=True):
    """What an engine is, as far as others must know. ``voices`` is None where it does not tell."""

    rate_hz: Rate = 0
    gives_partials: bool = False
    may_speculate: bool = False
    hears_caller: bool = False
    voices: Annotated[list[Name], Meta(max_length=MOST_VOICES)] | None = None
    weights: Name = ""
    device: Name = ""


class Announcement(Struct, frozen=True, array_like=True, tag=True):
    """``at`` is the worker's own clock, which begins anywhere: what it is good for stands at ``Placement``."""

    sender: Channel
    state: Literal["loading", "ready", "draining", "gone"]
    slots: Count
    free: Count
    at: float
    facts: Facts | None


class Placement(Struct, frozen=True, array_like=True, tag=True):
    """
    Somebody wants a session. ``until`` says for how long, on the clock of each worker that the sender has heard: the
    wall clocks of two machines may differ by more than anybody waits.
    """

    sender: Channel
    session: Session
    until: Annotated[dict[Channel, float], Meta(max_length=MOST_WORKERS)]


Envelope: TypeAlias = Packet | Announcement | Placement

_TYPE = "inference"
_encode = msgspec.msgpack.Encoder().encode
_decode: Callable[[bytes], Envelope] = msgspec.msgpack.Decoder(Envelope).decode
_check = msgspec.msgpack.Decoder(Message).decode


class _Packet(Struct, array_like=True, tag="Packet"):
    """A ``Packet`` whose messages are sealed already."""

    sender: str
    link: int
    number: int
    messages: list[msgspec.Raw]


def seal(message: Message) -> bytes:
    """
    As it travels in a packet. What the other side would refuse is refused here, where it hurts one session only:
    raises ``ContextTooLarge`` for what is too large, and ``EngineError`` for the rest.
    """
    try:
        sealed = _encode(message)
        if len(sealed) > MAX_MESSAGE_BYTES:
            size = f"{len(sealed):,} bytes"
            raise ContextTooLarge(f"{size} are more than the {MAX_MESSAGE_BYTES:,} that a worker is sent")
        _check(sealed)
    except (msgspec.MsgspecError, UnicodeError, TypeError, OverflowError) as error:
        what = type(message).__name__
        raise EngineError(f"a worker cannot be sent this {what}: {error}", permanent=True) from error
    return sealed


def packet(sender: str, link: int, number: int, sealed: list[bytes]) -> dict[str, Any]:
    """A packed ``Packet``."""
    return _packed(_Packet(sender, link, number, [msgspec.Raw(message) for message in sealed]))


def pack(envelope: Envelope) -> dict[str, Any]:
    """As a channel layer wants it."""
    return _packed(envelope)


def _packed(envelope: Struct) -> dict[str, Any]:
    return {"type": _TYPE, "version": VERSION, "body": _encode(envelope)}


def unpack(message: Any) -> Envelope:
    """Raises ``Garbage``."""
    if not isinstance(message, dict) or message.get("type") != _TYPE:
        raise Garbage("it is not of this protocol")
    if (version := message.get("version")) != VERSION:
        raise Garbage(f"it is of version {str(version)[:20]}, and this is version {VERSION}: update the older side")
    body = message.get("body")
    if not isinstance(body, bytes) or len(body) > MAX_BYTES:
        raise Garbage("its body is missing or too large")
    try:
        return _decode(body)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise Garbage(str(error)[:200]) from error


class Numbering:
    """Checks the numbers of the packets that come from one sender."""

    def __init__(self) -> None:
        self._link = -1
        self._next = 0

    def take(self, packet: Packet) -> Literal["next", "new", "again", "gap"]:
        """
        ``again`` is a repetition or a straggler, to be ignored; after a ``gap`` counting goes on behind it.
        """
        if packet.link < self._link or (packet.link == self._link and packet.number < self._next):
            return "again"
        expected = self._next if packet.link == self._link else 0
        result: Literal["next", "new"] = "next" if packet.link == self._link else "new"
        self._link, self._next = packet.link, packet.number + 1
        return result if packet.number == expected else "gap"


def pieces(sound: bytes, size: int = MAX_SOUND_BYTES) -> list[bytes]:
    """Cut where it is too long for one message; ``size`` must be even. At least one piece."""
    return [sound[start : start + size] for start in range(0, len(sound), size)] or [sound]


def encode_sound(pcm: Pcm) -> bytes:
    """The samples as ``Sound``."""
    return pcm.astype("<i2", copy=False).tobytes()


def decode_sound(sound: bytes) -> Pcm:
    """The samples of ``Sound``, as a copy: engines may expect to be allowed to write."""
    return np.frombuffer(sound, "<i2").astype(np.int16)
