"""How the engines of a process are doing: each engine of a fallback, by what its requests have shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class EngineHealth:
    """One engine of a fallback."""

    name: str
    state: str
    """``ready``, ``failing``, ``no quota`` or ``not started``."""
    retry_in: float
    """Seconds until it is asked again; 0 if it is asked now, or tried to be started all the time."""
    served: int
    failed: int
    timed_out: int
    skipped: int
    """Requests that went to another engine."""
    last_error: str
    """Empty if there was none."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def health_of(engine: object, *, now: float) -> tuple[EngineHealth, ...]:
    """
    The health of each engine of a fallback, in order of preference. Empty for an engine that is none.

    ``now`` is a time of the event loop. Any thread may ask.
    """
    ask: Callable[[float], tuple[EngineHealth, ...]] | None = getattr(engine, "health", None)
    return ask(now) if ask is not None else ()
