"""
The checks of Twilio's REST API on the form of a request, and the request that the form asks for. Without I/O.

Errors come by rule (``CREATE_RULES``) or by magic number: Twilio's own test numbers, and ``+199955`` followed by the
five digits of any code of ``twilio_errors.CODES``, so that ``+19995521219`` is refused with 21219.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from urllib.parse import urlsplit

from multidict import MultiMapping

from media.phone.call_request import (
    CALL_EVENTS,
    MAX_CALL_SECONDS,
    Callback,
    CallRequest,
    MachineDetection,
    Program,
    RecordingRequest,
)
from media.phone.twilio_errors import CODES, TwilioError

Form = MultiMapping[str]

MAX_TWIML_CHARACTERS = 4000
"""Twilio's limit for ``Twiml`` in a request; a document that is fetched may be larger."""
MAGIC_TO = {"+15005550001": 21217, "+15005550002": 21214, "+15005550003": 21215, "+15005550004": 21216}
"""Twilio's test numbers to call, with the errors that they cause."""
MAGIC_FROM = {"+15005550001": 21212}
"""Twilio's test numbers to call from."""
ANY_CODE = re.compile(r"\+199955(\d{5})")
_E164 = re.compile(r"\+[1-9]\d{6,14}")
_OTHER_ADDRESS = re.compile(r"(sip:[^@\s]+@\S+|client:\S+)")
_PREMIUM_OR_X11 = re.compile(r"\+1900\d{7}|(\+?1)?[2-9]11")
_DIGITS = re.compile(r"[0-9A-D#*wW]{1,32}")
_CREATE_PARAMETERS = frozenset(
    "To From Url Method Twiml ApplicationSid FallbackUrl FallbackMethod StatusCallback StatusCallbackMethod "
    "StatusCallbackEvent Timeout TimeLimit SendDigits MachineDetection MachineDetectionTimeout "
    "MachineDetectionSpeechThreshold MachineDetectionSpeechEndThreshold MachineDetectionSilenceTimeout AsyncAmd "
    "AsyncAmdStatusCallback AsyncAmdStatusCallbackMethod Record RecordingChannels RecordingTrack "
    "RecordingStatusCallback RecordingStatusCallbackMethod RecordingStatusCallbackEvent Trim CallerId CallReason "
    "CallToken Byoc ClientNotificationUrl SipAuthUsername SipAuthPassword Passports RecordingConfigurationId".split()
)
_UPDATE_PARAMETERS = frozenset(
    "Url Method Status FallbackUrl FallbackMethod StatusCallback StatusCallbackMethod Twiml TimeLimit".split()
)
_RANGES = {
    "MachineDetectionTimeout": (3, 59),
    "MachineDetectionSpeechThreshold": (1000, 6000),
    "MachineDetectionSpeechEndThreshold": (500, 5000),
    "MachineDetectionSilenceTimeout": (2000, 10000),
    "TimeLimit": (60, 24 * 3600),
}
"""The least and the most that Twilio accepts: of the machine detection in its units, of the time limit in seconds."""
_CREATE_URLS = ("Url", "FallbackUrl", "StatusCallback", "AsyncAmdStatusCallback", "RecordingStatusCallback")
_UPDATE_URLS = ("Url", "FallbackUrl", "StatusCallback")


def _is_address(text: str) -> bool:
    return bool(_E164.fullmatch(text) or _OTHER_ADDRESS.fullmatch(text))


def _is_url(text: str) -> bool:
    parts = urlsplit(text)
    return parts.scheme in ("http", "https") and bool(parts.hostname) and "_" not in (parts.hostname or "")


def _in_range(text: str, low: int, high: int) -> bool:
    return text.isdecimal() and low <= int(text) <= high


CREATE_RULES: tuple[tuple[int, Callable[[Form], object]], ...] = (
    (21201, lambda form: not form.get("To")),
    (21213, lambda form: not form.get("From")),
    (21202, lambda form: _PREMIUM_OR_X11.fullmatch(form["To"])),
    (21217, lambda form: re.fullmatch(r"[\d ().-]+", form["To"])),  # a number, but not E.164
    (21211, lambda form: not _is_address(form["To"])),
    (21212, lambda form: not _is_address(form["From"])),
    (21212, lambda form: form["To"].startswith("+") and not form["From"].startswith("+")),
    (21218, lambda form: "ApplicationSid" in form),  # the simulated account has no applications
    (21205, lambda form: not form.get("Url") and not form.get("Twiml")),
    (21205, lambda form: any(form.get(name) and not _is_url(form[name]) for name in _CREATE_URLS)),
    (21206, lambda form: "SendDigits" in form and not _DIGITS.fullmatch(form["SendDigits"])),
    (21208, lambda form: not _in_range(form.get("Timeout", "60"), 1, 600)),
    (20001, lambda form: len(form.get("Twiml", "")) > MAX_TWIML_CHARACTERS),
    (20001, lambda form: form.get("MachineDetection", "Enable") not in ("Enable", "DetectMessageEnd")),
    (20001, lambda form: any(name in form and not _in_range(form[name], *limits) for name, limits in _RANGES.items())),
)
"""Error codes of ``POST Calls.json``, each with the condition for it. The first that applies is answered."""


