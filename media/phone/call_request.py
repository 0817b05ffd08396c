"""What a call is asked to be, by REST or by ``<Dial>``: whom it calls, what runs on it, and where it reports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

API_VERSION = "2010-04-01"
MAX_CALL_SECONDS = 4 * 3600.0
"""Twilio ends a call after four hours unless ``TimeLimit`` says otherwise."""
CALL_EVENTS = ("initiated", "ringing", "answered", "completed")
"""What a status callback can subscribe to (``StatusCallbackEvent``)."""


@dataclass(frozen=True)
class Callback:
    """The URL that Twilio sends callbacks to, and the events that it reports there."""

    url: str
    method: str = "POST"
    events: frozenset[str] = frozenset({"completed"})


@dataclass(frozen=True)
class RecordingRequest:
    """A recording that REST or TwiML asked for. ``source`` is Twilio's word for who asked (``RecordingSource``)."""

    source: str
    callback: Callback | None = None
    channels: int = 1
    track: str = "both"


@dataclass(frozen=True)
class Program:
    """The TwiML of a call: the URL to fetch it from, or the TwiML itself."""

    url: str | None = None
    method: str = "POST"
    twiml: str | None = None
    fallback_url: str | None = None
    fallback_method: str = "POST"


@dataclass(frozen=True)
class MachineDetection:
    """How Twilio finds out whether a person or a machine answered."""

    mode: Literal["Enable", "DetectMessageEnd"]
    asynchronous: bool = False
    """True if the TwiML runs at once and ``callback`` gets the result; False if the TwiML waits for the result."""
    callback: Callback | None = None

    def verdict(self, answered_by: str) -> str:
        """Return the ``AnsweredBy`` that is reported. ``machine`` stands for the usual verdict of the mode."""
        if answered_by == "machine":
            return "machine_start" if self.mode == "Enable" else "machine_end_beep"
        return answered_by


@dataclass(frozen=True)
class CallRequest:
    """A call that REST, ``<Dial>`` or a caller asked for. Times are in seconds, before ``CarrierTiming.scale``."""

    to_number: str
    from_number: str
    program: Program | None = None
    callback: Callback | None = None
    timeout: float = 60.0
    """How long the phone rings before the call counts as not answered."""
    time_limit: float = MAX_CALL_SECONDS
    """How long the call may last once it is answered. This one is never scaled."""
    send_digits: str = ""
    """Keys that Twilio presses after the answer, to get past a switchboard."""
    machine_detection: MachineDetection | None = None
    recording: RecordingRequest | None = None
