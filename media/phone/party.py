"""The person on the phone, as the simulated network sees them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol


class Party(Protocol):
    """The person on the phone. The network calls the methods from its timer, so none of them may block."""

    def next_frame(self) -> bytes:
        """Return the 160 mu-law bytes that the person says in these 20 ms."""

    def hear(self, frame: bytes) -> None:
        """Hear the 160 mu-law bytes that are played now."""

    def next_key(self) -> str | None:
        """Return a key that is pressed now, if any."""

    @property
    def hung_up(self) -> bool:
        """Whether the person has hung up. The network asks before every frame."""

    def take_notes(self) -> list[Note]:
        """Return what the person did in the frame that was taken last; each note is returned once."""


@dataclass(frozen=True, slots=True)
class Note:
    """Something that a party did, ``offset`` samples after the start of the frame that it gave last."""

    event: str
    offset: int
    fields: dict[str, str] = field(default_factory=dict)
