"""
One media stream of a call: a WebSocket to the application, and a person on the phone.

Every 20 ms, on an absolute schedule, one frame of what the person says goes to the application (``uplink.py``), and one
frame of what the application sent is played to the person (``earpiece.py``). All streams of a process share one
``Ticker``, and all work on a frame is done on bytes, so that one process carries many calls.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Literal

import msgspec

from media.errors import MediaError
from media.phone.app_messages import AppClear, AppMark, AppMedia, AppMessage, decode
from media.phone.earpiece import Earpiece
from media.phone.frames import FRAME_BYTES, FRAME_SECONDS, RATE_HZ, SILENT_FRAME, first_audible
from media.phone.impairments import WIRE_FAULTS, DelayLine, Fault, Noise
from media.phone.stream_handshake import StreamRefused, StreamRequest, open_stream
from media.phone.ticker import Ticker
from media.phone.uplink import Uplink

if TYPE_CHECKING:  # gateway.py imports this module
    from media.phone.gateway import Gateway

NEW_AUDIO_SECONDS = 1.0
"""The tape notes the application's audio as new if none came for this long."""
COMFORT_FRAMES = 16
"""The number of different frames of comfort noise that take turns in silence; one repeated frame would be a tone."""
START_DELAY = (0.0, 0.05)
"""Seconds from the first message to ``start``, as seen from Twilio."""
FIRST_MEDIA_DELAY = (0.102, 0.178)
"""Seconds from ``start`` to the first audio. Twilio's first timestamp is 100 to 200 ms."""
TICKS_PER_TALLY = 50
"""The tape gets the counters once a second."""

Reason = Literal["app-closed", "party-hung-up", "call-updated", "refused", "lost"]


class StreamViolation(MediaError):
    """In strict mode: the application sent what Twilio would have ignored with a warning."""


@dataclass(frozen=True, slots=True)
class StreamEnd:
    """The end of a stream. ``code`` is the WebSocket close code, or the HTTP status if the upgrade was refused."""

    reason: Reason
    code: int | None = None
    detail: str = ""


