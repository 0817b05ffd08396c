"""
TwiML, as Twilio runs it: a document is parsed and checked (pure), then its verbs are carried out on a ``Line``.

Nothing here knows of sockets or clocks. When the person hangs up or the call is changed over REST, the task that runs
the ``Interpreter`` is cancelled; every verb tolerates that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit
from xml.etree.ElementTree import Element

from media.phone.call_request import Callback, RecordingRequest
from media.phone.twilio_errors import TwilioError
from media.phone.twiml_document import MOST_NUMBERS, PROMPTS, Document, warnings

FOREVER = 1000  # what loop="0" comes to


@dataclass(frozen=True)
class ConnectStream:
    """``<Connect><Stream>``, its URLs absolute."""

    url: str
    name: str
    parameters: dict[str, str]
    status_callback: str
    status_callback_method: str


@dataclass(frozen=True)
class Callee:
    """One ``<Number>``; ``url`` is the TwiML played to it before it is bridged."""

    number: str
    url: str | None = None
    method: str = "POST"
    send_digits: str = ""
    callback: Callback | None = None


@dataclass(frozen=True)
class Dial:
    callees: tuple[Callee, ...]
    timeout: float
    time_limit: float
    caller_id: str | None
    hang_up_on_star: bool
    recording: RecordingRequest | None


class Line(Protocol):
    """A call, as far as TwiML can act on it. All times are in the seconds that TwiML means."""

    async def fetch(self, url: str, *, method: str, parameters: Mapping[str, str] | None = None) -> Document:
        """Request the next document; raises ``TwilioError`` if it cannot be had."""

    async def answer(self) -> None:
        """Answer an inbound call that still rings; otherwise a no-op."""

    def reject(self, status: str) -> None:
        """Turn the call down with ``busy`` or ``no-answer``; one that was answered already just ends."""

    def note(self, verb: str, attributes: Mapping[str, str]) -> None:
        """Write down that a verb is carried out."""

    async def say(self, text: str) -> None: ...

    async def play(self, url: str) -> None: ...

    async def play_digits(self, digits: str) -> None: ...

    async def pause(self, seconds: float) -> None: ...

    async def key(self, within: float | None) -> str | None:
        """Return the next key pressed, None after ``within`` seconds without one."""

    async def stream(self, stream: ConnectStream) -> None:
        """Return when the stream is over and the call is not."""

    async def dial(self, dial: Dial) -> dict[str, str]:
        """Return the ``Dial...`` parameters for the action."""

    async def record(
        self, request: RecordingRequest, *, longest: float, quiet: float, keys: str, beep: bool, action: tuple[str, str]
    ) -> dict[str, str] | None:
        """
        Return the ``Record...`` parameters for the action, None if nothing was said.

        ``action`` (URL, method) is where to report if the person hangs up meanwhile.
        """

    def start_recording(self, request: RecordingRequest) -> object: ...

    def alert(self, error: TwilioError) -> None: ...


_NOTHING_MORE = Document(Element("Response"), None)


class Interpreter:
    """Runs documents on a line, one after another, until one of them ends."""

    def __init__(self, line: Line) -> None:
        self._line = line
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
        """Return when the call shall end; raises ``TwilioError`` when a document cannot be had."""
        following: Document | None = document
        while following is not None:
            document = following
            for warning in warnings(document):
                self._line.alert(TwilioError(12200, warning))
            following = await self._run_document(document)

    async def _run_document(self, document: Document) -> Document | None:
        for element in document.root:
            verb = self._verbs.get(element.tag)
            if verb is None:
                continue
            if element.tag not in ("Reject", "Pause", "Redirect"):
                await self._line.answer()
            self._line.note(element.tag, element.attrib)
            following = await verb(element, document)
            if following is not None:
                return following
        return None

    async def _action(
        self, verb: Element, document: Document, parameters: Mapping[str, str] | None = None
    ) -> Document | None:
        action = verb.get("action")
        if action is None:
            return None
        return await self._line.fetch(document.resolve(action), method=_method(verb), parameters=parameters)

    async def _connect(self, verb: Element, document: Document) -> Document | None:
        element = verb.find("Stream")
        if element is None:
            return None
        # Twilio starts no stream with these.
        if element.get("connectorName"):
            self._line.alert(TwilioError(31940, element.get("connectorName", "")))
        elif element.get("track", "inbound_track") != "inbound_track":
            self._line.alert(TwilioError(31941, element.get("track", "")))
        else:
            url = document.resolve(element.get("url", ""))
            if not urlsplit(element.get("url", "")).scheme:
                url = urlsplit(url)._replace(scheme="wss").geturl()
            callback = element.get("statusCallback", "")
            await self._line.stream(
                ConnectStream(
                    url=url,
                    name=element.get("name", ""),
                    parameters={p.get("name", ""): p.get("value", "") for p in element.findall("Parameter")},
                    status_callback=document.resolve(callback) if callback else "",
                    status_callback_method=element.get("statusCallbackMethod", "POST").upper(),
                )
            )
        return await self._action(verb, document)

    async def _say(self, verb: Element, document: Document) -> None:
        text = " ".join("".join(verb.itertext()).split())
        for _ in range(_whole(verb, "loop", 1) or FOREVER):
            await self._line.say(text)

    async def _play(self, verb: Element, document: Document) -> None:
        for _ in range(_whole(verb, "loop", 1) or FOREVER):
            if verb.get("digits"):
                await self._line.play_digits(verb.get("digits", ""))
            else:
                await self._line.play(document.resolve((verb.text or "").strip()))

    async def _pause(self, verb: Element, document: Document) -> None:
        await self._line.pause(_whole(verb, "length", 1))

    async def _gather(self, verb: Element, document: Document) -> Document | None:
        timeout, limit = _whole(verb, "timeout", 5), _whole(verb, "numDigits", 0)
        finish = verb.get("finishOnKey", "#")
        digits = ""
        key = await self._first_key(verb, document) or await self._line.key(timeout)
        while key is not None and key not in finish:
            digits += key
            if len(digits) == limit:
                break
            key = await self._line.key(timeout)
        if not digits and verb.get("actionOnEmptyResult") != "true":
            return None
        url = document.resolve(verb.get("action", ""))
        return await self._line.fetch(url, method=_method(verb), parameters={"Digits": digits})

    async def _first_key(self, verb: Element, document: Document) -> str | None:
        """Return the key that was pressed during the prompts, which it cuts short."""

        async def prompts() -> None:
            for element in verb:
                if element.tag in PROMPTS:
                    self._line.note(element.tag, element.attrib)
                    await self._verbs[element.tag](element, document)

        playing, pressing = asyncio.ensure_future(prompts()), asyncio.ensure_future(self._line.key(None))
        try:
            await asyncio.wait({playing, pressing}, return_when=asyncio.FIRST_COMPLETED)
            if pressing.done():
                return pressing.result()
            playing.result()
            return None
        finally:
            playing.cancel()
            pressing.cancel()
            await asyncio.wait({playing, pressing})

    async def _dial(self, verb: Element, document: Document) -> Document | None:
        callees = [
            Callee(
                number=(number.text or "").strip(),
                url=document.resolve(number.get("url", "")) if number.get("url") else None,
                method=_method(number),
                send_digits=number.get("sendDigits", ""),
                callback=_callback(number, document, "statusCallback"),
            )
            for number in verb.findall("Number")[:MOST_NUMBERS]
        ]
        text = (verb.text or "").strip()
        if text:
            callees.insert(0, Callee(text))
        recorded = verb.get("record", "do-not-record") not in ("do-not-record", "false")
        result = await self._line.dial(
            Dial(
                callees=tuple(callees),
                timeout=_whole(verb, "timeout", 30),
                time_limit=_whole(verb, "timeLimit", 4 * 3600),
                caller_id=verb.get("callerId"),
                hang_up_on_star=verb.get("hangupOnStar") == "true",
                recording=_recording(verb, document, "DialVerb") if recorded else None,
            )
        )
        return await self._action(verb, document, result)

    async def _record(self, verb: Element, document: Document) -> Document | None:
        url = document.resolve(verb.get("action", ""))
        result = await self._line.record(
            _recording(verb, document, "RecordVerb"),
            longest=_whole(verb, "maxLength", 3600),
            quiet=_whole(verb, "timeout", 5),
            keys=verb.get("finishOnKey", "1234567890*#"),
            beep=verb.get("playBeep") != "false",
            action=(url, _method(verb)),
        )
        if result is None:
            return None
        return await self._line.fetch(url, method=_method(verb), parameters=result)

    async def _redirect(self, verb: Element, document: Document) -> Document:
        return await self._line.fetch(document.resolve((verb.text or "").strip()), method=_method(verb))

    async def _reject(self, verb: Element, document: Document) -> Document:
        self._line.reject("busy" if verb.get("reason") == "busy" else "no-answer")
        return _NOTHING_MORE

    async def _hangup(self, verb: Element, document: Document) -> Document:
        return _NOTHING_MORE

    async def _start(self, verb: Element, document: Document) -> None:
        for element in verb.findall("Recording"):
            self._line.start_recording(_recording(element, document, "StartCallRecordingAPI"))


def _method(verb: Element) -> str:
    return verb.get("method", "POST").upper()


def _whole(verb: Element, name: str, default: int) -> int:
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
