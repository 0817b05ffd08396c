"""TwiML's verbs on one leg: what the interpreter asks for is carried out here."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Any

from media.phone.call_request import CallChange, CallRequest, Program, RecordingRequest, Status
from media.phone.frames import FRAME_SECONDS
from media.phone.injections import CallbackKind
from media.phone.racing import first_result
from media.phone.twilio_errors import TwilioError
from media.phone.twiml_document import Document, parse
from media.phone.twiml_interpreter import Callee, ConnectStream, Dial, Interpreter

if TYPE_CHECKING:  # leg.py imports this module
    from media.phone.leg import PhoneCall

COMFORT_NOISE = frozenset(b"\xff\x7f\xfe\x7e")
"""The mu-law codes next to zero: a frame of nothing else is silence to ``<Record>``."""
APPLICATION_ERROR = "We are sorry, an application error has occurred. Goodbye."
"""The words that Twilio says where it cannot use the application's TwiML."""


class LegVerbs:
    """Carries out on one leg what the ``Interpreter`` asks for. All times are seconds as TwiML states them."""

    def __init__(self, leg: PhoneCall) -> None:
        self.rejected: Status | None = None
        """The final status that ``<Reject>`` asked for; None unless it was carried out before the answer."""
        self.unfinished_record: tuple[str, str] | None = None
        """URL and method of the report that the running ``<Record>`` makes if the person hangs up."""
        self._leg = leg
        self._program: Program | None = None  # the one that runs, for its fallback URL

    async def run(self, program: Program, extra: Mapping[str, str]) -> None:
        """Run a program to its end; ``extra`` are further parameters of the request for its TwiML."""
        self._program = program
        try:
            if program.url is not None:
                document = await self.fetch(program.url, method=program.method, parameters=extra, kind="voice")
            else:
                document = parse((program.twiml or "").encode(), url=None)
            await Interpreter(self).run(document)
        except TwilioError as error:
            self.alert(error)
            await self.answer()
            await self.say(APPLICATION_ERROR)

    # -- the verbs --------------------------------------------------------------------------------

    async def fetch(
        self, url: str, *, method: str, parameters: Mapping[str, str] | None = None, kind: CallbackKind = "action"
    ) -> Document:
        """Request the next document. Raises ``TwilioError`` if there is none that can be used."""
        try:
            return await self._fetch(url, method, parameters or {}, kind)
        except TwilioError as error:
            program = self._program
            if program is None or not program.fallback_url:
                raise
            self.alert(error)
            reason = {"ErrorCode": str(error.code), "ErrorUrl": url}
            return await self._fetch(program.fallback_url, program.fallback_method, reason, kind)

    async def _fetch(self, url: str, method: str, parameters: Mapping[str, str], kind: CallbackKind) -> Document:
        response = await self._leg.callbacks.send(kind, url, self._leg.callbacks.parameters(parameters), method=method)
        if response.error is not None:
            raise TwilioError(response.error, f"{response.status or 'no answer'} from {url}")
        return parse(response.body, url=response.url, content_type=response.content_type)

    async def answer(self) -> None:
        """Answer an inbound call that still rings. Otherwise does nothing."""
        await self._leg.answer()

    def reject(self, status: str) -> None:
        """Reject the call with ``busy`` or ``no-answer``. If it was answered already, it ends as completed."""
        if not self._leg.audio.is_answered:
            self.rejected = "busy" if status == "busy" else "no-answer"

    def log_verb(self, verb: str, attributes: Mapping[str, str]) -> None:
        """Log that a verb is carried out."""
        self._leg.log("twiml", verb=verb, **{f"@{name}": value for name, value in attributes.items()})

    def alert(self, error: TwilioError) -> None:
        """Write an error where Twilio's debugger would show it."""
        self._leg.alert(error)

    async def say(self, text: str) -> None:
        """Return when the text was spoken."""
        self._leg.log("say", text=text)
        if self._leg.network.render_say is None:
            await self.pause(len(text) / self._leg.network.timing.characters_per_second)
        else:
            await self._leg.audio.play(await asyncio.to_thread(self._leg.network.render_say, text))

    async def play(self, url: str) -> None:
        """Log that a recording is played. The file itself is not fetched."""
        self._leg.log("play", url=url)

    async def play_digits(self, digits: str) -> None:
        """Log that the tones of these keys are played."""
        self._leg.log("digits_sent", digits=digits)

    async def pause(self, seconds: float) -> None:
        """Return after this time."""
        await self._leg.network.timing.pause(seconds)

    async def next_key(self, within: float | None) -> str | None:
        """Return the next key that the person presses, or None after ``within`` seconds without one."""
        try:
            async with asyncio.timeout(None if within is None else within * self._leg.network.timing.scale):
                return await self._leg.audio.keys.get()
        except TimeoutError:
            return None

    async def run_stream(self, stream: ConnectStream) -> None:
        """Return when the stream is over and the call is not."""
        await self._leg.stream.run(stream)

    def start_recording(self, request: RecordingRequest) -> None:
        """Record the rest of the call in the background."""
        self._leg.recordings.start(request)

    # -- <Dial> -----------------------------------------------------------------------------------

    async def dial(self, dial: Dial) -> dict[str, str]:
        """Call the callees, return when the bridge is over, with the ``Dial...`` parameters for the action."""
        legs = [self._leg.network.child(self._leg, self._child_request(callee, dial)) for callee in dial.callees]
        waiting = {leg.ready: leg for leg in legs}
        winner: PhoneCall | None = None
        talked = 0.0
        try:
            while waiting and winner is None:
                done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                ready = [waiting.pop(future) for future in done]
                winner = next((leg for leg in ready if leg.ready.result()), None)
            if winner is not None:
                for leg in waiting.values():
                    leg.change(CallChange("app"))
                await self._bridge(winner, dial)
                talked = winner.seconds
        finally:
            for leg in legs:
                leg.audio.bridged = None
                leg.change(CallChange("app"))
            self._leg.audio.bridged = None
            if legs:
                await asyncio.wait({leg.over for leg in legs})
        if winner is None:
            return {"DialCallStatus": legs[-1].status if legs else "failed", "DialBridged": "false"}
        result = {
            "DialCallStatus": "completed",
            "DialCallSid": winner.sid,
            "DialCallDuration": str(math.ceil(talked)),
            "DialBridged": "true",
        }
        recording = self._leg.recordings.find(dial.recording)
        return result | ({"RecordingUrl": self._leg.recordings.url(recording)} if recording else {})

    def _child_request(self, callee: Callee, dial: Dial) -> CallRequest:
        return CallRequest(
            to_number=callee.number,
            from_number=dial.caller_id or self._leg.request.from_number,
            program=Program(callee.url, callee.method) if callee.url else None,
            callback=callee.callback,
            timeout=dial.timeout,
            send_digits=callee.send_digits,
        )

    async def _bridge(self, other: PhoneCall, dial: Dial) -> None:
        """Connect the two people until the other leg ends, the time is up, or the caller presses the star key."""
        recording = None if dial.recording is None else self._leg.recordings.start(dial.recording)
        self._leg.audio.bridged, other.audio.bridged = other.audio, self._leg.audio
        self._leg.log("bridged", leg=other.sid)

        async def press_star() -> None:
            while await self.next_key(None) != "*":
                pass

        enders: list[Coroutine[Any, Any, object]] = [other.ended.wait()]
        if dial.hang_up_on_star:
            enders.append(press_star())
        try:
            async with asyncio.timeout(dial.time_limit):
                await first_result(*enders)
        except TimeoutError:
            pass
        finally:
            if recording is not None:
                self._leg.recordings.end(recording)

    # -- <Record> ---------------------------------------------------------------------------------

    async def record(
        self, request: RecordingRequest, *, longest: float, quiet: float, keys: str, beep: bool, action: tuple[str, str]
    ) -> dict[str, str] | None:
        """
        Record what the person says; return the ``Record...`` parameters for the action, or None if nothing was said.

        The recording ends after ``longest`` seconds, after ``quiet`` seconds of silence, or with one of the ``keys``.
        ``action`` (URL, method) is where to report if the person hangs up meanwhile.
        """
        if beep:
            self._leg.log("beep")
        scale = self._leg.network.timing.scale
        spoke, quiet_seconds, went_quiet = False, 0.0, asyncio.Event()

        def listen(frame: bytes) -> None:
            nonlocal spoke, quiet_seconds
            if COMFORT_NOISE.issuperset(frame):
                quiet_seconds += FRAME_SECONDS
                if quiet_seconds >= quiet * scale:
                    went_quiet.set()
            else:
                spoke, quiet_seconds = True, 0.0

        async def fall_quiet() -> str:
            await went_quiet.wait()
            return ""

        async def press_finishing_key() -> str:
            while (key := await self.next_key(None)) is None or key not in keys:
                pass
            return key

        recording = self._leg.recordings.start(request)
        self._leg.audio.listener, self.unfinished_record = listen, action
        try:
            async with asyncio.timeout(longest * scale):
                digits = await first_result(press_finishing_key(), fall_quiet())
        except TimeoutError:
            digits = ""
        finally:
            self._leg.audio.listener = None
        self.unfinished_record = None
        self._leg.recordings.end(recording)
        return {**self._leg.recordings.result(recording), "Digits": digits} if spoke or digits else None
