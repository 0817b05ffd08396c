"""The data of a call: the request by REST, by ``<Dial>`` or by a caller, the changes from outside, and the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

API_VERSION = "2010-04-01"
MAX_CALL_SECONDS = 4 * 3600.0
"""Twilio ends a call after four hours unless ``TimeLimit`` says otherwise."""
CALL_EVENTS = ("initiated", "ringing", "answered", "completed")
"""The events that a status callback can subscribe to (``StatusCallbackEvent``)."""

Direction = Literal["inbound", "outbound-api", "outbound-dial"]
Status = Literal["queued", "ringing", "in-progress", "completed", "busy", "failed", "no-answer", "canceled"]
FINAL_STATUSES: frozenset[Status] = frozenset({"completed", "busy", "failed", "no-answer", "canceled"})


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
    """Twilio's way to find out whether a person or a machine answered."""

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
    """Seconds of ringing after which the call counts as not answered."""
    time_limit: float = MAX_CALL_SECONDS
    """Seconds that the call may last once it is answered. They are never scaled."""
    send_digits: str = ""
    """Keys that Twilio presses after the answer, to get past a switchboard."""
    machine_detection: MachineDetection | None = None
    recording: RecordingRequest | None = None


@dataclass(frozen=True)
class CallEnd:
    """The end of a call, after ``duration`` seconds of connection (0 if it was never answered)."""

    status: Status
    ended_by: str
    """``caller``, ``app`` (over REST), ``twiml``, ``time-limit``, ``phone`` (the simulation failed), or the outcome."""
    duration: float
    sip_code: int


@dataclass(frozen=True)
class CallChange:
    """Something that happens to a call from outside: it gets a new program, or it ends."""

    by: str
    """The one who changes the call, in the words of ``CallEnd.ended_by``."""
    program: Program | None = None
    """The TwiML that replaces the present one; None if the call ends."""
    status: Status | None = None
    """The final status, where it is not the usual one (``completed``, or ``no-answer`` before the answer)."""
    sip_code: int | None = None
