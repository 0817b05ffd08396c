"""
The life of one leg of a call, as Twilio sees it: dialled, rung, answered, run through its TwiML, ended.

A leg is one task. What changes it from outside (the person hangs up, a REST update, a time limit) is put in a queue
that only this task reads, so that everything happens in one order. ``leg_callbacks.py`` sends what the leg reports,
``verbs.py`` carries out its TwiML.
"""

from __future__ import annotations

import asyncio
import math
import time
import uuid
from collections.abc import Coroutine, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from media.phone.answering import Outcome
from media.phone.call_request import (
    FINAL_STATUSES,
    Callback,
    CallChange,
    CallEnd,
    CallRequest,
    Direction,
    MachineDetection,
    Program,
    Status,
)
from media.phone.gateway import Gateway
from media.phone.leg_audio import LegAudio
from media.phone.leg_callbacks import LegCallbacks
from media.phone.leg_recordings import LegRecordings
from media.phone.leg_stream import LegStream
from media.phone.party import Party
from media.phone.racing import first_result
from media.phone.twilio_errors import Alert, TwilioError
from media.phone.verbs import LegVerbs

if TYPE_CHECKING:  # network.py imports this module
    from media.phone.network import PhoneNetwork

_SIP_CODES: dict[Status, int] = {"completed": 200, "busy": 486, "no-answer": 487, "canceled": 487, "failed": 404}
"""The SIP response that each final status is reported with, where the outcome names no other."""
_EXTRA_RING_SECONDS = (0.0, 5.0)
"""Twilio lets some calls ring for five seconds longer than their ``Timeout``."""
T = TypeVar("T")


