"""
TwiML as Twilio runs it: the verbs of a document are carried out on a leg (``LegVerbs``), one after another.

Nothing here uses a socket or a clock. When the person hangs up or the call is changed over REST, the task that runs the
``Interpreter`` is cancelled, which every verb tolerates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from xml.etree.ElementTree import Element

from media.phone.call_request import Callback, RecordingRequest
from media.phone.racing import first_result
from media.phone.twilio_errors import TwilioError
from media.phone.twiml_document import MAX_NUMBERS, PROMPTS, Document, warnings

if TYPE_CHECKING:  # verbs.py imports this module
    from media.phone.verbs import LegVerbs

ENDLESS_LOOPS = 1000
"""The repetitions of ``loop="0"``, which means without end: more than fit into any call."""


@dataclass(frozen=True)
class ConnectStream:
    """``<Connect><Stream>``, with absolute URLs."""

    url: str
    name: str
    parameters: dict[str, str]
    status_callback: str
    status_callback_method: str


@dataclass(frozen=True)
class Callee:
    """One ``<Number>`` of a ``<Dial>``."""

    number: str
    url: str | None = None
    """TwiML that the callee hears before the bridge."""
    method: str = "POST"
    send_digits: str = ""
    callback: Callback | None = None


@dataclass(frozen=True)
class Dial:
    """``<Dial>``: all callees are called at once, and the first to answer is connected with the caller."""

    callees: tuple[Callee, ...]
    timeout: float
    """Seconds of ringing."""
    time_limit: float
    """Seconds of conversation, in real time."""
    caller_id: str | None
    """The number that the callees see; None for the number of the call."""
    hang_up_on_star: bool
    """Whether the caller can end the bridge with the star key."""
    recording: RecordingRequest | None


_EMPTY_DOCUMENT = Document(Element("Response"), None)  # ends the call


class Interpreter:
    """Runs a document on a leg, and each document that follows it."""

    def __init__(self, leg: LegVerbs) -> None:
        self._leg = leg
        self._verbs = {
            "Connect": self._connect,
            "Say": self._say,
            "Play": self._play,
            "Pause": self._pause,
            "Gather": self._gather,
            "Dial": self._dial,
            "Record": self._record,
            "Redirect": self._redirect,
            "Reject": self._reject,
            "Hangup": self._hangup,
            "Start": self._start,
        }

    async def run(self, document: Document) -> None:
        """Return when the TwiML is over and the call shall end. Raises ``TwilioError`` if a document cannot be used."""
        following: Document | None = document
        while following is not None:
            document = following
            for warning in warnings(document):
                self._leg.alert(TwilioError(12200, warning))
            following = await self._run_document(document)

    async def _run_document(self, document: Document) -> Document | None:
        for element in document.root:
            verb = self._verbs.get(element.tag)
            if verb is None:
                continue
            if element.tag not in ("Reject", "Pause", "Redirect"):
                await self._leg.answer()
            self._leg.log_verb(element.tag, element.attrib)
            following = await verb(element, document)
            if following is not None:
                return following
        return None

    async def _fetch_action(
        self, verb: Element, document: Document, parameters: Mapping[str, str] | None = None
    ) -> Document | None:
        action = verb.get("action")
        if action is None:
            return None
        return await self._leg.fetch(document.resolve(action), method=_method(verb), parameters=parameters)

    async def _connect(self, verb: Element, document: Document) -> Document | None:
        element = verb.find("Stream")
        if element is None:
            return None
        # Twilio does not start a stream with a connector or with other tracks.
        if element.get("connectorName"):
            self._leg.alert(TwilioError(31940, element.get("connectorName", "")))
        elif element.get("track", "inbound_track") != "inbound_track":
            self._leg.alert(TwilioError(31941, element.get("track", "")))
        else:
            url = document.resolve(element.get("url", ""))
            if not urlsplit(element.get("url", "")).scheme:
                url = urlsplit(url)._replace(scheme="wss").geturl()
            callback = element.get("statusCallback", "")
            await self._leg.run_stream(
                ConnectStream(
                    url=url,
                    name=element.get("name", ""),
                    parameters={p.get("name", ""): p.get("value", "") for p in element.findall("Parameter")},
                    status_callback=document.resolve(callback) if callback else "",
                    status_callback_method=element.get("statusCallbackMethod", "POST").upper(),
                )
            )
        return await self._fetch_action(verb, document)

    async def _say(self, verb: Element, document: Document) -> None:
        text = " ".join("".join(verb.itertext()).split())
        for _ in range(_whole_number(verb, "loop", 1) or ENDLESS_LOOPS):
            await self._leg.say(text)

    async def _play(self, verb: Element, document: Document) -> None:
        for _ in range(_whole_number(verb, "loop", 1) or ENDLESS_LOOPS):
            if verb.get("digits"):
                await self._leg.play_digits(verb.get("digits", ""))
            else:
                await self._leg.play(document.resolve((verb.text or "").strip()))

    async def _pause(self, verb: Element, document: Document) -> None:
        await self._leg.pause(_whole_number(verb, "length", 1))

    async def _gather(self, verb: Element, document: Document) -> Document | None:
        timeout, limit = _whole_number(verb, "timeout", 5), _whole_number(verb, "numDigits", 0)
        finish = verb.get("finishOnKey", "#")
        digits = ""
        key = await self._play_prompts(verb, document) or await self._leg.next_key(timeout)
        while key is not None and key not in finish:
            digits += key
            if len(digits) == limit:
                break
            key = await self._leg.next_key(timeout)
        if not digits and verb.get("actionOnEmptyResult") != "true":
            return None
        url = document.resolve(verb.get("action", ""))
        return await self._leg.fetch(url, method=_method(verb), parameters={"Digits": digits})

    async def _play_prompts(self, verb: Element, document: Document) -> str | None:
        """Play the prompts; return the key that interrupted them, if any."""

        async def prompts() -> None:
            for element in verb:
                if element.tag in PROMPTS:
                    self._leg.log_verb(element.tag, element.attrib)
                    await self._verbs[element.tag](element, document)

        return await first_result(self._leg.next_key(None), prompts())

    async def _dial(self, verb: Element, document: Document) -> Document | None:
        callees = [
            Callee(
                number=(number.text or "").strip(),
                url=document.resolve(number.get("url", "")) if number.get("url") else None,
                method=_method(number),
                send_digits=number.get("sendDigits", ""),
                callback=_callback(number, document, "statusCallback"),
            )
            for number in verb.findall("Number")[:MAX_NUMBERS]
        ]
        text = (verb.text or "").strip()
        if text:
            callees.insert(0, Callee(text))
        recorded = verb.get("record", "do-not-record") not in ("do-not-record", "false")
        result = await self._leg.dial(
            Dial(
                callees=tuple(callees),
                timeout=_whole_number(verb, "timeout", 30),
                time_limit=_whole_number(verb, "timeLimit", 4 * 3600),
                caller_id=verb.get("callerId"),
                hang_up_on_star=verb.get("hangupOnStar") == "true",
                recording=_recording(verb, document, "DialVerb") if recorded else None,
            )
        )
        return await self._fetch_action(verb, document, result)

    async def _record(self, verb: Element, document: Document) -> Document | None:
        url = document.resolve(verb.get("action", ""))
        result = await self._leg.record(
            _recording(verb, document, "RecordVerb"),
            longest=_whole_number(verb, "maxLength", 3600),
            quiet=_whole_number(verb, "timeout", 5),
            keys=verb.get("finishOnKey", "1234567890*#"),
            beep=verb.get("playBeep") != "false",
            action=(url, _method(verb)),
        )
        if result is None:
            return None
        return await self._leg.fetch(url, method=_method(verb), parameters=result)

    async def _redirect(self, verb: Element, document: Document) -> Document:
        return await self._leg.fetch(document.resolve((verb.text or "").strip()), method=_method(verb))

    async def _reject(self, verb: Element, document: Document) -> Document:
        self._leg.reject("busy" if verb.get("reason") == "busy" else "no-answer")
        return _EMPTY_DOCUMENT

    async def _hangup(self, verb: Element, document: Document) -> Document:
        return _EMPTY_DOCUMENT

    async def _start(self, verb: Element, document: Document) -> None:
        for element in verb.findall("Recording"):
            self._leg.start_recording(_recording(element, document, "StartCallRecordingAPI"))


def _method(verb: Element) -> str:
    return verb.get("method", "POST").upper()


def _whole_number(verb: Element, name: str, default: int) -> int:
    try:
        return max(0, int(verb.get(name, default)))
    except ValueError:
        return default


def _callback(element: Element, document: Document, name: str) -> Callback | None:
    url = element.get(name)
    if not url:
        return None
    events = element.get(f"{name}Event", "completed")
    return Callback(document.resolve(url), element.get(f"{name}Method", "POST").upper(), frozenset(events.split()))


def _recording(element: Element, document: Document, source: str) -> RecordingRequest:
    dual = element.get("channels") == "dual" or "dual" in element.get("record", "")
    return RecordingRequest(
        source=source,
        callback=_callback(element, document, "recordingStatusCallback"),
        channels=2 if dual else 1,
        track=element.get("track") or element.get("recordingTrack") or "both",
    )
