"""
One leg of a call as Twilio sees it: its status, its callbacks, its TwiML, its media.

A leg is one task. Whatever changes it from outside (the person hangs up, a REST update, a time limit) is put in a
queue and read by that task alone, so that everything happens in one order.
"""

from __future__ import annotations

import asyncio
import math
import time
import uuid
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from random import Random
from typing import Any, Literal, Protocol, TypeVar

from media.phone.answering import Answerer, CarrierTiming, Outcome
from media.phone.call_request import API_VERSION, Callback, CallRequest, MachineDetection, Program, RecordingRequest
from media.phone.callback_sender import AWAITED, Answer, CallbackSender, CookiesPerHost, Routes
from media.phone.frames import FRAME_BYTES, FRAME_SECONDS, SILENT_FRAME
from media.phone.gateway import Gateway
from media.phone.injections import Injections, Kind
from media.phone.party import Note, Party
from media.phone.stream import StreamEnd, StreamRequest
from media.phone.tape import Tape
from media.phone.ticker import Ticker
from media.phone.twilio_errors import Alert, TwilioError
from media.phone.twiml_document import Document, parse
from media.phone.twiml_interpreter import Callee, Dial, Interpreter, Stream

STOP_TIMEOUT = 5.0  # seconds for a gateway to say `stop` and close
COMFORT_NOISE = frozenset(b"\xff\x7f\xfe\x7e")
APPLICATION_ERROR = "We are sorry, an application error has occurred. Goodbye."

Direction = Literal["inbound", "outbound-api", "outbound-dial"]
Status = Literal["queued", "ringing", "in-progress", "completed", "busy", "failed", "no-answer", "canceled"]
FINAL_STATUSES: frozenset[Status] = frozenset({"completed", "busy", "failed", "no-answer", "canceled"})
_SIP: dict[Status, int] = {"completed": 200, "busy": 486, "no-answer": 487, "canceled": 487, "failed": 404}
T = TypeVar("T")


@dataclass
class Recording:
    sid: str
    request: RecordingRequest
    started_at: datetime
    started: float
    status: Literal["in-progress", "completed"] = "in-progress"
    duration: int = 0


@dataclass(frozen=True)
class CallEnd:
    """
    How a call ended, after ``duration`` seconds of connection.

    ``ended_by`` is ``caller``, ``app`` (REST), ``twiml``, ``time-limit``, ``phone`` (a fault) or what the carrier said.
    """

    status: Status
    ended_by: str
    duration: float
    sip_code: int


@dataclass(frozen=True)
class Change:
    """Something from outside: a new program, or with None the end. ``status`` is the end's, if not the usual one."""

    by: str
    program: Program | None = None
    status: Status | None = None
    sip_code: int | None = None


class Exchange(Protocol):
    """What a call needs of the network that it is part of."""

    account_sid: str
    auth_token: str
    routes: Routes
    sender: CallbackSender
    timing: CarrierTiming
    injections: Injections
    random: Random
    alerts: list[Alert]
    say: Callable[[str], bytes] | None

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]: ...

    def gateway(self, party: Party, tape: Tape) -> Gateway: ...

    def tape(self, call_sid: str) -> Tape: ...

    def answerer(self, number: str) -> Answerer: ...

    def child(self, parent: PhoneCall, request: CallRequest) -> PhoneCall: ...


