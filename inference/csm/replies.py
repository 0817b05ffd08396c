"""The replies of a call and their clauses, as the speech engine keeps them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from inference.csm.context import Codes, ContextSegment
from inference.csm.guards import SILENT_FRAMES_ANYWHERE, ClauseGuard
from inference.csm.trimming import LeadingSilence
from inference.types import AudioChunk, EngineError

SoundItem = AudioChunk | EngineError | None
"""The items that a reply delivers: sound, the error that ended it, or None at its regular end."""


@dataclass(slots=True, eq=False)
class Clause:
    """A piece of a reply that is spoken in one go."""

    text: str
    tokens: tuple[int, ...]
    text_start: int
    """The character of the reply's text at which its text begins."""
    codes: list[Codes] = field(default_factory=list)
    """The frames that were spoken."""
    first_sample: int = 0
    """The sample of the reply's sound at which its sound begins."""
    trimmed_samples: int = 0
    """Silent samples at its beginning that were not delivered."""
    tries: int = 0
    """The number of times that it was begun again."""
    guard: ClauseGuard = field(init=False)
    """Created each time the clause begins."""
    is_complete: bool = False
    """Whether it was spoken to its end."""
    segment: ContextSegment | None = None
    """The part of it that the context holds; set when the clause is over."""


@dataclass(slots=True, eq=False)
class SpokenReply:
    """One ``speak()``."""

    deliver: Callable[[SoundItem], None]
    """Called on the event loop of the call."""
    number: int = 0
    """Counts up within a call."""
    waiting: deque[Clause] = field(default_factory=deque)
    """Clauses that have not begun."""
    clause: Clause | None = None
    """The clause that is being spoken."""
    spoken: list[Clause] = field(default_factory=list)
    """Clauses that are over, complete or not."""
    text_ended: bool = False
    """Whether no more clauses will come."""
    samples: int = 0
    """Delivered so far."""
    text_end: int = 0
    """Characters spoken so far, as reported. It never falls, although a clause may begin again."""
    silence: LeadingSilence = field(default_factory=lambda: LeadingSilence(SILENT_FRAMES_ANYWHERE))
