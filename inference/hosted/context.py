"""What the engine of a hosted voice says about its service (``Context``, ``Manner``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any, Protocol

from inference.hosted.lease import Lease
from inference.hosted.loudness import Loudness
from inference.hosted.plan import Frame, Listener
from inference.hosted.timing import Pace
from inference.types import EngineError
from inference.usage import UsageMeter


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What one message of a service means for a context."""

    audio: bytes = b""
    """Mu-law at 8 kHz."""
    words: Sequence[str] = ()
    """Words, or single characters, of the text in their order, as far as this message says when they are spoken."""
    ends: Sequence[float] = ()
    """The seconds at which each of them ends."""
    is_relative: bool = False
    """Whether these are seconds from the beginning of this message's audio, and not of the context's."""
    clauses_before: int | None = None
    """The audio of so many clauses of the context was complete before this message."""
    clauses: int | None = None
    """The audio of so many clauses of the context is complete."""
    ended: bool = False
    """The context has ended: nothing more comes, and it takes no room at the service any more."""
    error: EngineError | None = None
    """The service has given up the context."""


class Context(Protocol):
    """
    What the service is told about one context, and what it answers. None of it waits or sends anything.

    ``hear`` gets what ``Plan.read`` has made of each message. It must take whatever a service may send.
    """

    def begin(self) -> Sequence[Frame]:
        """Open the context, before its first clause."""

    def say(self, text: str) -> Sequence[Frame]:
        """Say a clause now. The texts of all clauses join verbatim."""

    def end(self) -> Sequence[Frame]:
        """No more text follows. Without a frame, the context has ended when the audio of all clauses is complete."""

    def cancel(self) -> Sequence[Frame]:
        """Nobody listens any more. Without a frame, the context takes no room at the service."""

    def hear(self, message: Any) -> Heard | None: ...


@dataclass(slots=True)
class VoiceMemory:
    """What is learnt of one voice, for all its calls."""

    loudness: Loudness = field(default_factory=Loudness)
    pace: Pace = field(default_factory=Pace)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How one call speaks at a service."""

    provider: str
    """The name of the service in messages."""
    usage_name: str
    """The name by which its use is counted, such as ``cartesia/sonic-3.5``."""
    take: Callable[[Listener], Lease]
    """Takes a socket, as ``SocketPool.take``. May raise ``EngineError``."""
    open_context: Callable[[str], Context]
    """Makes a context; its id is the key of the lease."""
    voice: VoiceMemory
    meter: UsageMeter | None = None
    first_audio: float = 2.0
    """Seconds from a clause to its first audio, if the service has nothing else to say."""
    stall: float = 0.8
    """Seconds between two pieces of audio that the service owes."""
    life: float = inf
    """Seconds after the last audio for which the context takes another clause."""
    holds_room: bool = False
    """Whether a cancelled context takes room at the service until it has ended. Its place is then kept."""
    has_room: Callable[[], bool] = lambda: True
    """Whether the socket of the last context takes another clause. Otherwise that is said in another context."""
    drain: float = 5.0
    """Seconds in which the service ends a context that was cancelled. Its socket is given up otherwise."""
    marks_clauses: bool = True
    """Whether ``Heard.clauses`` comes. Otherwise the timing of the words, or an estimate, says what a clause owes."""
    times_words: bool = False
    """Whether ``Heard.words`` comes. It may come a little after the audio, which then waits for it if it can."""
