"""What the caller is saying, as far as it is known."""

from __future__ import annotations

from dataclasses import dataclass, field

from media.turns.clock import RATE_HZ
from media.turns.endpointing import Judgement
from media.turns.timing import Timing


@dataclass(slots=True)
class Pause:
    """The caller's voice has paused."""

    since: int
    """Position of the last voiced sample."""
    text: str | None = None
    """The words as of this pause; None while they are not known."""
    asked: bool = False
    failed: bool = False
    """Recognition gave no answer."""

    def silence(self, position: int) -> float:
        """Seconds of it up to ``position``."""
        return (position - self.since) / RATE_HZ


@dataclass(slots=True, eq=False)
class Utterance:
    """One stretch of recognition, which may have pauses in it."""

    number: int
    onset: int
    stretch: int
    """Where the present stretch of voice began."""
    overlap: int
    """Where the present overlap with the agent began: stretches with no more than short gaps between."""
    voiced: int = 0
    """Samples of voice in the stretches before it."""
    pause: Pause | None = None
    text: str = ""
    judgement: Judgement | None = None
    wanted: int | None = None
    """The snapshot whose answer is awaited."""
    asked_at: float = 0.0
    asked_position: int = 0
    gap: float | None = None
    """Silence since the caller's last words, if the agent's answer to them had hardly begun."""
    cut_in: bool = False
    """... but had begun."""
    timing: Timing = field(default_factory=Timing)
    speculations: int = 0

    def voiced_until(self, position: int) -> float:
        """Seconds of voice up to ``position``."""
        return (self.voiced + (max(0, position - self.stretch) if self.pause is None else 0)) / RATE_HZ
