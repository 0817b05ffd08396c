"""The options that all hosted voices have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from inference.hosted.keys import checked_key
from inference.types import EngineError


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedVoiceOptions:
    api_key: str = field(default="", repr=False)
    """The key of the account."""

    warm: int = 2
    """Sockets that are kept connected beside those in use, for each address. A handshake takes 0.1 to 0.3 s."""

    limit: int = 15
    """The most sockets at once, for each address."""

    connect_timeout: float = 3.0
    """Seconds to connect a socket."""

    first_audio_timeout: float = 2.0
    """Seconds from a clause to its first audio. The clause then fails, and the next engine of a list says it."""

    stall_timeout: float = 0.8
    """Seconds between two pieces of audio that the service owes."""

    gain_db: float | None = None
    """The gain of every voice in decibels. None: the gain that brings a voice to -20 dBFS, measured on its first 5 s
    and kept. It changes by 3 dB a second at most."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "api_key", checked_key(self.api_key))
        for name in ("limit", "connect_timeout", "first_audio_timeout", "stall_timeout"):
            if getattr(self, name) <= 0:
                raise EngineError(f"{name} must be above 0, and is {getattr(self, name)}", permanent=True)
        if not 0 <= self.warm <= self.limit:
            raise EngineError(f"warm must be from 0 to limit ({self.limit}), and is {self.warm}", permanent=True)


def refuse_outside(name: str, value: float, low: float, high: float) -> None:
    """Raise a permanent ``EngineError`` if an option has a value that the service refuses."""
    if not low <= value <= high:
        raise EngineError(f"{name} must be from {low:g} to {high:g}, and is {value:g}", permanent=True)


def as_names(given: Sequence[str] | str) -> tuple[str, ...]:
    """Names given as a list, or as text with commas."""
    names = given.split(",") if isinstance(given, str) else given
    return tuple(name.strip() for name in names if name.strip())
