"""The person on the phone, as the simulated network sees them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol


class Party(Protocol):
    """
    The person on the phone. Nothing here may block.

    A party may also have ``take_notes() -> list[Note]``: what it did in the frame that it gave last.
    """

    def next_frame(self) -> bytes:
        """The 160 mu-law bytes that this 20 ms carries."""

    def hear(self, frame: bytes) -> None:
        """The 160 mu-law bytes being played to them now."""

    def next_key(self) -> str | None:
        """A key pressed now, if any."""

    @property
    def hung_up(self) -> bool:
        """Polled every frame."""

    def connected(self) -> None:
        """The call was answered."""


@dataclass(frozen=True, slots=True)
class Note:
    """Something that a party did, ``offset`` samples into the frame that it gave last."""

    event: str
    offset: int
    fields: dict[str, Any] = field(default_factory=dict)