class PhoneCall:
    """
    One call. ``events`` lists what happened to it (also on the tape), ``tape`` is the evidence.

    Implements ``twiml_interpreter.Line``. Made by ``PhoneNetwork``.
    """

    def __init__(
        self,
        exchange: Exchange,
        request: CallRequest,
        *,
        direction: Direction,
        parent: PhoneCall | None = None,
        party: Party | None = None,
        parameters: Mapping[str, str] | None = None,
        queue_time: float = 0.0,
    ) -> None:
        self.sid = "CA" + uuid.uuid4().hex
        self.request, self.direction, self.parent = request, direction, parent
        self.status: Status = "ringing" if direction == "inbound" else "queued"
        self.answered_by: str | None = None
        self.queue_time = queue_time
        self.created_at = self.updated_at = datetime.now(UTC)
        self.started_at: datetime | None = None if direction != "inbound" else self.created_at
        self.ended_at: datetime | None = None
        self.duration = 0
        self.recordings: list[Recording] = []
        self.tape = exchange.tape(self.sid)
        self.events: list[dict[str, Any]] = []
        self.party: Party | None = party
        self.gateway: Gateway | None = exchange.gateway(party, self.tape) if party else None
        self.ready: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        """For a child leg: whether it was answered and may be bridged."""
        self._exchange, self._timing, self._random = exchange, exchange.timing, exchange.random
        self._program = request.program
        self._callback = request.callback
        self._parameters = dict(parameters or {})
        self._cookies: CookiesPerHost = {}
        self._sequence = 0
        self._last_post: asyncio.Task[None] | None = None
        self._held_back: list[dict[str, str]] = []
        self._told: dict[Kind, asyncio.Event] = {}
        self._changes: asyncio.Queue[Change] = asyncio.Queue()
        self._dialled = False
        self._answer_reported = direction == "inbound"
        self._ended = asyncio.Event()
        self._answered_at = 0.0
        self._rejected: Status | None = None
        self._stream: asyncio.Task[StreamEnd] | None = None
        self._failure: Exception | None = None
        self._over: asyncio.Future[CallEnd] = asyncio.get_running_loop().create_future()
        self._limit: asyncio.TimerHandle | None = None
        self._last_words: tuple[str, str] | None = None
        # The line between streams: what the person is being played, and what they say and press.
        self._playout = bytearray()
        self._played = asyncio.Event()
        self._keys: asyncio.Queue[str] = asyncio.Queue()
        self._bridged: PhoneCall | None = None
        self._from_peer: deque[bytes] = deque(maxlen=10)
        self._listener: Callable[[bytes], None] | None = None
        self.log("call", sid=self.sid, direction=direction, to=request.to_number, **{"from": request.from_number})

    # -- what tests and REST do with a call -------------------------------------------------------

    async def wait(self) -> CallEnd:
        """
        Return once the call is over and its callbacks were delivered (late and recording ones excepted).

        Raises what the application did wrong on the stream, in strict mode (``StreamViolation``).
        """
        end = await asyncio.shield(self._over)
        if self._failure is not None:
            raise self._failure
        return end

    def hang_up(self) -> None:
        """The person puts the phone down. A no-op on a call that is over."""
        self.change(Change("caller"))

    def change(self, change: Change) -> None:
        self._changes.put_nowait(change)

    def update(
        self, *, program: Program | None, callback: Callback | None, status: str, time_limit: float | None
    ) -> None:
        """Carry out ``POST Calls/{sid}.json``; raises 21220 where the call is not in a state for it."""
        talking = self.status == "in-progress" or (self.direction == "inbound" and self.status == "ringing")
        waiting = self.status in ("queued", "ringing") and not talking
        if status == "canceled" and not waiting:
            raise TwilioError(21220)
        if not talking and not (waiting and status):
            raise TwilioError(21220)
        if time_limit is not None:
            self._limit_to(time_limit)
        if status:
            self.change(Change("app", status="canceled" if waiting else None))
        elif program is not None:
            if callback is not None:
                self._callback = callback
            self.change(Change("app", program))

    async def wait_for_callback(self, kind: Kind) -> None:
        """Return once a webhook of this kind about this call was answered."""
        await self._told.setdefault(kind, asyncio.Event()).wait()

    @property
    def is_over(self) -> bool:
        return self.status in FINAL_STATUSES

    @property
    def seconds(self) -> float:
        """How long the call has been connected."""
        return time.monotonic() - self._answered_at if self._answered_at else 0.0

    def log(self, event: str, **fields: Any) -> None:
        self.events.append({"event": event, **fields})
        self.tape.log(event, **fields)

    def alert(self, error: TwilioError) -> None:
        self.log("alert", code=error.code, message=error.message)
        self._exchange.alerts.append(Alert(error.code, error.message, self.sid))

    # -- its life ---------------------------------------------------------------------------------

    async def run(self) -> None:
        """Live the whole call. Nothing that the application does makes this raise."""
        try:
            if self.direction == "inbound":
                Ticker.shared().join(self._tick)
                end = await self._converse(self._program)
            else:
                end = await self._place()
                if end is None:
                    end = await self._after_answer()
        except Exception as error:  # a fault of this program: hand it to whoever waits for the call
            self._failure = error
            end = Change("phone", status="failed")
        finally:
            Ticker.shared().leave(self._tick)
        await self._finish(end)

    async def _until_changed(self, work: Coroutine[Any, Any, T]) -> T | Change:
        """Return what the work returns, or the change that came first and stopped it."""
        working, changing = asyncio.ensure_future(work), asyncio.ensure_future(self._changes.get())
        try:
            await asyncio.wait({working, changing}, return_when=asyncio.FIRST_COMPLETED)
            return changing.result() if changing.done() else working.result()
        finally:
            for task in (working, changing):
                task.cancel()
            await asyncio.wait({working, changing})
            if working.done() and not working.cancelled():
                working.exception()  # a change won: what the work had to say is of no interest

    async def _place(self) -> Change | None:
        """Dial out. Return None once somebody answered, else how it ended."""
        outcome = await self._until_changed(self._ring())
        if isinstance(outcome, Change):
            return Change(outcome.by, status="canceled")
        if isinstance(outcome, Outcome):
            return Change(outcome.status, status=outcome.status, sip_code=outcome.sip_code)
        self.party = outcome
        self.gateway = self._exchange.gateway(outcome, self.tape)
        await self.answer()
        return None

    async def _ring(self) -> Party | Outcome:
        await asyncio.sleep(self.queue_time)
        self._dialled = True
        self.started_at = datetime.now(UTC)
        self._fire("initiated", "initiated")
        await self._wait_between(self._timing.post_dial)
        answerer = self._exchange.answerer(self.request.to_number)
        outcome = answerer.answer()
        if isinstance(outcome, Outcome) and outcome.after == 0.0:
            return outcome
        self._move("ringing")
        self._fire("ringing")
        after = outcome.after if isinstance(outcome, Outcome) else None
        if after is None:
            after = answerer.after
        if after is None:
            after = self._random.uniform(*self._timing.answer)
        # Some flows ring for five seconds more than they were asked to.
        longest = self.request.timeout + self._random.choice((0.0, 5.0))
        if outcome == Outcome.no_answer() or after > longest:
            await self.pause(longest)
            return Outcome.no_answer()
        await self.pause(after)
        return outcome

    async def _after_answer(self) -> Change:
        request = self.request
        if request.send_digits:
            self.log("digits_sent", digits=request.send_digits)
        if request.recording is not None and self.direction == "outbound-api":
            self.start_recording(request.recording)
        if self.direction == "outbound-dial":
            return await self._join_parent()
        extra: dict[str, str] = {}
        detection = request.machine_detection if not request.send_digits else None  # SendDigits switches it off
        if detection is not None and detection.asynchronous:
            self._exchange.spawn(self._report_verdict(detection))
        elif detection is not None:
            self._report_answer()
            verdict = await self._until_changed(self._detect(detection))
            if isinstance(verdict, Change):
                return verdict
            extra = {"AnsweredBy": verdict}
        if detection is None or detection.asynchronous:
            # The report of the answer and the request for TwiML leave together, and either may be the first.
            if self._random.random() < 0.5:
                self._report_answer()
                await self._wait_between(self._timing.scatter)
            else:
                self._exchange.spawn(self._report_answer_later())
        return await self._converse(self._program, extra)

    async def _report_answer_later(self) -> None:
        await self._wait_between(self._timing.scatter)
        self._report_answer()

    def _report_answer(self) -> None:
        if not self._answer_reported:
            self._answer_reported = True
            self._fire("answered")

    async def _detect(self, detection: MachineDetection) -> str:
        answerer = self._exchange.answerer(self.request.to_number)
        if answerer.beep_after is not None and detection.mode == "DetectMessageEnd":
            await asyncio.sleep(answerer.beep_after - self.seconds)
        else:
            await self._wait_between(self._timing.verdict)
        self.answered_by = detection.verdict(answerer.answered_by)
        self.log("detected", answered_by=self.answered_by)
        return self.answered_by

    async def _report_verdict(self, detection: MachineDetection) -> None:
        started = time.monotonic()
        verdict = await self._detect(detection)
        if self._exchange.injections.amd_after_end:
            await asyncio.wait({self._over})
        if detection.callback is None:
            return
        milliseconds = round((time.monotonic() - started) / (self._timing.scale or 1.0) * 1000)
        parameters = {
            "CallSid": self.sid,
            "AccountSid": self._exchange.account_sid,
            "AnsweredBy": verdict,
            "MachineDetectionDuration": str(milliseconds),
        }
        await self._send("amd", detection.callback.url, parameters, method=detection.callback.method)

    async def _join_parent(self) -> Change:
        """A leg of ``<Dial>``: play the callee what its ``<Number>`` asks for, then wait in the bridge."""
        self._report_answer()
        if self._program is not None:
            whispered = await self._until_changed(self._interpret(self._program, {}))
            if isinstance(whispered, Change):
                return whispered
        self.ready.set_result(True)
        return await self._changes.get()

    async def _converse(self, program: Program | None, extra: Mapping[str, str] | None = None) -> Change:
        """Run TwiML until it ends or something ends it; return what did."""
        while program is not None:
            self._program = program
            change = await self._until_changed(self._interpret(program, extra or {}))
            await self._stop_stream(change)
            if change is None:
                return Change("twiml", status=self._rejected)
            if change.program is None:
                return change
            self.log("call_updated", by=change.by)
            self._playout.clear()
            program, extra = change.program, None
        return Change("twiml")

    async def _interpret(self, program: Program, extra: Mapping[str, str]) -> None:
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

    async def _finish(self, end: Change) -> None:
        if self._limit is not None:
            self._limit.cancel()
        if not self.ready.done():
            self.ready.set_result(False)
        self._ended.set()
        await self._stop_stream(end)
        connected = self.status == "in-progress"
        if connected:
            self._report_answer()
        self.duration = math.ceil(self.seconds) if connected else 0
        self.ended_at = datetime.now(UTC)
        for recording in self.recordings:
            self._end_recording(recording)
        status: Status = "completed" if connected else end.status or "no-answer"
        self._move(status)
        if end.by == "caller" and connected and self._last_words is not None:
            url, method = self._last_words
            parameters = {**self._record_result(self.recordings[-1]), "Digits": "hangup"}
            await self._send("action", url, self._standard(parameters), method=method)
        sip_code = end.sip_code or _SIP[status]
        if self._dialled or self.direction == "inbound":
            self._fire("completed", sip_code=sip_code)
        if self._last_post is not None:
            await asyncio.wait({self._last_post})
        self.tape.close()
        self._over.set_result(CallEnd(status, end.by, self.duration, sip_code))

    def _limit_to(self, seconds: float) -> None:
        if self._limit is not None:
            self._limit.cancel()
        loop = asyncio.get_running_loop()
        self._limit = loop.call_later(max(0.0, seconds - self.seconds), self.change, Change("time-limit"))

    def _move(self, status: Status) -> None:
        self.status = status
        self.updated_at = datetime.now(UTC)
        self.log("call_status", status=status)

    async def _wait_between(self, limits: tuple[float, float]) -> None:
        await self.pause(self._random.uniform(*limits))

    # -- what it tells the application ------------------------------------------------------------

    def _standard(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """The parameters of every request about this call (TwiML requests, status callbacks)."""
        request = self.request
        parties = {"From": request.from_number, "To": request.to_number}
        parties |= {"Caller": request.from_number, "Called": request.to_number}
        places = {
            f"{party}{part}": "US" if part == "Country" and number.startswith("+1") else ""
            for party, number in parties.items()
            for part in ("City", "State", "Zip", "Country")
        }
        parent = {"ParentCallSid": self.parent.sid} if self.parent else {}
        return {
            "CallSid": self.sid,
            "AccountSid": self._exchange.account_sid,
            **parties,
            **places,
            "CallStatus": self.status,
            "ApiVersion": API_VERSION,
            "Direction": self.direction,
            **parent,
            **self._parameters,
            **(extra or {}),
        }

    def _fire(self, event: str, status: str | None = None, *, sip_code: int | None = None) -> None:
        """Report an event to the status callback, if it was asked for. Only such events are numbered."""
        if self._callback is None or event not in self._callback.events:
            return
        parameters = self._standard(
            {
                "CallStatus": status or self.status,
                "Timestamp": format_datetime(datetime.now(UTC)),
                "SequenceNumber": str(self._sequence),
                "CallbackSource": "call-progress-events",
            }
        )
        self._sequence += 1
        if event == "completed":
            parameters |= self._closing_parameters(sip_code)
        if not self._exchange.injections.reorder:
            self._report("status", self._callback, parameters)
            return
        self._held_back.append(parameters)
        if event == "completed":
            earlier = self._held_back[:-1]
            self._random.shuffle(earlier)
            for held in (parameters, *earlier):
                self._report("status", self._callback, held)

    def _closing_parameters(self, sip_code: int | None) -> dict[str, str]:
        parameters = {"SipResponseCode": str(sip_code)}
        if self.status == "completed":
            parameters |= {"CallDuration": str(self.duration), "Duration": str(math.ceil(self.duration / 60))}
        if self.answered_by is not None:
            parameters["AnsweredBy"] = self.answered_by
        ordered = next((r for r in self.recordings if r.request is self.request.recording), None)
        if ordered is not None:
            parameters |= self._record_result(ordered)
        return parameters

    def _report(self, kind: Kind, callback: Callback, parameters: Mapping[str, str]) -> None:
        """Send a callback after those before it, so that only an injection changes their request."""
        previous = self._last_post

        async def in_turn() -> None:
            if previous is not None:
                await asyncio.wait({previous})
            await self._send(kind, callback.url, parameters, method=callback.method)

        self._last_post = self._exchange.spawn(in_turn())

    async def _send(self, kind: Kind, url: str, parameters: Mapping[str, str], *, method: str) -> Answer:
        answer = await self._exchange.sender.send(url, parameters, kind=kind, method=method, cookies=self._cookies)
        self.log("webhook", kind=kind, url=answer.url, status=answer.status, error=answer.error)
        if answer.error is not None and kind not in AWAITED:
            self.alert(TwilioError(answer.error, f"{answer.status or 'no answer'} from {url}"))
        self._told.setdefault(kind, asyncio.Event()).set()
        return answer

    # -- twiml_interpreter.Line -------------------------------------------------------------------

    async def fetch(
        self, url: str, *, method: str, parameters: Mapping[str, str] | None = None, kind: Kind = "action"
    ) -> Document:
        try:
            return await self._fetch(url, method, parameters or {}, kind)
        except TwilioError as error:
            program = self._program
            if program is None or not program.fallback_url:
                raise
            self.alert(error)
            reason = {"ErrorCode": str(error.code), "ErrorUrl": url}
            return await self._fetch(program.fallback_url, program.fallback_method, reason, kind)

    async def _fetch(self, url: str, method: str, parameters: Mapping[str, str], kind: Kind) -> Document:
        answer = await self._send(kind, url, self._standard(parameters), method=method)
        if answer.error is not None:
            raise TwilioError(answer.error, f"{answer.status or 'no answer'} from {url}")
        return parse(answer.body, url=answer.url, content_type=answer.content_type)

    async def answer(self) -> None:
        if self._answered_at:
            return
        assert self.party is not None
        self._answered_at = time.monotonic()
        self._move("in-progress")
        self._limit_to(self.request.time_limit)
        self.party.connected()
        if self.direction != "inbound":
            Ticker.shared().join(self._tick)

    def reject(self, status: str) -> None:
        if not self._answered_at:
            self._rejected = "busy" if status == "busy" else "no-answer"

    def note(self, verb: str, attributes: Mapping[str, str]) -> None:
        self.log("twiml", verb=verb, **{f"@{name}": value for name, value in attributes.items()})

    async def say(self, text: str) -> None:
        self.log("say", text=text)
        if self._exchange.say is None:
            await self.pause(len(text) / self._timing.characters_per_second)
            return
        self._playout += await asyncio.to_thread(self._exchange.say, text)
        try:
            while self._playout:
                self._played.clear()
                await self._played.wait()
        finally:
            self._playout.clear()

    async def play(self, url: str) -> None:
        self.log("play", url=url)  # the file itself is not fetched

    async def play_digits(self, digits: str) -> None:
        self.log("digits_sent", digits=digits)

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds * self._timing.scale)

    async def key(self, within: float | None) -> str | None:
        try:
            async with asyncio.timeout(None if within is None else within * self._timing.scale):
                return await self._keys.get()
        except TimeoutError:
            return None

    async def stream(self, stream: Stream) -> None:
        request = StreamRequest(
            url=stream.url,
            account_sid=self._exchange.account_sid,
            call_sid=self.sid,
            stream_sid="MZ" + uuid.uuid4().hex,
            auth_token=self._exchange.auth_token,
            parameters=stream.parameters,
            connect_to=self._exchange.routes.socket_base(stream.url),
        )
        self._stream = self._exchange.spawn(self._run_stream(stream, request))
        end = await asyncio.shield(self._stream)
        if end.reason in ("party-hung-up", "call-updated"):
            await asyncio.Event().wait()  # the change that ended the stream is about to cancel this
        self._stream = None

    async def _run_stream(self, stream: Stream, request: StreamRequest) -> StreamEnd:
        assert self.gateway is not None
        announced = False

        def report(event: str, **extra: str) -> None:
            if stream.status_callback:
                parameters = {
                    "AccountSid": request.account_sid,
                    "CallSid": self.sid,
                    "StreamSid": request.stream_sid,
                    "StreamName": stream.name or request.stream_sid,
                    "StreamEvent": event,
                    "Timestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z"),
                    **extra,
                }
                callback = Callback(stream.status_callback, stream.status_callback_method)
                self._report("stream-status", callback, parameters)

        def announce() -> None:
            nonlocal announced
            if not announced:
                announced = True
                report("stream-started")

        # Twilio's report and the first messages on the socket are in no fixed request.
        announcement = asyncio.get_running_loop().call_later(self._random.uniform(0.05, 0.3), announce)
        try:
            end = await self.gateway.run(request)
        except Exception as error:  # strict mode: whoever waits for the call shall see it
            self._failure = error
            end = StreamEnd("call-updated", detail=str(error))
            self.change(Change("phone"))
        finally:
            announcement.cancel()
        if end.reason == "refused":
            report("stream-error", StreamError=end.detail)
        else:
            announce()
            report("stream-stopped")
        if end.reason == "party-hung-up":
            self.hang_up()
        return end

    async def _stop_stream(self, change: Change | None) -> None:
        stream, self._stream = self._stream, None
        if stream is None or stream.done():
            return
        assert self.gateway is not None
        self.gateway.stop("party-hung-up" if change is not None and change.by == "caller" else "call-updated")
        await asyncio.wait({stream}, timeout=STOP_TIMEOUT)
        if stream.cancel():
            await asyncio.wait({stream})

    async def dial(self, dial: Dial) -> dict[str, str]:
        legs = [self._exchange.child(self, self._leg_request(callee, dial)) for callee in dial.callees]
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
                    leg.change(Change("app"))
                await self._bridge(winner, dial)
                talked = winner.seconds
        finally:
            for leg in legs:
                leg._bridged = None
                leg.change(Change("app"))
            self._bridged = None
            if legs:
                await asyncio.wait({leg._over for leg in legs})
        if winner is None:
            return {"DialCallStatus": legs[-1].status if legs else "failed", "DialBridged": "false"}
        result = {
            "DialCallStatus": "completed",
            "DialCallSid": winner.sid,
            "DialCallDuration": str(math.ceil(talked)),
            "DialBridged": "true",
        }
        recording = next((r for r in self.recordings if r.request is dial.recording), None)
        return result | ({"RecordingUrl": self._recording_url(recording)} if recording else {})

    def _leg_request(self, callee: Callee, dial: Dial) -> CallRequest:
        return CallRequest(
            to_number=callee.number,
            from_number=dial.caller_id or self.request.from_number,
            program=Program(callee.url, callee.method) if callee.url else None,
            callback=callee.callback,
            timeout=dial.timeout,
            send_digits=callee.send_digits,
        )

    async def _bridge(self, leg: PhoneCall, dial: Dial) -> None:
        recording = None if dial.recording is None else self.start_recording(dial.recording)
        self._bridged, leg._bridged = leg, self
        self.log("bridged", leg=leg.sid)

        async def star() -> None:
            while await self.key(None) != "*":
                pass

        enders: set[asyncio.Future[Any]] = {asyncio.ensure_future(leg._ended.wait())}
        if dial.hang_up_on_star:
            enders.add(asyncio.ensure_future(star()))
        try:
            await asyncio.wait(enders, timeout=dial.time_limit, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for ender in enders:
                ender.cancel()
            await asyncio.wait(enders)
            if recording is not None:
                self._end_recording(recording)

    async def record(
        self, request: RecordingRequest, *, longest: float, quiet: float, keys: str, beep: bool, action: tuple[str, str]
    ) -> dict[str, str] | None:
        if beep:
            self.log("beep")
        spoke, quiet_seconds, went_quiet = False, 0.0, asyncio.Event()

        def listen(frame: bytes) -> None:
            nonlocal spoke, quiet_seconds
            if COMFORT_NOISE.issuperset(frame):
                quiet_seconds += FRAME_SECONDS
                if quiet_seconds >= quiet * self._timing.scale:
                    went_quiet.set()
            else:
                spoke, quiet_seconds = True, 0.0

        async def finishing_key() -> str:
            while (key := await self.key(None)) is None or key not in keys:
                pass
            return key

        recording = self.start_recording(request)
        self._listener, self._last_words = listen, action
        pressing, falling_quiet = asyncio.ensure_future(finishing_key()), asyncio.ensure_future(went_quiet.wait())
        try:
            await asyncio.wait(
                {pressing, falling_quiet},
                timeout=longest * self._timing.scale,
                return_when=asyncio.FIRST_COMPLETED,
            )
            digits = pressing.result() if pressing.done() else ""
        finally:
            self._listener = None
            for task in (pressing, falling_quiet):
                task.cancel()
            await asyncio.wait({pressing, falling_quiet})
        self._last_words = None
        self._end_recording(recording)
        return {**self._record_result(recording), "Digits": digits} if spoke or digits else None

    # -- recordings -------------------------------------------------------------------------------

    def start_recording(self, request: RecordingRequest) -> Recording:
        recording = Recording("RE" + uuid.uuid4().hex, request, datetime.now(UTC), time.monotonic())
        self.recordings.append(recording)
        self.log("recording", sid=recording.sid, source=request.source)
        if request.callback is not None and "in-progress" in request.callback.events:
            self._report("recording", request.callback, self._recording_parameters(recording))
        return recording

    def _end_recording(self, recording: Recording) -> None:
        if recording.status == "completed":
            return
        recording.status = "completed"
        recording.duration = math.ceil(time.monotonic() - recording.started)
        callback = recording.request.callback
        if callback is not None and "completed" in callback.events:
            self._exchange.spawn(self._report_recording(recording, callback))

    async def _report_recording(self, recording: Recording, callback: Callback) -> None:
        await self._wait_between(self._timing.recording)
        await self._send("recording", callback.url, self._recording_parameters(recording), method=callback.method)

    def _recording_url(self, recording: Recording) -> str:
        account = self._exchange.account_sid
        return f"https://api.twilio.com/{API_VERSION}/Accounts/{account}/Recordings/{recording.sid}"

    def _record_result(self, recording: Recording) -> dict[str, str]:
        return {
            "RecordingSid": recording.sid,
            "RecordingUrl": self._recording_url(recording),
            "RecordingDuration": str(recording.duration),
        }

    def _recording_parameters(self, recording: Recording) -> dict[str, str]:
        return {
            "AccountSid": self._exchange.account_sid,
            "CallSid": self.sid,
            **self._record_result(recording),
            "RecordingStatus": recording.status,
            "RecordingChannels": str(recording.request.channels),
            "RecordingStartTime": format_datetime(recording.started_at),
            "RecordingSource": recording.request.source,
            "RecordingTrack": recording.request.track,
        }

    # -- the line between streams -----------------------------------------------------------------

    def _tick(self, due: float) -> None:
        """Carry one frame each way while no stream does. Shares the gateways' ticker, so it must not raise."""
        party = self.party
        if party is None or self._stream is not None:
            return
        try:
            if party.hung_up:
                Ticker.shared().leave(self._tick)
                self.hang_up()
            elif self._answered_at:
                self._carry(party, due)
        except Exception as error:
            Ticker.shared().leave(self._tick)
            self._failure = error
            self.change(Change("phone"))

    def _carry(self, party: Party, due: float) -> None:
        said = party.next_frame()
        take_notes: Callable[[], list[Note]] = getattr(party, "take_notes", list)
        for note in take_notes():
            at = due + note.offset / (FRAME_BYTES / FRAME_SECONDS)
            self.tape.log(note.event, at=at, sent_at=self.tape.seconds(at), **note.fields)
        self.tape.record_said(due, said)
        key = party.next_key()
        if key is not None:
            self.log("key", digit=key)
            self._keys.put_nowait(key)
        if self._listener is not None:
            self._listener(said)
        if self._bridged is not None:
            self._bridged._from_peer.append(said)
            heard = self._from_peer.popleft() if self._from_peer else SILENT_FRAME
        else:
            heard = bytes(self._playout[:FRAME_BYTES]).ljust(FRAME_BYTES, b"\xff")
            del self._playout[:FRAME_BYTES]
            if not self._playout:
                self._played.set()
        self.tape.record_heard(due, heard)
        party.hear(heard)
