"""How a call comes to its end."""

from __future__ import annotations

from dataclasses import dataclass

LAST_WORDS = 15.0
"""Seconds past the maximum duration after which the call ends even if its goodbye did not get through."""


@dataclass(frozen=True, slots=True)
class Ending:
    """Decided but not yet carried out: the last words are still to be said and heard."""

    reason: str
    """Goes on record."""
    revocable: bool = False
    """Words of the caller's do away with it."""
    transfer: str | None = None
    """The call is handed on to this target; ``""`` is the number that is on record, None hangs up."""

    @property
    def to_a_machine(self) -> bool:
        """What sounds at the other end is nobody."""
        return self.reason == VOICEMAIL.reason

    @property
    def unsaid(self) -> str:
        """The reason that goes on record when the voice is gone and the last words cannot be said."""
        return ENGINES_FAILED.reason if self.transfer is None else self.reason


BY_AGENT = Ending("agent-ended", revocable=True)
SILENCE = Ending("silence", revocable=True)
MAX_DURATION = Ending("max-duration")
ENGINES_FAILED = Ending("engines-failed")
OPTED_OUT = Ending("opted-out")
VOICEMAIL = Ending("voicemail")


def transferred(target: str, *, revocable: bool) -> Ending:
    return Ending("transferred", revocable, target)