class MediaStream:
    """One WebSocket of one call, from the upgrade request to its end."""

    def __init__(self, gateway: Gateway, request: StreamRequest) -> None:
        self._gateway, self._party, self._tape = gateway, gateway.party, gateway.tape
        self._request = request
        self._impairments = impairments = gateway.impairments
        self._random = Random(f"{impairments.seed} {request.stream_sid}")
        self._ticker = Ticker.shared()
        self._socket = gateway.make_socket(on_message=self._receive, on_writable=self._flush, on_closed=self._finish)
        self._uplink = Uplink(self._socket, request.stream_sid, impairments, random=self._random, warn=self._warn)
        self._downlink: DelayLine[AppMessage] = DelayLine(
            self._carry_out, random=self._random, delay=impairments.network_delay, jitter=impairments.jitter
        )
        carrier_frames = round(impairments.carrier_delay / FRAME_SECONDS)
        self._earpiece = Earpiece(
            self._party,
            self._tape,
            delay_frames=carrier_frames,
            prebuffer_frames=round(impairments.prebuffer / FRAME_SECONDS),
            echo=self._echo,
            on_underrun=self._count_underrun,
        )

        # How the stream lives and ends.
        self._result: asyncio.Future[StreamEnd] = asyncio.get_running_loop().create_future()
        self._ending: Reason | None = None  # set once the network ends the stream; None if the application does
        self._start_timer: asyncio.TimerHandle | None = None  # sends `start`
        self._started_at = 0.0  # when `start` was sent; 0.0 before
        self._speaks_from = float("inf")  # when the first audio of the person is sent
        self._ticks = 0  # since `start`
        self._warned: set[int] = set()  # codes of warnings given already

        # What the person says, on its way to the gateway.
        self._noise = None if impairments.noise_db is None else Noise(impairments.noise_db, seed=impairments.seed)
        self._comfort = [bytes(self._random.choices(b"\xff\x7f", k=FRAME_BYTES)) for _ in range(COMFORT_FRAMES)]
        self._carrier_delay = carrier_frames * FRAME_SECONDS
        self._to_gateway = deque([SILENT_FRAME] * carrier_frames)

        # What the tape notes of the application's audio.
        self._received_bytes = 0
        self._report_audio_from = 0.0  # the next audible audio from this instant on is noted; 0.0 if none is awaited
        self._last_audio_at = float("-inf")

        # Injected faults: those still to come, and what those that came have left to do.
        self._faults = deque(sorted(impairments.faults, key=lambda fault: fault.at))
        self._gap_until = 0.0  # until then the person's audio is lost
        self._late_marks_until = 0.0  # until then echoes of marks are held back
        self._marks_to_lose = 0

    async def run(self) -> StreamEnd:
        """Open the stream and return how it ended. Raises what the party raised, or ``StreamViolation``."""
        try:
            await open_stream(self._socket, self._request, sign_trailing_slash=self._gateway.sign_trailing_slash)
            if self._ending is not None:
                self._socket.close(1000)
            else:
                self._begin()
            return await self._result
        except StreamRefused as refusal:
            if self._ending is not None:
                return StreamEnd(self._ending)
            self._gateway.error(refusal.code, refusal.detail)
            return StreamEnd("refused", refusal.status, refusal.detail)
        finally:
            self._stop_timers()
            self._uplink.abandon()
            self._downlink.close()
            self._socket.abort()

    def end(self, reason: Reason) -> None:
        """Send ``stop`` and close the socket; what was sent before still arrives first."""
        if self._ending is not None:
            return
        self._ending = reason
        self._stop_timers()
        if not self._socket.was_opened:
            self._socket.abort()
            return
        if self._started_at:
            ids = f'"accountSid":"{self._request.account_sid}","callSid":"{self._request.call_sid}"'
            self._uplink.send("stop", f'"stop":{{{ids}}}')
        self._uplink.close()

    def _begin(self) -> None:
        self._ticker.join(self._tick)
        self._uplink.send_raw("text", b'{"event":"connected","protocol":"Call","version":"1.0.0"}')
        if any(fault.kind == "early-media" for fault in self._faults):
            self._faults = deque(fault for fault in self._faults if fault.kind != "early-media")
            self._tape.log("fault", kind="early-media")
            self._uplink.send_media(SILENT_FRAME, 0)
        delay = self._impairments.start_delay + self._random.uniform(*START_DELAY)
        if delay < float("inf"):
            self._start_timer = asyncio.get_running_loop().call_later(delay, self._send_start)

    def _send_start(self) -> None:
        self._started_at = time.monotonic()
        self._uplink.start(self._started_at)
        start = {
            "streamSid": self._request.stream_sid,
            "accountSid": self._request.account_sid,
            "callSid": self._request.call_sid,
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": RATE_HZ, "channels": 1},
            "customParameters": self._request.parameters,
        }
        self._uplink.send("start", f'"start":{msgspec.json.encode(start).decode()}')
        self._speaks_from = self._started_at + self._random.uniform(*FIRST_MEDIA_DELAY)

    def _stop_timers(self) -> None:
        self._ticker.leave(self._tick)
        if self._start_timer is not None:
            self._start_timer.cancel()

    # -- every 20 ms ------------------------------------------------------------------------------

    def _tick(self, due: float) -> None:
        try:
            if self._party.hung_up:
                self.end("party-hung-up")
            elif self._started_at:
                while self._faults and due - self._started_at >= self._faults[0].at:
                    self._inject(self._faults.popleft())
                self._earpiece.play(due)
                if due >= self._speaks_from:
                    self._speak(due)
                self._ticks += 1
                if self._ticks % TICKS_PER_TALLY == 0:
                    self._log_tally()
        except Exception as error:  # a broken party must not stop the ticker of all other calls
            self._fail(error)

    def _speak(self, due: float) -> None:
        """Send the frame that the person has said, and the key that they press."""
        frame = self._party.next_frame()
        spoken_at = due - FRAME_SECONDS  # what is sent now was captured during the 20 ms before
        for note in self._party.take_notes():
            at = spoken_at + note.offset / RATE_HZ
            sent_at = at + self._carrier_delay + self._impairments.network_delay  # without jitter and stalls
            self._tape.log(note.event, at=at, sent_at=self._tape.seconds(sent_at), **note.fields)
            if note.event == "caller_speech_end":
                self._report_audio_from = sent_at
        if self._noise is not None:
            frame = self._noise.add(frame)
        self._tape.record_said(spoken_at, frame)
        self._to_gateway.append(frame)
        frame = self._to_gateway.popleft()
        if frame == SILENT_FRAME:
            frame = self._comfort[self._ticks % len(self._comfort)]
        if due < self._gap_until or (self._impairments.loss and self._random.random() < self._impairments.loss):
            self._uplink.lost_frames += 1
        else:
            timestamp_ms = round((due - self._started_at) * 1000) + self._random.randrange(-1, 2)
            self._uplink.send_media(frame, timestamp_ms)
        key = self._party.next_key()
        if key is not None:
            self._tape.log("dtmf", digit=key)
            self._uplink.send("dtmf", f'"dtmf":{{"track":"inbound_track","digit":"{key}"}}')

    def _flush(self) -> None:
        self._uplink.flush()

    def _log_tally(self) -> None:
        self._tape.log(
            "frames",
            sent=self._uplink.sent_frames,
            lost=self._uplink.lost_frames,
            received_bytes=self._received_bytes,
            queued_bytes=self._earpiece.queue.queued_bytes,
        )

    # -- from the application ---------------------------------------------------------------------

    def _receive(self, is_text: bool, data: bytes) -> None:
        now = time.monotonic()
        if self._ending is not None or self._result.done():
            return
        if not is_text:
            self._warn(31950, "a binary message")
            return
        try:
            message = decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            self._warn(31951, f"{error}: {data[:120]!r}")
            return
        if not self._started_at:
            self._warn(31951, f"sent before start: {data[:120]!r}")
        elif message.streamSid != self._request.stream_sid:
            self._warn(31951, f"streamSid is {message.streamSid!r}, but this stream is {self._request.stream_sid!r}")
        else:
            match message:
                case AppMedia():
                    self._note_audio(message.media.payload, now)
                case AppClear():
                    self._report_audio_from = max(self._report_audio_from, now)
                    self._tape.log("clear_received", at=now)
            self._downlink.push(message)

    def _note_audio(self, payload: bytes, now: float) -> None:
        """Note on the tape that audible audio came after a silence, a ``clear`` or the end of what the person said."""
        self._received_bytes += len(payload)
        onset = first_audible(payload)
        if onset < 0:
            return
        quiet_before = now - self._last_audio_at > NEW_AUDIO_SECONDS
        self._last_audio_at = now
        if quiet_before or (self._report_audio_from and now >= self._report_audio_from):
            self._report_audio_from = 0.0
            self._tape.log("agent_audio_received", at=now, onset=onset, payload_bytes=len(payload))

    def _carry_out(self, message: AppMessage) -> None:
        match message:
            case AppMedia():
                if not self._earpiece.queue.add(message.media.payload):
                    self._warn(31931, "more than ten minutes are queued; new audio is being discarded")
            case AppMark():
                self._earpiece.mark(message.mark.name)
            case AppClear():
                self._earpiece.clear()

    def _echo(self, name: str) -> None:
        """Send a mark back to the application."""
        if self._result.done():
            return
        if self._marks_to_lose:
            self._marks_to_lose -= 1
            return
        wait = self._late_marks_until - time.monotonic()
        if wait > 0:
            asyncio.get_running_loop().call_later(wait, self._echo, name)
            return
        self._tape.log("mark_echoed", name=name)
        self._uplink.send("mark", f'"mark":{{"name":{msgspec.json.encode(name).decode()}}}')

    def _count_underrun(self) -> None:
        self._gateway.underruns += 1

    # -- what goes wrong --------------------------------------------------------------------------

    def _warn(self, code: int, detail: str) -> None:
        """Report a warning as Twilio does: each code once per stream."""
        if code in self._warned:
            return
        self._warned.add(code)
        self._gateway.error(code, detail)
        if self._gateway.strict and code in (31950, 31951):
            self._fail(StreamViolation(f"{code}: {detail}"))

    def _fail(self, error: Exception) -> None:
        if not self._result.done():
            self._result.set_exception(error)

    def _finish(self) -> None:
        """Work out how the stream ended, now that the connection is gone."""
        if self._result.done():
            return
        protocol = self._socket.protocol
        self._log_tally()
        self._earpiece.end_speech()
        if self._ending is not None:
            end = StreamEnd(self._ending, 1000)
        elif protocol.parser_exc is not None and not isinstance(protocol.parser_exc, EOFError):
            self._gateway.error(31924, f"WebSocket: {protocol.parser_exc}")
            end = StreamEnd("lost", 1006, str(protocol.parser_exc))
        elif protocol.close_rcvd is not None:
            self._gateway.error(31921, f"the application closed the socket with {protocol.close_rcvd.code}")
            end = StreamEnd("app-closed", protocol.close_rcvd.code, protocol.close_rcvd.reason)
        else:
            self._gateway.error(31903, "the socket was dropped without a close frame")
            end = StreamEnd("lost", 1006)
        self._result.set_result(end)

    def _inject(self, fault: Fault) -> None:
        self._tape.log("fault", kind=fault.kind, value=fault.value)
        now = time.monotonic()
        match fault.kind:
            case "drop":
                self._socket.abort(reset=True)
            case "close":
                self._socket.close(int(fault.value))
            case "gap":
                self._gap_until = now + fault.value
            case "sequence-gap":
                self._uplink.sequence += int(fault.value)
            case "duplicate":
                self._uplink.repeat_next = True
            case "swap":
                self._uplink.swap_next = True
            case "stop-reading":
                self._socket.pause_reading(fault.value)
            case "lose-mark":
                self._marks_to_lose += 1
            case "late-marks":
                self._late_marks_until = now + fault.value
            case kind:
                self._send_wire_fault(kind, now)

    def _send_wire_fault(self, kind: str, now: float) -> None:
        """Send a message that Twilio would not send, made from a well-formed one."""
        timestamp = str(round((now - self._started_at) * 1000))
        chunk, sequence = str(self._uplink.chunk), str(self._uplink.sequence)
        media = {"track": "inbound", "chunk": chunk, "timestamp": timestamp, "payload": "/w=="}
        model = {
            "event": "media",
            "sequenceNumber": sequence,
            "media": media,
            "streamSid": self._request.stream_sid,
        }
        for frame_kind, data in WIRE_FAULTS[kind](model):
            self._uplink.send_raw(frame_kind, data)