def refuse_unknown_parameters(form: Form, *, update: bool = False) -> None:
    """Raise 20001 if Twilio does not know a parameter of this create or update."""
    unknown = sorted(set(form) - (_UPDATE_PARAMETERS if update else _CREATE_PARAMETERS))
    if unknown:
        raise TwilioError(20001, ", ".join(unknown))


def check_create(form: Form) -> None:
    """Raise the error that Twilio answers to this ``POST Calls.json``, if any; rules of the account apart."""
    for code, applies in CREATE_RULES:
        if applies(form):
            raise TwilioError(code)


def check_update(form: Form) -> None:
    """Raise the error that Twilio answers to this ``POST Calls/{sid}.json``, if any; the state of the call apart."""
    limit = form.get("TimeLimit")
    if form.get("Status", "") not in ("", "canceled", "completed") or (limit and not limit.isdecimal()):
        raise TwilioError(20001)
    if any(form.get(name) and not _is_url(form[name]) for name in _UPDATE_URLS):
        raise TwilioError(21205)


def magic_error(form: Form) -> int | None:
    """Return the error that the magic numbers of this create ask for, if any."""
    return _magic_code(form["To"], MAGIC_TO) or _magic_code(form["From"], MAGIC_FROM)


def _magic_code(number: str, table: Mapping[str, int]) -> int | None:
    match = ANY_CODE.fullmatch(number)
    code = int(match[1]) if match else table.get(number)
    return code if code in CODES else None


def create_warnings(form: Form) -> list[TwilioError]:
    """Return what Twilio accepts in a create but does not do as asked."""
    found = [
        TwilioError(20001, f"StatusCallbackEvent {event!r}: repeat the key once per event")
        for event in form.getall("StatusCallbackEvent", [])
        if event not in CALL_EVENTS
    ]
    asynchronous = form.get("AsyncAmd") == "true" and "MachineDetection" in form
    if asynchronous and not form.get("AsyncAmdStatusCallback"):
        found.append(TwilioError(21262))
    return found


def read_call_request(form: Form) -> CallRequest:
    """Read a create that was checked."""
    detection = None
    if "MachineDetection" in form:
        detection = MachineDetection(
            mode="Enable" if form["MachineDetection"] == "Enable" else "DetectMessageEnd",
            asynchronous=form.get("AsyncAmd") == "true",
            callback=read_callback(form, "AsyncAmdStatusCallback", events=()),
        )
    return CallRequest(
        to_number=form["To"],
        from_number=form.get("CallerId") or form["From"],
        program=read_program(form),
        callback=read_callback(form, "StatusCallback", events=CALL_EVENTS),
        timeout=float(form.get("Timeout", 60)),
        time_limit=float(form.get("TimeLimit", MAX_CALL_SECONDS)),
        send_digits=form.get("SendDigits", ""),
        machine_detection=detection,
        recording=read_recording(form, "OutboundAPI") if form.get("Record") == "true" else None,
    )


def read_program(form: Form) -> Program | None:
    """Read the TwiML of a create or update, None if it names none."""
    if not form.get("Url") and not form.get("Twiml"):
        return None
    return Program(
        url=form.get("Url") or None,  # with both given, Twiml is ignored
        method=form.get("Method", "POST").upper(),
        twiml=form.get("Twiml"),
        fallback_url=form.get("FallbackUrl"),
        fallback_method=form.get("FallbackMethod", "POST").upper(),
    )


def read_callback(form: Form, name: str, *, events: Iterable[str]) -> Callback | None:
    """Read the callback whose URL is the parameter ``name``; ``events`` are those that it may subscribe to."""
    if not form.get(name):
        return None
    asked = form.getall(f"{name}Event", [])
    # Twilio's description says "separated by a space" for recordings, its SDK repeats the key. Both work there.
    if name == "RecordingStatusCallback":
        asked = [event for value in asked for event in value.split()]
    subscribed = frozenset(asked) & frozenset(events) or frozenset({"completed"})
    return Callback(form[name], form.get(f"{name}Method", "POST").upper(), subscribed)


def read_recording(form: Form, source: str) -> RecordingRequest:
    """Read the parameters of a recording."""
    return RecordingRequest(
        source=source,
        callback=read_callback(form, "RecordingStatusCallback", events=("in-progress", "completed", "absent")),
        channels=2 if form.get("RecordingChannels") == "dual" else 1,
        track=form.get("RecordingTrack", "both"),
    )