class PhoneCall:
    """
    One leg of a call. Twilio calls each leg a call, with a SID of its own, and so does everything outside this package.

    ``PhoneNetwork`` makes them.
    """

    def __init__(
        self,
        network: PhoneNetwork,
        request: CallRequest,
        *,
        direction: Direction,
        parent: PhoneCall | None = None,
        party: Party | None = None,
        extra_parameters: Mapping[str, str] | None = None,
        queue_time: float = 0.0,
    ) -> None:
        self.network = network
        self.sid = "CA" + uuid.uuid4().hex
        self.request = request
        self.direction = direction
        self.parent = parent
        """The leg whose ``<Dial>`` placed this one."""
        self.status: Status = "ringing" if direction == "inbound" else "queued"
        self.answered_by: str | None = None
        """The verdict of machine detection; None before it, and for calls without it."""
        self.queue_time = queue_time
        """Seconds that the call waits before it is dialled, because of the account's calls per second."""
        self.created_at = self.updated_at = datetime.now(UTC)
        self.started_at: datetime | None = None if direction != "inbound" else self.created_at
        """The time at which the call was dialled; None while it waits in the queue."""
        self.ended_at: datetime | None = None
        self.duration = 0
        """Seconds of connection, rounded up as Twilio bills them; 0 until the call has ended."""
        self.tape = network.tape(self.sid)
        """The evidence: what both sides heard, and when."""
        self.events: list[dict[str, Any]] = []
        """The events of the call, in order; the tape has the same events with their times."""
        self.gateway: Gateway | None = network.gateway(party, self.tape) if party else None
        """Runs the media streams; None until the call is answered."""
        self.ready: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        """For a leg of ``<Dial>``: done once it is known whether the leg was answered and may be bridged."""
        self.ended = asyncio.Event()
        """Set as soon as the call ends, before its last callbacks."""
        self.over: asyncio.Future[CallEnd] = asyncio.get_running_loop().create_future()
        """Done once the call has ended and its callbacks were delivered."""
        self.audio = LegAudio(self, party)
        self.callbacks = LegCallbacks(self, extra_parameters=extra_parameters or {})
        self.recordings = LegRecordings(self)
        self.stream = LegStream(self)
        self._verbs = LegVerbs(self)
        self._timing, self._random = network.timing, network.random
        self._changes: asyncio.Queue[CallChange] = asyncio.Queue()  # from outside, in order
        self._was_dialled = False  # whether it left the queue; a call cancelled before that reports nothing
        self._answered_at = 0.0  # `time.monotonic()`; 0.0 until the answer
        self._failure: Exception | None = None  # what `wait` raises
        self._time_limit: asyncio.TimerHandle | None = None
        self.log("call", sid=self.sid, direction=direction, to=request.to_number, **{"from": request.from_number})

    # -- what tests and REST do with a call -------------------------------------------------------

    async def wait(self) -> CallEnd:
        """
        Return once the call is over and its callbacks were delivered, except late copies and reports of recordings.

        In strict mode this raises what the application did wrong on the stream (``StreamViolation``).
        """
        end = await asyncio.shield(self.over)
        if self._failure is not None:
            raise self._failure
        return end

    def hang_up(self) -> None:
        """Let the person hang up. Does nothing to a call that is over."""
        self.change(CallChange("caller"))

    def change(self, change: CallChange) -> None:
        """Change or end the call from outside, after the changes before this one."""
        self._changes.put_nowait(change)

    def fail(self, error: Exception) -> None:
        """End the call because of an error, which ``wait`` will raise."""
        self._failure = error
        self.change(CallChange("phone"))

    def update(
        self, *, program: Program | None, callback: Callback | None, status: str, time_limit: float | None
    ) -> None:
        """Carry out ``POST Calls/{sid}.json``. Raises 21220 if the call is not in a state for it."""
        is_connected = self.status == "in-progress" or (self.direction == "inbound" and self.status == "ringing")
        is_waiting = self.status in ("queued", "ringing") and not is_connected
        if status == "canceled" and not is_waiting:
            raise TwilioError(21220)
        if not is_connected and not (is_waiting and status):
            raise TwilioError(21220)
        if time_limit is not None:
            self._set_time_limit(time_limit)
        if status:
            self.change(CallChange("app", status="canceled" if is_waiting else None))
        elif program is not None:
            if callback is not None:
                self.callbacks.progress = callback
            self.change(CallChange("app", program))

    @property
    def is_over(self) -> bool:
        return self.status in FINAL_STATUSES

    @property
    def seconds(self) -> float:
        """Seconds since the call was answered; 0.0 before."""
        return time.monotonic() - self._answered_at if self._answered_at else 0.0

    def log(self, event: str, **fields: Any) -> None:
        """Write an event to ``events`` and to the tape. The values of fields must be JSON."""
        self.events.append({"event": event, **fields})
        self.tape.log(event, **fields)

    def alert(self, error: TwilioError) -> None:
        """Write an error where Twilio's debugger would show it."""
        self.log("alert", code=error.code, message=error.message)
        self.network.alerts.append(Alert(error.code, error.message, self.sid))

    # -- its life ---------------------------------------------------------------------------------

    async def run(self) -> None:
        """Live the whole call. Nothing that the application does makes this raise."""
        try:
            if self.direction == "inbound":
                self.audio.start()
                end = await self._run_programs(self.request.program)
            else:
                end = await self._place() or await self._after_answer()
        except Exception as error:  # a fault of the simulation: `wait` raises it
            self._failure = error
            end = CallChange("phone", status="failed")
        finally:
            self.audio.stop()
        await self._end(end)

    async def answer(self) -> None:
        """Connect the call. Does nothing if it is connected already."""
        if self._answered_at:
            return
        assert self.audio.party is not None
        self._answered_at = time.monotonic()
        self._set_status("in-progress")
        self._set_time_limit(self.request.time_limit)
        self.audio.is_answered = True
        if self.direction != "inbound":
            self.audio.start()

    async def _until_changed(self, work: Coroutine[Any, Any, T]) -> T | CallChange:
        """Return what the work returns, or the change that came first and stopped the work."""
        return await first_result(self._changes.get(), work)

    async def _place(self) -> CallChange | None:
        """Dial out. Return None once the call is answered, else how it ended."""
        outcome = await self._until_changed(self._ring())
        if isinstance(outcome, CallChange):
            return CallChange(outcome.by, status="canceled")
        if isinstance(outcome, Outcome):
            return CallChange(outcome.status, status=outcome.status, sip_code=outcome.sip_code)
        self.audio.party = outcome
        self.gateway = self.network.gateway(outcome, self.tape)
        await self.answer()
        return None

    async def _ring(self) -> Party | Outcome:
        await asyncio.sleep(self.queue_time)
        self._was_dialled = True
        self.started_at = datetime.now(UTC)
        self.callbacks.report_progress("initiated", status="initiated")
        await self._timing.pause_between(self._timing.post_dial, self._random)
        answerer = self.network.answerer(self.request.to_number)
        outcome = answerer.answer()
        if isinstance(outcome, Outcome) and outcome.after == 0.0:
            return outcome
        self._set_status("ringing")
        self.callbacks.report_progress("ringing")
        after = outcome.after if isinstance(outcome, Outcome) else None
        if after is None:
            after = answerer.after
        if after is None:
            after = self._random.uniform(*self._timing.answer)
        longest = self.request.timeout + self._random.choice(_EXTRA_RING_SECONDS)
        if outcome == Outcome.no_answer() or after > longest:
            await self._timing.pause(longest)
            return Outcome.no_answer()
        await self._timing.pause(after)
        return outcome

    async def _after_answer(self) -> CallChange:
        """Do what was asked for once the call is answered, then run its TwiML. Return how the call ended."""
        request = self.request
        if request.send_digits:
            self.log("digits_sent", digits=request.send_digits)
        if request.recording is not None and self.direction == "outbound-api":
            self.recordings.start(request.recording)
        if self.direction == "outbound-dial":
            return await self._join_parent()
        extra: dict[str, str] = {}
        detection = request.machine_detection if not request.send_digits else None  # SendDigits switches it off
        if detection is not None and detection.asynchronous:
            self.network.spawn(self._report_verdict(detection))
        elif detection is not None:
            self.callbacks.report_answer()
            verdict = await self._until_changed(self._detect_machine(detection))
            if isinstance(verdict, CallChange):
                return verdict
            extra = {"AnsweredBy": verdict}
        if detection is None or detection.asynchronous:
            # The report of the answer and the request for TwiML leave together, and either may arrive first.
            if self._random.random() < 0.5:
                self.callbacks.report_answer()
                await self._timing.pause_between(self._timing.scatter, self._random)
            else:
                self.network.spawn(self._report_answer_later())
        return await self._run_programs(request.program, extra)

    async def _report_answer_later(self) -> None:
        await self._timing.pause_between(self._timing.scatter, self._random)
        self.callbacks.report_answer()

    async def _detect_machine(self, detection: MachineDetection) -> str:
        answerer = self.network.answerer(self.request.to_number)
        if answerer.beep_after is not None and detection.mode == "DetectMessageEnd":
            await asyncio.sleep(answerer.beep_after - self.seconds)
        else:
            await self._timing.pause_between(self._timing.verdict, self._random)
        self.answered_by = detection.verdict(answerer.answered_by)
        self.log("detected", answered_by=self.answered_by)
        return self.answered_by

    async def _report_verdict(self, detection: MachineDetection) -> None:
        """Detect a machine beside the TwiML, and report what was found."""
        started = time.monotonic()
        verdict = await self._detect_machine(detection)
        if self.network.injections.amd_after_end:
            await asyncio.wait({self.over})
        if detection.callback is None:
            return
        milliseconds = round((time.monotonic() - started) / (self._timing.scale or 1.0) * 1000)
        parameters = {
            "CallSid": self.sid,
            "AccountSid": self.network.account_sid,
            "AnsweredBy": verdict,
            "MachineDetectionDuration": str(milliseconds),
        }
        await self.callbacks.send("amd", detection.callback.url, parameters, method=detection.callback.method)

    async def _join_parent(self) -> CallChange:
        """Run a leg of ``<Dial>``: play the callee the TwiML of its ``<Number>``, then stay in the bridge."""
        self.callbacks.report_answer()
        if self.request.program is not None:
            change = await self._until_changed(self._verbs.run(self.request.program, {}))
            if isinstance(change, CallChange):
                return change
        self.ready.set_result(True)
        return await self._changes.get()

    async def _run_programs(self, program: Program | None, extra: Mapping[str, str] | None = None) -> CallChange:
        """Run TwiML, and the TwiML that replaces it, until the call ends. Return how it ended."""
        while program is not None:
            change = await self._until_changed(self._verbs.run(program, extra or {}))
            await self.stream.stop(change)
            if change is None:
                return CallChange("twiml", status=self._verbs.rejected)
            if change.program is None:
                return change
            self.log("call_updated", by=change.by)
            self.audio.drop_prompt()
            program, extra = change.program, None
        return CallChange("twiml")

    async def _end(self, end: CallChange) -> None:
        if self._time_limit is not None:
            self._time_limit.cancel()
        if not self.ready.done():
            self.ready.set_result(False)
        self.ended.set()
        await self.stream.stop(end)
        was_connected = self.status == "in-progress"
        if was_connected:
            self.callbacks.report_answer()
        self.duration = math.ceil(self.seconds) if was_connected else 0
        self.ended_at = datetime.now(UTC)
        self.recordings.end_all()
        status: Status = "completed" if was_connected else end.status or "no-answer"
        self._set_status(status)
        if end.by == "caller" and was_connected and self._verbs.unfinished_record is not None:
            url, method = self._verbs.unfinished_record
            parameters = {**self.recordings.result(self.recordings.all[-1]), "Digits": "hangup"}
            await self.callbacks.send("action", url, self.callbacks.parameters(parameters), method=method)
        sip_code = end.sip_code or _SIP_CODES[status]
        if self._was_dialled or self.direction == "inbound":
            self.callbacks.report_progress("completed", extra=self._closing_parameters(sip_code))
        await self.callbacks.flush()
        self.tape.close()
        self.over.set_result(CallEnd(status, end.by, self.duration, sip_code))

    def _closing_parameters(self, sip_code: int) -> dict[str, str]:
        parameters = {"SipResponseCode": str(sip_code)}
        if self.status == "completed":
            parameters |= {"CallDuration": str(self.duration), "Duration": str(math.ceil(self.duration / 60))}
        if self.answered_by is not None:
            parameters["AnsweredBy"] = self.answered_by
        requested = self.recordings.find(self.request.recording)
        if requested is not None:
            parameters |= self.recordings.result(requested)
        return parameters

    def _set_time_limit(self, seconds: float) -> None:
        """End the call once it has been connected for this long; replaces an earlier limit."""
        if self._time_limit is not None:
            self._time_limit.cancel()
        loop = asyncio.get_running_loop()
        self._time_limit = loop.call_later(max(0.0, seconds - self.seconds), self.change, CallChange("time-limit"))

    def _set_status(self, status: Status) -> None:
        self.status = status
        self.updated_at = datetime.now(UTC)
        self.log("call_status", status=status)
