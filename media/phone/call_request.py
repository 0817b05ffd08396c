"""What a call is asked to be, by REST or by ``<Dial>``: whom it calls, what runs on it, and where it reports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

API_VERSION = "2010-04-01"
MAX_CALL_SECONDS = 4 * 3600.0
EVENTS = ("initiated", "ringing", "answered", "completed")


@dataclass(frozen=True)
class Callback:
    """Where to report, and which of the events that there are."""

    url: str
    method: str = "POST"
    events: frozenset[str] = frozenset({"completed"})


@dataclass(frozen=True)
class RecordingRequest:
    """A recording that somebody asked for; ``source`` in Twilio's words."""

    source: str
    callback: Callback | None = None
    channels: int = 1
    track: str = "both"


@dataclass(frozen=True)
class Program:
    """The TwiML of a call: where to fetch it, or itself."""

    url: str | None = None
    method: str = "POST"
    twiml: str | None = None
    fallback_url: str | None = None
    fallback_method: str = "POST"


@dataclass(frozen=True)
class MachineDetection:
    mode: Literal["Enable", "DetectMessageEnd"]
    asynchronous: bool = False
    callback: Callback | None = None

    def verdict(self, answered_by: str) -> str:
        """Return the mode's word for what answered: ``machine`` stands for the mode's usual one."""
        if answered_by == "machine":
            return "machine_start" if self.mode == "Enable" else "machine_end_beep"
        return answered_by


@dataclass(frozen=True)
class CallRequest:
    """A call to be placed, as REST or ``<Dial>`` ordered it."""

    to_number: str
    from_number: str
    program: Program | None = None
    callback: Callback | None = None
    timeout: float = 60.0
    time_limit: float = MAX_CALL_SECONDS
    send_digits: str = ""
    machine_detection: MachineDetection | None = None
    recording: RecordingRequest | None = None
